"""One film's arithmetic on this machine: source frames, flow and network brought together.

The one-process command and the tasks of a job both make their frames here, so they make the same ones.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import torch

from fav import flow as flows
from fav.flow.field import FlowField
from fav.flow.files import FlowFiles, between_numbers
from fav.model.backends import choose
from fav.model.interpolation import load_mixture
from fav.model.onnx_style import load_image_model
from fav.model.runner import StyleRunner
from fav.stylize.blend import blend
from fav.stylize.chain import FrameChain
from fav.stylize.recurrence import Recurrence
from fav.stylize.settings import StyleSettings
from fav.stylize.timeline import Timeline
from fav.util.images import read_image, resize
from fav.util.malloc import tune_malloc
from fav.video import AS_IT_IS, FrameIndex, FrameReader, SourceSettings

PendingFrame = Future[tuple[np.ndarray, float]]  # of a picture (H, W, 3) uint8, and the seconds that it took

CORES = torch.get_num_threads()  # asked before anything has changed it


class FrameStylizer:
    """A video and a look, ready to work. Models are loaded on first use and then kept.

    It has two threads of its own, one for `painting` and one to `prefetch_flow`; while the first is at work, whoever has the
    studio may ask for `flow`, and for nothing else. `threads` is for the whole process: a node may make a film with the
    threads that its job wants, and then one with all.
    """

    def __init__(
        self,
        video: Path,
        settings: StyleSettings,
        source: SourceSettings = AS_IT_IS,
        threads: int | None = None,
        device: str = "cpu",
        backend: str = "auto",
    ):
        torch.set_num_threads(threads or CORES)
        cv2.setNumThreads(threads or -1)
        tune_malloc()
        self.settings = settings
        self.device = device
        self.reader = FrameReader(video, size=settings.size, settings=source)
        runner = partial(StyleRunner, device=device, backend=choose(backend, device), precision=settings.precision)
        # Whether a style without memory may make this film has been checked before.
        self.runner = runner(load_mixture(settings.style, settings.mix, temporal=False))
        opener = runner(load_image_model(settings.first_frame_style)) if settings.first_frame_style else None
        seed = resize(read_image(settings.init_frame), settings.size) if settings.init_frame else None
        self.recurrence = Recurrence(self.runner, opener, seed, settings.occlusion_fill, settings.key)
        self._flow = flows.make(
            settings.flow, settings.flow_weights, device, self.runner.precision, threads, settings.flow_downscale
        )
        self._files = FlowFiles.of(settings)
        self._decode_lock = Lock()  # the reader and the flow method are used by one thread at a time
        self._painter, self._helper = ThreadPoolExecutor(1, "paint"), ThreadPoolExecutor(1, "look ahead")
        self._ahead: dict[tuple[int, int], Future] = {}  # of the pair that was looked ahead to
        self._last_source: tuple[int, np.ndarray] | None = (
            None  # the source frame that was looked at last, by its number
        )

    @property
    def numeric_class(self) -> str:
        """What decides the last bits: results of one class are the same byte for byte."""
        return (
            f"{self.runner.numeric_class()}; numpy {np.__version__}; opencv {cv2.__version__}; "
            f"flow {'from files, else ' if self._files else ''}{flows.version_string(self.settings.flow)}"
        )

    def flow_is_given(self, backward: bool) -> bool:
        """Whether all flow that a film needs comes from files; `backward` for one that is stylized from its end."""
        return self._files.whole(backward)

    def submit_frame(
        self,
        run: FrameChain,
        position: int,
        timeline: Timeline,
        prior: np.ndarray | None,
        geometry: FlowField | None = None,
        ahead: bool = True,
    ) -> PendingFrame:
        """Begin to paint the picture at a position of a run, beside whatever else is done.

        `prior` is the picture before it in the chain, which a first one and independent ones do without; `geometry` is made
        where it is not given. With `ahead` the geometry of the next position is begun, too, as soon as this one's is made. What
        fails is raised by the future.
        """
        frame, chained = run.frame(position), not timeline.independent
        before = run.frame(position - 1) if chained and position else None
        after = run.frame(position + 1) if chained and ahead and position + 1 < len(run) else None
        return self._painter.submit(
            self._paint, frame, before, after, timeline.index, frame == timeline.first_frame, prior, geometry
        )

    def _paint(
        self,
        frame: int,
        before: int | None,
        after: int | None,
        index: FrameIndex,
        opening: bool,
        prior: np.ndarray | None,
        geometry: FlowField | None,
    ) -> tuple[np.ndarray, float]:
        began = time.monotonic()
        if before is not None and geometry is None:
            geometry = self.geometry(frame, before, index)
        self.source(frame, index)
        if after is not None:
            self.prefetch_flow(after, frame, index)
        if before is None or geometry is None:
            picture = self.first(frame, index, opening)
        elif prior is not None:
            picture = self.next(frame, index, prior, geometry)
        else:
            raise ValueError(f"frame {frame}: expected the picture of frame {before} to paint it on from, got none")
        return picture, time.monotonic() - began

    def geometry(
        self, frame: int, before: int, index: FrameIndex, report_progress: Callable[[], None] = lambda: None
    ) -> FlowField:
        """Flow and reliability between a frame and the one before it in the chain, as they travel.

        `report_progress` is called between the two directions, each of which may take long.
        """
        looked = self._ahead.pop((frame, before), None)
        here, geometry = looked.result() if looked else self._look(frame, before, index, report_progress)
        self._last_source = frame, here
        return geometry

    def prefetch_flow(self, frame: int, before: int, index: FrameIndex) -> None:
        """Begin to make the geometry of a frame beside whatever else is done, for when it is asked for.

        One pair at a time; what of an earlier one was not asked for is dropped. What fails is raised when it is asked for.
        """
        for looked in self._ahead.values():
            looked.cancel()
        self._ahead = {(frame, before): self._helper.submit(self._look, frame, before, index)}

    def source(self, frame: int, index: FrameIndex) -> np.ndarray:
        """A source frame (H, W, 3) uint8 BGR at the size of the look, not to be written to."""
        if self._last_source is None or self._last_source[0] != frame:
            with self._decode_lock:
                self._last_source = frame, self.reader.read(frame, index)
        return self._last_source[1]

    def flow(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """As a method of `fav.flow`: (H, W, 2) float32 pixels, from one frame (H, W, 3) to another."""
        with self._decode_lock:
            return self._flow(start, end)

    def _look(
        self, frame: int, before: int, index: FrameIndex, report_progress: Callable[[], None] = lambda: None
    ) -> tuple[np.ndarray, FlowField]:
        with self._decode_lock:
            here, there = self.reader.read(frame, index), self.reader.read(before, index)
            return here, between_numbers(
                self._files, self._flow, (frame, before), (here, there), self.settings.occlusion_erode, report_progress
            )

    def first(self, frame: int, index: FrameIndex, opening: bool) -> np.ndarray:
        """The first picture of a shot; `opening` for the very first of the film, which a seed replaces."""
        return self.recurrence.first(self.source(frame, index), frame, opening)

    def next(self, frame: int, index: FrameIndex, prior: np.ndarray, geometry: FlowField) -> np.ndarray:
        """The picture of a frame, painted on from the stylized picture `prior` of the one before it."""
        return self.recurrence.next(self.source(frame, index), prior, geometry, frame)

    def close(self) -> None:
        for thread in self._painter, self._helper:
            thread.shutdown(cancel_futures=True)
        self.reader.close()


@dataclass
class StylizedFrame:
    """A stylized frame of a chain, and the painting of the one that follows, where that is begun.

    `seconds` that it took, None where it was not begun before it was asked for.
    """

    picture: np.ndarray
    seconds: float | None = None
    following: PendingFrame | None = None


def stylize_position(
    stylizer: FrameStylizer,
    timeline: Timeline,
    run: FrameChain,
    position: int,
    before: StylizedFrame | None,
    geometry: FlowField | None = None,
    until: int = 0,
) -> StylizedFrame:
    """The frame at a position of a run, painted on from the one `before` it, which a first one and independent ones do without.

    The one that follows is begun, too, where its position is less than `until`. `geometry` is made where it is not given.
    """
    prior, begun = None, None
    if before:
        prior, begun, before.following = before.picture, before.following, None  # what has failed is not asked again
    painting = begun or stylizer.submit_frame(run, position, timeline, prior, geometry, position + 1 < until)
    picture, seconds = painting.result()
    following = None
    if position + 1 < until:
        following = stylizer.submit_frame(run, position + 1, timeline, picture, None, position + 2 < until)
    return StylizedFrame(picture, seconds if begun else None, following)


def stylized(
    stylizer: FrameStylizer, timeline: Timeline, report_progress: Callable[[], None] = lambda: None
) -> Iterator[np.ndarray]:
    """All stylized frames of a film whose index is complete, as it shows them, from its first to its last, in this process."""
    leads: dict[int, list[np.ndarray]] = {}
    for run in timeline.chains:
        following = timeline.next_chunk(run)
        leads = {
            chunk.start: leads.get(chunk.start) or list(_stylized_chain(stylizer, timeline, chunk, range(chunk.warmup)))
            for chunk in (run, following)
            if chunk
        }
        before = StylizedFrame(leads[run.start][-1]) if run.warmup else None
        chain = _stylized_chain(stylizer, timeline, run, range(run.warmup, len(run)), before)
        if run.reverse:
            chain = reversed(list(chain))  # a whole run in memory; a job on a share keeps them there
        for frame, picture in zip(range(run.start, run.stop), chain, strict=True):
            report_progress()
            share = run.crossfade_weight(frame)
            if share and following is not None:
                picture = blend(picture, leads[following.start][following.index_of(frame)], share)
            yield picture


def _stylized_chain(
    stylizer: FrameStylizer, timeline: Timeline, run: FrameChain, positions: range, before: StylizedFrame | None = None
) -> Iterator[np.ndarray]:
    """The pictures at positions of a run, from the one `before` them. Each is painted while the one before it is used."""
    for position in positions:
        before = stylize_position(stylizer, timeline, run, position, before, until=positions.stop)
        yield before.picture
