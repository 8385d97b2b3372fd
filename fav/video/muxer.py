"""Put encoded segments and the source's other streams into a film: its times, sound, subtitles and chapters."""

import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet

from fav.video import spherical, spherical_matroska
from fav.video.codecs import EncoderSettings
from fav.video.container import open_video, video_stream
from fav.video.encoded import EncodedSegment
from fav.video.encoder import VideoEncoder, container_of, measured_delay
from fav.video.extras import Extras
from fav.video.image_comment import with_comment
from fav.video.image_output import first_number, image_notes, write_images
from fav.video.index import FrameIndex
from fav.video.probe import probe
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings
from fav.video.spherical import Sphere
from fav.video.tracks import Tracks

if TYPE_CHECKING:
    from av.container.core import Chapter

# Tags that muxers write; they are not copied from the source.
MUXER_TAGS = {"encoder", "major_brand", "minor_version", "compatible_brands", "timecode"}

# How each container is marked as a 360° video.
MARKS = {
    "mp4": spherical.mark,
    "mov": spherical.mark,
    "matroska": spherical_matroska.mark,
    "webm": spherical_matroska.mark,
}


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
        av.open(
            os.path.abspath(out), "w", format=container_of(name), container_options={"fflags": "+bitexact"}
        ) as film,
    ):
        shift = _start_time(container) if begin is None else begin
        encoder_stream = VideoEncoder(film, source, index, shape, encoder)  # encodes nothing; describes the packets
        stream = video_stream(container, video)
        tracks = Tracks(container, stream, film, begin, end, shift, trial)
        extras = Extras(container, film, stream, encoder_stream.stream, tracks.handled, start, source.rate)
        kept = {key: value for key, value in container.metadata.items() if key.lower() not in MUXER_TAGS | {"comment"}}
        text = _comment(container, comment, made_by)
        film.metadata.update(kept | ({"comment": text} if text is not None else {}))
        film.set_chapters(_chapters(container, begin, end))
        film.start_encoding()  # sets the muxer's time bases
        film.mux(list(extras.packets()))
        delay = measured_delay(encoder, source) if len(segments) > 1 else None
        timing = _PacketTimes(index, range(start, stop), round(shift / index.time_base), delay)
        for segment in segments:
            for packet in timing.packets(encoded(segment, encoder_stream.extradata)):
                for other in tracks.packets_until(timing.position, index.time_base):
                    tracks.mux(film, other)
                packet.stream = encoder_stream.stream
                film.mux_one(packet)
        for packet in tracks.packets_until(None):
            tracks.mux(film, packet)
    sphere = source.sphere or (Sphere() if settings.sphere else None)
    if sphere and not trial:
        MARKS[container_of(name)](out, sphere)
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
