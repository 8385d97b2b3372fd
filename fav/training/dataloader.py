"""Batches of samples, made ahead by other processes; what an iteration sees depends on the seed, its number and its steps alone.

So a training that is resumed has nothing to replay, and the number of workers changes nothing.
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

AHEAD = 3  # batches that each worker makes ahead


class Batch(NamedTuple):
    """N sequences of S frames: frames (S, N, 3, H, W) uint8 BGR; flow (S - 1, N, 2, H, W) float32, pixels, from each frame
    but the first to the one before it; reliability (S - 1, N, 1, H, W) uint8, what the network is told.
    """

    frames: Tensor
    flow: Tensor
    reliability: Tensor


class Batches(Dataset):
    """The batch of each order, whose iterations count from 0.

    A FavError is not raised but returned: workers would wrap it in a traceback.
    """

    def __init__(self, recipe: TrainingConfig, photos: Sequence[Photo], clips: list[Clip]):
        self.recipe, self.photos, self.clips = recipe, photos, clips
        self._sampler: ClipSampler | None = None

    def __getitem__(self, order: Order) -> Batch | FavError:
        try:
            return stacked([self._sequence(order, number) for number in range(self.recipe.batch)])
        except FavError as error:
            return error

    def _sequence(self, order: Order, number: int) -> SyntheticSequence:
        recipe, steps = self.recipe, order.steps
        rng = np.random.default_rng((recipe.seed, order.iteration, number))
        kind = recipe.kind(order.iteration)
        if kind == "video":
            self._sampler = self._sampler or ClipSampler(self.clips)
            sequence = self._sampler.draw(rng, recipe.crop, steps)
        else:
            sequence = draw_sequence(kind, self.photos, rng, recipe.crop, steps)
        told = [
            drop_reliability(trust, rng) if rng.random() < recipe.holes else trust for trust in sequence.reliability
        ]
        return SyntheticSequence(sequence.frames, sequence.flow, np.stack(told) if told else sequence.reliability)


def stacked(sequences: list[SyntheticSequence]) -> Batch:
    """Sequences of one size and length as a batch."""
    frames = torch.from_numpy(np.stack([sequence.frames for sequence in sequences], 1)).movedim(-1, 2)
    flow = torch.from_numpy(np.stack([sequence.flow for sequence in sequences], 1)).movedim(-1, 2)
    reliability = torch.from_numpy(np.stack([sequence.reliability for sequence in sequences], 1)).unsqueeze(2)
    return Batch(frames, flow, reliability)


def stream(
    batches: Batches, orders: Iterator[Order], workers: int, pinned: bool = False
) -> Generator[Batch, None, None]:
    """The batches that are ordered, made ahead by so many other processes; 0 for none.

    Raises FavError where a sample cannot be made.
    """
    # Not forked: a worker would wait for ever for OpenCV's threads, which do not live on in it.
    ahead: dict[str, Any] = (
        dict(prefetch_factor=AHEAD, worker_init_fn=_prepare_worker, multiprocessing_context="spawn") if workers else {}
    )
    loader = DataLoader(batches, None, sampler=orders, num_workers=workers, pin_memory=pinned, **ahead)
    try:
        for batch in loader:
            if isinstance(batch, FavError):
                raise batch
            yield batch
    except RuntimeError as error:
        if not workers or "shared memory" not in str(error):
            raise
        raise FavError(
            f"/dev/shm: expected room for the samples that other processes make, got none "
            f"({str(error).strip().splitlines()[-1]}); make some, or say --workers 0"
        ) from error


def can_have_workers() -> bool:
    """Whether other processes can hand samples over: through /dev/shm, which may be read-only or full."""
    try:
        torch.multiprocessing.get_context("spawn").Lock()
        torch.empty(1 << 20).share_memory_()
        return True
    except (OSError, RuntimeError):
        return False


def _prepare_worker(number: int) -> None:
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # they may reach all processes of a group: the trainer ends its workers
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)
