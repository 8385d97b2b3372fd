"""Copy a container's other content into the film: timecode, attached files, cover image."""

import re
from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from fav.video.container import demux

TIMECODE = re.compile(r"(\d{2}):(\d{2}):(\d{2})([:;.])(\d{2,3})")
IMAGE_TYPES = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png"), "bmp": ("bmp", "image/bmp"),
            "gif": ("gif", "image/gif"), "webp": ("webp", "image/webp")}  # fmt: skip
MP4_COVERS = ("mjpeg", "png", "bmp")


class Extras:
    """The timecode, attachments and cover image that go from a source into a film.

    `notes` lists what was left out.

    Args:
        source: the opened source.
        film: opened for writing; its header is not written yet.
        video: the source's stream that was stylized.
        out: the film's video stream.
        handled: indexes of source streams that `Tracks` copies.
        start: number of the film's first frame in the source.
        rate: frames per second.
    """

    def __init__(
        self,
        source: InputContainer,
        film: OutputContainer,
        video: VideoStream,
        out: VideoStream,
        handled: set[int],
        start: int,
        rate: Fraction | None,
    ):
        self.notes: list[str] = []
        self._film, self._container, self._video = film, film.format.name, video
        self._covers: list[Packet] = []
        self._copy_timecode(source, video, out, start, rate)
        for stream in source.streams:
            if stream.index not in handled | {video.index}:
                self._copy_stream(stream)

    def packets(self) -> Iterator[Packet]:
        """The packets that must be muxed first."""
        yield from self._covers

    def _copy_timecode(
        self, source: InputContainer, video: VideoStream, out: VideoStream, start: int, rate: Fraction | None
    ) -> None:
        tags = video.metadata, source.metadata, *(stream.metadata for stream in source.streams.data)
        timecode = next((value for tag in tags for key, value in tag.items() if key.lower() == "timecode"), None)
        if timecode is None:
            return
        first = advanced(timecode, start, rate)
        if first is None:
            self.notes.append(f"left out: the timecode {timecode[:40]}, which does not fit the frame rate")
        else:
            out.metadata["timecode"] = first

    def _copy_stream(self, stream: Stream) -> None:
        if isinstance(stream, AttachmentStream):
            self._attach(stream)
        elif isinstance(stream, VideoStream) and stream.disposition & Disposition.attached_pic:
            self._cover(stream)
        elif isinstance(stream, VideoStream):
            self.notes.append(
                f"the film is made of the video in stream {self._video.index} ({_size(self._video)}); "
                f"left out: the video in stream {stream.index} ({_size(stream)})"
            )
        elif "timecode" not in stream.metadata:  # a timecode stream has the same timecode as the video stream
            self.notes.append(f"left out: data in stream {stream.index} ({stream.name or 'of unknown type'})")

    def _attach(self, stream: AttachmentStream) -> None:
        name = stream.metadata.get("filename") or f"attachment {stream.index}"
        if self._container == "matroska":
            self._film.add_attachment(name, stream.mimetype or "application/octet-stream", stream.data)
        else:
            self.notes.append(f"left out: the attached file {name[:80]}; {self._container} cannot have it, .mkv can")

    def _cover(self, stream: VideoStream) -> None:
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else None
        suffix, mime_type = IMAGE_TYPES.get(codec or "", ("", ""))
        image = _cover_image(stream) if suffix else None
        if image and self._container == "matroska":
            self._film.add_attachment(stream.metadata.get("filename") or f"cover.{suffix}", mime_type, bytes(image))
        elif image and self._container == "mp4" and codec in MP4_COVERS:
            out = self._film.add_stream_from_template(stream)
            out.disposition = Disposition.attached_pic
            image.pts = image.dts = 0
            image.stream = out
            self._covers.append(image)
        else:
            self.notes.append(f"left out: the cover in stream {stream.index}; {self._container} cannot have it")


def _size(stream: VideoStream) -> str:
    codec = stream.codec_context
    return f"{codec.width}x{codec.height}" if codec else "of unknown size"


def _cover_image(stream: VideoStream) -> Packet | None:
    """The image of a cover stream. The file is opened again, because the other container must stay at its beginning."""
    with av.open(stream.container.name, options=stream.container.options) as again:
        try:
            return next((packet for packet in demux(again, [again.streams[stream.index]]) if packet.size), None)
        except FFmpegError:
            return None


def advanced(timecode: str, frames: int, rate: Fraction | None) -> str | None:
    """Add a number of frames to a SMPTE timecode.

    Drop-frame timecodes skip the first two numbers (four at 60 frames per second) of each minute, except every tenth
    minute. Source: SMPTE ST 12-1.

    Args:
        timecode: HH:MM:SS:FF, or HH:MM:SS;FF for drop-frame.
        frames: to add.
        rate: frames per second.

    Returns:
        The later timecode; None if `timecode` is not valid at this rate.
    """
    match, whole = TIMECODE.fullmatch(timecode.strip()), round(rate) if rate else 0
    if not match or not 1 <= whole <= 120:
        return None
    hours, minutes, seconds, number = (int(match[part]) for part in (1, 2, 3, 5))
    drops = match[4] != ":"
    if hours > 23 or minutes > 59 or seconds > 59 or number >= whole or drops and whole % 30:
        return None
    skipped = whole // 15 if drops else 0
    whole_minutes = 60 * hours + minutes
    count = ((3600 * hours + 60 * minutes + seconds) * whole + number) - skipped * (whole_minutes - whole_minutes // 10)
    tens = 10 * 60 * whole - 9 * skipped
    count = (count + frames) % (144 * tens)  # a day has 144 times ten minutes
    ten, rest = divmod(count, tens)
    minute = 60 * whole - skipped
    extra = (rest - skipped) // minute if skipped and rest >= skipped else 0
    count += 9 * skipped * ten + skipped * extra
    seconds, number = divmod(count, whole)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{match[4]}{number:02}"
