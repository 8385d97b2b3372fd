"""Frames into a film with the source's times, sound, subtitles, chapters, pixel aspect and color tags.

A film is made in two steps: frames are encoded in segments (`encode_segment`), each by itself, anywhere; and the packets of all
segments are put into a container, with all else that the source has (`mux_film`). `write_film` does both.
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
from fav.video.settings import AS_IT_IS, SourceSettings
from fav.video.tracks import Tracks

if TYPE_CHECKING:
    from av.container.core import Chapter

MUXER_TAGS = {
    "encoder",
    "major_brand",
    "minor_version",
    "compatible_brands",
    "timecode",
}  # what a muxer says of its own file

TRIED_FRAMES = 3  # of the film's size, by its encoder
DELAY_FRAMES = 32  # that tell how far an encoder looks ahead; none reorders more than 16
MOST_BYTES = 2 << 30  # of a file that are read in a trial
MOST_IMAGES = 100  # of a numbered sequence, in a trial: their times are all alike


def check_film_name(name: Path | str, codec: str | None = None) -> None:
    """FavError unless the name ends as a film, or as images, that can be written; of a codec, as a film that may have it."""
    if is_image_output(str(name)):
        check_pattern(name)
        return
    suffix = Path(name).suffix
    if suffix.lower() not in CONTAINERS:
        raise FavError(
            f"{name}: expected the name of a film that ends in {', '.join(CONTAINERS)}, or numbered images such as "
            f"'dir/frame_%06d.png' ({', '.join(OUTPUTS)}), got {suffix or 'no ending'}"
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
    settings: SourceSettings = AS_IT_IS,
    name: Path | None = None,
    comment: str | None = None,
    made_by: str | None = None,
    segments: Sequence[range] | None = None,
    crf: int = 18,
) -> list[str]:
    """Write `frames`, (H, W, 3) BGR each, as the frames `[start, stop)` of `video` into `out`; notes for the user.

    Frames are uint8, or uint16 of which 65535 is white. The container follows from the name's ending. `name` is the film's, where
    `out` is not; a `comment` goes into the film in the place of the source's, `made_by` after the source's. `encoder` is H.264 in yuv420p of the quality `crf`
    where it is not given. Each of the `segments`, one after the other, is encoded by itself; None: all frames as one. The same
    input gives the same bytes, by encoders that are no hardware. Numbered images go into a tar, or into `out` where that is a
    directory. Frames are
    all of one size, which need not be the source's; an odd height or width, which the pixel format does not take, is made even
    by repeating the last row or column. An untagged color matrix is tagged with the one that is used.
    `stop` None means to the source's end, which the index reaches then. With `start` 0 and `stop` None the film
    has the times of the source (of MPEG streams, whose clock starts anywhere, from their beginning) and all its
    sound; else it begins at 0 and has the sound of its span, to a packet. Matroska counts milliseconds, and times
    are rounded to them. Raises FavError where the name does not fit, or where `frames` are fewer or more than the
    span has; OSError where the system does not take the bytes.
    """
    name, encoder = name or out, encoder or encoder_settings(crf=crf)
    check_film_name(name, encoder.name)
    end = len(index) if stop is None else stop
    pictures = _counted(frames, end - start, name)
    first = next(pictures, None)
    if first is None:
        raise FavError(f"{name}: expected frames, got none")
    pictures = chain([first], pictures)

    def encode(segment: range, extradata: bytes) -> EncodedSegment:
        made = encode_segment(islice(pictures, len(segment)), segment, video, index, encoder, settings, name)
        if segment.stop == end:
            next(pictures, None)  # it tells of frames that are too many
        return made

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
    settings: SourceSettings = AS_IT_IS,
    name: Path | str = "film.mp4",
    about: dict[str, str] | None = None,
) -> EncodedSegment:
    """Encode `frames`, (H, W, 3) uint8 or uint16 BGR each, as this segment of a film of `video` that is called `name`.

    The packets depend on the frames, their times in the index, and the encoder's settings alone. `about` goes into the segment.
    FavError where there are fewer or more frames than the segment has.
    """
    pictures = _counted(frames, len(segment), Path(name))
    first = next(pictures)
    packets: list[EncodedPacket] = []
    if encoder.is_images:
        for picture, number in zip(chain([first], pictures), segment, strict=True):
            pts = int(index.pts[number])
            packets.append(EncodedPacket(pts, pts, image_bytes(picture, encoder), True))
        return EncodedSegment(segment.start, segment.stop, tuple(packets), b"", about)
    with av.open(os.devnull, "w", format=_container(name), container_options={"fflags": "+bitexact"}) as nowhere:
        made = _Encoder(nowhere, probe(video, settings), index, first.shape[:2], encoder)
        nowhere.start_encoding()
        for picture, number in zip(chain([first], pictures), segment, strict=True):
            packets += made.encode(picture, int(index.pts[number]))
        packets += made.rest()
        extradata = made.extradata
    if sorted(packet.pts for packet in packets) != index.pts[segment.start : segment.stop].tolist():
        raise FavError(
            f"{name}: expected a packet for each of the frames {segment.start} to {segment.stop}, got others"
        )
    return EncodedSegment(segment.start, segment.stop, tuple(packets), extradata, about)


def check_film(
    video: Path | str,
    name: Path | str,
    *,
    start: int = 0,
    stop: int | None = None,
    settings: SourceSettings = AS_IT_IS,
    encoder: EncoderSettings | None = None,
    size: tuple[int, int] | None = None,
) -> list[str]:
    """Write the film of a video, but with small grey pictures and to nowhere; the notes that `write_film` would make.

    All sound, subtitles and times of the video go through the container that the name's ending tells. FavError where they do
    not, so that this is known before a frame is stylized. Nothing of the video is decoded but its first frame, and sound that
    must be encoded anew up to TRIED_S seconds. An hour of film takes some seconds. Of a file of more than MOST_BYTES, the rest
    is not read. The encoder makes some frames of `size`, (width, height), where that is given.
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
        index, whole = decoding.times(MOST_IMAGES, MOST_BYTES)
    start = min(start, max(len(index) - 1, 0))
    stop = stop if stop is not None and start < stop <= len(index) else None if whole else len(index)
    if not len(index):
        raise FavError(f"{video}: expected frames, got none")
    picture = np.full((16, 16, 3), 128, np.uint8)
    said: list[tuple[int, str, str]] = []

    def encode(segment: range, extradata: bytes) -> EncodedSegment:
        return encode_segment(repeat(picture, len(segment)), segment, video, index, trial, settings, name)

    try:
        with _words_of_ffmpeg() as said:
            return mux_film(
                os.devnull,
                video,
                index,
                encode,
                segments=[range(start, len(index) if stop is None else stop)],
                shape=picture.shape[:2],
                to_end=stop is None,
                encoder=trial,
                settings=settings,
                name=name,
                trial=True,
            )
    except FFmpegError as error:
        why = "; ".join(dict.fromkeys(line.strip() for _, _, line in said))
        others = ", ".join(sorted(CONTAINERS.keys() - {Path(name).suffix.lower()}))
        raise FavError(
            f"{video}: expected times, sound and subtitles that {Path(name).suffix} takes, got a refusal by FFmpeg "
            f"({error.strerror}{': ' if why else ''}{sanitize(why, 300)}); try a film of another kind ({others}), or make a "
            f"clean copy of the video first: ffmpeg -i {sanitize(video)} copy.mkv"
        ) from error


def _check_encoder(encoder: EncoderSettings, name: Path | str, size: tuple[int, int]) -> None:
    """FavError unless the encoder makes frames of a size, for a film of that name, on this machine."""
    height, width = even_size(size[1], size[0], encoder.pixel_format)
    said: list[tuple[int, str, str]] = []
    try:
        with (
            _words_of_ffmpeg() as said,
            av.open(os.devnull, "w", format=_container(name)) as film,
        ):
            stream = _video_stream(film, encoder, Fraction(DEFAULT_FPS))
            stream.codec_context.height, stream.codec_context.width = height, width
            frame = av.VideoFrame(width, height, encoder.pixel_format)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            for frame.pts in range(TRIED_FRAMES):
                film.mux(stream.encode(frame))
            film.mux(stream.encode(None))
    except (FFmpegError, OSError) as error:
        why = "; ".join(dict.fromkeys(line.strip() for _, _, line in said))
        raise FavError(
            f"--codec {encoder.name}: expected an encoder that works here, got a refusal of frames of {width}x{height} in "
            f"{encoder.pixel_format} by {encoder.codec} ({error.strerror}{': ' if why else ''}{sanitize(why, 300)}); take another "
            f"--codec, such as {DEFAULT}"
        ) from error


def _video_stream(film: OutputContainer, encoder: EncoderSettings, rate: Fraction) -> VideoStream:
    """A new stream of a film, opened for writing, by this encoder. FavError where FFmpeg has none."""
    try:
        # PyAV's types name the encoders of which they know that it gives a VideoStream.
        stream = cast(VideoStream, film.add_stream(cast(Any, encoder.codec), rate=rate, options=dict(encoder.options)))
    except UnknownCodecError:
        raise FavError(
            f"--codec {encoder.name}: expected an FFmpeg with the encoder {encoder.codec}, but that of PyAV {av.__version__} "
            f"here has none; install the version of PyAV that the other machines have"
        ) from None
    codec = stream.codec_context
    codec.pix_fmt = encoder.pixel_format
    codec.thread_count = encoder.threads  # part of what decides the bytes
    codec.flags |= CodecFlags.bitexact
    if tag := encoder.tags.get(film.format.name):
        codec.codec_tag = tag
    return stream


@contextmanager
def _words_of_ffmpeg() -> Iterator[list[tuple[int, str, str]]]:
    """What FFmpeg says of errors meanwhile, in this thread: level, who, line."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as said:
            yield said
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
    settings: SourceSettings = AS_IT_IS,
    name: Path | str,
    comment: str | None = None,
    made_by: str | None = None,
    trial: bool = False,
) -> list[str]:
    """Put encoded segments into a film, with all else of the source; notes for the user. Arguments and errors as for `write_film`.

    Args:
        out: The film's file.
        video: The source.
        index: Its frames.
        encoded: Gives each segment in turn, of which the decoder's configuration must be these bytes.
        segments: The frames of each, one after the other.
        shape: (height, width) of the frames.
        to_end: Whether the film goes on to the source's end, with all its sound.
        encoder: That of the segments.
        settings: How the source is read.
        name: The film's.
        comment: It goes into the film in the place of the source's.
        made_by: How the film is made; it goes into the film after the source's comment. Images have it where their format does.
        trial: Encode no more of the sound than needed.
    """
    source = probe(video, settings)
    start, stop = (segments[0].start, segments[-1].stop) if segments else (0, 0)
    if not 0 <= start < stop <= len(index):
        raise ValueError(f"{video}: expected a part of the {len(index)} frames that are indexed, got {start}:{stop}")
    if encoder.is_images:
        with open_video(video, settings) as given:
            said = _comment(given, comment, made_by)
        made_images = (
            (first_number(video) + number, with_comment(packet.data, said) if said else packet.data)
            for segment in segments
            for number, packet in zip(segment, encoded(segment, b"").packets, strict=True)
        )
        write_images(Path(out), name, made_images)
        return image_notes(video, settings)
    begin = None if to_end and start == 0 else index.pts[start] * index.time_base
    end = None if to_end else index.end(stop) * index.time_base
    with (
        open_video(video, settings) as given,
        av.open(os.path.abspath(out), "w", format=_container(name), container_options={"fflags": "+bitexact"}) as film,
    ):
        shift = _clock(given) if begin is None else begin
        made = _Encoder(
            film, source, index, shape, encoder
        )  # it encodes nothing, and tells the muxer what the packets are
        stream = video_stream(given, video)
        tracks = Tracks(given, stream, film, begin, end, shift, trial)
        extras = Extras(given, film, stream, made.stream, tracks.seen, start, source.rate)
        kept = {key: value for key, value in given.metadata.items() if key.lower() not in MUXER_TAGS | {"comment"}}
        said = _comment(given, comment, made_by)
        film.metadata.update(kept | ({"comment": said} if said is not None else {}))
        film.set_chapters(_chapters(given, begin, end))
        film.start_encoding()  # from here on the streams have the muxer's time bases
        film.mux(list(extras.packets()))
        delay = _delay(encoder, source) if len(segments) > 1 else None
        timing = _Timing(index, range(start, stop), round(shift / index.time_base), delay)
        for segment in segments:
            for packet in timing.timed(encoded(segment, made.extradata)):
                for other in tracks.packets_until(timing.reached):
                    film.mux_one(other)
                packet.stream = made.stream
                film.mux_one(packet)
        for packet in tracks.packets_until(None):
            film.mux_one(packet)
    return tracks.notes + extras.notes


def _comment(given: InputContainer, instead: str | None, made_by: str | None) -> str | None:
    """The film's comment: the source's, and after it how the film was made; or `instead`."""
    if instead is not None:
        return instead
    own = next((value for key, value in given.metadata.items() if key.lower() == "comment"), None)
    said = [text for text in (own, made_by) if text is not None]
    return "\n".join(said) if said else None


class _Timing:
    """The times of all packets of a film of these frames; it comes `shift` units of the index earlier.

    An encoder counts decoding times from the beginning of its segment. With several segments they are those that one encoder of
    all frames would give, by whose `delay` each frame is decoded before the place of its packet is shown.
    """

    def __init__(self, index: FrameIndex, frames: range, shift: int, delay: int | None):
        self._index, self._frames, self._shift, self._delay = index, frames, shift, delay
        self.reached = Fraction(0)  # seconds of the source: the time of the frame whose place the last packet has

    def timed(self, segment: EncodedSegment) -> Iterator[Packet]:
        """The packets of the next segment, ready to be muxed."""
        index = self._index
        for number, one in enumerate(segment.packets, segment.start):
            frame = index.frame_at(one.pts)
            if frame is None or not segment.start <= frame < segment.stop:
                raise ValueError(
                    f"film: expected packets of frames {segment.start} to {segment.stop}, got another time"
                )
            packet = Packet(one.data)
            packet.time_base, packet.is_keyframe = index.time_base, one.keyframe
            dts = self._decoded(number) if self._delay is not None else one.dts
            if dts > one.pts:
                raise ValueError(f"film: expected frame {frame} to be decoded before it is shown, got a later time")
            packet.pts, packet.dts = one.pts - self._shift, dts - self._shift
            packet.duration = index.end(frame + 1) - one.pts
            self.reached = int(index.pts[number]) * index.time_base
            yield packet

    def _decoded(self, place: int) -> int:
        """When the packet at the place of a frame is decoded, where all frames are in one stream."""
        pts, first, delay = self._index.pts, self._frames.start, self._delay or 0
        if place - delay >= first:
            return int(pts[place - delay])
        return int(pts[place] - (pts[min(first + delay, self._frames.stop - 1)] - pts[first]))


def _delay(settings: EncoderSettings, source: VideoInfo) -> int:
    """By how many frames decoding runs ahead with an encoder, as `decoding_delay` tells of some frames."""
    picture, packets = np.full((64, 64, 3), 128, np.uint8), []
    times = np.arange(DELAY_FRAMES)
    index = FrameIndex(times, np.ones_like(times), times == 0, times, Fraction(1, 25))
    with av.open(os.devnull, "w", format="matroska", container_options={"fflags": "+bitexact"}) as nowhere:
        made = _Encoder(nowhere, source, index, picture.shape[:2], settings)
        nowhere.start_encoding()
        for pts in times:
            packets += made.encode(picture, int(pts))
        packets += made.rest()
    return decoding_delay(packets)


class _Encoder:
    """The video stream of `film`, of which all is set but the header is not written."""

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
        self._same: tuple[np.ndarray, av.VideoFrame] | None = None

    @property
    def extradata(self) -> bytes:
        """The decoder's configuration, which is known once encoding has started."""
        return bytes(self.stream.codec_context.extradata or b"")

    def encode(self, picture: np.ndarray, pts: int) -> list[EncodedPacket]:
        """Packets that are ready after one more picture, shown at `pts`, in units of the time base."""
        if picture.shape != (*self._shape, 3) or picture.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"film: expected frames {(*self._shape, 3)} uint8 or uint16, got {picture.shape} {picture.dtype}"
            )
        frame = self._frame(picture)
        frame.pts, frame.time_base = pts, self.stream.codec_context.time_base
        return _kept(self.stream.encode(frame))

    def _frame(self, picture: np.ndarray) -> av.VideoFrame:
        """The picture as the encoder takes it; the same object twice, as in a trial, is converted once."""
        if self._same is not None and self._same[0] is picture:
            return self._same[1]
        down, across = (even - side for even, side in zip(self._even, picture.shape))
        even = cv2.copyMakeBorder(picture, 0, down, 0, across, cv2.BORDER_REPLICATE)
        self._same = picture, frame_of(even, self._colors, self._pixel_format, self._reformatter)
        return self._same[1]

    def rest(self) -> list[EncodedPacket]:
        """Packets that are left when there are no more pictures."""
        return _kept(self.stream.encode(None))


def _kept(packets: list[Packet]) -> list[EncodedPacket]:
    """What is kept of packets."""
    kept = []
    for packet in packets:
        if packet.pts is None or packet.dts is None:
            raise ValueError("encoder: expected packets with times, got one without")
        kept.append(EncodedPacket(packet.pts, packet.dts, bytes(packet), packet.is_keyframe))
    return kept


def _container(name: Path | str) -> str:
    """FFmpeg's name of a film's container."""
    return CONTAINERS[Path(name).suffix.lower()]


def _clock(given: InputContainer) -> Fraction:
    """The time at which a source begins whose clock runs from nowhere in particular (MPEG streams), in seconds; else 0."""
    if not given.format.flags & Flags.ts_discont.value:
        return Fraction(0)
    begins = [
        stream.start_time * stream.time_base
        for stream in (*given.streams.video, *given.streams.audio)
        if stream.start_time is not None and stream.time_base is not None
    ]
    return min(begins, default=Fraction(0))


def _counted(frames: Iterable[np.ndarray], count: int, out: Path) -> Iterator[np.ndarray]:
    """The frames; FavError when they end too early or go on."""
    number = 0
    for number, frame in enumerate(frames, 1):
        if number > count:
            raise FavError(f"{out}: expected {count} frames, got more")
        yield frame
    if number < count:
        raise FavError(f"{out}: expected {count} frames, got {number}")


def _chapters(given: InputContainer, begin: Fraction | None, end: Fraction | None) -> "list[Chapter]":
    """The source's chapters, those of the span from `begin` to `end` (seconds) where that is given."""
    chapters: list[Chapter] = []
    for chapter in given.chapters():
        first, last, unit = 0, chapter["end"], chapter["time_base"]
        if begin is not None and unit is not None:
            first = round(begin / unit)
        if end is not None and unit is not None:
            last = min(last, round(end / unit))
        if chapter["start"] < last and chapter["end"] > first:
            chapters.append({**chapter, "start": max(chapter["start"], first) - first, "end": last - first})
    return chapters
