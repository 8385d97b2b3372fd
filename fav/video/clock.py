"""Correct timestamp discontinuities of a container, with one offset for all streams, as FFmpeg's command line does.

The timestamps of MPEG-TS, MPEG-PS and Ogg jump where recordings were joined or the signal was lost. A jump is detected
in one stream: its next packet differs from the expected time. See ts_discontinuity_detect in FFmpeg's
fftools/ffmpeg_demux.c.
"""

from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Stream

SECOND = 1_000_000  # all times here are in microseconds, as in FFmpeg
MAX_BACK, MAX_AHEAD = SECOND // 10, 10 * SECOND  # larger steps are jumps


class Clock:
    """Corrects the timestamps of packets, which must come in the order in which they are read.

    All packets of `timed_streams` must be passed to `correct`. Otherwise, two readers may find different offsets.

    Attributes:
        can_jump: whether timestamps of this container format may jump.
        offset: the current correction, in microseconds.
    """

    def __init__(self, container: InputContainer):
        self.can_jump = bool(container.format.flags & Flags.ts_discont.value)
        self._rates = {stream.index: stream.average_rate for stream in container.streams.video}
        self.restart()

    def restart(self, offset: int = 0) -> None:
        """Start again at another position of the container, with the known `offset` there, in microseconds."""
        self.offset = offset
        self._expected: dict[int, int] = {}  # by stream: the time at which the next packet should begin
        self._last: dict[int, int] = {}  # by stream: the time of the last packet
        self._newest: int | None = None

    def correct(self, packet: Packet, timed: bool = True) -> None:
        """Correct a packet's timestamps.

        Args:
            packet: it is changed.
            timed: whether its stream is used to detect jumps. Subtitles are not: they have gaps.
        """
        if not self.can_jump:
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
        expected = self._expected.get(stream)
        if expected is not None:
            if abs(at - expected) > MAX_AHEAD or at + MAX_BACK < self._last[stream]:
                self.offset, at = self.offset - (at - expected), expected
        elif self._newest is not None and abs(at - self._newest) > MAX_AHEAD:
            self.offset, at = self.offset - (at - self._newest), self._newest
        self._newest = self._last[stream] = at
        self._expected[stream] = at + self._duration(packet)

    def _duration(self, packet: Packet) -> int:
        if packet.duration:
            return _scaled(packet.duration, packet.time_base.numerator * SECOND, packet.time_base.denominator)
        rate = self._rates.get(packet.stream_index)
        return _scaled(SECOND, rate.denominator, rate.numerator) if rate else 0


def timed_streams(container: InputContainer, video: Stream) -> list[Stream]:
    """The streams in which jumps are detected: the chosen video stream and all sound."""
    return [video, *container.streams.audio]


def _scaled(value: int, numerator: int, denominator: int) -> int:
    """`value` times a fraction, rounded to the nearest integer."""
    return (2 * value * numerator + denominator) // (2 * denominator)
