"""Damaged copies of a video: bytes changed, packets without their end, left out, exchanged or repeated."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

Damage = Callable[[list[bytes], np.random.Generator], list[bytes]]
TS_PACKET = 188


def _some(packets: list[bytes], rng: np.random.Generator, count: int = 1) -> list[int]:
    """Numbers of packets, neither among the first nor among the last ones."""
    return sorted(rng.choice(np.arange(len(packets) // 8, len(packets) - 8), count, replace=False).tolist())


def _with_bytes(packet: bytes, at: int, new: bytes) -> bytes:
    return packet[:at] + new[: len(packet) - at] + packet[at + len(new) :]


def changed_bytes(packets: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """Some bytes anywhere in the coded pictures of 1 to 4 packets."""
    packets = list(packets)
    for number in _some(packets, rng, int(rng.integers(1, 5))):
        at = int(rng.integers(min(6, len(packets[number]) - 1), len(packets[number])))
        packets[number] = _with_bytes(packets[number], at, rng.bytes(int(rng.integers(1, 9))))
    return packets


def changed_bit(packets: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """One bit of one packet, in its second half."""
    packets = list(packets)
    (number,) = _some(packets, rng)
    at = int(rng.integers(len(packets[number]) // 2, len(packets[number])))
    packets[number] = _with_bytes(packets[number], at, bytes([packets[number][at] ^ 1 << int(rng.integers(8))]))
    return packets


def changed_headers(packets: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """One bit near the beginning of one to three packets, where headers are."""
    packets = list(packets)
    for number in _some(packets, rng, int(rng.integers(1, 4))):
        at = int(rng.integers(4, min(16, len(packets[number]))))
        packets[number] = _with_bytes(packets[number], at, bytes([packets[number][at] ^ 1 << int(rng.integers(8))]))
    return packets


def zeroed(packets: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """The last part of a packet is zero."""
    packets = list(packets)
    (number,) = _some(packets, rng)
    at = int(rng.integers(min(12, len(packets[number]) - 1), len(packets[number])))
    packets[number] = _with_bytes(packets[number], at, bytes(len(packets[number]) - at))
    return packets


def shortened(packets: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """One packet ends early."""
    packets = list(packets)
    (number,) = _some(packets, rng)
    packets[number] = packets[number][: int(rng.integers(min(8, len(packets[number]) - 1), len(packets[number])))]
    return packets


def removed(packets: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """One to three packets are missing; the times of all others are moved up, so no gap shows it."""
    gone = set(_some(packets, rng, int(rng.integers(1, 4))))
    return [packet for number, packet in enumerate(packets) if number not in gone]


def swapped(packets: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """Two packets, near each other, have each other's content."""
    packets = list(packets)
    (one,) = _some(packets, rng)
    other = one + int(rng.integers(1, 4))
    packets[one], packets[other] = packets[other], packets[one]
    return packets


def repeated(packets: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """One packet has the content of one of the few before it."""
    packets = list(packets)
    (number,) = _some(packets, rng)
    packets[number] = packets[number - int(rng.integers(1, 5))]
    return packets


DAMAGES: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (changed_bytes, changed_bit, changed_headers, zeroed, shortened, removed, swapped, repeated)
}


def damaged(video: Path, damage: str, seed: int, target: Path) -> Path:
    """Write a damaged copy of a video: the times of its packets, with their content damaged."""
    with av.open(str(video)) as source:
        contents = [bytes(packet) for packet in source.demux(source.streams.video[0]) if packet.size]
    return copied(video, DAMAGES[damage](contents, np.random.default_rng(seed)), target)


def copied(video: Path, contents: list[bytes], target: Path) -> Path:
    """Write a copy of a video: the times of its packets, with other contents. A keyframe is one where it is moved to, too."""
    with av.open(str(video)) as source, av.open(str(target), "w") as film:
        stream = source.streams.video[0]
        copied = film.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        keyframes = {bytes(packet): packet.is_keyframe for packet in packets}
        for packet, content in zip(packets, contents):
            new = av.Packet(content)
            new.pts, new.dts, new.duration, new.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
            new.is_keyframe, new.stream = keyframes.get(content, packet.is_keyframe), copied
            film.mux(new)
    return target


def damaged_file(video: Path, seed: int, target: Path) -> Path:
    """A copy in which bytes at one to four places of the file are others, or of MPEG-TS: packets are missing or exchanged."""
    rng, data = np.random.default_rng(seed), bytearray(video.read_bytes())
    for at in rng.integers(len(data) // 10, len(data) * 9 // 10, int(rng.integers(1, 5))).tolist():
        if video.suffix == ".ts" and rng.integers(2):
            at -= at % TS_PACKET
            other = at + TS_PACKET * int(rng.integers(1, 3))
            one, two = data[at : at + TS_PACKET], data[other : other + TS_PACKET]
            data[at : at + TS_PACKET] = two
            data[other : other + TS_PACKET] = one if rng.integers(2) else two
        else:
            new = rng.bytes(int(rng.integers(1, 7)))
            data[at : at + len(new)] = new
    target.write_bytes(data)
    return target
