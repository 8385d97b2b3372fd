"""Measure a stylized film against its source. Both are decoded once, in parallel; one second of them is in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from pathlib import Path

import cv2
import numpy as np

from fav import flow as flows
from fav.errors import FavError
from fav.evaluation.metrics import FrameLosses, Metrics, compute_metrics
from fav.flow.field import FlowField, estimate_long_range
from fav.flow.files import FlowFiles, between_numbers
from fav.flow.files import check as check_files
from fav.util.image_sequence import is_sequence
from fav.util.images import resize
from fav.video import AS_IT_IS, Decoder, FrameIndex, SourceSettings, VideoInfo, decode, probe
from fav.video.shot_detection import THRESHOLD, CutFinder
from fav.video.truncation import is_truncated

LONG_S = 1  # how far the long-term error looks back
FILMS = ("film", "source", "against")  # what is measured in each row


@dataclass(frozen=True)
class EvaluationConfig:
    """What to measure: a film of the frames `[start, stop)` of a video (stop None: to its end).

    `against` is another film of the same frames, to compare with. `cuts` are the first frames of shots; None detects
    them. `flow_files` has known flow from each frame to the one before it.
    """

    video: str
    film: str
    against: str | None = None
    start: int = 0
    stop: int | None = None
    cuts: tuple[int, ...] | None = None
    cut_threshold: float = THRESHOLD
    settings: SourceSettings = AS_IT_IS
    flow: str = "dis"
    flow_weights: Path | None = None
    flow_downscale: int = 2
    flow_files: FlowFiles = FlowFiles()


@dataclass(frozen=True, eq=False)
class FrameSample:
    """One frame of the source and of the films, (H, W, 3) uint8 of one size.

    `number` and `seconds` are the source's. `cut`: a shot begins with it.
    """

    number: int
    seconds: Fraction
    cut: bool
    source: np.ndarray
    film: np.ndarray
    against: np.ndarray | None = None


@dataclass(frozen=True)
class FrameMetrics:
    """The metrics of one frame. Its number is the source's.

    `reliable` and `long_reliable` are fractions of the frame with reliable flow to the frame before, and to the one a
    second earlier. They are None at a shot's beginning, and in its first second.
    """

    frame: int
    seconds: float
    shot: int
    reliable: float | None
    long_frame: int | None
    long_reliable: float | None
    film: Metrics
    source: Metrics
    against: Metrics | None

    @classmethod
    def from_json(cls, record: dict) -> "FrameMetrics":
        """Parse the output of `dataclasses.asdict`. Raises ValueError, KeyError or TypeError for anything else."""
        row = cls(**{**record, **{name: Metrics(**record[name]) if record[name] else None for name in FILMS}})
        values = [*vars(row).values(), *vars(row.film).values(), *vars(row.source).values()]
        if not all(value is None or isinstance(value, int | float | Metrics) for value in values):
            raise ValueError(f"expected numbers in the row of frame {row.frame}")
        return row


def use_threads(number: int | None) -> None:
    """Set the number of threads of OpenCV and PyTorch; None changes nothing."""
    if number:
        import torch  # takes seconds to import

        cv2.setNumThreads(number)
        torch.set_num_threads(number)


def check(comparison: EvaluationConfig, seams: tuple[int, ...] = ()) -> tuple[int, int, int | None]:
    """Check the inputs before the work.

    Returns:
        Width and height of the film, and the number of its frames if the container has it.

    Raises:
        FavError: an input is not a video, sizes or lengths differ, or the film lacks a frame of `seams`.
    """
    source = probe(comparison.video, comparison.settings)
    films = [probe(film) for film in (comparison.film, comparison.against) if film]
    flows.check(comparison.flow, comparison.flow_weights)
    width, height = films[0].width, films[0].height
    if (films[-1].width, films[-1].height) != (width, height):
        raise FavError(
            f"{comparison.against}: expected a film of {width}x{height} like {comparison.film}, "
            f"got {films[-1].width}x{films[-1].height}"
        )
    _check_known(comparison, source, films)
    if comparison.flow_files and films[0].frames:
        shown_frames = range(comparison.start, comparison.start + films[0].frames)
        check_files(
            comparison.flow_files, shown_frames, comparison.cuts or (), ((source.width, source.height), (width, height))
        )
    if (
        seams
        and films[0].frames
        and not comparison.start <= min(seams) <= max(seams) < comparison.start + films[0].frames
    ):
        raise FavError(
            f"--seams: expected frames from {comparison.start} to {comparison.start + films[0].frames - 1}, "
            f"which {comparison.film} shows, got {', '.join(map(str, seams))}"
        )
    return width, height, films[0].frames


def rows(
    comparison: EvaluationConfig, losses: FrameLosses | None = None, report_progress: Callable[[], None] = lambda: None
) -> Iterator[FrameMetrics]:
    """Yield the metrics of each frame. Raises FavError if the film and the source have different lengths."""
    flow = flows.make(comparison.flow, comparison.flow_weights, downscale=comparison.flow_downscale)
    for row in measure(shown(comparison), flow, losses, files=comparison.flow_files):
        report_progress()
        yield row


def measure(
    moments: Iterable[FrameSample],
    flow: flows.Flow,
    losses: FrameLosses | None = None,
    begin: int = 0,
    shot: int = 0,
    files: FlowFiles = FlowFiles(),  # noqa: B008
) -> Iterator[FrameMetrics]:
    """Yield the metrics of each frame, in order. The samples of one second and their flow are in memory.

    The frame a second earlier is the one that was shown then: at 25 frames per second, the 25th before.

    Args:
        moments: the samples, from `first_needed_frame(begin)` on.
        flow: the method.
        losses: computes the perceptual losses of a frame, if they are wanted.
        begin: frames before this one have no row; later ones need them.
        shot: number of the first sample's shot.
        files: known flow between neighboring frames.
    """
    past: deque[tuple[FrameSample, FlowField | None]] = deque()  # with the flow to the sample before
    for now in moments:
        if now.cut and past:
            past.clear()
            shot += 1
        while len(past) > 1 and past[1][0].seconds <= now.seconds - LONG_S:
            past.popleft()
        near = past[-1][0] if past else None
        step = between_numbers(files, flow, (now.number, near.number), (now.source, near.source)) if near else None
        if now.number >= begin:
            far = past[0][0] if past and past[0][0].seconds <= now.seconds - LONG_S else None
            links = [link for link in (step, *(link for _, link in list(past)[:0:-1])) if link is not None]
            leap = estimate_long_range(flow, now.source, far.source, links) if far else None
            yield _row(now, shot, near, step, far, leap, losses)
        past.append((now, step))


def first_needed_frame(frame: int, shot_begins: int, index: FrameIndex) -> int:
    """The first frame that the metrics of a frame depend on, in a shot that begins with frame `shot_begins`."""
    a_second_earlier = floor(int(index.pts[frame]) - LONG_S / index.time_base)
    return max(shot_begins, int(np.searchsorted(index.pts, a_second_earlier, side="right")) - 1)


def _sample(number: int, seconds: Fraction, source: np.ndarray, films: list[np.ndarray], cuts: set[int]) -> FrameSample:
    return FrameSample(number, seconds, number in cuts, source, *films)


def shown(comparison: EvaluationConfig) -> Iterator[FrameSample]:
    """Yield the samples of a comparison while both are decoded. The source is resized to the film's size."""
    finder, cuts = CutFinder(comparison.cuts, comparison.cut_threshold), set()
    held: deque[tuple[int, Fraction, np.ndarray, list[np.ndarray]]] = deque()
    with ExitStack() as stack:
        source = stack.enter_context(decode(comparison.video, comparison.settings))
        as_source = replace(comparison.settings, fps=None, name=None)
        films = [stack.enter_context(decode(film, as_source)) for film in (comparison.film, comparison.against) if film]
        seen, taken = 0, [0] * len(films)
        for decoded in source:
            if decoded.number == comparison.stop:
                break
            seen = decoded.number + 1
            if comparison.cuts is not None and decoded.number < comparison.start:
                continue
            cuts.update(finder.push(decoded))
            if decoded.number < comparison.start:
                continue
            frames = [next(film, None) for film in films]
            taken = [before + (frame is not None) for before, frame in zip(taken, frames)]
            pictures = [frame.image() for frame in frames if frame is not None]
            if len(pictures) < len(frames):
                break
            height, width = pictures[0].shape[:2]
            moment, picture = decoded.pts * source.time_base, resize_like_encoder(decoded.image(), (width, height))
            held.append((decoded.number, moment, picture, pictures))
            while held and held[0][0] < finder.settled:
                yield _sample(*held.popleft(), cuts)
        cuts.update(finder.finish())
        while held:
            yield _sample(*held.popleft(), cuts)
        if seen <= comparison.start:
            raise FavError(
                f"{comparison.video}: expected more than {comparison.start} frames for this --range, got {seen}"
            )
        _check_ends(comparison, seen + _left(source), [mine + _left(film) for mine, film in zip(taken, films)])


def resize_like_encoder(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a source frame (H, W, 3) to a film's `size` (width, height), as the encoder does.

    If only odd sides were made even, the last row and column are repeated instead.
    """
    height, width = frame.shape[:2]
    if size == (width + width % 2, height + height % 2):
        return cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return resize(frame, size)


def _row(
    now: FrameSample,
    shot: int,
    near: FrameSample | None,
    step: FlowField | None,
    far: FrameSample | None,
    leap: FlowField | None,
    losses: FrameLosses | None,
) -> FrameMetrics:
    def of(name: str, given: tuple[float, float, float] | None) -> Metrics:
        before = (getattr(near, name), step) if near and step is not None else None
        long_before = (getattr(far, name), leap) if far and leap is not None else None
        return compute_metrics(getattr(now, name), before, long_before, given, now.source)

    film = of("film", losses(now.film, now.source) if losses else None)
    against = None
    if now.against is not None:
        against = of("against", losses(now.against, now.source) if losses else None)
    return FrameMetrics(
        now.number,
        float(now.seconds),
        shot,
        _share(step),
        far.number if far else None,
        _share(leap),
        film,
        of("source", None),
        against,
    )


def _share(geometry: FlowField | None) -> float | None:
    return None if geometry is None else float(geometry.reliability.mean())


def _check_known(comparison: EvaluationConfig, source: VideoInfo, films: list[VideoInfo]) -> None:
    """Check lengths that the containers report, unless the source is truncated."""
    known = [film.frames for film in films if film.frames is not None]
    if source.frames is None or len(known) < len(films):
        return
    if not is_sequence(comparison.video) and is_truncated(Path(comparison.video)):
        return
    if comparison.start >= source.frames:
        raise FavError(
            f"--range: expected a START below the number of frames of {comparison.video} ({source.frames}), "
            f"got {comparison.start}"
        )
    _check_ends(comparison, source.frames, known)


def _check_ends(comparison: EvaluationConfig, source: int, films: list[int]) -> None:
    """Raise FavError unless the films' numbers of frames match the part of the source."""
    stop = source if comparison.stop is None else min(comparison.stop, source)
    for name, frames in zip((comparison.film, comparison.against), films):
        if frames != stop - comparison.start:
            whole = (comparison.start, stop) == (0, source)
            if whole and frames > source and name == comparison.film:
                raise FavError(
                    f"{name}: expected {source} frames like {comparison.video}, got {frames}: a film has no more frames "
                    f"than its video; the order is VIDEO STYLIZED"
                )
            part = "" if whole else f"{stop - comparison.start} of the "
            raise FavError(
                f"{name}: expected {part}{source} frames like {comparison.video}, got {frames}; where it shows "
                f"another part, say which with --range START:STOP, like --range 0:{frames}"
            )


def _left(decoding: Decoder) -> int:
    """Decode and count the remaining frames."""
    return sum(1 for _ in decoding)
