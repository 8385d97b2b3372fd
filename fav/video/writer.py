"""Write frames into a film with the source's times, sound, subtitles, chapters, pixel aspect and color tags.

There are two steps. `encode_segment` encodes each segment of frames independently, on any node. `mux_film` puts the
packets of all segments into a container, together with the other streams of the source. `write_film` does both.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
import av.logging
import cv2
import numpy as np
from av.codec.codec import UnknownCodecError
from av.codec.context import Flags as CodecFlags
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.format import Flags
from av.packet import Packet
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from fav.errors import FavError, sanitize
from fav.util.image_sequence import OUTPUTS, check_pattern, is_image_output
from fav.video import spherical, spherical_matroska
from fav.video.codecs import CONTAINERS, DEFAULT, EncoderSettings, check_container, encoder_settings, trial_settings
from fav.video.color import even_size, film_colors, frame_of
from fav.video.container import DEFAULT_FPS, open_video, video_stream
from fav.video.decoding import Decoder
from fav.video.encoded import EncodedPacket, EncodedSegment, decoding_delay
from fav.video.extras import Extras
from fav.video.image_comment import with_comment
from fav.video.image_output import first_number, image_bytes, image_notes, write_images
from fav.video.index import FrameIndex
from fav.video.probe import VideoInfo, probe
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings
from fav.video.spherical import Sphere
from fav.video.tracks import Tracks

if TYPE_CHECKING:
    from av.container.core import Chapter

MUXER_TAGS = {
    "encoder",
    "major_brand",
    "minor_version",
    "compatible_brands",
    "timecode",
}  # written by muxers; not copied from the source

MARKS = {
    "mp4": spherical.mark,
    "mov": spherical.mark,
    "matroska": spherical_matroska.mark,
    "webm": spherical_matroska.mark,
}  # how each container is marked as a 360° video

TRIAL_FRAMES = 3  # frames that a trial of the encoder encodes
DELAY_FRAMES = 32  # frames that show an encoder's decoding delay; no encoder reorders more than 16
MAX_TRIAL_BYTES = 2 << 30  # bytes of a file that a trial reads
MAX_TRIAL_IMAGES = 100  # images of a numbered sequence that a trial reads; their times are regular


def check_film_name(name: Path | str, codec: str | None = None) -> None:
    """Check the name of a film or of numbered images.

    Args:
        name: of the film, or a pattern such as `dir/frame_%06d.png`.
        codec: the container that follows from the name must support it; None: any.

    Raises:
        FavError: the name's suffix is unknown, or does not fit the codec.
    """
    if is_image_output(str(name)):
        check_pattern(name)
        return
    suffix = Path(name).suffix
    if suffix.lower() not in CONTAINERS:
        raise FavError(
            f"{name}: expected the name of a film that ends in {', '.join(CONTAINERS)}, or numbered images such as "
            f"'dir/frame_%06d.png' ({', '.join(OUTPUTS)}), got {suffix or 'no suffix'}"
        )
    if codec is not None:
        check_container(codec, name)


def write_film(
    out: Path,
    video: Path | str,
    index: FrameIndex,
    frames: Iterable[np.ndarray],
    *,
    start: int = 0,
    stop: int | None = None,
    encoder: EncoderSettings | None = None,
    settings: SourceSettings = DEFAULT_SETTINGS,
    name: Path | None = None,
    comment: str | None = None,
    made_by: str | None = None,
    segments: Sequence[range] | None = None,
    crf: int = 18,
) -> list[str]:
    """Encode frames and write them into a film, with the other streams of the source.

    A film of the whole source (`start` 0, `stop` None) has its times and all its sound. Times of MPEG streams may start
    anywhere; they are counted from the first one. A film of a part begins at time 0 and has the sound packets of this
    part. Matroska rounds times to milliseconds. An untagged color matrix is tagged with the one that is used. Software
    encoders give the same bytes for the same input.

    Args:
        out: the file to write. For numbered images, an existing directory, or the path of a tar archive.
        video: the source.
        index: of the source; complete if `stop` is None.
        frames: (H, W, 3) BGR, uint8 or uint16, where 65535 is white. All have one size, which may differ from the
            source's. If the pixel format needs an even height or width, the last row or column is repeated.
        start: number of the first frame in the source.
        stop: one past the number of the last frame; None: to the source's end.
        encoder: None: H.264 in yuv420p.
        settings: how to read the source.
        name: of the film, whose suffix decides the container; None: `out`.
        comment: replaces the source's comment.
        segments: consecutive ranges of frames that are encoded independently; None: all frames are one segment.
        crf: quality of the default encoder.
        made_by: how the film is made; it follows the source's comment.

    Returns:
        Notes for the user.

    Raises:
        FavError: the name does not fit, or the number of frames differs from the expected one.
        OSError: the file cannot be written.
    """
    name, encoder = name or out, encoder or encoder_settings(crf=crf)
    check_film_name(name, encoder.name)
    end = len(index) if stop is None else stop
    images = _counted(frames, end - start, name)
    first = next(images, None)
    if first is None:
        raise FavError(f"{name}: expected frames, got none")
    images = chain([first], images)

    def encode(segment: range, extradata: bytes) -> EncodedSegment:
        encoded = encode_segment(islice(images, len(segment)), segment, video, index, encoder, settings, name)
        if segment.stop == end:
            next(images, None)  # raises FavError if there are too many frames
        return encoded

    return mux_film(
        out,
        video,
        index,
        encode,
        segments=[range(start, end)] if segments is None else segments,
        shape=first.shape[:2],
        to_end=stop is None,
        encoder=encoder,
        settings=settings,
        name=name,
        comment=comment,
        made_by=made_by,
    )


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
    images = _counted(frames, len(segment), Path(name))
    first = next(images)
    packets: list[EncodedPacket] = []
    if encoder.is_images:
        for image, number in zip(chain([first], images), segment, strict=True):
            pts = int(index.pts[number])
            packets.append(EncodedPacket(pts, pts, image_bytes(image, encoder), True))
        return EncodedSegment(segment.start, segment.stop, tuple(packets), b"", about)
    with av.open(os.devnull, "w", format=_container(name), container_options={"fflags": "+bitexact"}) as null_file:
        stream = _VideoEncoder(null_file, probe(video, settings), index, first.shape[:2], encoder)
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


def check_film(
    video: Path | str,
    name: Path | str,
    *,
    start: int = 0,
    stop: int | None = None,
    settings: SourceSettings = DEFAULT_SETTINGS,
    encoder: EncoderSettings | None = None,
    size: tuple[int, int] | None = None,
) -> list[str]:
    """Check that a film of a video can be written, before any frame is stylized.

    A trial film is written to the null device, with small gray frames, and all sound, subtitles and times of the video.
    Only the first frame of the video is decoded, and the first seconds of sound that must be re-encoded. At most
    MAX_TRIAL_BYTES of a file are read. An hour of video takes some seconds.

    Args:
        video: the source.
        name: of the film, whose suffix decides the container.
        start: number of the first frame.
        stop: one past the number of the last frame; None: to the end.
        settings: how to read the video.
        encoder: of the film; None: H.264.
        size: (width, height) of frames that the encoder must support; None: it is not checked.

    Returns:
        The notes that `write_film` would return.

    Raises:
        FavError: the film cannot be written.
    """
    encoder = encoder or encoder_settings()
    check_film_name(name, encoder.name)
    if encoder.is_images:
        if size is not None:
            image_bytes(np.zeros((size[1], size[0], 3), np.uint16 if encoder.bits > 8 else np.uint8), encoder)
        return image_notes(video, settings)
    if size is not None:
        _check_encoder(encoder, name, size)
    trial = trial_settings(encoder.name)
    with Decoder(video, settings) as decoding:
        index, complete = decoding.times(MAX_TRIAL_IMAGES, MAX_TRIAL_BYTES)
    start = min(start, max(len(index) - 1, 0))
    stop = stop if stop is not None and start < stop <= len(index) else None if complete else len(index)
    if not len(index):
        raise FavError(f"{video}: expected frames, got none")
    image = np.full((16, 16, 3), 128, np.uint8)
    messages: list[tuple[int, str, str]] = []

    def encode(segment: range, extradata: bytes) -> EncodedSegment:
        return encode_segment(repeat(image, len(segment)), segment, video, index, trial, settings, name)

    try:
        with _ffmpeg_errors() as messages:
            return mux_film(
                os.devnull,
                video,
                index,
                encode,
                segments=[range(start, len(index) if stop is None else stop)],
                shape=image.shape[:2],
                to_end=stop is None,
                encoder=trial,
                settings=settings,
                name=name,
                trial=True,
            )
    except FFmpegError as error:
        why = "; ".join(dict.fromkeys(line.strip() for _, _, line in messages))
        others = ", ".join(sorted(CONTAINERS.keys() - {Path(name).suffix.lower()}))
        raise FavError(
            f"{video}: expected times, sound and subtitles that {Path(name).suffix} supports, got an error of FFmpeg "
            f"({error.strerror}{': ' if why else ''}{sanitize(why, 300)}); try another container ({others}), or make a "
            f"clean copy of the video first: ffmpeg -i {sanitize(video)} copy.mkv"
        ) from error


def _check_encoder(encoder: EncoderSettings, name: Path | str, size: tuple[int, int]) -> None:
    """Raise FavError unless the encoder works on this machine, with frames of this size and the film's container."""
    height, width = even_size(size[1], size[0], encoder.pixel_format)
    messages: list[tuple[int, str, str]] = []
    try:
        with (
            _ffmpeg_errors() as messages,
            av.open(os.devnull, "w", format=_container(name)) as film,
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


@contextmanager
def _ffmpeg_errors() -> Iterator[list[tuple[int, str, str]]]:
    """Capture the error messages of FFmpeg in this thread, as (level, name, line)."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as messages:
            yield messages
    finally:
        av.logging.set_level(before)


def mux_film(
    out: Path | str,
    video: Path | str,
    index: FrameIndex,
    encoded: Callable[[range, bytes], EncodedSegment],
    *,
    segments: Sequence[range],
    shape: tuple[int, ...],
    to_end: bool,
    encoder: EncoderSettings,
    settings: SourceSettings = DEFAULT_SETTINGS,
    name: Path | str,
    comment: str | None = None,
    made_by: str | None = None,
    trial: bool = False,
) -> list[str]:
    """Put encoded segments and the other streams of the source into a film.

    Args:
        out: the file to write, as for `write_film`.
        video: the source.
        index: of the source.
        encoded: returns a segment, given its frames and the decoder's configuration that it must have.
        segments: consecutive ranges of frames.
        shape: (height, width) of the frames.
        to_end: whether the film ends with the source and has all its sound.
        encoder: of the segments.
        settings: how to read the source.
        name: of the film, whose suffix decides the container.
        comment: replaces the source's comment.
        made_by: how the film is made; it follows the source's comment. Images have it if their format can.
        trial: re-encode only the first seconds of sound.

    Returns:
        Notes for the user.

    Raises:
        FavError, OSError: as for `write_film`.
    """
    source = probe(video, settings)
    start, stop = (segments[0].start, segments[-1].stop) if segments else (0, 0)
    if not 0 <= start < stop <= len(index):
        raise ValueError(f"{video}: expected a part of the {len(index)} indexed frames, got {start}:{stop}")
    if encoder.is_images:
        with open_video(video, settings) as container:
            text = _comment(container, comment, made_by)
        images = (
            (first_number(video) + number, with_comment(packet.data, text) if text else packet.data)
            for segment in segments
            for number, packet in zip(segment, encoded(segment, b"").packets, strict=True)
        )
        write_images(Path(out), name, images)
        return image_notes(video, settings)
    begin = None if to_end and start == 0 else index.pts[start] * index.time_base
    end = None if to_end else index.end(stop) * index.time_base
    with (
        open_video(video, settings) as container,
        av.open(os.path.abspath(out), "w", format=_container(name), container_options={"fflags": "+bitexact"}) as film,
    ):
        shift = _start_time(container) if begin is None else begin
        encoder_stream = _VideoEncoder(film, source, index, shape, encoder)  # encodes nothing; describes the packets
        stream = video_stream(container, video)
        tracks = Tracks(container, stream, film, begin, end, shift, trial)
        extras = Extras(container, film, stream, encoder_stream.stream, tracks.handled, start, source.rate)
        kept = {key: value for key, value in container.metadata.items() if key.lower() not in MUXER_TAGS | {"comment"}}
        text = _comment(container, comment, made_by)
        film.metadata.update(kept | ({"comment": text} if text is not None else {}))
        film.set_chapters(_chapters(container, begin, end))
        film.start_encoding()  # sets the muxer's time bases
        film.mux(list(extras.packets()))
        delay = _measured_delay(encoder, source) if len(segments) > 1 else None
        timing = _PacketTimes(index, range(start, stop), round(shift / index.time_base), delay)
        for segment in segments:
            for packet in timing.packets(encoded(segment, encoder_stream.extradata)):
                for other in tracks.packets_until(timing.position, index.time_base):
                    film.mux_one(other)
                packet.stream = encoder_stream.stream
                film.mux_one(packet)
        for packet in tracks.packets_until(None):
            film.mux_one(packet)
    sphere = source.sphere or (Sphere() if settings.sphere else None)
    if sphere and not trial:
        MARKS[_container(name)](out, sphere)
    return tracks.notes + extras.notes


def _comment(source: InputContainer, comment: str | None, made_by: str | None) -> str | None:
    """The film's comment: `comment`, or the source's own comment and then how the film was made."""
    if comment is not None:
        return comment
    own = next((value for key, value in source.metadata.items() if key.lower() == "comment"), None)
    texts = [text for text in (own, made_by) if text is not None]
    return "\n".join(texts) if texts else None


class _PacketTimes:
    """Sets the times of all video packets of a film.

    An encoder counts decoding times from the beginning of its segment. With several segments, decoding times are
    computed as one encoder of all frames would set them.

    Args:
        index: of the source.
        frames: of the film.
        shift: subtracted from all times, in units of the index's time base.
        delay: of the encoder, as for `decoding_delay`; None keeps the decoding times of the only segment.
    """

    def __init__(self, index: FrameIndex, frames: range, shift: int, delay: int | None):
        self._index, self._frames, self._shift, self._delay = index, frames, shift, delay
        self.position = 0  # of the last packet in the source, in units of the index's time base

    def packets(self, segment: EncodedSegment) -> Iterator[Packet]:
        """Yield the packets of the next segment, ready to be muxed."""
        index = self._index
        for number, encoded in enumerate(segment.packets, segment.start):
            frame = index.frame_at(encoded.pts)
            if frame is None or not segment.start <= frame < segment.stop:
                raise ValueError(
                    f"film: expected packets of frames {segment.start} to {segment.stop}, got another time"
                )
            packet = Packet(encoded.data)
            packet.time_base, packet.is_keyframe = index.time_base, encoded.keyframe
            dts = self._decoding_time(number) if self._delay is not None else encoded.dts
            if dts > encoded.pts:
                raise ValueError(f"film: expected frame {frame} to be decoded before it is shown, got a later time")
            packet.pts, packet.dts = encoded.pts - self._shift, dts - self._shift
            packet.duration = index.end(frame + 1) - encoded.pts
            self.position = int(index.pts[number])
            yield packet

    def _decoding_time(self, position: int) -> int:
        """The decoding time of the packet at a position of the stream (a frame number, in decoding order)."""
        pts, first, delay = self._index.pts, self._frames.start, self._delay or 0
        if position - delay >= first:
            return int(pts[position - delay])
        return int(pts[position] - (pts[min(first + delay, self._frames.stop - 1)] - pts[first]))


def _measured_delay(settings: EncoderSettings, source: VideoInfo) -> int:
    """The `decoding_delay` of an encoder, measured with a few frames."""
    image, packets = np.full((64, 64, 3), 128, np.uint8), []
    times = np.arange(DELAY_FRAMES)
    index = FrameIndex(times, np.ones_like(times), times == 0, times, Fraction(1, 25))
    with av.open(os.devnull, "w", format="matroska", container_options={"fflags": "+bitexact"}) as null_file:
        stream = _VideoEncoder(null_file, source, index, image.shape[:2], settings)
        null_file.start_encoding()
        for pts in times:
            packets += stream.encode(image, int(pts))
        packets += stream.flush()
    return decoding_delay(packets)


class _VideoEncoder:
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


def _encoded_packets(packets: list[Packet]) -> list[EncodedPacket]:
    encoded = []
    for packet in packets:
        if packet.pts is None or packet.dts is None:
            raise ValueError("encoder: expected packets with times, got one without")
        encoded.append(EncodedPacket(packet.pts, packet.dts, bytes(packet), packet.is_keyframe))
    return encoded


def _container(name: Path | str) -> str:
    """FFmpeg's name of the container that follows from a film's name."""
    return CONTAINERS[Path(name).suffix.lower()]


def _start_time(source: InputContainer) -> Fraction:
    """The first time of an MPEG stream, in seconds. For other containers, whose times start at 0, it is 0."""
    if not source.format.flags & Flags.ts_discont.value:
        return Fraction(0)
    times = [
        stream.start_time * stream.time_base
        for stream in (*source.streams.video, *source.streams.audio)
        if stream.start_time is not None and stream.time_base is not None
    ]
    return min(times, default=Fraction(0))


def _counted(frames: Iterable[np.ndarray], count: int, out: Path) -> Iterator[np.ndarray]:
    """Yield the frames; raise FavError if their number is not `count`."""
    number = 0
    for number, frame in enumerate(frames, 1):
        if number > count:
            raise FavError(f"{out}: expected {count} frames, got more")
        yield frame
    if number < count:
        raise FavError(f"{out}: expected {count} frames, got {number}")


def _chapters(source: InputContainer, begin: Fraction | None, end: Fraction | None) -> "list[Chapter]":
    """The source's chapters between `begin` and `end` (seconds; None: no limit)."""
    chapters: list[Chapter] = []
    for chapter in source.chapters():
        first, last, unit = 0, chapter["end"], chapter["time_base"]
        if begin is not None and unit is not None:
            first = round(begin / unit)
        if end is not None and unit is not None:
            last = min(last, round(end / unit))
        if chapter["start"] < last and chapter["end"] > first:
            chapters.append({**chapter, "start": max(chapter["start"], first) - first, "end": last - first})
    return chapters
