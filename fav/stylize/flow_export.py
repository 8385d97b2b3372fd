"""Write flow and reliability of a clip to files, in the layout that `--flow-from` and `--reliability-from` read."""

from collections.abc import Callable
from pathlib import Path

from fav.errors import FavError
from fav.flow import Flow
from fav.flow.consistency import reliability
from fav.flow.io import encode_reliability, quantized, write_flo
from fav.util.images import resize
from fav.video import DEFAULT_SETTINGS, SourceSettings, decode

BACKWARD, FORWARD, RELIABLE = "bwd_%06d.flo", "fwd_%06d.flo", "reliable_%06d.pgm"


def export_flow(
    video: Path,
    out: Path,
    flow: Flow,
    start: int = 0,
    stop: int | None = None,
    size: tuple[int, int] | None = None,
    settings: SourceSettings = DEFAULT_SETTINGS,
    report_progress: Callable[[], None] = lambda: None,
) -> int:
    """Write flow in both directions and its reliability, for frames `[start, stop)` of `video`, to the directory `out`.

    The reliability is not eroded; `--occlusion-erode` of a film does that.

    Args:
        video: the source.
        out: an existing directory.
        flow: the method.
        start: the first frame.
        stop: one past the last frame; None: to the end.
        size: (width, height) of the flow; None: the video's.
        settings: how to read the video.
        report_progress: called for each frame.

    Returns:
        The number of frames.

    Raises:
        FavError: there are no frames.
    """
    before, count = None, 0
    with decode(video, settings) as decoding:
        for decoded in decoding:
            number = decoded.number
            if number == stop:
                break
            if number < start:
                continue
            here = resize(decoded.image(), size) if size else decoded.image()
            if before is not None:
                backward, forward = flow(here, before), flow(before, here)
                write_flo(out / (BACKWARD % number), backward)
                write_flo(out / (FORWARD % (number - 1)), forward)
                trusted = reliability(quantized(backward), quantized(forward), here, min_filter=1)
                (out / (RELIABLE % number)).write_bytes(encode_reliability(trusted))
            before, count = here, count + 1
            report_progress()
    if not count:
        raise FavError(f"{video}: expected more than {start} frames for this --range, got fewer")
    return count
