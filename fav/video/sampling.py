"""Read a few frames of a video without indexing it: at a time, or spread evenly. Frame positions are approximate."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av import VideoStream
from av.error import FFmpegError

from fav.errors import FavError
from fav.util.image_sequence import is_sequence
from fav.video.container import frame_rate, open_video, video_stream
from fav.video.decoding import DecodedFrame, Decoder
from fav.video.probe import probe
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings

MIN_SEEK_S = 20  # a nearer frame is reached by decoding


@dataclass(frozen=True, eq=False)
class Moment:
    """Consecutive frames of a video.

    Attributes:
        frames: (H, W, 3) uint8 BGR each, upright; at least one.
        number: of the first of them, counted from 0.
        seconds: when that frame is shown, after the video's beginning.
    """

    frames: list[np.ndarray]
    number: int = 0
    seconds: float = 0.0


def frames_at(
    video: Path | str, seconds: float, count: int = 1, settings: SourceSettings = DEFAULT_SETTINGS
) -> list[np.ndarray]:
    """Read consecutive frames, as `moment_at`."""
    return moment_at(video, seconds, count, settings).frames


def moment_at(
    video: Path | str,
    seconds: float,
    count: int = 1,
    settings: SourceSettings = DEFAULT_SETTINGS,
    exact_number: bool = False,
) -> Moment:
    """Read consecutive frames from a time on.

    Args:
        video: A file or a numbered image sequence.
        seconds: Time of the first frame, from the video's beginning.
        count: Number of frames; fewer at the video's end, but at least one.
        settings: How the video is read.
        exact_number: Count the packets before the first frame, unless the container says that the frame rate is constant.
            Otherwise, its number follows from its time and the average frame rate.

    Raises:
        FavError: The video cannot be read.
    """
    with Decoder(video, settings, keep=True) as decoding:
        start = decoding.stream.start_time or 0
        wanted = start + seconds / float(decoding.time_base)
        try:
            decoding.seek(int(wanted))
        except FFmpegError:
            pass  # read from the beginning
        moment = _moment_of(decoding, video, wanted, start, count, settings, exact_number)
    if moment is None:  # some files, such as one picture, have nothing after a seek
        with Decoder(video, settings, keep=True) as decoding:
            moment = _moment_of(decoding, video, wanted, start, count, settings, exact_number)
    if moment is None:
        raise FavError(f"{video}: expected a frame at {seconds:g} s, found none; choose an earlier moment with --at")
    return moment


def _moment_of(
    decoding: Decoder,
    video: Path | str,
    wanted: float,
    start: int,
    count: int,
    settings: SourceSettings,
    exact_number: bool,
) -> Moment | None:
    """The frames from a time on, in ticks, of an opened video; None if there are none. `start` is that of the first frame."""
    found: list[DecodedFrame] = []
    for frame in decoding:
        if found and found[-1].pts + found[-1].duration <= wanted:
            found.clear()
        found.append(frame)
        if len(found) == count and frame.pts + frame.duration > wanted:
            break
    if not found:
        return None
    shown = float((found[0].pts - start) * decoding.time_base)
    rate = frame_rate(decoding.stream)
    number = round(shown * rate) if rate else 0
    if exact_number and not _is_constant(decoding.stream, str(video)):
        number = _count_before(video, settings, found[0].pts)
    return Moment([frame.image() for frame in found], number, shown)


def _is_constant(stream: VideoStream, video: str) -> bool:
    """Whether the container says that the frame rate is constant: Matroska reports one rate for any video."""
    rate = frame_rate(stream)
    if is_sequence(video):
        return True
    if not (rate and stream.frames and stream.duration and stream.time_base):
        return False
    length = float(stream.duration * stream.time_base)
    return rate == stream.average_rate == stream.base_rate and abs(stream.frames / rate - length) < 1 / rate


def _count_before(video: Path | str, settings: SourceSettings, pts: int) -> int:
    """The number of frames that are shown before `pts`. Nothing is decoded."""
    count = 0
    with open_video(str(video), settings) as container, suppress(FFmpegError):
        for packet in container.demux(video_stream(container, str(video))):
            if packet.pts is not None and packet.size and not packet.is_discard:
                count += packet.pts < pts
                if packet.dts is not None and packet.dts >= pts:
                    break  # all packets after it are shown later
    return count


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
