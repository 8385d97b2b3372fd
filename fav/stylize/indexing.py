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
    """One pass over a video: its frames and cuts, a piece at a time.

    `cuts` are the first frames of shots, None to detect them, at a `threshold` as for `CutDetector`. Nothing beyond frame
    `stop` is decoded.
    """
    finder, start, frames, cuts_found = CutFinder(cuts, threshold), 0, [], []
    decoding = decode(video, settings)

    def piece(last: bool) -> IndexSegment:
        """Of the first frames that are held back."""
        taken = frames if last else frames[:SEGMENT_FRAMES]
        mine = tuple(cut for cut in cuts_found if cut < start + len(taken))
        notes = tuple(decoding.warnings) if last else ()
        return IndexSegment(start, FrameIndex.of(taken, decoding.time_base), mine, last, notes)

    for decoded in decoding:
        if stop is not None and decoded.number >= stop:
            break
        # Held back until the next frame is here, so that the last piece knows that it is the last.
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
    if len(frames) > SEGMENT_FRAMES:  # some waited for what may be a flash
        yield piece(last=False)
        start, frames, cuts_found = (
            start + SEGMENT_FRAMES,
            frames[SEGMENT_FRAMES:],
            [cut for cut in cuts_found if cut >= start + SEGMENT_FRAMES],
        )
    yield piece(last=True)
