"""The clock of a container whose time may jump: one offset for all its streams, as FFmpeg's command line keeps it.

Recordings that were joined, and receivers that lost their signal, go back or ahead in time (MPEG-TS, MPEG-PS, Ogg). A
jump is told by the packets of one stream: by the time at which the next was due. See ts_discontinuity_detect in FFmpeg's
fftools/ffmpeg_demux.c.
"""

from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Stream

SECOND = 1_000_000  # all times here are in microseconds, as FFmpeg has them
BACK, AHEAD = SECOND // 10, 10 * SECOND  # steps up to these are no jumps


class Clock:
    """Corrects the times of packets in the order in which they are read. `jumps` says whether this container has any at all.

    The packets of all streams of `timed` must come by, or two readers find other offsets.
    """

    def __init__(self, container: InputContainer):
        self.jumps = bool(container.format.flags & Flags.ts_discont.value)
        self._rates = {stream.index: stream.average_rate for stream in container.streams.video}
        self.restart()

    def restart(self, offset: int = 0) -> None:
        """Begin somewhere else in the container, with an offset (microseconds) that is known."""
        self.offset = offset
        self._due: dict[int, int] = {}
        self._shown: dict[int, int] = {}
        self._newest: int | None = None

    def correct(self, packet: Packet, timed: bool = True) -> None:
        """Move a packet's times; those of a stream that is not `timed`, as of subtitles, tell no jump."""
        if not self.jumps:
            return
        if packet.dts is not None and timed:
            self._detect(packet, packet.dts)
        shift = self.ticks(packet)
        if shift:
            packet.dts = None if packet.dts is None else packet.dts + shift
            packet.pts = None if packet.pts is None else packet.pts + shift

    def ticks(self, packet: Packet) -> int:
        """The offset in units of a packet's time base."""
        return _scaled(self.offset, packet.time_base.denominator, packet.time_base.numerator * SECOND)

    def _detect(self, packet: Packet, dts: int) -> None:
        stream, base = packet.stream_index, packet.time_base
        at = _scaled(dts, base.numerator * SECOND, base.denominator) + self.offset
        due = self._due.get(stream)
        if due is not None:
            if abs(at - due) > AHEAD or at + BACK < self._shown[stream]:
                self.offset, at = self.offset - (at - due), due
        elif self._newest is not None and abs(at - self._newest) > AHEAD:
            self.offset, at = self.offset - (at - self._newest), self._newest
        self._newest = self._shown[stream] = at
        self._due[stream] = at + self._length(packet)

    def _length(self, packet: Packet) -> int:
        if packet.duration:
            return _scaled(packet.duration, packet.time_base.numerator * SECOND, packet.time_base.denominator)
        rate = self._rates.get(packet.stream_index)
        return _scaled(SECOND, rate.denominator, rate.numerator) if rate else 0


def timed_streams(container: InputContainer, video: Stream) -> list[Stream]:
    """The streams that tell the jumps of a container's clock: the film's, and all sound."""
    return [video, *container.streams.audio]


def _scaled(value: int, numerator: int, denominator: int) -> int:
    """`value` times a fraction, rounded to the nearest whole number."""
    return (2 * value * numerator + denominator) // (2 * denominator)
