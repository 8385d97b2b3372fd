"""Sound and subtitles on their way from the source into the film, as they are where its container takes them."""

import math
from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

# MP4 could also hold PCM and Vorbis, which few players (and no FFmpeg before 6) read there; FFmpeg itself says
# of MOV that it takes Opus and FLAC, and then does not.
SOUND = {
    "mp4": ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac", "pcm_"),
    "matroska": ("",),
}  # how the names begin of codecs that are copied
TEXT = {"subrip", "ass", "ssa", "webvtt", "text", "mov_text"}
TEXT_ENCODER = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip"}
AAC_RATES = {96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000}
AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
AAC_BITS_PER_CHANNEL = 96_000


class Tracks:
    """All sound and subtitle streams of `given` that go into `film`, opened for writing and without a header yet.

    The part of the source from `begin` to `end` is taken (None: from its beginning, to its end) and comes `shift`
    earlier, all in seconds. `notes` says in a line each what was left out or encoded anew.
    """

    def __init__(
        self,
        given: InputContainer,
        film: OutputContainer,
        begin: Fraction | None,
        end: Fraction | None,
        shift: Fraction,
    ):
        self.notes: list[str] = []
        self._tracks: dict[int, _Copied] = {}
        for stream in (*given.streams.audio, *given.streams.subtitles):
            if track := self._track(stream, film):
                track.begin, track.end, track.shift = begin, end, shift
                self._tracks[stream.index] = track
        self._packets = self._read(given, [given.streams[index] for index in self._tracks])
        self._next = next(self._packets, None)

    def packets_until(self, seconds: Fraction | None) -> Iterator[Packet]:
        """The packets, ready to be muxed, that come before a time of the source; None for all that are left."""
        while self._next and (seconds is None or self._next.dts * self._next.time_base < seconds):
            yield from self._tracks[self._next.stream_index].take(self._next)
            self._next = next(self._packets, None)
        if seconds is None:
            for track in self._tracks.values():
                yield from track.finish()

    def _read(self, given: InputContainer, streams: list[Stream]) -> Iterator[Packet]:
        try:
            for packet in given.demux(streams) if streams else ():
                if packet.size and packet.dts is not None:
                    yield packet
        except av.FFmpegError as error:
            self.notes.append(f"{given.name}: sound or subtitles end early ({error.strerror})")

    def _track(self, stream: Stream, film: OutputContainer) -> "_Copied | None":
        container, codec = film.format.name, codec_name(stream)
        what = f"{'sound' if stream.type == 'audio' else 'subtitles'} in stream {stream.index} ({codec or 'unknown codec'})"
        track, fate = None, f"cannot go into {container}, left out"
        try:
            if codec and (stream.type != "audio" or codec.startswith(SOUND[container])):
                track = _Copied(stream, film.add_stream_from_template(stream))
        except ValueError:  # the container does not take it
            pass
        if not track and codec and stream.type == "audio":
            track, fate = _Sound(stream, film), f"cannot go into {container} as it is, encoded anew as AAC"
        elif not track and codec in TEXT:
            encoder = TEXT_ENCODER[container]
            track, fate = _Text(stream, film.add_stream(encoder)), ""
        if not track or fate.endswith("AAC"):
            self.notes.append(f"{what} {fate}")
        if track:
            track.out.disposition = stream.disposition
            track.out.metadata.update(
                {key: stream.metadata[key] for key in ("language", "title") if key in stream.metadata}
            )
        return track


class _Copied:
    """A stream whose packets go into the film as they are."""

    begin: Fraction | None = None
    end: Fraction | None = None
    shift = Fraction(0)

    def __init__(self, stream: Stream, out: Stream):
        self.out, self._stream, self._last = out, stream, None
        # Matroska has no times before 0: a packet there, an encoder's delay, would move all others.
        self._first = -(2**62) if out.container.format.name != "matroska" else 0

    def take(self, packet: Packet) -> Iterator[Packet]:
        pts = packet.dts if packet.pts is None else packet.pts
        if self._stream.type == "subtitle" and packet.duration:
            pts = self._clip(packet, pts)
        if self._overlaps(pts, packet.time_base):
            self._shift(packet, pts)
            if packet.pts + (packet.duration or 1) > self._first:
                yield packet

    def finish(self) -> Iterator[Packet]:
        return iter(())

    def _overlaps(self, pts: int, time_base: Fraction) -> bool:
        time = pts * time_base
        return (self.begin is None or self.begin <= time) and (self.end is None or time < self.end)

    def _clip(self, packet: Packet, pts: int) -> int:
        """Cut a line of text to the span, in which it may be on screen from the beginning; its new time."""
        first, last = pts, pts + packet.duration
        if self.begin is not None and last * packet.time_base > self.begin:
            first = max(first, math.ceil(self.begin / packet.time_base))
        if self.end is not None:
            last = min(last, math.floor(self.end / packet.time_base))
        if first < last:
            packet.dts, packet.duration = packet.dts + first - pts, last - first
            return first
        return pts

    def _shift(self, packet: Packet, pts: int) -> None:
        shift = round(self.shift / packet.time_base)
        packet.dts, packet.pts = packet.dts - shift, pts - shift
        if self._last is not None and packet.dts <= self._last:  # muxers refuse what many files contain
            packet.dts = self._last + 1
            packet.pts = max(packet.pts, packet.dts)
        self._last = packet.dts
        packet.stream = self.out


class _Sound(_Copied):
    """Sound that is decoded and encoded anew as AAC."""

    def __init__(self, stream: Stream, film: OutputContainer):
        rate = stream.sample_rate if stream.sample_rate in AAC_RATES else 48000
        out = film.add_stream("aac", rate=rate)
        out.layout = AAC_LAYOUTS.get(stream.layout.nb_channels, "stereo")
        out.bit_rate = AAC_BITS_PER_CHANNEL * out.layout.nb_channels
        super().__init__(stream, out)

    def take(self, packet: Packet | None) -> Iterator[Packet]:
        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:
            return  # a damaged packet is a short silence
        for frame in frames:
            if frame.pts is None or self._overlaps(frame.pts, frame.time_base):
                if frame.pts is not None:
                    frame.pts -= round(self.shift / frame.time_base)
                yield from self.out.encode(frame)

    def finish(self) -> Iterator[Packet]:
        yield from self.take(None)
        yield from self.out.encode(None)


class _Text(_Copied):
    """Subtitles that are text, turned into the kind of text that the container takes."""

    def __init__(self, stream: Stream, out: Stream):
        super().__init__(stream, out)
        stream.codec_context.open(strict=False)
        out.codec_context.subtitle_header = stream.codec_context.subtitle_header

    def take(self, packet: Packet) -> Iterator[Packet]:
        for packet in super().take(packet):  # noqa: B020
            try:
                lines = self._stream.codec_context.decode2(packet)
            except av.FFmpegError:
                lines = None
            if lines and len(lines):
                encoded = self.out.codec_context.encode_subtitle(lines)
                encoded.time_base, encoded.stream = packet.time_base, self.out
                encoded.pts, encoded.dts, encoded.duration = packet.pts, packet.dts, packet.duration
                yield encoded


def codec_name(stream: Stream) -> str | None:
    """The name of a stream's codec, whichever decoder there is for it; None without a decoder."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else None
