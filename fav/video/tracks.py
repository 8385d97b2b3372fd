"""Sound and subtitles on their way from the source into the film, as they are where its container takes them."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Generic, Literal, TypeVar

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.format import Flags
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from fav.video.clock import Clock, timed_streams

# MP4 could also hold PCM and Vorbis, which few players (and no FFmpeg before 6) read there; FFmpeg itself says
# of MOV that it takes Opus and FLAC, and then does not.
SOUND = {
    "mp4": ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac", "pcm_"),
    "matroska": ("",),
    "webm": ("opus", "vorbis"),
}  # how the names begin of codecs that are copied
TEXT = {"subrip", "ass", "ssa", "webvtt", "text", "mov_text"}
SUBTITLES = {"webm": "webvtt"}  # FFmpeg finds out when it writes the header; of the others it knows before
TEXT_ENCODER: dict[str, Literal["mov_text", "subrip", "webvtt"]] = {
    "mp4": "mov_text",
    "mov": "mov_text",
    "matroska": "subrip",
    "webm": "webvtt",
}
AAC_RATES = {96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000}
AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
AAC_BITS_PER_CHANNEL = 96_000
TRIED_S = 5  # of sound that must be encoded, in a trial

AnyStream = TypeVar("AnyStream", bound=Stream)


class Tracks:
    """All sound and subtitle streams of `given` that go into `film`, opened for writing and without a header yet.

    `video` is the stream that the film is made of, by which the jumps of the clock are told.
    The part of the source from `begin` to `end` is taken (None: from its beginning, to its end) and comes `shift`
    earlier, all in seconds. As a `trial`, of sound that must be encoded only the first seconds are. `notes` says in a line
    each what was left out or encoded anew, `seen` are the streams of which that holds.
    """

    def __init__(
        self,
        given: InputContainer,
        video: Stream,
        film: OutputContainer,
        begin: Fraction | None,
        end: Fraction | None,
        shift: Fraction,
        trial: bool = False,
    ):
        self.notes: list[str] = []
        self._tracks: dict[int, _Copied[Any]] = {}
        self._clock = Clock(given)
        self.seen = {stream.index for stream in (*given.streams.audio, *given.streams.subtitles)}
        for stream in (*given.streams.audio, *given.streams.subtitles):
            if track := self._track(stream, film):
                track.begin, track.end, track.shift = begin, end, shift
                track.limit = TRIED_S if trial else None
                self._tracks[stream.index] = track
        self._enough = end + TRIED_S if trial and end is not None else None
        streams = [given.streams[index] for index in self._tracks]
        timed = timed_streams(given, video) if self._clock.jumps and streams else []
        self._timed = {stream.index for stream in timed}
        self._packets = self._read(given, [*streams, *(stream for stream in timed if stream not in streams)])
        self._next = next(self._packets, None)

    def packets_until(self, seconds: Fraction | None) -> Iterator[Packet]:
        """The packets, ready to be muxed, that come before a time of the source; None for all that are left."""
        while self._next and (seconds is None or _dts(self._next) * self._next.time_base < seconds):
            yield from self._tracks[self._next.stream_index].take(self._next)
            self._next = next(self._packets, None)
        if seconds is None:
            for track in self._tracks.values():
                yield from track.finish()
                if track.left_out:
                    self.notes.append(
                        f"sound in stream {track.source}: {float(track.left_out):.3f} s overlap what comes before, left out"
                    )

    def _read(self, given: InputContainer, streams: list[Stream]) -> Iterator[Packet]:
        try:
            for packet in given.demux(streams) if streams else ():
                if packet.size and packet.dts is not None:
                    self._clock.correct(packet, packet.stream_index in self._timed)
                    if self._enough is not None and packet.dts * packet.time_base > self._enough:
                        return
                    if packet.stream_index in self._tracks:
                        yield packet
        except FFmpegError as error:
            self.notes.append(f"{given.name}: sound or subtitles end early ({error.strerror})")

    def _track(self, stream: AudioStream | SubtitleStream, film: OutputContainer) -> "_Copied[Any] | None":
        container, codec = film.format.name, codec_name(stream)
        what = f"{'sound' if stream.type == 'audio' else 'subtitles'} in stream {stream.index} ({codec or 'unknown codec'})"
        track: _Copied[Any] | None = None
        fate = f"cannot go into {container}, left out"
        try:
            if codec and codec.startswith(SOUND[container] if stream.type == "audio" else SUBTITLES.get(container, "")):
                track = _Copied(stream, film.add_stream_from_template(stream))
        except ValueError:  # the container does not take it
            pass
        if not track and codec and isinstance(stream, AudioStream):
            track = _Sound(stream, film)
            fate = f"cannot go into {container} as it is, encoded anew as {'Opus' if container == 'webm' else 'AAC'}"
        elif not track and codec in TEXT and isinstance(stream, SubtitleStream):
            encoder = TEXT_ENCODER[container]
            track, fate = _Text(stream, film.add_stream(encoder)), ""
        if not track or isinstance(track, _Sound):
            self.notes.append(f"{what} {fate}")
        if track:
            track.out.disposition = stream.disposition
            track.out.metadata.update(
                {key: stream.metadata[key] for key in ("language", "title") if key in stream.metadata}
            )
        return track


class _Copied(Generic[AnyStream]):
    """A stream whose packets go into the film as they are."""

    begin: Fraction | None = None
    end: Fraction | None = None
    shift = Fraction(0)
    limit: int | None = None  # seconds of sound to encode, None for all

    def __init__(self, stream: AnyStream, out: AnyStream):
        self.out, self.source, self._stream = out, stream.index, stream
        self._last: int | None = None
        # A muxer that wants times to ascend wants it of its own units, which may be coarser than the source's.
        self._strict = not out.container.format.flags & Flags.ts_nonstrict.value
        self.left_out = Fraction(0)  # seconds of sound that overlap what comes before
        self._newest, self._length, self._trimming = None, 0, False
        self._written: int | None = None  # the last time in the film's units, where it matters
        # Matroska has no times before 0: a packet there, an encoder's delay, would move all others.
        self._first = -(2**62) if out.container.format.name not in ("matroska", "webm") else 0

    def take(self, packet: Packet) -> Iterator[Packet]:
        pts = _dts(packet) if packet.pts is None else packet.pts
        if self._overlaps(packet):
            return
        if self._stream.type == "subtitle" and packet.duration:
            pts = self._clip(packet, pts)
        if self._in_span(pts, packet.time_base):
            self._shift(packet, pts)
            if packet.pts is None or packet.pts + (packet.duration or 1) > self._first:
                yield packet

    def finish(self) -> Iterator[Packet]:
        return iter(())

    def _overlaps(self, packet: Packet) -> bool:
        """Whether a packet of sound is left out: its clock went back, and the sound of that time is there already."""
        if self._stream.type != "audio":
            return False
        if self._newest is not None:
            until = self._newest + (self._length // 2 if self._trimming else 0)
            self._trimming = _dts(packet) < until
            if self._trimming:
                self.left_out += (packet.duration or 0) * packet.time_base
                return True
        self._newest, self._length = packet.dts, packet.duration or 0
        return False

    def _in_span(self, pts: int, time_base: Fraction) -> bool:
        time = pts * time_base
        return (self.begin is None or self.begin <= time) and (self.end is None or time < self.end)

    def _clip(self, packet: Packet, pts: int) -> int:
        """Cut a line of text to the span, in which it may be on screen from the beginning; its new time."""
        first, last = pts, pts + (packet.duration or 0)
        if self.begin is not None and last * packet.time_base > self.begin:
            first = max(first, math.ceil(self.begin / packet.time_base))
        if self.end is not None:
            last = min(last, math.floor(self.end / packet.time_base))
        if first < last:
            packet.dts, packet.duration = _dts(packet) + first - pts, last - first
            return first
        return pts

    def _shift(self, packet: Packet, pts: int) -> None:
        shift = round(self.shift / packet.time_base)
        dts, pts = _dts(packet) - shift, pts - shift
        if self._last is not None and dts <= self._last:  # muxers refuse what many files contain
            dts = self._last + 1
        while self._written is not None and self._film_time(dts, packet.time_base) <= self._written:
            dts += 1
        pts = max(pts, dts)
        packet.dts, packet.pts, self._last = dts, pts, dts
        if self._strict:
            self._written = self._film_time(dts, packet.time_base)
        packet.stream = self.out

    def _film_time(self, dts: int, of: Fraction) -> int:
        """A time in units of `of` in the film's units, rounded as FFmpeg rounds it: halves away from 0."""
        to = self.out.time_base or of
        number, units = 2 * dts * of.numerator * to.denominator, 2 * of.denominator * to.numerator
        return (abs(number) + units // 2) // units * (1 if number >= 0 else -1)


class _Sound(_Copied[AudioStream]):
    """Sound that is decoded and encoded anew: as AAC, in WebM as Opus."""

    def __init__(self, stream: AudioStream, film: OutputContainer):
        opus = film.format.name == "webm"
        rate = stream.sample_rate if stream.sample_rate in AAC_RATES and not opus else 48000
        out = film.add_stream("libopus" if opus else "aac", rate=rate)
        out.layout = AAC_LAYOUTS.get(stream.layout.nb_channels, "stereo")
        out.bit_rate = AAC_BITS_PER_CHANNEL * out.layout.nb_channels
        super().__init__(stream, out)
        self._encoded = 0.0  # seconds

    def take(self, packet: Packet | None) -> Iterator[Packet]:
        if packet is not None and (self._overlaps(packet) or self.limit is not None and self._encoded > self.limit):
            return
        try:
            frames = self._stream.decode(packet)
        except FFmpegError:
            return  # a damaged packet is a short silence
        for frame in frames:
            if self.limit is not None and self._encoded > self.limit:
                return
            self._encoded += frame.samples / frame.sample_rate
            if frame.pts is not None and frame.time_base is not None:
                if not self._in_span(frame.pts, frame.time_base):
                    continue
                frame.pts -= round(self.shift / frame.time_base)
            yield from self.out.encode(frame)

    def finish(self) -> Iterator[Packet]:
        yield from self.take(None)
        yield from self.out.encode(None)


class _Text(_Copied[SubtitleStream]):
    """Subtitles that are text, turned into the kind of text that the container takes."""

    def __init__(self, stream: SubtitleStream, out: SubtitleStream):
        super().__init__(stream, out)
        stream.codec_context.open(strict=False)
        out.codec_context.subtitle_header = stream.codec_context.subtitle_header

    def take(self, packet: Packet) -> Iterator[Packet]:
        for packet in super().take(packet):  # noqa: B020
            try:
                lines = self._stream.codec_context.decode2(packet)
            except FFmpegError:
                lines = None
            if lines and len(lines):
                encoded = self.out.codec_context.encode_subtitle(lines)
                encoded.time_base, encoded.stream = packet.time_base, self.out
                encoded.pts, encoded.dts, encoded.duration = packet.pts, packet.dts, packet.duration
                yield encoded


def codec_name(stream: Stream) -> str | None:
    """The name of a stream's codec, whichever decoder there is for it; None without a decoder."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else None


def _dts(packet: Packet) -> int:
    """The decoding time of a packet, which all have that are read here."""
    if packet.dts is None:
        raise ValueError(f"stream {packet.stream_index}: expected a packet with a time, got one without")
    return packet.dts
