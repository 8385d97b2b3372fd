"""Index the frames of a video and find its cuts: by decoding all of it, or from ranges that were decoded before."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import takewhile
from pathlib import Path

from fav.stylize.timeline import SEGMENT_FRAMES, IndexSegment
from fav.video import AS_IT_IS, FrameIndex, SourceSettings, decode
from fav.video.ranges import DecodedRange, UnusableRangeError
from fav.video.shot_detection import THRESHOLD, CutFinder, RecordedCutFinder


def index_segments(
    video: Path,
    stop: int | None,
    cuts: tuple[int, ...] | None,
    settings: SourceSettings = AS_IT_IS,
    report_progress: Callable[[], None] = lambda: None,
    threshold: float = THRESHOLD,
) -> Iterator[IndexSegment]:
    """Index a video in one pass, and yield the segments.

    Args:
        video: the source.
        stop: decode nothing from this frame on; None: to the end.
        cuts: the first frames of shots; None detects them.
        settings: how to read the video.
        report_progress: called for each frame.
        threshold: for the detection, as for `CutDetector`.
    """
    decoding = decode(video, settings)

    def frames():
        for decoded in decoding:
            if stop is not None and decoded.number >= stop:
                break
            report_progress()
            yield decoded

    yield from _segments(frames(), CutFinder(cuts, threshold), lambda: decoding.time_base, lambda: decoding.warnings)


def index_of_ranges(
    ranges: Iterable[DecodedRange],
    stop: int | None,
    cuts: tuple[int, ...] | None,
    threshold: float = THRESHOLD,
) -> Iterator[IndexSegment]:
    """Yield the segments that `index_segments` does, from the decoded ranges of a video.

    Args:
        ranges: all of them in order, or those up to frame `stop`. Segments need the frames before them, and FLASH
            after them.
        stop: as for `index_segments`.
        cuts: as for `index_segments`; None takes them from the changes that were recorded.
        threshold: as for `index_segments`.

    Raises:
        UnusableRangeError: a range is of no use, or does not go with the one before it.
    """
    finder, facts, bases = RecordedCutFinder(cuts, threshold), [], []

    def frames():
        before, begin = None, 0
        for one in ranges:
            if one.why:
                raise UnusableRangeError(one.why)
            if before:
                before.check_joint(one)
            bases.append(one.index.time_base)
            finder.extend(begin, one.changes)
            facts.extend((begin + number, fact) for number, fact in one.facts)
            yield from one.frames(begin)
            before, begin = one, begin + one.own

    # Of a video that is read up to a frame, that frame is looked at as well.
    within = takewhile(lambda frame: stop is None or frame.number < stop, frames())
    told = lambda: list(dict.fromkeys(fact for number, fact in facts if stop is None or number <= stop))
    yield from _segments(within, finder, lambda: bases[0], told)


def _segments(
    frames: Iterable,
    finder: CutFinder | RecordedCutFinder,
    time_base: Callable[[], Fraction],
    notes: Callable[[], list[str]],
) -> Iterator[IndexSegment]:
    """The segments of frames; `notes` are asked for at their end."""
    start, waiting, cuts_found = 0, [], []

    def piece(last: bool) -> IndexSegment:
        """A segment of the first buffered frames."""
        taken = waiting if last else waiting[:SEGMENT_FRAMES]
        mine = tuple(cut for cut in cuts_found if cut < start + len(taken))
        told = tuple(notes()) if last else ()
        return IndexSegment(start, FrameIndex.of(taken, time_base()), mine, last, told)

    for frame in frames:
        # A segment waits for the next frame, because the last one must be marked as the last.
        if len(waiting) >= SEGMENT_FRAMES and finder.settled >= start + SEGMENT_FRAMES:
            yield piece(last=False)
            start, waiting, cuts_found = (
                start + SEGMENT_FRAMES,
                waiting[SEGMENT_FRAMES:],
                [cut for cut in cuts_found if cut >= start + SEGMENT_FRAMES],
            )
        waiting.append(frame)
        cuts_found += finder.push(frame)
    cuts_found += finder.finish()
    if len(waiting) > SEGMENT_FRAMES:  # some waited because the cut detector was undecided (a flash)
        yield piece(last=False)
        start, waiting, cuts_found = (
            start + SEGMENT_FRAMES,
            waiting[SEGMENT_FRAMES:],
            [cut for cut in cuts_found if cut >= start + SEGMENT_FRAMES],
        )
    yield piece(last=True)
