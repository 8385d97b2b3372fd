"""Opening a video and saying what it is."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError

from fav.errors import FavError
from fav.util.image_sequence import is_sequence, sequence_files
from fav.video.color import ColorInfo
from fav.video.container import frame_rate, open_video, video_stream
from fav.video.decoding import decode
from fav.video.settings import AS_IT_IS, SourceSettings


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
    notes: tuple[str, ...] = ()  # on what a film has otherwise, by the first frame


def probe(video: Path | str, settings: SourceSettings = AS_IT_IS) -> VideoInfo:
    """Look at a video up to its first frame, which is decoded; FavError where there is none."""
    with decode(video, settings) as decoding:
        first = next(decoding, None)
        if first is None:
            raise FavError(
                f"{video}: expected frames, but not one of its video stream {decoding.stream.index} decodes"
                f" ({decoding.stream.codec_context.name}); FFmpeg may not know this kind of it"
            )
        first.check_colors(video)
        height, width = first.image().shape[:2]
        stream, turned = decoding.stream, first.is_rotated
        aspect = stream.sample_aspect_ratio or Fraction(1)
        count = len(sequence_files(str(video))) if is_sequence(str(video)) else stream.frames
        return VideoInfo(
            path=str(video), width=width, height=height, turned=turned, codec=stream.codec_context.name,
            time_base=decoding.time_base, rate=frame_rate(stream), pixel_aspect=1 / aspect if turned else aspect,
            colors=first.colors, frames=count or None, seconds=_seconds(decoding.container), sound=bool(decoding.container.streams.audio),
            suffix=Path(video).suffix.lower(), notes=tuple(decoding.facts),
        )  # fmt: skip


def reaches(source: VideoInfo, number: int, settings: SourceSettings = AS_IT_IS) -> bool:
    """Whether a video may have a frame of that number. Where its container does not say and its length is no sure sign either,
    packets are counted up to there, which are at least as many as frames; nothing is decoded."""
    if source.frames is not None:
        return number < source.frames
    if source.seconds and source.rate and number < source.seconds * source.rate / 2:
        return True
    with open_video(source.path, settings) as container:
        stream = video_stream(container, source.path)
        try:
            return any(
                count == number for count, _ in enumerate(packet for packet in container.demux(stream) if packet.size)
            )
        except FFmpegError:
            return False


def _seconds(container: InputContainer) -> float | None:
    return container.duration / av.time_base if container.duration and container.duration > 0 else None
