"""The NAL units of H.264 and HEVC: with start codes (ITU-T H.264 and H.265, annex B) or with lengths (ISO/IEC 14496-15)."""

from collections.abc import Iterator

START = b"\0\0\1"


def nal_units(data: bytes, length_size: int) -> Iterator[bytes]:
    """Yield the NAL units of a packet, each with its header, and without what frames it.

    Args:
        data: the packet.
        length_size: bytes of the length before each unit; 0: units have start codes.
    """
    if not length_size:
        for unit in data.split(START)[1:]:
            if unit := unit.rstrip(b"\0"):
                yield unit
        return
    place = 0
    while place + length_size < len(data):
        begin = place + length_size
        place = begin + int.from_bytes(data[place:begin], "big")
        if place > begin:
            yield data[begin:place]
