"""The packets of one encoded segment of a film, and their file format. No codec is needed here.

The file has the times, the order of packets and the decoder's configuration exactly. No container has exact times for
all time bases:

    FAVSEGMENT1 <bytes of the header> <bytes of the packets>\\n
    the header, JSON: frames, times and sizes of packets, a checksum of the packets, and one of itself
    the packets, one after the other
    FAVSEGMENT1 END\\n

`python -m fav.video.encoded FILE > OUT.h264` writes the decoder's configuration and the packets without the rest.
"""

import hashlib
import json
import re
import sys
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HEAD = re.compile(rb"FAVSEGMENT1 ([1-9][0-9]{0,9}) ([1-9][0-9]{0,12})\n")
TAIL = b"FAVSEGMENT1 END\n"
HEAD_END = 64  # bytes; the first line is shorter


@dataclass(frozen=True)
class EncodedPacket:
    """One packet. `pts` and `dts` are in units of the source's time base."""

    pts: int
    dts: int
    data: bytes
    keyframe: bool


@dataclass(frozen=True)
class EncodedSegment:
    """The encoded frames `[start, stop)` of a film.

    Attributes:
        start: the first frame.
        stop: one past the last frame.
        packets: in decoding order.
        extradata: the decoder's configuration; for H.264, SPS and PPS.
        about: information on the node that encoded it, for people.
    """

    start: int
    stop: int
    packets: tuple[EncodedPacket, ...]
    extradata: bytes
    about: dict[str, str] | None = None

    def to_bytes(self) -> bytes:
        """The content of the segment's file."""
        payload = b"".join(packet.data for packet in self.packets)
        fields = {
            "frames": [self.start, self.stop],
            "extradata": b64encode(self.extradata).decode(),
            "packets": [[one.pts, one.dts, len(one.data), int(one.keyframe)] for one in self.packets],
            "blake2b": _digest(payload),
            "about": self.about or {},
        }
        header = json.dumps({**fields, "checksum": _checksum(fields)}).encode()
        return b"FAVSEGMENT1 %d %d\n" % (len(header), len(payload)) + header + payload + TAIL

    @classmethod
    def from_bytes(cls, data: bytes, frames: range | None = None) -> "EncodedSegment":
        """Parse a segment's file.

        Args:
            data: the content of the file.
            frames: the expected frames; None accepts any.

        Raises:
            ValueError, KeyError, TypeError: the file is damaged, or has other frames.
        """
        size = check_ends(data[:HEAD_END], data[-len(TAIL) :], len(data))
        begin = data.index(b"\n") + 1
        fields = json.loads(data[begin : begin + size])
        expected, payload = fields.pop("checksum"), data[begin + size : -len(TAIL)]
        if expected != _checksum(fields) or fields["blake2b"] != _digest(payload):
            raise ValueError("its checksum differs")
        start, stop = map(int, fields["frames"])
        if frames is not None and range(start, stop) != frames:
            raise ValueError(f"expected frames {frames.start} to {frames.stop}, got {start} to {stop}")
        packets, offset = [], 0
        for pts, dts, length, keyframe in fields["packets"]:
            packets.append(EncodedPacket(int(pts), int(dts), payload[offset : offset + length], bool(keyframe)))
            offset += length
        if offset != len(payload) or len(packets) != stop - start or not packets[0].keyframe:
            raise ValueError(f"expected {stop - start} packets in {len(payload)} bytes, the first one a keyframe")
        about = {str(key): str(value) for key, value in fields["about"].items()}
        return cls(start, stop, tuple(packets), b64decode(fields["extradata"]), about)


def check_ends(head: bytes, tail: bytes, size: int | None = None) -> int:
    """Check the beginning and end of a segment's file.

    Args:
        head: at least the first HEAD_END bytes.
        tail: the last bytes, at least as many as TAIL has.
        size: of the file in bytes; None: unknown.

    Returns:
        The size of the header in bytes.

    Raises:
        ValueError: the file is no segment, or is truncated.
    """
    first_line = HEAD.match(head)
    if first_line is None or not tail.endswith(TAIL):
        raise ValueError("expected an encoded segment, got another or a truncated file")
    expected = first_line.end() + int(first_line[1]) + int(first_line[2]) + len(TAIL)
    if size is not None and size != expected:
        raise ValueError(f"expected {expected} bytes, got {size}")
    return int(first_line[1])


def decoding_delay(packets: Sequence[EncodedPacket]) -> int:
    """The number of frames by which an encoder's decoding times precede the presentation times.

    The packet at position i has the decoding time that frame i - delay has as its presentation time.

    Raises:
        ValueError: the decoding times do not show the delay, for example because there are too few packets.
    """
    times = sorted(packet.pts for packet in packets)
    if packets[-1].dts not in times:
        raise ValueError("encoder: expected decoding times that equal presentation times of frames, got others")
    return len(packets) - 1 - times.index(packets[-1].dts)


def _digest(payload: bytes) -> str:
    return hashlib.blake2b(payload, digest_size=16).hexdigest()


def _checksum(fields: dict) -> int:
    return zlib.crc32(json.dumps(fields).encode())


if __name__ == "__main__":
    segment = EncodedSegment.from_bytes(Path(sys.argv[1]).read_bytes())
    sys.stdout.buffer.write(segment.extradata + b"".join(packet.data for packet in segment.packets))
