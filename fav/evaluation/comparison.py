"""Compare a stylized film with its source. Both are decoded once, in parallel; one second of frames is kept in memory."""

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
from fav.flow.files import FlowFiles, estimate_with_files
from fav.flow.files import check as check_files
from fav.util.image_sequence import is_sequence
from fav.util.images import resize
from fav.video import DEFAULT_SETTINGS, Decoder, FrameIndex, SourceSettings, VideoInfo, decode, probe
from fav.video.shot_detection import THRESHOLD, ShotSplitter
from fav.video.truncation import is_truncated

LONG_S = 1  # distance of the frames of the long-term error
FILMS = ("film", "source", "against")  # the videos with metrics in each row


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
    settings: SourceSettings = DEFAULT_SETTINGS
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
    samples: Iterable[FrameSample],
    flow: flows.Flow,
    losses: FrameLosses | None = None,
    begin: int = 0,
    shot: int = 0,
    files: FlowFiles = FlowFiles(),  # noqa: B008
) -> Iterator[FrameMetrics]:
    """Yield the metrics of each frame, in order. The samples of one second and their flow are in memory.

    The frame a second earlier is the one that is visible at that time: at 25 frames per second, the 25th before.

    Args:
        samples: the samples, from `first_needed_frame(begin)` on.
        flow: the method.
        losses: computes the perceptual losses of a frame, if they are wanted.
        begin: frames before this one have no row; later ones need them.
        shot: number of the first sample's shot.
        files: known flow between neighboring frames.
    """
    past: deque[tuple[FrameSample, FlowField | None]] = deque()  # with the flow to the sample before
    for sample in samples:
        if sample.cut and past:
            past.clear()
            shot += 1
        while len(past) > 1 and past[1][0].seconds <= sample.seconds - LONG_S:
            past.popleft()
        prev = past[-1][0] if past else None
        step = None
        if prev:
            frames = sample.source, prev.source
            step = estimate_with_files(files, flow, (sample.number, prev.number), frames)
        if sample.number >= begin:
            earlier = past[0][0] if past and past[0][0].seconds <= sample.seconds - LONG_S else None
            steps = [one for one in (step, *(one for _, one in list(past)[:0:-1])) if one is not None]
            long_flow = estimate_long_range(flow, sample.source, earlier.source, steps) if earlier else None
            yield _row(sample, shot, prev, step, earlier, long_flow, losses)
        past.append((sample, step))


def first_needed_frame(frame: int, shot_begins: int, index: FrameIndex) -> int:
    """The first frame that the metrics of a frame depend on, in a shot that begins with frame `shot_begins`."""
    a_second_earlier = floor(int(index.pts[frame]) - LONG_S / index.time_base)
    return max(shot_begins, int(np.searchsorted(index.pts, a_second_earlier, side="right")) - 1)


def _sample(number: int, seconds: Fraction, source: np.ndarray, films: list[np.ndarray], cuts: set[int]) -> FrameSample:
    return FrameSample(number, seconds, number in cuts, source, *films)


def shown(comparison: EvaluationConfig) -> Iterator[FrameSample]:
    """Yield the samples of a comparison while both are decoded. The source is resized to the film's size."""
    splitter, cuts = ShotSplitter(comparison.cuts, comparison.cut_threshold), set()
    pending: deque[tuple[int, Fraction, np.ndarray, list[np.ndarray]]] = (
        deque()
    )  # it is not known yet if these are cuts
    with ExitStack() as stack:
        source = stack.enter_context(decode(comparison.video, comparison.settings))
        as_source = replace(comparison.settings, fps=None, name=None)
        films = [stack.enter_context(decode(film, as_source)) for film in (comparison.film, comparison.against) if film]
        source_count, film_counts = 0, [0] * len(films)
        for decoded in source:
            if decoded.number == comparison.stop:
                break
            source_count = decoded.number + 1
            if comparison.cuts is not None and decoded.number < comparison.start:
                continue
            cuts.update(splitter.push(decoded))
            if decoded.number < comparison.start:
                continue
            frames = [next(film, None) for film in films]
            film_counts = [count + (frame is not None) for count, frame in zip(film_counts, frames)]
            images = [frame.image() for frame in frames if frame is not None]
            if len(images) < len(frames):
                break
            height, width = images[0].shape[:2]
            seconds, image = decoded.pts * source.time_base, resize_like_encoder(decoded.image(), (width, height))
            pending.append((decoded.number, seconds, image, images))
            while pending and pending[0][0] < splitter.decided_until:
                yield _sample(*pending.popleft(), cuts)
        cuts.update(splitter.finish())
        while pending:
            yield _sample(*pending.popleft(), cuts)
        if source_count <= comparison.start:
            raise FavError(
                f"{comparison.video}: expected more than {comparison.start} frames for this --range, got {source_count}"
            )
        totals = [count + _count_rest(film) for count, film in zip(film_counts, films)]
        _check_ends(comparison, source_count + _count_rest(source), totals)


def resize_like_encoder(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a source frame (H, W, 3) to a film's `size` (width, height), as the encoder does.

    If only odd sides were made even, the last row and column are repeated instead.
    """
    height, width = frame.shape[:2]
    if size == (width + width % 2, height + height % 2):
        return cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return resize(frame, size)


def _row(
    sample: FrameSample,
    shot: int,
    prev: FrameSample | None,
    step: FlowField | None,
    earlier: FrameSample | None,
    long_flow: FlowField | None,
    losses: FrameLosses | None,
) -> FrameMetrics:
    """Compute the metrics of a sample, given the samples before and a second earlier with the flow to them."""

    def metrics(name: str, perceptual: tuple[float, float, float] | None) -> Metrics:
        before = (getattr(prev, name), step) if prev and step is not None else None
        long_before = (getattr(earlier, name), long_flow) if earlier and long_flow is not None else None
        return compute_metrics(getattr(sample, name), before, long_before, perceptual, sample.source)

    film = metrics("film", losses(sample.film, sample.source) if losses else None)
    against = None
    if sample.against is not None:
        against = metrics("against", losses(sample.against, sample.source) if losses else None)
    return FrameMetrics(
        sample.number,
        float(sample.seconds),
        shot,
        _reliable_fraction(step),
        earlier.number if earlier else None,
        _reliable_fraction(long_flow),
        film,
        metrics("source", None),
        against,
    )


def _reliable_fraction(field: FlowField | None) -> float | None:
    return None if field is None else float(field.reliability.mean())


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
            if frames == 1 and stop - comparison.start > 1:
                raise FavError(
                    f"{name}: expected a film of {stop - comparison.start} frames, got one picture; the order is VIDEO STYLIZED"
                )
            part = "" if whole else f"{stop - comparison.start} of the "
            raise FavError(
                f"{name}: expected {part}{source} frames like {comparison.video}, got {frames}; if it shows "
                f"another part, give it with --range START:STOP, like --range 0:{frames}"
            )


def _count_rest(decoding: Decoder) -> int:
    """Decode and count the remaining frames."""
    return sum(1 for _ in decoding)
