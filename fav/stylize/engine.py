"""Stylize the frames of one video on this machine: decode source frames, compute flow, run the network.

The one-process command and the tasks of a job both use it, so they make the same frames.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Protocol

import cv2
import numpy as np
import torch

from fav import flow as flows
from fav.errors import FavError
from fav.flow.field import FlowField, estimate
from fav.flow.files import FlowFiles, estimate_with_files
from fav.model.backends import choose
from fav.model.interpolation import Mixture, fractions_at, load_mixture
from fav.model.onnx_style import load_image_model
from fav.model.runner import StyleRunner
from fav.stylize.blend import blend
from fav.stylize.chain import FrameChain
from fav.stylize.cube import FACES, cube_of
from fav.stylize.cube_recurrence import CubeRecurrence, FaceFlows, Ready, cube_recurrence
from fav.stylize.outside import split, stack
from fav.stylize.recurrence import Recurrence
from fav.stylize.settings import StyleSettings
from fav.stylize.timeline import Timeline
from fav.util.images import read_image, resize
from fav.util.malloc import tune_malloc
from fav.video import DEFAULT_SETTINGS, FrameIndex, FrameReader, SourceSettings

PendingFrame = Future[tuple[np.ndarray, float]]  # a stylized frame (H, W, 3) uint8, and the seconds that it took

CORES = torch.get_num_threads()  # read before anything changes it


class ReadyFaces(Protocol):
    """Faces of a 360° video that other nodes have stylized, by frame and face."""

    def has(self, frame: int, face: int) -> bool: ...
    def get(self, frame: int, face: int) -> np.ndarray | None: ...


class FrameStylizer:
    """Stylizes frames of one video with one set of style settings.

    It has two threads, one for `submit_frame` and one for `prefetch_flow`. While the first is busy, other threads may
    call only `flow`.

    Args:
        video: the source; None: none, only `first_of` and `flow_of` are called.
        settings: style, size, flow method and so on.
        source: how to read the video.
        threads: CPU threads of the whole process; None: all cores.
        device: of the networks.
        backend: of the style network.
    """

    def __init__(
        self,
        video: Path | None,
        settings: StyleSettings,
        source: SourceSettings = DEFAULT_SETTINGS,
        threads: int | None = None,
        device: str = "cpu",
        backend: str = "auto",
    ):
        torch.set_num_threads(threads or CORES)
        cv2.setNumThreads(threads or -1)
        tune_malloc()
        self.settings = settings
        self.device = device
        self._reader = None if video is None else FrameReader(video, size=settings.size, settings=source)
        chosen = choose(backend, device)
        changes = not all(curve.is_constant for _, curve in settings.mix)
        if changes and chosen == "compile":
            raise FavError(
                "backend compile: expected styles that are the same in all frames, got a --mix over time, for which it "
                "would compile again at each frame; leave --backend out"
            )
        runner = partial(StyleRunner, device=device, backend=chosen, precision=settings.precision)
        # Submission has checked already whether a style without temporal input may make this film.
        self._fractions = fractions_at(settings.mix)
        weighted = tuple(zip((path for path, _ in settings.mix), self._fractions))
        self.runner = runner(load_mixture(settings.style, weighted, temporal=False))
        # Of styles whose weights change over time.
        self._mixture = Mixture(settings.style, [path for path, _ in settings.mix]) if changes else None
        model = settings.first_frame_style
        first_frame_runner = runner(load_image_model(model)) if model else None
        init_frame = resize(read_image(settings.init_frame), settings.size) if settings.init_frame else None
        plain = Recurrence(self.runner, first_frame_runner, init_frame, settings.occlusion_fill, settings.key)
        self.cube = cube_of(settings.projection, settings.size)
        self.recurrence = plain if self.cube is None else cube_recurrence(plain, self.cube)
        self._flow = flows.make(
            settings.flow, settings.flow_weights, device, self.runner.precision, threads, settings.flow_downscale
        )
        self._outside = None
        if settings.outside:
            outside_runner = runner(load_mixture(settings.outside, temporal=False))
            self._outside = Recurrence(outside_runner, fill=settings.occlusion_fill, key=settings.key)
        self._files = FlowFiles.of(settings)
        self._decode_lock = Lock()  # the reader and the flow method are used by one thread at a time
        self._frames, self._flows = ThreadPoolExecutor(1, "stylize"), ThreadPoolExecutor(1, "prefetch flow")
        self._prefetched: dict[tuple[int, int], Future] = {}  # flow by pair of frames, one at most
        self.ready_faces: ReadyFaces | None = None  # the faces of a 360° video that other nodes have stylized
        self._atlases: dict[int, np.ndarray] = {}  # of the last two frames that were read, of a 360° video
        self._last_source: tuple[int, np.ndarray] | None = None  # the last source frame, with its number

    @property
    def reader(self) -> FrameReader:
        """What reads the source frames."""
        if self._reader is None:
            raise ValueError("expected a video to read frames of, got none")
        return self._reader

    @property
    def numeric_class(self) -> str:
        """The numeric class: equal classes compute equal bits."""
        return (
            f"{self.runner.numeric_class()}; numpy {np.__version__}; opencv {cv2.__version__}; "
            f"flow {'from files, else ' if self._files else ''}{flows.version_string(self.settings.flow)}"
        )

    def flow_is_given(self, backward: bool) -> bool:
        """Whether all flow of the film comes from files. `backward`: the film is stylized from its end."""
        return self._files.is_complete(backward)

    def submit_frame(
        self,
        chain: FrameChain,
        position: int,
        timeline: Timeline,
        prior: np.ndarray | None,
        flow_field: FlowField | None = None,
        ahead: bool = True,
    ) -> PendingFrame:
        """Start to stylize a frame in a thread. The future raises its errors.

        Args:
            chain: the frame's chain.
            position: of the frame in the chain.
            timeline: of the film.
            prior: the stylized frame before it; None for a first or an independent frame.
            flow_field: its flow; None computes it.
            ahead: also start to compute the flow of the next position.
        """
        frame, chained = chain.frame(position), not timeline.independent
        before = chain.frame(position - 1) if chained and position else None
        after = chain.frame(position + 1) if chained and ahead and position + 1 < len(chain) else None
        return self._frames.submit(
            self._stylize, frame, before, after, timeline.index, frame == timeline.first_frame, prior, flow_field
        )

    def _stylize(
        self,
        frame: int,
        before: int | None,
        after: int | None,
        index: FrameIndex,
        first_of_film: bool,
        prior: np.ndarray | None,
        flow_field: FlowField | None,
    ) -> tuple[np.ndarray, float]:
        began = time.monotonic()
        flow: FlowField | FaceFlows | None = flow_field
        if before is not None and flow is None:
            flow = self._flow_between(frame, before, index)
        self.source(frame, index)
        if after is not None:
            self.prefetch_flow(after, frame, index)
        if before is None or flow is None:
            image = self.first(frame, index, first_of_film)
        elif prior is not None:
            image = self.next(frame, index, prior, flow)
        else:
            raise ValueError(f"frame {frame}: expected the stylized frame {before}, got none")
        return image, time.monotonic() - began

    def flow_field(
        self, frame: int, before: int, index: FrameIndex, report_progress: Callable[[], None] = lambda: None
    ) -> FlowField:
        """Flow and reliability between a frame and the one before it in the chain, rounded as on disk.

        `report_progress` is called between the two directions, each of which may take long.
        """
        found = self._flow_between(frame, before, index, report_progress)
        if isinstance(found, FaceFlows):
            raise ValueError("expected a flat video: the flow of faces is not that of a whole frame")
        return found

    def _flow_between(
        self, frame: int, before: int, index: FrameIndex, report_progress: Callable[[], None] = lambda: None
    ) -> FlowField | FaceFlows:
        prefetched = self._prefetched.pop((frame, before), None)
        here, flow_field = (
            prefetched.result() if prefetched else self._estimate_flow(frame, before, index, report_progress)
        )
        self._last_source = frame, here
        return flow_field

    def prefetch_flow(self, frame: int, before: int, index: FrameIndex) -> None:
        """Start to compute the flow of a frame in a thread; `flow_field` returns it, or raises its error.

        Keeps one pair only: an earlier one that was not used is dropped.
        """
        for prefetched in self._prefetched.values():
            prefetched.cancel()
        self._prefetched = {(frame, before): self._flows.submit(self._estimate_flow, frame, before, index)}

    def source(self, frame: int, index: FrameIndex) -> np.ndarray:
        """A source frame (H, W, 3) uint8 BGR, as it is stylized. The caller must not change it."""
        if self._last_source is None or self._last_source[0] != frame:
            with self._decode_lock:
                self._last_source = frame, self._read(frame, index)
        return self._last_source[1]

    def _read(self, frame: int, index: FrameIndex) -> np.ndarray:
        """A source frame as it is stylized: of a 360° video, an atlas of `fav.stylize.cube`."""
        picture = self.reader.read(frame, index)
        if self.cube is None:
            return picture
        if frame not in self._atlases:
            self._atlases = {**dict(list(self._atlases.items())[-1:]), frame: self.as_source(picture)}
        return self._atlases[frame]

    def as_source(self, picture: np.ndarray) -> np.ndarray:
        """A frame of the video, of the size of the settings, as it is stylized."""
        return picture if self.cube is None else self.cube.to_atlas(picture)

    def picture(self, stylized: np.ndarray) -> np.ndarray:
        """A stylized frame as it is in the film, of the size of the settings; of a 360° video, the picture of an atlas."""
        return stylized if self.cube is None else self.cube.to_picture(stylized)

    def flow(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Flow (H, W, 2) float32 in pixels, from one frame (H, W, 3) to another, as a method of `fav.flow`."""
        with self._decode_lock:
            return self._flow(start, end)

    def _estimate_flow(
        self, frame: int, before: int, index: FrameIndex, report_progress: Callable[[], None] = lambda: None
    ) -> tuple[np.ndarray, FlowField | FaceFlows]:
        with self._decode_lock:
            here, there = self._read(frame, index), self._read(before, index)
        return here, self.flow_of(here, there, frame, before, report_progress)

    def flow_of(
        self,
        here: np.ndarray,
        there: np.ndarray,
        frame: int,
        before: int,
        report_progress: Callable[[], None] = lambda: None,
    ) -> FlowField | FaceFlows:
        """Flow and reliability from frame `frame` to frame `before`.

        `here` and `there` are these frames, as they are stylized. `report_progress` is as for `flow_field`.
        """
        if self.cube is not None:
            faces = FaceFlows(self.cube, partial(self._estimate_face, report_progress), here, there, self._decode_lock)
            for face in range(FACES):
                if self.ready_faces is None or not self.ready_faces.has(frame, face):
                    faces.face(face)
            return faces
        with self._decode_lock:
            return estimate_with_files(
                self._files, self._flow, (frame, before), (here, there), self.settings.occlusion_erode, report_progress
            )

    def _estimate_face(self, report_progress: Callable[[], None], here: np.ndarray, there: np.ndarray) -> FlowField:
        return estimate(self._flow, here, there, self.settings.occlusion_erode, report_progress)

    def stylize_face(
        self,
        frame: int,
        before: int | None,
        face: int,
        index: FrameIndex,
        first_of_film: bool,
        prior: np.ndarray | None,
        done: Mapping[int, np.ndarray],
    ) -> np.ndarray:
        """Stylize one face of a frame of a 360° video.

        Args:
            frame: number of the frame.
            before: the one before it in the chain; None if it is the first.
            face: number of the face.
            index: of the video.
            first_of_film: whether it is the first frame of the film.
            prior: the stylized face of the frame before.
            done: the faces of this frame that it continues, by number.
        """
        return self._frames.submit(self._stylize_face, frame, before, face, index, first_of_film, prior, done).result()

    def _stylize_face(
        self,
        frame: int,
        before: int | None,
        face: int,
        index: FrameIndex,
        first_of_film: bool,
        prior: np.ndarray | None,
        done: Mapping[int, np.ndarray],
    ) -> np.ndarray:
        if not isinstance(self.recurrence, CubeRecurrence) or self.cube is None:
            raise ValueError("expected a 360° video")
        with self._decode_lock:
            here = self._read(frame, index)
            there = None if before is None else self._read(before, index)
            field = None
            if there is not None:
                pair = (np.ascontiguousarray(self.cube.face(each, face)) for each in (here, there))
                field = self._estimate_face(lambda: None, *pair)
        self._mix_for(frame, index.seconds(frame))
        return self.recurrence.face(here, face, done, prior, field, frame, first_of_film)

    def _ready(self, frame: int) -> Ready:
        """What finds the faces of a frame that other nodes have stylized."""
        ready = self.ready_faces
        return (lambda face: None) if ready is None else (lambda face: ready.get(frame, face))

    def first(self, frame: int, index: FrameIndex, first_of_film: bool) -> np.ndarray:
        """Stylize the first frame of a shot. `first_of_film`: of the film's first frame, `init_frame` is the result."""
        return self.first_of(self.source(frame, index), frame, index.seconds(frame), first_of_film)

    def first_of(self, source: np.ndarray, frame: int, seconds: float, first_of_film: bool) -> np.ndarray:
        """Stylize a frame, as it was read, as the first one of a shot. It is shown `seconds` after the video's first one."""
        self._mix_for(frame, seconds)
        if isinstance(self.recurrence, CubeRecurrence):
            return self.recurrence.first(source, frame, first_of_film, self._ready(frame))
        image = self.recurrence.first(source, frame, first_of_film)
        return image if self._outside is None else stack(image, self._outside.first(source, frame))

    def next(self, frame: int, index: FrameIndex, prior: np.ndarray, flow_field: FlowField | FaceFlows) -> np.ndarray:
        """Stylize a frame, given the stylized frame `prior` before it."""
        self._mix_for(frame, index.seconds(frame))
        source = self.source(frame, index)
        if isinstance(self.recurrence, CubeRecurrence) and isinstance(flow_field, FaceFlows):
            return self.recurrence.next(source, prior, flow_field, frame, self._ready(frame))
        if not isinstance(self.recurrence, Recurrence) or not isinstance(flow_field, FlowField):
            raise ValueError("expected the flow of faces for a 360° video, and that of frames for another")
        if self._outside is None:
            return self.recurrence.next(source, prior, flow_field, frame)
        inside, outside = split(prior)
        image = self.recurrence.next(source, inside, flow_field, frame)
        return stack(image, self._outside.next(source, outside, flow_field, frame))

    def _mix_for(self, frame: int, seconds: float) -> None:
        """Set the weights of this frame, if the mixture changes over time."""
        if self._mixture is None:
            return
        fractions = fractions_at(self.settings.mix, frame, seconds)
        if fractions != self._fractions:
            self._fractions = fractions
            self.runner.change_network(self._mixture.network(fractions))

    def close(self) -> None:
        for thread in self._frames, self._flows:
            thread.shutdown(cancel_futures=True)
        if self._reader is not None:
            self._reader.close()


@dataclass
class StylizedFrame:
    """A stylized frame of a chain.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        seconds: of its computation, if it was started in advance, otherwise None.
        following: the next frame, if its computation has started.
    """

    image: np.ndarray
    seconds: float | None = None
    following: PendingFrame | None = None


def stylize_position(
    stylizer: FrameStylizer,
    timeline: Timeline,
    chain: FrameChain,
    position: int,
    before: StylizedFrame | None,
    flow_field: FlowField | None = None,
    until: int = 0,
) -> StylizedFrame:
    """Stylize the frame at a position of a chain.

    Args:
        stylizer: of the video.
        timeline: of the film.
        chain: the frame's chain.
        position: of the frame in the chain.
        before: the stylized frame before it; None for a first or an independent frame.
        flow_field: its flow; None computes it.
        until: start to stylize the next frame, too, if its position is less than this.
    """
    prior, started = None, None
    if before:
        prior, started, before.following = before.image, before.following, None  # a failed future is not used again
    pending = started or stylizer.submit_frame(chain, position, timeline, prior, flow_field, position + 1 < until)
    image, seconds = pending.result()
    following = None
    if position + 1 < until:
        following = stylizer.submit_frame(chain, position + 1, timeline, image, None, position + 2 < until)
    return StylizedFrame(image, seconds if started else None, following)


def stylized(
    stylizer: FrameStylizer, timeline: Timeline, report_progress: Callable[[], None] = lambda: None
) -> Iterator[np.ndarray]:
    """All stylized frames of a film whose index is complete, in order and with crossfades, in this process."""
    warmups: dict[int, list[np.ndarray]] = {}
    for chain in timeline.chains:
        following = timeline.next_chunk(chain)
        warmups = {
            chunk.start: warmups.get(chunk.start)
            or list(_stylized_chain(stylizer, timeline, chunk, range(chunk.warmup)))
            for chunk in (chain, following)
            if chunk
        }
        before = StylizedFrame(warmups[chain.start][-1]) if chain.warmup else None
        images = _stylized_chain(stylizer, timeline, chain, range(chain.warmup, len(chain)), before)
        if chain.reverse:
            images = reversed(list(images))  # the whole chain is in memory; a job reads it from the shared directory
        for frame, image in zip(range(chain.start, chain.stop), images, strict=True):
            report_progress()
            weight = chain.crossfade_weight(frame)
            if weight and following is not None:
                image = blend(image, warmups[following.start][following.index_of(frame)], weight)
            yield stylizer.picture(image)


def _stylized_chain(
    stylizer: FrameStylizer,
    timeline: Timeline,
    chain: FrameChain,
    positions: range,
    before: StylizedFrame | None = None,
) -> Iterator[np.ndarray]:
    """The stylized frames at positions of a chain. Each is computed while the caller uses the one before it."""
    for position in positions:
        before = stylize_position(stylizer, timeline, chain, position, before, until=positions.stop)
        yield before.image
