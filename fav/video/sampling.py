"""Read a few frames of a video without indexing it: at a time, or spread evenly. Frame positions are approximate."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from av.error import FFmpegError

from fav.errors import FavError
from fav.video.decoding import DecodedFrame, Decoder
from fav.video.probe import probe
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings

MIN_SEEK_S = 20  # a nearer frame is reached by decoding


def frames_at(
    video: Path | str, seconds: float, count: int = 1, settings: SourceSettings = DEFAULT_SETTINGS
) -> list[np.ndarray]:
    """Read consecutive frames from a time on.

    Args:
        video: A file or a numbered image sequence.
        seconds: Time of the first frame, from the video's beginning.
        count: Number of frames; fewer at the video's end, but at least one.
        settings: How the video is read.

    Returns:
        Frames (H, W, 3) uint8 BGR, upright.

    Raises:
        FavError: The video cannot be read.
    """
    with Decoder(video, settings, keep=True) as decoding:
        wanted = (decoding.stream.start_time or 0) + seconds / float(decoding.time_base)
        try:
            decoding.seek(int(wanted))
        except FFmpegError:
            pass  # read from the beginning
        found: list[DecodedFrame] = []
        for frame in decoding:
            if found and found[-1].pts + found[-1].duration <= wanted:
                found.clear()
            found.append(frame)
            if len(found) == count and frame.pts + frame.duration > wanted:
                break
        if not found:
            raise FavError(
                f"{video}: expected a frame at {seconds:g} s, found none; choose an earlier moment with --at"
            )
        return [frame.image() for frame in found]


def frames_spread_over(
    video: Path | str,
    count: int,
    report_progress: Callable[[int], None] = lambda done: None,
    settings: SourceSettings = DEFAULT_SETTINGS,
) -> list[np.ndarray]:
    """Read frames spread evenly over a video, each in the middle of an equal part of its duration.

    Args:
        video: A file or a numbered image sequence.
        count: Number of frames; of a video with fewer frames, each once.
        report_progress: Called with the number of frames that are read.
        settings: How the video is read.

    Returns:
        Frames (H, W, 3) uint8 BGR, upright, in their order.

    Raises:
        FavError: The video cannot be read.
    """
    length = probe(video, settings).seconds
    with suppress(FFmpegError):  # seeking failed: decode the whole video
        if length:
            with Decoder(video, settings, keep=True) as decoding:
                return _read_by_seeking(decoding, length, count, report_progress)
    with Decoder(video, settings, keep=True) as decoding:
        return [frame.image() for frame in _subsample(decoding, count)]


def _read_by_seeking(
    decoding: Decoder, length: float, count: int, report_progress: Callable[[int], None]
) -> list[np.ndarray]:
    """Seek to frames spread over a video of `length` seconds. Raises av.FFmpegError if it is not seekable."""
    start, second = decoding.stream.start_time or 0, 1 / float(decoding.time_base)
    found: list[np.ndarray] = []
    shown, ends = start, start  # start and end of the last frame
    for number in range(count):
        wanted = start + (number + 0.5) / count * length * second
        if ends > wanted:
            continue  # the last frame lasts until then
        if wanted - shown > MIN_SEEK_S * second:
            decoding.seek(int(wanted))
        frame = next((one for one in decoding if one.pts + one.duration > wanted), None)
        if frame is None:
            break
        shown, ends = frame.pts, frame.pts + frame.duration
        found.append(frame.image())
        report_progress(len(found))
    return found


def _subsample(frames: Iterable[DecodedFrame], count: int) -> list[DecodedFrame]:
    """Keep `count` / 2 to `count` evenly spread frames of a stream of unknown length; all frames if there are fewer."""
    kept: list[DecodedFrame] = []
    stride = 1
    for number, frame in enumerate(frames):
        if number % stride == 0:
            kept.append(frame)
        if len(kept) > count:
            kept, stride = kept[::2], 2 * stride
    return kept
