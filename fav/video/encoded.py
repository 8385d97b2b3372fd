"""The packets of one encoded segment of a film, and the file that keeps them; no codec is needed here.

The file keeps times, the order of packets and the decoder's configuration exactly, which no container does for all time bases:

    FAVSEGMENT1 <bytes of the header> <bytes of the packets>\\n
    the header, JSON: frames, times and sizes of packets, a checksum of the packets, and one of itself
    the packets, one after the other
    FAVSEGMENT1 END\\n

`python -m fav.video.encoded FILE > OUT.h264` writes the packets alone, after the decoder's configuration.
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
HEAD_END = 64  # bytes in which the first line ends


@dataclass(frozen=True)
class EncodedPacket:
    """One packet: pts and dts in units of the source's time base, by its own clock; its bytes; whether it is a keyframe."""

    pts: int
    dts: int
    data: bytes
    keyframe: bool


@dataclass(frozen=True)
class EncodedSegment:
    """The frames `[start, stop)` of a film, encoded; packets in the order in which they are decoded.

    `extradata` is the decoder's configuration (of H.264, SPS and PPS). `about` is what the maker says of itself, for people.
    """

    start: int
    stop: int
    packets: tuple[EncodedPacket, ...]
    extradata: bytes
    about: dict[str, str] | None = None

    def to_bytes(self) -> bytes:
        """The file."""
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
        """Read a file. ValueError, or what else Python raises over values of other kinds, where it is damaged, or has not
        these frames."""
        size = check_ends(data[:HEAD_END], data[-len(TAIL) :], len(data))
        begin = data.index(b"\n") + 1
        fields = json.loads(data[begin : begin + size])
        wanted, payload = fields.pop("checksum"), data[begin + size : -len(TAIL)]
        if wanted != _checksum(fields) or fields["blake2b"] != _digest(payload):
            raise ValueError("its checksum differs")
        start, stop = map(int, fields["frames"])
        if frames is not None and range(start, stop) != frames:
            raise ValueError(f"expected frames {frames.start} to {frames.stop}, got {start} to {stop}")
        packets, place = [], 0
        for pts, dts, length, keyframe in fields["packets"]:
            packets.append(EncodedPacket(int(pts), int(dts), payload[place : place + length], bool(keyframe)))
            place += length
        if place != len(payload) or len(packets) != stop - start or not packets[0].keyframe:
            raise ValueError(f"expected {stop - start} packets in {len(payload)} bytes, the first one a keyframe")
        about = {str(key): str(value) for key, value in fields["about"].items()}
        return cls(start, stop, tuple(packets), b64decode(fields["extradata"]), about)


def check_ends(head: bytes, tail: bytes, size: int | None = None) -> int:
    """ValueError unless these are the first HEAD_END bytes or more, and the last ones, of a file of a segment, of `size` bytes
    in all where that is known. The size of its header."""
    begin = HEAD.match(head)
    if begin is None or not tail.endswith(TAIL):
        raise ValueError("expected an encoded segment, got something else, or one that is cut off")
    whole = begin.end() + int(begin[1]) + int(begin[2]) + len(TAIL)
    if size is not None and size != whole:
        raise ValueError(f"expected {whole} bytes, got {size}")
    return int(begin[1])


def decoding_delay(packets: Sequence[EncodedPacket]) -> int:
    """By how many frames decoding runs ahead: a frame is decoded when the one that is shown so many frames before the place of
    its packet is shown. ValueError where the times of the encoder do not say so, as those of very few frames."""
    shown = sorted(packet.pts for packet in packets)
    if packets[-1].dts not in shown:
        raise ValueError("encoder: expected decoding times that are those of frames, got others")
    return len(packets) - 1 - shown.index(packets[-1].dts)


def _digest(payload: bytes) -> str:
    return hashlib.blake2b(payload, digest_size=16).hexdigest()


def _checksum(fields: dict) -> int:
    return zlib.crc32(json.dumps(fields).encode())


if __name__ == "__main__":
    segment = EncodedSegment.from_bytes(Path(sys.argv[1]).read_bytes())
    sys.stdout.buffer.write(segment.extradata + b"".join(packet.data for packet in segment.packets))
