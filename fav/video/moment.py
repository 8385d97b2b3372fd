"""Frames of a moment of a video, or spread over all of it, without an index of it: near enough to look at, not exact."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from av.error import FFmpegError

from fav.errors import FavError
from fav.video.decoding import DecodedFrame, Decoder
from fav.video.probe import probe
from fav.video.settings import AS_IT_IS, SourceSettings

WORTH_SEEKING_S = 20  # what is nearer is reached by decoding


def frames_at(
    video: Path | str, seconds: float, count: int = 1, settings: SourceSettings = AS_IT_IS
) -> list[np.ndarray]:
    """Read frames that are shown one after the other.

    Args:
        video: A file or a numbered image sequence.
        seconds: When the first one is shown, from the video's beginning.
        count: How many; beyond the end there are fewer, but one at least.
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


def frames_over(
    video: Path | str,
    count: int,
    report_progress: Callable[[int], None] = lambda done: None,
    settings: SourceSettings = AS_IT_IS,
) -> list[np.ndarray]:
    """Read frames spread evenly over a video, each in the middle of its share of the time.

    Args:
        video: A file or a numbered image sequence.
        count: How many; of a video with fewer frames, each once.
        report_progress: Hears how many are read.
        settings: How the video is read.

    Returns:
        Frames (H, W, 3) uint8 BGR, upright, in their order.

    Raises:
        FavError: The video cannot be read.
    """
    length = probe(video, settings).seconds
    with suppress(FFmpegError):  # which seeking may raise: then all is decoded
        if length:
            with Decoder(video, settings, keep=True) as decoding:
                return _sought(decoding, length, count, report_progress)
    with Decoder(video, settings, keep=True) as decoding:
        return [frame.image() for frame in _thinned(decoding, count)]


def _sought(decoding: Decoder, length: float, count: int, report_progress: Callable[[int], None]) -> list[np.ndarray]:
    """Frames spread over a video of `length` seconds; av.FFmpegError where it cannot be sought in."""
    start, second = decoding.stream.start_time or 0, 1 / float(decoding.time_base)
    found: list[np.ndarray] = []
    shown, ends = start, start  # when the last frame was shown, and until when
    for number in range(count):
        wanted = start + (number + 0.5) / count * length * second
        if ends > wanted:
            continue  # it is there already
        if wanted - shown > WORTH_SEEKING_S * second:
            decoding.seek(int(wanted))
        frame = next((one for one in decoding if one.pts + one.duration > wanted), None)
        if frame is None:
            break
        shown, ends = frame.pts, frame.pts + frame.duration
        found.append(frame.image())
        report_progress(len(found))
    return found


def _thinned(frames: Iterable[DecodedFrame], count: int) -> list[DecodedFrame]:
    """At least half of `count` of the frames, spread evenly, whose number is not known before; all of fewer."""
    kept: list[DecodedFrame] = []
    stride = 1
    for number, frame in enumerate(frames):
        if number % stride == 0:
            kept.append(frame)
        if len(kept) > count:
            kept, stride = kept[::2], 2 * stride
    return kept
