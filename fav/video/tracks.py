"""Copy sound and subtitles from the source into the film, or re-encode them if its container does not support them."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError, InvalidDataError
from av.format import Flags
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from fav.video.clock import Clock, timed_streams
from fav.video.container import demux

# MP4 can also have PCM and Vorbis, but few players (and no FFmpeg before 6) read them there. FFmpeg claims that MOV
# can have Opus and FLAC, but writing them fails.
COPIED_SOUND = {  # by container: prefixes of the names of codecs that are copied
    "mp4": ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac", "pcm_"),
    "matroska": ("",),
    "webm": ("opus", "vorbis"),
}
TEXT_CODECS = {"subrip", "ass", "ssa", "webvtt", "text", "mov_text"}
COPIED_SUBTITLES = {"webm": "webvtt"}  # for WebM, FFmpeg reports an unsupported codec only with the header
TEXT_ENCODER: dict[str, Literal["mov_text", "subrip", "webvtt"]] = {
    "mp4": "mov_text",
    "mov": "mov_text",
    "matroska": "subrip",
    "webm": "webvtt",
}
AAC_RATES = {96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000}
AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
AAC_BITS_PER_CHANNEL = 96_000
MAX_PACKET_S = 100  # no packet of sound lasts longer
TRIAL_S = 5  # seconds of sound that a trial re-encodes

AnyStream = TypeVar("AnyStream", bound=Stream)


class Tracks:
    """All sound and subtitle streams that go from a source into a film.

    Args:
        source: the opened source.
        video: its video stream, which is used to detect timestamp jumps.
        film: opened for writing; its header is not written yet.
        begin: seconds of the source from which on packets are copied; None: from its beginning.
        end: seconds of the source up to which packets are copied; None: to its end.
        shift: seconds that are subtracted from all times.
        trial: re-encode only the first seconds of sound.

    Attributes:
        handled: indexes of all sound and subtitle streams of the source.
    """

    def __init__(
        self,
        source: InputContainer,
        video: Stream,
        film: OutputContainer,
        begin: Fraction | None,
        end: Fraction | None,
        shift: Fraction,
        trial: bool = False,
    ):
        self._notes: list[str] = []
        self._tracks: dict[int, _CopyTrack[Any]] = {}
        self._clock = Clock(source)
        self.handled = {stream.index for stream in (*source.streams.audio, *source.streams.subtitles)}
        for stream in (*source.streams.audio, *source.streams.subtitles):
            if track := self._track(stream, film):
                track.begin, track.end, track.shift = begin, end, shift
                track.limit = TRIAL_S if trial else None
                self._tracks[stream.index] = track
        self._trial_end = end + TRIAL_S if trial and end is not None else None
        streams = [source.streams[index] for index in self._tracks]
        timed = timed_streams(source, video) if self._clock.can_jump and streams else []
        self._timed = {stream.index for stream in timed}
        self._packets = self._read(source, [*streams, *(stream for stream in timed if stream not in streams)])
        self._advance()

    def _advance(self) -> None:
        """Read the next packet, and store its time, because PyAV makes a new Fraction at each access to a time base."""
        self._next = next(self._packets, None)
        if self._next is not None:
            base = self._next.time_base
            self._ticks, self._units = _dts(self._next) * base.numerator, base.denominator

    def packets_until(self, ticks: int | None, time_base: Fraction = Fraction(1)) -> Iterator[Packet]:
        """Yield the next packets before a time of the source, ready to be muxed.

        Args:
            ticks: the time, in units of `time_base`; None: yield all remaining packets.
            time_base: in seconds.
        """
        limit, units = (ticks or 0) * time_base.numerator, time_base.denominator
        while self._next and (ticks is None or self._ticks * units < limit * self._units):
            yield from self._tracks[self._next.stream_index].convert(self._next)
            self._advance()
        if ticks is None:
            for track in self._tracks.values():
                yield from track.flush()

    def mux(self, film: OutputContainer, packet: Packet) -> None:
        """Write a packet from `packets_until`. A damaged one, which the film's container cannot have, is left out."""
        try:
            film.mux_one(packet)
        except InvalidDataError:
            track = next(track for track in self._tracks.values() if track.out.index == packet.stream_index)
            track.damaged.add(_dts(packet) * packet.time_base)

    @property
    def notes(self) -> list[str]:
        """One line for each stream that was left out or re-encoded, and for each one with damaged or overlapping packets."""
        notes = list(self._notes)
        for track in self._tracks.values():
            if track.left_out:
                notes.append(
                    f"left out: {float(track.left_out):.3f} s of sound in stream {track.source}, which overlap the sound "
                    f"before"
                )
            if track.damaged:
                count = len(track.damaged)
                packets = f"{count} damaged packet{'s' * (count > 1)}"
                notes.append(
                    f"stream {track.source} has {packets} of sound, first at {float(min(track.damaged)):.3f} s"
                )
        return notes

    def _read(self, source: InputContainer, streams: list[Stream]) -> Iterator[Packet]:
        try:
            for packet in demux(source, streams) if streams else ():
                if packet.size and packet.dts is not None:
                    self._clock.correct(packet, packet.stream_index in self._timed)
                    if self._trial_end is not None and _is_after(packet.dts, packet.time_base, self._trial_end):
                        return
                    if packet.stream_index in self._tracks:
                        _drop_absurd_duration(packet)
                        yield packet
        except FFmpegError as error:
            self._notes.append(f"{source.name}: sound or subtitles end early ({error.strerror})")

    def _track(self, stream: AudioStream | SubtitleStream, film: OutputContainer) -> "_CopyTrack[Any] | None":
        """Add a stream to the film: as a copy or re-encoded. None if the film cannot have it."""
        container, codec, audio = film.format.name, codec_name(stream), stream.type == "audio"
        name = f"{'sound' if audio else 'subtitles'} in stream {stream.index} ({codec or 'unknown codec'})"
        track: _CopyTrack[Any] | None = None
        note = f"left out: {name}; {container} cannot have it"
        try:
            if codec and codec.startswith(COPIED_SOUND[container] if audio else COPIED_SUBTITLES.get(container, "")):
                track = _CopyTrack(stream, film.add_stream_from_template(stream))
        except ValueError:  # the container does not support the codec
            pass
        if not track and codec and isinstance(stream, AudioStream):
            track = _AudioTrack(stream, film)
            note = f"{name} is re-encoded as {'Opus' if container == 'webm' else 'AAC'}; {container} cannot have it"
        elif not track and codec in TEXT_CODECS and isinstance(stream, SubtitleStream):
            encoder = TEXT_ENCODER[container]
            track, note = _SubtitleTrack(stream, film.add_stream(encoder)), ""
        if not track or isinstance(track, _AudioTrack):
            self._notes.append(note)
        if track:
            track.out.disposition = stream.disposition
            track.out.metadata.update(
                {key: stream.metadata[key] for key in ("language", "title") if key in stream.metadata}
            )
        return track


class _Limits(NamedTuple):
    """`begin`, `end` and `shift` of `Tracks` in units of a time base: `begin <= time < end`; None: no limit."""

    time_base: Fraction
    begin: int | None
    end: int | None
    shift: int


class _CopyTrack(Generic[AnyStream]):
    """A stream whose packets are copied into the film. `begin`, `end` and `shift` are those of `Tracks`."""

    begin: Fraction | None = None
    end: Fraction | None = None
    shift = Fraction(0)
    limit: int | None = None  # seconds of sound to re-encode; None: all

    def __init__(self, stream: AnyStream, out: AnyStream):
        self.out, self.source, self._stream = out, stream.index, stream
        self._last: int | None = None
        # If a muxer needs ascending times, they must ascend in its own time base, which may be coarser.
        self._strict = not out.container.format.flags & Flags.ts_nonstrict.value
        self.left_out = Fraction(0)  # seconds of sound that overlap the sound before
        self._newest, self._duration, self._trimming = None, 0, False
        self.damaged: set[Fraction] = set()  # seconds of the film at which packets are damaged
        self._written: int | None = None  # the last time in the film's time base, if `_strict`
        self._limits: _Limits | None = None
        self._rate: tuple[int, int] | None = None  # units of the film's time base in one of the source's
        # Matroska has no times before 0. A packet before 0 (an encoder's delay) would move all others.
        self._first = -(2**62) if out.container.format.name not in ("matroska", "webm") else 0

    def convert(self, packet: Packet) -> Iterator[Packet]:
        """Yield the film's packets for one packet of the source."""
        pts = _dts(packet) if packet.pts is None else packet.pts
        if self._overlaps(packet):
            return
        if packet.is_corrupt:
            self.damaged.add(pts * packet.time_base - self.shift)
        if self._stream.type == "subtitle" and packet.duration:
            pts = self._clip(packet, pts)
        if self._in_range(pts, self._limits_in(packet.time_base)):
            self._shift(packet, pts)
            if packet.pts is None or packet.pts + (packet.duration or 1) > self._first:
                yield packet

    def flush(self) -> Iterator[Packet]:
        """Yield the remaining packets after the source's last one."""
        return iter(())

    def _overlaps(self, packet: Packet) -> bool:
        """Whether a sound packet is left out, because times jumped back and the film has sound at this time."""
        if self._stream.type != "audio":
            return False
        if self._newest is not None:
            covered = self._newest + (self._duration // 2 if self._trimming else 0)
            self._trimming = _dts(packet) < covered
            if self._trimming:
                self.left_out += (packet.duration or 0) * packet.time_base
                return True
        self._newest, self._duration = packet.dts, packet.duration or 0
        return False

    def _limits_in(self, time_base: Fraction) -> _Limits:
        """The limits in units of a time base. All packets of a stream have one: it is computed once."""
        if self._limits is None or self._limits.time_base != time_base:
            begin = None if self.begin is None else math.ceil(self.begin / time_base)
            end = None if self.end is None else math.ceil(self.end / time_base)
            self._limits, self._rate = _Limits(time_base, begin, end, round(self.shift / time_base)), None
        return self._limits

    def _in_range(self, pts: int, limits: _Limits) -> bool:
        return (limits.begin is None or limits.begin <= pts) and (limits.end is None or pts < limits.end)

    def _clip(self, packet: Packet, pts: int) -> int:
        """Limit a subtitle's duration to the part from `begin` to `end`; return its new time."""
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
        limits = self._limits or self._limits_in(packet.time_base)
        dts, pts = _dts(packet) - limits.shift, pts - limits.shift
        if self._last is not None and dts <= self._last:  # many files have such times, and muxers refuse them
            dts = self._last + 1
        while self._written is not None and self._film_time(dts, limits.time_base) <= self._written:
            dts += 1
        pts = max(pts, dts)
        packet.dts, packet.pts, self._last = dts, pts, dts
        if self._strict:
            self._written = self._film_time(dts, limits.time_base)
        packet.stream = self.out

    def _film_time(self, dts: int, time_base: Fraction) -> int:
        """Convert a time to the film's time base. As in FFmpeg, halves are rounded away from 0."""
        if self._rate is None:  # the film's header is written, so its time base does not change
            film = self.out.time_base or time_base
            self._rate = time_base.numerator * film.denominator, time_base.denominator * film.numerator
        number, units = 2 * dts * self._rate[0], 2 * self._rate[1]
        return (abs(number) + units // 2) // units * (1 if number >= 0 else -1)


class _AudioTrack(_CopyTrack[AudioStream]):
    """Sound that is re-encoded: as Opus in WebM, otherwise as AAC."""

    def __init__(self, stream: AudioStream, film: OutputContainer):
        opus = film.format.name == "webm"
        rate = stream.sample_rate if stream.sample_rate in AAC_RATES and not opus else 48000
        out = film.add_stream("libopus" if opus else "aac", rate=rate)
        out.layout = AAC_LAYOUTS.get(stream.layout.nb_channels, "stereo")
        out.bit_rate = AAC_BITS_PER_CHANNEL * out.layout.nb_channels
        super().__init__(stream, out)
        self._encoded = 0.0  # seconds

    def convert(self, packet: Packet | None) -> Iterator[Packet]:
        if packet is not None and (self._overlaps(packet) or self.limit is not None and self._encoded > self.limit):
            return
        try:
            frames = self._stream.decode(packet)
        except FFmpegError:
            if packet is not None:
                self.damaged.add(_dts(packet) * packet.time_base - self.shift)
            return  # a damaged packet becomes a short silence
        for frame in frames:
            if self.limit is not None and self._encoded > self.limit:
                return
            self._encoded += frame.samples / frame.sample_rate
            if frame.pts is not None and frame.time_base is not None:
                limits = self._limits_in(frame.time_base)
                if not self._in_range(frame.pts, limits):
                    continue
                frame.pts -= limits.shift
            yield from self.out.encode(frame)

    def flush(self) -> Iterator[Packet]:
        yield from self.convert(None)
        yield from self.out.encode(None)


class _SubtitleTrack(_CopyTrack[SubtitleStream]):
    """Text subtitles that are converted to the container's text format."""

    def __init__(self, stream: SubtitleStream, out: SubtitleStream):
        super().__init__(stream, out)
        stream.codec_context.open(strict=False)
        out.codec_context.subtitle_header = stream.codec_context.subtitle_header

    def convert(self, packet: Packet) -> Iterator[Packet]:
        for packet in super().convert(packet):  # noqa: B020
            try:
                lines = self._stream.codec_context.decode2(packet)
            except FFmpegError:
                lines = None
            if lines and len(lines):
                encoded = self.out.codec_context.encode_subtitle(lines)
                encoded.time_base, encoded.stream = packet.time_base, self.out
                encoded.pts, encoded.dts, encoded.duration = packet.pts, packet.dts, packet.duration
                yield encoded


def _drop_absurd_duration(packet: Packet) -> None:
    """FFmpeg takes the negative duration of Ogg's last packet (its end is before its begin) for one of many hours."""
    if packet.stream.type == "audio" and (packet.duration or 0) * packet.time_base > MAX_PACKET_S:
        packet.duration = 0


def codec_name(stream: Stream) -> str | None:
    """The name of a stream's codec, independent of the decoder; None if FFmpeg has no decoder."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else None


def _dts(packet: Packet) -> int:
    """The decoding time of a packet; all packets that are read here have one."""
    if packet.dts is None:
        raise ValueError(f"stream {packet.stream_index}: expected a packet with a decoding time, got one without")
    return packet.dts


def _is_after(ticks: int, time_base: Fraction, seconds: Fraction) -> bool:
    """Whether a time is after another one, without a common denominator."""
    return ticks * time_base.numerator * seconds.denominator > seconds.numerator * time_base.denominator
