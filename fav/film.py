"""One film's arithmetic on this machine: source frames, flow and network brought together.

The one-process command and the tasks of a job both make their frames here, so they make the same ones.
"""

from pathlib import Path
from typing import Callable, Iterator

import cv2
import numpy as np
import torch

from . import flow as flows
from .checkpoints import load_style
from .geometry import between
from .images import read_image, resize
from .inference import StyleRunner
from .mixing import load_mixture
from .spec import Look
from .shots import cut_finder
from .stylize import Geometry, fill_for, stylize_next, stylize_shot
from .timeline import PIECE, Piece, Timeline
from .video import FrameIndex, FrameReader, decode


class Studio:
    """A video and a look, ready to work. Models are loaded on first use and then kept."""

    def __init__(self, video: Path, look: Look, fps: float | None = None, threads: int | None = None, device: str = "cpu"):
        if threads:
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
        self.look = look
        self.device = device
        self.reader = FrameReader(video, size=look.size, fps=fps)
        self.runner = StyleRunner(load_mixture(look.style, look.mix), device=device)
        self.opener = StyleRunner(load_style(look.first_frame_style, in_channels=3), device=device) \
            if look.first_frame_style else None
        self.seed = resize(read_image(look.seed), look.size) if look.seed else None
        self.flow = flows.make(look.flow, look.flow_weights, device=device)

    @property
    def numeric_class(self) -> str:
        """What decides the last bits: results of one class are the same byte for byte."""
        return f"{self.runner.numeric_class()}; numpy {np.__version__}; opencv {cv2.__version__}; flow {self.look.flow}"

    def geometry(self, frame: int, before: int, index: FrameIndex, tick: Callable[[], None] = lambda: None) -> Geometry:
        """Flow and reliability between a frame and the one before it in the chain, as they travel.

        `tick` is called between the two directions, each of which may take long.
        """
        here, there = self.reader.read(frame, index), self.reader.read(before, index)
        return between(self.flow, here, there, self.look.min_filter, tick)

    def first(self, frame: int, index: FrameIndex, opening: bool) -> np.ndarray:
        """The first picture of a shot; `opening` for the very first of the film, which a seed replaces."""
        if opening and self.seed is not None:
            return self.seed
        source = self.reader.read(frame, index)
        return (self.opener or self.runner).stylize(source, fill=self._fill(frame, source.shape))

    def next(self, frame: int, index: FrameIndex, prior: np.ndarray, geometry: Geometry) -> np.ndarray:
        """The picture of a frame, painted on from the stylized picture `prior` of the one before it."""
        source = self.reader.read(frame, index)
        return stylize_next(self.runner, source, prior, geometry, self._fill(frame, source.shape))

    def _fill(self, frame: int, shape: tuple[int, ...]):
        return fill_for(self.look.fill, self.look.key, frame, shape)

    def close(self) -> None:
        self.reader.close()


def index_pieces(video: Path, stop: int | None, cuts: tuple[int, ...] | None, fps: float | None = None,
                 tick: Callable[[], None] = lambda: None) -> Iterator[Piece]:
    """One pass over a video: its frames and cuts, a piece at a time.

    `cuts` are the first frames of shots, None to detect them. Nothing beyond frame `stop` is decoded.
    """
    begins_shot = cut_finder(cuts)
    decoding = decode(video, fps=fps)
    start, frames, found, number = 0, [], [], -1
    for decoded in decoding:
        number = decoded.number
        if stop is not None and number >= stop:
            break
        if number == start + PIECE:
            # Held back until the next frame is here, so that the last piece knows that it is the last.
            yield Piece(start, FrameIndex.of(frames, decoding.time_base), tuple(found), last=False)
            start, frames, found = number, [], []
        tick()
        frames.append(decoded)
        if begins_shot(number, decoded.image):
            found.append(number)
    notes = tuple(decoding.warnings)
    yield Piece(start, FrameIndex.of(frames, decoding.time_base), tuple(found), last=True, notes=notes)


def stylized(studio: Studio, timeline: Timeline, tick: Callable[[], None] = lambda: None) -> Iterator[np.ndarray]:
    """All stylized frames of a film whose index is complete, from its first to its last, in this process."""
    for run in timeline.runs:
        numbers = [run.frame(position) for position in range(len(run))]
        shot = stylize_shot(_hung(studio, timeline, numbers), studio.runner, first=studio.opener,
                            seed=studio.seed if numbers[0] == timeline.opening else None, fill=studio.look.fill,
                            key=studio.look.key, number=numbers[0], step=-1 if run.backward else 1)
        if run.backward:
            shot = reversed(list(shot))  # a whole shot in memory; a job on a share keeps them there
        for picture in shot:
            tick()
            yield picture


def _hung(studio: Studio, timeline: Timeline, numbers: list[int]) -> Iterator[tuple[np.ndarray, Geometry | None]]:
    before = None
    for number in numbers:
        geometry = None if before is None or timeline.independent else studio.geometry(number, before, timeline.index)
        yield studio.reader.read(number, timeline.index), geometry
        before = number
