"""Measuring a stylized film against its source: both are decoded once, side by side, and one second of them is kept."""

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
    """What is to be measured: a film that shows the frames `[start, stop)` of a video, stop None for its end.

    against: another film of the same frames, or None. cuts: first frames of shots, None to detect them in the video.
    flow_files: flow from each frame to the one before it, where it is known.
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
    """One moment: frame `number` of the source and what the films show then, (H, W, 3) uint8 of one size.

    seconds is the source's time, cut whether a shot begins.
    """

    number: int
    seconds: Fraction
    cut: bool
    source: np.ndarray
    film: np.ndarray
    against: np.ndarray | None = None


@dataclass(frozen=True)
class FrameMetrics:
    """What was measured of one frame; its number is the source's.

    reliable and long_reliable are shares of the picture, None at a shot's beginning and in its first second.
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
        """A row from what `dataclasses.asdict` made of it; ValueError, or what else Python raises, for other records."""
        row = cls(**{**record, **{name: Metrics(**record[name]) if record[name] else None for name in FILMS}})
        values = [*vars(row).values(), *vars(row.film).values(), *vars(row.source).values()]
        if not all(value is None or isinstance(value, int | float | Metrics) for value in values):
            raise ValueError(f"expected numbers in the row of frame {row.frame}")
        return row


def use_threads(number: int | None) -> None:
    """As many threads of OpenCV and PyTorch; None leaves them."""
    if number:
        import torch  # takes seconds to import

        cv2.setNumThreads(number)
        torch.set_num_threads(number)


def check(comparison: EvaluationConfig, seams: tuple[int, ...] = ()) -> tuple[int, int, int | None]:
    """Width and height of the film, and the number of its frames where the container knows it.

    Raises FavError for what can be known to be wrong before the work: inputs that are none, sizes and lengths that
    differ, seams (numbers of frames) that the film does not have.
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
    """Every frame of the film, measured. FavError where the film and the source turn out to have different lengths."""
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
    """The row of each moment, in their order. Of what went before, the moments of one second and their flow are held.

    The frame "a second earlier" is the one that was on the screen then: at 25 frames a second the 25th before. Frames below
    `begin` have no row: what comes after hangs on them. With the moments from `first_needed_frame` that frame on, the rows are
    those of the whole film. `shot` numbers the first moment's shot. Flow between neighbours is taken from `files` where they have it.
    """
    past: deque[tuple[FrameSample, FlowField | None]] = deque()  # and how each hangs on the one before it
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
    """The first frame that the row of a frame hangs on, in a shot that begins with frame `shot_begins`."""
    a_second_earlier = floor(int(index.pts[frame]) - LONG_S / index.time_base)
    return max(shot_begins, int(np.searchsorted(index.pts, a_second_earlier, side="right")) - 1)


def _sample(number: int, seconds: Fraction, source: np.ndarray, films: list[np.ndarray], cuts: set[int]) -> FrameSample:
    return FrameSample(number, seconds, number in cuts, source, *films)


def shown(comparison: EvaluationConfig) -> Iterator[FrameSample]:
    """The moments of a comparison as they are decoded, the source brought to the film's size."""
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
    """A frame (H, W, 3) of the source as a film of `size` (width, height) shows it.

    Resized, but where only its odd sides were made even, its last row and column are repeated, as the encoder does.
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
    """Lengths, where the containers know them, and the source is not one that ends earlier than it says."""
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
    """FavError unless films with so many frames show the part of a source with so many."""
    stop = source if comparison.stop is None else min(comparison.stop, source)
    for name, frames in zip((comparison.film, comparison.against), films):
        if frames != stop - comparison.start:
            part = "" if (comparison.start, stop) == (0, source) else f"{stop - comparison.start} of the "
            raise FavError(
                f"{name}: expected {part}{source} frames like {comparison.video}, got {frames}; where it shows "
                f"another part, say which with --range START:STOP, like --range 0:{frames}"
            )


def _left(decoding: Decoder) -> int:
    """The number of frames that are still to come, decoded for nothing else."""
    return sum(1 for _ in decoding)
