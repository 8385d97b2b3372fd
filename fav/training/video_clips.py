"""Sequences cut out of a folder of clips, with our own flow and consistency check, as a film has them."""

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
OPEN = 4  # clips that stay open
FASTER = 2  # frames are one or two of the film apart


@dataclass(frozen=True)
class Clip:
    """A video and its shots, pairs of a first frame and the one after the last."""

    path: Path
    index: FrameIndex
    shots: list[tuple[int, int]]


def open_clips(
    directory: Path, steps: int, report_progress: Callable[[], None] = lambda: None
) -> tuple[list[Clip], str, list[str]]:
    """The videos of a directory and those below it, decoded once; their fingerprint, and a note on each that was skipped.

    `report_progress` is called for each frame. Only shots with more than `steps` frames are used. Raises FavError where there is none.
    """
    if not directory.is_dir():
        raise FavError(f"{directory}: expected a directory of clips")
    clips, notes, digest = [], [], hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()):
        try:
            pieces = list(index_segments(path, None, None, report_progress=report_progress))
        except FavError as error:
            notes.append(f"{sanitize(path.name)}: not readable, left out ({str(error)[:200]})")
            continue
        index = FrameIndex.concat([piece.index for piece in pieces])
        borders = [0, *(cut for piece in pieces for cut in piece.cuts), len(index)]
        shots = [(start, stop) for start, stop in zip(borders, borders[1:]) if stop - start > steps]
        if shots:
            clips.append(Clip(path, index, shots))
            digest.update(f"{path.relative_to(directory)}\0{fingerprint(path)}\0".encode(errors="surrogateescape"))
        else:
            notes.append(f"{sanitize(path.name)}: no shot of more than {steps} frames, left out")
    if not clips:
        told = f" ({notes[0]})" if notes else ""
        raise FavError(f"{directory}: expected clips with a shot of more than {steps} frames, got none{told}")
    return clips, digest.hexdigest(), notes


class ClipSampler:
    """Cuts sequences out of clips, with DIS flow. It belongs to one process, which opens the clips it needs."""

    def __init__(self, clips: list[Clip]):
        self._clips = clips
        self._flow = flows.make("dis")
        self._readers: OrderedDict[Path, FrameReader] = OrderedDict()

    def draw(self, rng: np.random.Generator, side: int, steps: int) -> SyntheticSequence:
        """A square sequence of that side, pixels, with a step less than frames. FavError where a clip cannot be read."""
        clip = self._clips[rng.integers(len(self._clips))]
        start, stop = clip.shots[rng.integers(len(clip.shots))]
        stride = int(rng.integers(1, min(FASTER, (stop - start - 1) // max(steps, 1)) + 1))
        first = int(rng.integers(start, stop - stride * steps))
        frames = [self._reader(clip).read(first + stride * step, clip.index) for step in range(steps + 1)]
        height, width = frames[0].shape[:2]
        scale = side * max(1, min(2, min(height, width) / side)) ** rng.random() / min(height, width)
        size = max(round(width * scale), side), max(round(height * scale), side)
        frames = [resize(frame, size) for frame in frames]
        if rng.random() < 0.5:
            frames = [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]
        left, top = (int(rng.integers(whole - side + 1)) for whole in size)
        window = slice(top, top + side), slice(left, left + side)
        hung = [_cropped(estimate(self._flow, here, there), window) for there, here in zip(frames, frames[1:])]
        return SyntheticSequence(
            np.stack([frame[window] for frame in frames]),
            np.stack([part.flow for part in hung]) if hung else np.zeros((0, side, side, 2), np.float32),
            np.stack([part.reliability for part in hung]) if hung else np.zeros((0, side, side), np.uint8),
        )

    def _reader(self, clip: Clip) -> FrameReader:
        if clip.path not in self._readers:
            self._readers[clip.path] = FrameReader(clip.path)
            if len(self._readers) > OPEN:
                self._readers.popitem(last=False)[1].close()
        self._readers.move_to_end(clip.path)
        return self._readers[clip.path]


def _cropped(whole: FlowField, window: tuple[slice, slice]) -> FlowField:
    """That part of it; what lies outside of the window cannot be fetched any more."""
    flow = np.ascontiguousarray(whole.flow[window])
    return FlowField(flow, whole.reliability[window] * inside_image(flow).astype(np.uint8))
