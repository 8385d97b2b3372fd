"""Decode a video once to index its frames and find its cuts."""

from collections.abc import Callable, Iterator
from pathlib import Path

from fav.stylize.timeline import SEGMENT_FRAMES, IndexSegment
from fav.video import AS_IT_IS, FrameIndex, SourceSettings, decode
from fav.video.shot_detection import THRESHOLD, CutFinder


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
    finder, start, frames, cuts_found = CutFinder(cuts, threshold), 0, [], []
    decoding = decode(video, settings)

    def piece(last: bool) -> IndexSegment:
        """A segment of the first buffered frames."""
        taken = frames if last else frames[:SEGMENT_FRAMES]
        mine = tuple(cut for cut in cuts_found if cut < start + len(taken))
        notes = tuple(decoding.warnings) if last else ()
        return IndexSegment(start, FrameIndex.of(taken, decoding.time_base), mine, last, notes)

    for decoded in decoding:
        if stop is not None and decoded.number >= stop:
            break
        # A segment waits for the next frame, because the last one must be marked as the last.
        if len(frames) >= SEGMENT_FRAMES and finder.settled >= start + SEGMENT_FRAMES:
            yield piece(last=False)
            start, frames, cuts_found = (
                start + SEGMENT_FRAMES,
                frames[SEGMENT_FRAMES:],
                [cut for cut in cuts_found if cut >= start + SEGMENT_FRAMES],
            )
        report_progress()
        frames.append(decoded)
        cuts_found += finder.push(decoded)
    cuts_found += finder.finish()
    if len(frames) > SEGMENT_FRAMES:  # some waited because the cut detector was undecided (a flash)
        yield piece(last=False)
        start, frames, cuts_found = (
            start + SEGMENT_FRAMES,
            frames[SEGMENT_FRAMES:],
            [cut for cut in cuts_found if cut >= start + SEGMENT_FRAMES],
        )
    yield piece(last=True)
