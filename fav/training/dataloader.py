"""Make batches of samples, in worker processes. A batch depends only on the seed, the iteration and its number of steps.

So a resumed training does not repeat earlier batches, and the number of workers does not affect the weights.
"""

import signal
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fav.errors import FavError
from fav.training.config import TrainingConfig
from fav.training.image_folder import Photo
from fav.training.schedule import Order
from fav.training.synthetic_sequences import SyntheticSequence, draw_sequence, drop_reliability
from fav.training.video_clips import Clip, ClipSampler

PREFETCH = 3  # batches that each worker makes in advance


class Batch(NamedTuple):
    """N sequences of S frames.

    Attributes:
        frames: (S, N, 3, H, W) uint8 BGR.
        flow: (S - 1, N, 2, H, W) float32 pixels, from each frame but the first to the one before it.
        reliability: (S - 1, N, 1, H, W) uint8, 0 or 1; the input of the network.
    """

    frames: Tensor
    flow: Tensor
    reliability: Tensor


class Batches(Dataset):
    """The batch of each `Order`: an iteration, counted from 0, and its number of steps.

    A FavError is returned, not raised, because workers would wrap it in a traceback.
    """

    def __init__(self, config: TrainingConfig, photos: Sequence[Photo], clips: list[Clip]):
        self.config, self.photos, self.clips = config, photos, clips
        self._sampler: ClipSampler | None = None

    def __getitem__(self, order: Order) -> Batch | FavError:
        try:
            return stack_sequences([self._sequence(order, number) for number in range(self.config.batch)])
        except FavError as error:
            return error

    def _sequence(self, order: Order, number: int) -> SyntheticSequence:
        config, steps = self.config, order.steps
        rng = np.random.default_rng((config.seed, order.iteration, number))
        kind = config.kind(order.iteration)
        if kind == "video":
            self._sampler = self._sampler or ClipSampler(self.clips)
            sequence = self._sampler.draw(rng, config.crop, steps)
        else:
            sequence = draw_sequence(kind, self.photos, rng, config.crop, steps)
        masks = [drop_reliability(mask, rng) if rng.random() < config.holes else mask for mask in sequence.reliability]
        return SyntheticSequence(sequence.frames, sequence.flow, np.stack(masks) if masks else sequence.reliability)


def stack_sequences(sequences: list[SyntheticSequence]) -> Batch:
    """Stack sequences of one size and length to a batch."""
    frames = torch.from_numpy(np.stack([sequence.frames for sequence in sequences], 1)).movedim(-1, 2)
    flow = torch.from_numpy(np.stack([sequence.flow for sequence in sequences], 1)).movedim(-1, 2)
    reliability = torch.from_numpy(np.stack([sequence.reliability for sequence in sequences], 1)).unsqueeze(2)
    return Batch(frames, flow, reliability)


def stream(
    batches: Batches, orders: Iterator[Order], workers: int, pinned: bool = False
) -> Generator[Batch, None, None]:
    """Yield the batches of `orders`.

    Args:
        batches: The batches.
        orders: The iterations and their steps. Workers request them in advance.
        workers: The number of worker processes; 0 makes the batches in this process.
        pinned: Whether to put batches into page-locked memory, for faster copies to a GPU.

    Raises:
        FavError: A sample cannot be made.
    """
    # Workers are spawned, not forked: a forked worker would wait forever for OpenCV's threads, which a fork does not copy.
    options: dict[str, Any] = (
        dict(prefetch_factor=PREFETCH, worker_init_fn=_prepare_worker, multiprocessing_context="spawn")
        if workers
        else {}
    )
    loader = DataLoader(batches, None, sampler=orders, num_workers=workers, pin_memory=pinned, **options)
    try:
        for batch in loader:
            if isinstance(batch, FavError):
                raise batch
            yield batch
    except RuntimeError as error:
        if not workers or "shared memory" not in str(error):
            raise
        raise FavError(
            f"/dev/shm: expected free space for the samples of worker processes, got none "
            f"({str(error).strip().splitlines()[-1]}); free some, or use --workers 0"
        ) from error


def can_have_workers() -> bool:
    """Whether worker processes can send samples. They use /dev/shm, which may be read-only or full."""
    try:
        torch.multiprocessing.get_context("spawn").Lock()
        torch.empty(1 << 20).share_memory_()
        return True
    except (OSError, RuntimeError):
        return False


def _prepare_worker(number: int) -> None:
    # A signal may reach all processes of the group. Only the training process handles it; it then ends its workers.
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)
    cv2.setNumThreads(1)
