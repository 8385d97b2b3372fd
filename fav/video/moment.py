"""Frames of a moment of a video, without an index of it: near enough to look at, not exact."""

from pathlib import Path

import numpy as np
from av.error import FFmpegError

from fav.errors import FavError
from fav.video.decoding import DecodedFrame, Decoder
from fav.video.settings import AS_IT_IS, SourceSettings


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
