"""Decode a video once to index its frames and find its cuts."""

from collections.abc import Callable, Iterator
from pathlib import Path

from fav.stylize.timeline import SEGMENT_FRAMES, IndexSegment
from fav.video import FrameIndex, decode
from fav.video.shot_detection import make_cut_detector


def index_segments(
    video: Path,
    stop: int | None,
    cuts: tuple[int, ...] | None,
    fps: float | None = None,
    report_progress: Callable[[], None] = lambda: None,
) -> Iterator[IndexSegment]:
    """One pass over a video: its frames and cuts, a piece at a time.

    `cuts` are the first frames of shots, None to detect them. Nothing beyond frame `stop` is decoded.
    """
    begins_shot = make_cut_detector(cuts)
    decoding = decode(video, fps=fps)
    start, frames, found, number = 0, [], [], -1
    for decoded in decoding:
        number = decoded.number
        if stop is not None and number >= stop:
            break
        if number == start + SEGMENT_FRAMES:
            # Held back until the next frame is here, so that the last piece knows that it is the last.
            yield IndexSegment(start, FrameIndex.of(frames, decoding.time_base), tuple(found), last=False)
            start, frames, found = number, [], []
        report_progress()
        frames.append(decoded)
        if begins_shot(number, decoded.thumbnail):
            found.append(number)
    notes = tuple(decoding.warnings)
    yield IndexSegment(start, FrameIndex.of(frames, decoding.time_base), tuple(found), last=True, notes=notes)
