"""Opening a video and saying what it is."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from fav.errors import FavError
from fav.util.image_sequence import is_sequence, sequence_files
from fav.video.color import ColorInfo
from fav.video.container import open_video, video_stream
from fav.video.decoding import decode


@dataclass(frozen=True)
class VideoInfo:
    """What a video is. Sizes in pixels as shown upright; time_base in seconds; None where it is not known."""

    path: str
    width: int
    height: int
    turned: bool  # shown upright by a quarter turn: the stored picture has width and height swapped
    codec: str
    time_base: Fraction
    rate: Fraction | None  # average frames a second
    pixel_aspect: Fraction  # width : height of a pixel as shown
    colors: ColorInfo
    frames: int | None  # what the container says; only decoding counts for sure
    seconds: float | None  # what the container says
    sound: bool
    suffix: str


def probe(video: Path | str, fps: float | None = None) -> VideoInfo:
    """Look at a video up to its first frame, which is decoded; FavError where there is none.

    `fps` is the rate of a numbered image sequence, 25 if None; nothing else heeds it.
    """
    with decode(video, fps) as decoding:
        first = next(decoding, None)
        if first is None:
            raise FavError(f"{video}: expected frames, but not one of its video stream {decoding.stream.index} decodes")
        height, width = first.image().shape[:2]
        stream, turned = decoding.stream, first.is_rotated
        aspect = stream.sample_aspect_ratio or Fraction(1)
        count = len(sequence_files(str(video))) if is_sequence(str(video)) else stream.frames
        return VideoInfo(
            path=str(video), width=width, height=height, turned=turned, codec=stream.codec_context.name,
            time_base=decoding.time_base, rate=stream.average_rate or None, pixel_aspect=1 / aspect if turned else aspect,
            colors=first.colors, frames=count or None, seconds=_seconds(decoding.container), sound=bool(decoding.container.streams.audio),
            suffix=Path(video).suffix.lower(),
        )  # fmt: skip


def reaches(source: VideoInfo, number: int, fps: float | None = None) -> bool:
    """Whether a video may have a frame of that number. Where its container does not say and its length is no sure sign either,
    packets are counted up to there, which are at least as many as frames; nothing is decoded."""
    if source.frames is not None:
        return number < source.frames
    if source.seconds and source.rate and number < source.seconds * source.rate / 2:
        return True
    with open_video(source.path, fps) as container:
        stream = video_stream(container, source.path)
        try:
            return any(
                count == number for count, _ in enumerate(packet for packet in container.demux(stream) if packet.size)
            )
        except av.FFmpegError:
            return False


def _seconds(container: InputContainer) -> float | None:
    return container.duration / av.time_base if container.duration and container.duration > 0 else None
