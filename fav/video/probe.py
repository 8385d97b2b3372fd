"""Read the properties of a video: size, codec, frame rate, colors, length."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError

from fav.errors import FavError
from fav.util.image_sequence import is_sequence, sequence_files
from fav.video.color import ColorInfo
from fav.video.container import demux, frame_rate, open_video, video_stream
from fav.video.decoding import decode
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings
from fav.video.spherical import Sphere


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video.

    Attributes:
        path: of the video.
        width: in pixels, after the display matrix is applied.
        height: in pixels, after the display matrix is applied.
        rotated: whether the display matrix rotates by 90 degrees, so stored width and height are swapped.
        codec: FFmpeg's name.
        time_base: in seconds.
        rate: average frames per second, None if unknown.
        pixel_aspect: width : height of a displayed pixel.
        colors: the color tags.
        frames: number of frames according to the container, None if unknown; only decoding gives the exact number.
        seconds: length according to the container, None if unknown.
        sound: whether it has sound.
        suffix: of the file name, in lower case.
        notes: what the film will not have as the source has it, according to the first frame.
        sphere: the layout of a 360° video; None if it is not marked as one.
    """

    path: str
    width: int
    height: int
    rotated: bool
    codec: str
    time_base: Fraction
    rate: Fraction | None
    pixel_aspect: Fraction
    colors: ColorInfo
    frames: int | None
    seconds: float | None
    sound: bool
    suffix: str
    notes: tuple[str, ...] = ()
    sphere: Sphere | None = None


def probe(video: Path | str, settings: SourceSettings = DEFAULT_SETTINGS) -> VideoInfo:
    """Read a video's properties. Its first frame is decoded.

    Raises:
        FavError: the video cannot be read, or has no frame.
    """
    with decode(video, settings) as decoding:
        first = next(decoding, None)
        if first is None:
            raise FavError(
                f"{video}: expected frames, but no frame of video stream {decoding.stream.index} "
                f"({decoding.stream.codec_context.name}) decodes; FFmpeg may not support this variant of the codec"
            )
        first.check_colors(video)
        height, width = first.image().shape[:2]
        stream, rotated = decoding.stream, first.is_rotated
        aspect = stream.sample_aspect_ratio or Fraction(1)
        count = len(sequence_files(str(video))) if is_sequence(str(video)) else stream.frames
        return VideoInfo(
            path=str(video), width=width, height=height, rotated=rotated, codec=stream.codec_context.name,
            time_base=decoding.time_base, rate=frame_rate(stream), pixel_aspect=1 / aspect if rotated else aspect,
            colors=first.colors, frames=count or None, seconds=_seconds(decoding.container), sound=bool(decoding.container.streams.audio),
            suffix=Path(video).suffix.lower(), notes=tuple(decoding.conversion_notes),
            sphere=first.sphere,
        )  # fmt: skip


def reaches(source: VideoInfo, number: int, settings: SourceSettings = DEFAULT_SETTINGS) -> bool:
    """Whether a video may have a frame with this number. Nothing is decoded.

    If neither the frame count nor the length of the container tells, packets are counted. There are at least as many
    packets as frames.
    """
    if source.frames is not None:
        return number < source.frames
    if source.seconds and source.rate and number < source.seconds * source.rate / 2:
        return True
    with open_video(source.path, settings) as container:
        stream = video_stream(container, source.path)
        try:
            return any(
                count == number
                for count, _ in enumerate(packet for packet in demux(container, [stream]) if packet.size)
            )
        except FFmpegError:
            return False


def _seconds(container: InputContainer) -> float | None:
    return container.duration / av.time_base if container.duration and container.duration > 0 else None
