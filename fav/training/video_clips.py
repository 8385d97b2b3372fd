"""Make training sequences from a folder of video clips, with estimated flow and the consistency check."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fav import flow as flows
from fav.errors import FavError, sanitize
from fav.flow.consistency import inside_image
from fav.flow.field import FlowField, estimate
from fav.stylize.indexing import index_segments
from fav.training.synthetic_sequences import SyntheticSequence
from fav.util.fingerprint import fingerprint
from fav.util.images import resize
from fav.video import FrameIndex, FrameReader

SUFFIXES = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".ts"}
MAX_OPEN = 4  # decoders
MAX_STRIDE = 2  # frames of the clip between two frames of a sequence


@dataclass(frozen=True)
class Clip:
    """A video with its index and its shots, each `[start, stop)` in frames."""

    path: Path
    index: FrameIndex
    shots: list[tuple[int, int]]


def open_clips(
    directory: Path, steps: int, report_progress: Callable[[], None] = lambda: None
) -> tuple[list[Clip], str, list[str]]:
    """Find the videos of a directory and its subdirectories. Each is decoded once.

    Args:
        directory: The folder.
        steps: Shots with more frames than this are used; others are left out.
        report_progress: Called for each frame.

    Returns:
        The clips, their fingerprint, and notes about files that were left out.

    Raises:
        FavError: No clip has such a shot.
    """
    if not directory.is_dir():
        raise FavError(f"{directory}: expected a directory of clips")
    clips, notes, digest = [], [], hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()):
        try:
            segments = list(index_segments(path, None, None, report_progress=report_progress))
        except FavError as error:
            notes.append(f"{sanitize(path.name)}: not readable, left out ({str(error)[:200]})")
            continue
        index = FrameIndex.concat([segment.index for segment in segments])
        boundaries = [0, *(cut for segment in segments for cut in segment.cuts), len(index)]
        shots = [(start, stop) for start, stop in zip(boundaries, boundaries[1:]) if stop - start > steps]
        if shots:
            clips.append(Clip(path, index, shots))
            digest.update(f"{path.relative_to(directory)}\0{fingerprint(path)}\0".encode(errors="surrogateescape"))
        else:
            notes.append(f"{sanitize(path.name)}: no shot of more than {steps} frames, left out")
    if not clips:
        detail = f" ({notes[0]})" if notes else ""
        raise FavError(f"{directory}: expected clips with a shot of more than {steps} frames, got none{detail}")
    return clips, digest.hexdigest(), notes


class ClipSampler:
    """Draws random sequences from clips, with DIS flow. Each process needs its own sampler, which opens the clips."""

    def __init__(self, clips: list[Clip]):
        self._clips = clips
        self._flow = flows.make("dis")
        self._readers: OrderedDict[Path, FrameReader] = OrderedDict()

    def draw(self, rng: np.random.Generator, side: int, steps: int) -> SyntheticSequence:
        """Draw a sequence of `steps` + 1 square frames with `side` pixels. Raises FavError if a clip cannot be read."""
        clip = self._clips[rng.integers(len(self._clips))]
        start, stop = clip.shots[rng.integers(len(clip.shots))]
        stride = int(rng.integers(1, min(MAX_STRIDE, (stop - start - 1) // max(steps, 1)) + 1))
        first = int(rng.integers(start, stop - stride * steps))
        frames = [self._reader(clip).read(first + stride * step, clip.index) for step in range(steps + 1)]
        height, width = frames[0].shape[:2]
        scale = side * max(1, min(2, min(height, width) / side)) ** rng.random() / min(height, width)
        size = max(round(width * scale), side), max(round(height * scale), side)
        frames = [resize(frame, size) for frame in frames]
        if rng.random() < 0.5:
            frames = [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]
        left, top = (int(rng.integers(length - side + 1)) for length in size)
        window = slice(top, top + side), slice(left, left + side)
        fields = [_crop(estimate(self._flow, frame, before), window) for before, frame in zip(frames, frames[1:])]
        return SyntheticSequence(
            np.stack([frame[window] for frame in frames]),
            np.stack([field.flow for field in fields]) if fields else np.zeros((0, side, side, 2), np.float32),
            np.stack([field.reliability for field in fields]) if fields else np.zeros((0, side, side), np.uint8),
        )

    def _reader(self, clip: Clip) -> FrameReader:
        if clip.path not in self._readers:
            self._readers[clip.path] = FrameReader(clip.path)
            if len(self._readers) > MAX_OPEN:
                self._readers.popitem(last=False)[1].close()
        self._readers.move_to_end(clip.path)
        return self._readers[clip.path]


def _crop(field: FlowField, window: tuple[slice, slice]) -> FlowField:
    """Crop a flow field. Pixels whose flow leads out of the window become unreliable."""
    flow = np.ascontiguousarray(field.flow[window])
    return FlowField(flow, field.reliability[window] * inside_image(flow).astype(np.uint8))
