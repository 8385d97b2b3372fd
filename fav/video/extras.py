"""What a container has besides pictures, sound and subtitles: timecode, attached files, a cover, other streams."""

import re
from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

TIMECODE = re.compile(r"(\d{2}):(\d{2}):(\d{2})([:;.])(\d{2,3})")
PICTURES = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png"), "bmp": ("bmp", "image/bmp"),
            "gif": ("gif", "image/gif"), "webp": ("webp", "image/webp")}  # fmt: skip
MP4_COVERS = ("mjpeg", "png", "bmp")


class Extras:
    """What else of `given` goes into `film`, opened for writing and without a header yet; `notes` says what does not.

    `video` is the stream that the film is made of; the streams in `taken` are someone else's. The film begins at frame
    `start` and has `rate` frames a second.
    """

    def __init__(
        self,
        given: InputContainer,
        film: OutputContainer,
        video: VideoStream,
        out: VideoStream,
        taken: set[int],
        start: int,
        rate: Fraction | None,
    ):
        self.notes: list[str] = []
        self._film, self._container, self._video = film, film.format.name, video
        self._covers: list[Packet] = []
        self._timecode(given, video, out, start, rate)
        for stream in given.streams:
            if stream.index not in taken | {video.index}:
                self._take(stream)

    def packets(self) -> Iterator[Packet]:
        """What is to be muxed before anything else."""
        yield from self._covers

    def _timecode(
        self, given: InputContainer, video: VideoStream, out: VideoStream, start: int, rate: Fraction | None
    ) -> None:
        places = video.metadata, given.metadata, *(stream.metadata for stream in given.streams.data)
        told = next((word for place in places for key, word in place.items() if key.lower() == "timecode"), None)
        if told is None:
            return
        code = advanced(told, start, rate)
        if code is None:
            self.notes.append(f"the timecode {told[:40]} does not fit the frame rate, left out")
        else:
            out.metadata["timecode"] = code

    def _take(self, stream: Stream) -> None:
        if isinstance(stream, AttachmentStream):
            self._attach(stream)
        elif isinstance(stream, VideoStream) and stream.disposition & Disposition.attached_pic:
            self._cover(stream)
        elif isinstance(stream, VideoStream):
            self.notes.append(
                f"the film is made of the video in stream {self._video.index} ({_size(self._video)}); that in stream "
                f"{stream.index} ({_size(stream)}) is left out"
            )
        elif "timecode" not in stream.metadata:  # which is the video's as well
            self.notes.append(f"data in stream {stream.index} ({stream.name or 'of unknown kind'}) left out")

    def _attach(self, stream: AttachmentStream) -> None:
        name = stream.metadata.get("filename") or f"attachment {stream.index}"
        if self._container == "matroska":
            self._film.add_attachment(name, stream.mimetype or "application/octet-stream", stream.data)
        else:
            self.notes.append(f"attached file {name[:80]} cannot go into {self._container}, left out; .mkv keeps it")

    def _cover(self, stream: VideoStream) -> None:
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else None
        suffix, kind = PICTURES.get(codec or "", ("", ""))
        picture = _picture(stream) if suffix else None
        if picture and self._container == "matroska":
            self._film.add_attachment(stream.metadata.get("filename") or f"cover.{suffix}", kind, bytes(picture))
        elif picture and self._container == "mp4" and codec in MP4_COVERS:
            out = self._film.add_stream_from_template(stream)
            out.disposition = Disposition.attached_pic
            picture.pts = picture.dts = 0
            picture.stream = out
            self._covers.append(picture)
        else:
            self.notes.append(f"the cover in stream {stream.index} cannot go into {self._container}, left out")


def _size(stream: VideoStream) -> str:
    codec = stream.codec_context
    return f"{codec.width}x{codec.height}" if codec else "of unknown size"


def _picture(stream: VideoStream) -> Packet | None:
    """The picture of a cover; from a container of its own, since the other one is read from its beginning."""
    with av.open(stream.container.name, options=stream.container.options) as again:
        try:
            return next((packet for packet in again.demux(again.streams[stream.index]) if packet.size), None)
        except FFmpegError:
            return None


def advanced(timecode: str, frames: int, rate: Fraction | None) -> str | None:
    """The timecode (HH:MM:SS:FF, `;` where frames are dropped) so many frames later; None if the rate cannot have it.

    Dropped are the first two numbers (four at 60 frames) of each minute but every tenth, as SMPTE ST 12-1 says.
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
    count = (count + frames) % (144 * tens)  # of a day
    ten, rest = divmod(count, tens)
    minute = 60 * whole - skipped
    extra = (rest - skipped) // minute if skipped and rest >= skipped else 0
    count += 9 * skipped * ten + skipped * extra
    seconds, number = divmod(count, whole)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{match[4]}{number:02}"
