"""Encode frames into packets. `encode_segment` encodes one segment of a film independently, on any node."""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.codec.codec import UnknownCodecError
from av.codec.context import Flags as CodecFlags
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from fav.errors import FavError, sanitize
from fav.video.codecs import CONTAINERS, DEFAULT, EncoderSettings
from fav.video.color import even_size, film_colors, frame_of
from fav.video.container import DEFAULT_FPS
from fav.video.encoded import EncodedPacket, EncodedSegment, decoding_delay
from fav.video.ffmpeg_log import ffmpeg_errors
from fav.video.image_output import image_bytes
from fav.video.index import FrameIndex
from fav.video.probe import VideoInfo, probe
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings

TRIAL_FRAMES = 3  # frames that a trial of the encoder encodes
DELAY_FRAMES = 32  # frames that show an encoder's decoding delay; no encoder reorders more than 16


def encode_segment(
    frames: Iterable[np.ndarray],
    segment: range,
    video: Path | str,
    index: FrameIndex,
    encoder: EncoderSettings,
    settings: SourceSettings = DEFAULT_SETTINGS,
    name: Path | str = "film.mp4",
    about: dict[str, str] | None = None,
) -> EncodedSegment:
    """Encode one segment of a film.

    The packets depend only on the frames, their times in the index, and the encoder's settings.

    Args:
        frames: (H, W, 3) uint8 or uint16 BGR.
        segment: numbers of the frames in the source.
        video: the source.
        index: of the source.
        encoder: of the film.
        settings: how to read the source.
        name: of the film, whose suffix decides the container.
        about: as in `EncodedSegment`.

    Raises:
        FavError: the number of frames differs from the segment's.
    """
    images = require_count(frames, len(segment), Path(name))
    first = next(images)
    packets: list[EncodedPacket] = []
    if encoder.is_images:
        for image, number in zip(chain([first], images), segment, strict=True):
            pts = int(index.pts[number])
            packets.append(EncodedPacket(pts, pts, image_bytes(image, encoder), True))
        return EncodedSegment(segment.start, segment.stop, tuple(packets), b"", about)
    with av.open(os.devnull, "w", format=container_of(name), container_options={"fflags": "+bitexact"}) as null_file:
        stream = VideoEncoder(null_file, probe(video, settings), index, first.shape[:2], encoder)
        null_file.start_encoding()
        for image, number in zip(chain([first], images), segment, strict=True):
            packets += stream.encode(image, int(index.pts[number]))
        packets += stream.flush()
        extradata = stream.extradata
    if sorted(packet.pts for packet in packets) != index.pts[segment.start : segment.stop].tolist():
        raise FavError(
            f"{name}: expected one packet for each of the frames {segment.start} to {segment.stop}, got others"
        )
    return EncodedSegment(segment.start, segment.stop, tuple(packets), extradata, about)


def check_encoder(encoder: EncoderSettings, name: Path | str, size: tuple[int, int]) -> None:
    """Raise FavError unless the encoder works on this machine, with frames of this size and the film's container."""
    height, width = even_size(size[1], size[0], encoder.pixel_format)
    messages: list[tuple[int, str, str]] = []
    try:
        with (
            ffmpeg_errors() as messages,
            av.open(os.devnull, "w", format=container_of(name)) as film,
        ):
            stream = _video_stream(film, encoder, Fraction(DEFAULT_FPS))
            stream.codec_context.height, stream.codec_context.width = height, width
            frame = av.VideoFrame(width, height, encoder.pixel_format)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            for frame.pts in range(TRIAL_FRAMES):
                film.mux(stream.encode(frame))
            film.mux(stream.encode(None))
    except (FFmpegError, OSError) as error:
        why = "; ".join(dict.fromkeys(line.strip() for _, _, line in messages))
        raise FavError(
            f"--codec {encoder.name}: expected an encoder that works on this machine, but {encoder.codec} refuses "
            f"frames of {width}x{height} in {encoder.pixel_format} ({error.strerror}{': ' if why else ''}"
            f"{sanitize(why, 300)}); use another --codec, such as {DEFAULT}"
        ) from error


def measured_delay(settings: EncoderSettings, source: VideoInfo) -> int:
    """The `decoding_delay` of an encoder, measured with a few frames."""
    image, packets = np.full((64, 64, 3), 128, np.uint8), []
    times = np.arange(DELAY_FRAMES)
    index = FrameIndex(times, np.ones_like(times), times == 0, times, Fraction(1, 25))
    with av.open(os.devnull, "w", format="matroska", container_options={"fflags": "+bitexact"}) as null_file:
        stream = VideoEncoder(null_file, source, index, image.shape[:2], settings)
        null_file.start_encoding()
        for pts in times:
            packets += stream.encode(image, int(pts))
        packets += stream.flush()
    return decoding_delay(packets)


class VideoEncoder:
    """The encoder and video stream of a film whose header is not written yet. It copies the source's color tags."""

    def __init__(
        self,
        film: OutputContainer,
        source: VideoInfo,
        index: FrameIndex,
        shape: tuple[int, ...],
        settings: EncoderSettings,
    ):
        stream = _video_stream(film, settings, source.rate or Fraction(DEFAULT_FPS))
        codec = stream.codec_context
        height, width = shape[:2]
        codec.height, codec.width = even_size(height, width, settings.pixel_format)
        codec.time_base, stream.time_base = index.time_base, index.time_base
        codec.sample_aspect_ratio = source.pixel_aspect
        colors = film_colors(source.colors, settings.pixel_format, settings.full_range)
        codec.colorspace, codec.color_range = colors.matrix, colors.range
        codec.color_primaries, codec.color_trc = colors.primaries, colors.transfer
        self.stream, self._shape, self._colors = stream, shape, colors
        self._pixel_format, self._even = settings.pixel_format, (codec.height, codec.width)
        self._reformatter = VideoReformatter()
        self._last: tuple[np.ndarray, av.VideoFrame] | None = None  # the last image and its frame

    @property
    def extradata(self) -> bytes:
        """The decoder's configuration. It is empty before encoding starts."""
        return bytes(self.stream.codec_context.extradata or b"")

    def encode(self, image: np.ndarray, pts: int) -> list[EncodedPacket]:
        """Encode an image (H, W, 3), shown at `pts` in units of the time base. Returns the packets that are ready."""
        if image.shape != (*self._shape, 3) or image.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"film: expected frames {(*self._shape, 3)} uint8 or uint16, got {image.shape} {image.dtype}"
            )
        frame = self._frame(image)
        frame.pts, frame.time_base = pts, self.stream.codec_context.time_base
        return _encoded_packets(self.stream.encode(frame))

    def _frame(self, image: np.ndarray) -> av.VideoFrame:
        """The image in the encoder's pixel format. A trial passes the same object again: it is converted only once."""
        if self._last is not None and self._last[0] is image:
            return self._last[1]
        bottom, right = (even - side for even, side in zip(self._even, image.shape))
        even = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        self._last = image, frame_of(even, self._colors, self._pixel_format, self._reformatter)
        return self._last[1]

    def flush(self) -> list[EncodedPacket]:
        """The remaining packets after the last image."""
        return _encoded_packets(self.stream.encode(None))


def _video_stream(film: OutputContainer, encoder: EncoderSettings, rate: Fraction) -> VideoStream:
    """Add a video stream to a film that is opened for writing. Raises FavError if FFmpeg lacks the encoder."""
    try:
        # PyAV's types know only for some encoders that the result is a VideoStream.
        stream = cast(VideoStream, film.add_stream(cast(Any, encoder.codec), rate=rate, options=dict(encoder.options)))
    except UnknownCodecError:
        raise FavError(
            f"--codec {encoder.name}: expected the encoder {encoder.codec}, but the FFmpeg of PyAV {av.__version__} on "
            f"this machine lacks it; install the version of PyAV that the other machines have"
        ) from None
    codec = stream.codec_context
    codec.pix_fmt = encoder.pixel_format
    codec.thread_count = encoder.threads  # with some encoders, the bytes depend on it
    codec.flags |= CodecFlags.bitexact
    if tag := encoder.tags.get(film.format.name):
        codec.codec_tag = tag
    return stream


def _encoded_packets(packets: list[Packet]) -> list[EncodedPacket]:
    encoded = []
    for packet in packets:
        if packet.pts is None or packet.dts is None:
            raise ValueError("encoder: expected packets with times, got one without")
        encoded.append(EncodedPacket(packet.pts, packet.dts, bytes(packet), packet.is_keyframe))
    return encoded


def require_count(frames: Iterable[np.ndarray], count: int, out: Path) -> Iterator[np.ndarray]:
    """Yield the frames; raise FavError if their number is not `count`."""
    number = 0
    for number, frame in enumerate(frames, 1):
        if number > count:
            raise FavError(f"{out}: expected {count} frames, got more")
        yield frame
    if number < count:
        raise FavError(f"{out}: expected {count} frames, got {number}")


def container_of(name: Path | str) -> str:
    """FFmpeg's name of the container that follows from a film's name."""
    return CONTAINERS[Path(name).suffix.lower()]
