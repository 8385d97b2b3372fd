"""Index the frames of a video and find its cuts: by decoding all of it, or from ranges that were decoded before."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import takewhile
from pathlib import Path

from fav.stylize.timeline import SEGMENT_FRAMES, IndexSegment
from fav.video import DEFAULT_SETTINGS, FrameIndex, SourceSettings, decode
from fav.video.ranges import DecodedRange, UnusableRangeError
from fav.video.shot_detection import THRESHOLD, RecordedShotSplitter, ShotSplitter


def index_segments(
    video: Path,
    stop: int | None,
    cuts: tuple[int, ...] | None,
    settings: SourceSettings = DEFAULT_SETTINGS,
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

    yield from _segments(frames(), ShotSplitter(cuts, threshold), lambda: decoding.time_base, lambda: decoding.warnings)


def index_of_ranges(
    ranges: Iterable[DecodedRange],
    stop: int | None,
    cuts: tuple[int, ...] | None,
    threshold: float = THRESHOLD,
) -> Iterator[IndexSegment]:
    """Yield the segments that `index_segments` does, from the decoded ranges of a video.

    Args:
        ranges: all of them in order, or those up to frame `stop`. Segments need the frames before them, and FLASH
            after them. (FLASH: of `fav.video.shot_detection`.)
        stop: as for `index_segments`.
        cuts: as for `index_segments`; None takes them from the changes that were recorded.
        threshold: as for `index_segments`.

    Raises:
        UnusableRangeError: a range cannot be used, or does not continue the one before it.
    """
    splitter, facts, bases = RecordedShotSplitter(cuts, threshold), [], []

    def frames():
        before, begin = None, 0
        for one in ranges:
            if one.why:
                raise UnusableRangeError(one.why)
            if before:
                before.check_joint(one)
            bases.append(one.index.time_base)
            splitter.extend(begin, one.changes)
            facts.extend((begin + number, fact) for number, fact in one.facts)
            yield from one.frames(begin)
            before, begin = one, begin + one.own

    # Notes on frame `stop` count as well, because a pass that ends there also decodes it.
    within = takewhile(lambda frame: stop is None or frame.number < stop, frames())
    notes = lambda: list(dict.fromkeys(fact for number, fact in facts if stop is None or number <= stop))
    yield from _segments(within, splitter, lambda: bases[0], notes)


def _segments(
    frames: Iterable,
    splitter: ShotSplitter | RecordedShotSplitter,
    time_base: Callable[[], Fraction],
    notes: Callable[[], list[str]],
) -> Iterator[IndexSegment]:
    """Divide frames into index segments. `notes` is called after the last frame."""
    start, waiting, cuts_found = 0, [], []

    def segment(last: bool) -> IndexSegment:
        """A segment of the first buffered frames."""
        taken = waiting if last else waiting[:SEGMENT_FRAMES]
        mine = tuple(cut for cut in cuts_found if cut < start + len(taken))
        final_notes = tuple(notes()) if last else ()
        return IndexSegment(start, FrameIndex.of(taken, time_base()), mine, last, final_notes)

    for frame in frames:
        # A segment waits for the next frame, because the last one must be marked as the last.
        if len(waiting) >= SEGMENT_FRAMES and splitter.decided_until >= start + SEGMENT_FRAMES:
            yield segment(last=False)
            start, waiting, cuts_found = (
                start + SEGMENT_FRAMES,
                waiting[SEGMENT_FRAMES:],
                [cut for cut in cuts_found if cut >= start + SEGMENT_FRAMES],
            )
        waiting.append(frame)
        cuts_found += splitter.push(frame)
    cuts_found += splitter.finish()
    if len(waiting) > SEGMENT_FRAMES:  # some waited because the cut detector was undecided (a flash)
        yield segment(last=False)
        start, waiting, cuts_found = (
            start + SEGMENT_FRAMES,
            waiting[SEGMENT_FRAMES:],
            [cut for cut in cuts_found if cut >= start + SEGMENT_FRAMES],
        )
    yield segment(last=True)
