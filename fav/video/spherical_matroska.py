"""The marks of a 360° video in Matroska and WebM: the element `Projection` of its video track.

PyAV cannot give the marks to FFmpeg's muxer. But that muxer leaves unused bytes (an element `Void`) between the table of
contents (`SeekHead`) and the description of the tracks. The marks take their place, so the data behind the tracks stay
where they are.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from fav.video.spherical import Sphere, equirectangular_bounds

SEGMENT, SEEK_HEAD, VOID, INFO, TRACKS = 0x18538067, 0x114D9B74, 0xEC, 0x1549A966, 0x1654AE6B
CRC, SEEK, SEEK_ID, SEEK_POSITION = 0xBF, 0x4DBB, 0x53AB, 0x53AC
TRACK, TRACK_TYPE, VIDEO, STEREO_MODE = 0xAE, 0x83, 0xE0, 0x53B8
PROJECTION, PROJECTION_TYPE, PROJECTION_PRIVATE = 0x7670, 0x7671, 0x7672
YAW, PITCH, ROLL = 0x7673, 0x7674, 0x7675
EQUIRECTANGULAR = 1
STEREO_MODES = {0: 0, 1: 3, 2: 1}  # of `Sphere.stereo`: mono, the left view above, the left view at the left
MAX_HEAD = 1 << 24  # bytes before the end of the tracks; attachments and data come after them

Element = tuple[int, bytes]  # its id and its content


def mark(film: Path | str, sphere: Sphere) -> None:
    """Mark a finished film as a 360° video. It is changed in place, and keeps its size.

    Raises:
        ValueError: it was not written by FFmpeg's muxer, or has no unused bytes.
    """
    with open(film, "r+b") as file:
        head = file.read(MAX_HEAD)
        try:
            begin, marked = _marked(head, sphere)
        except (IndexError, StopIteration, struct.error):
            raise ValueError(f"{film}: expected a Matroska file with a video track in its header") from None
        file.seek(begin)
        file.write(marked)


def projection_of(sphere: Sphere) -> list[Element]:
    """The elements of a video track that describe a sphere."""
    pose = [(name, struct.pack(">f", angle / 65536)) for name, angle in
            ((YAW, sphere.yaw), (PITCH, sphere.pitch), (ROLL, sphere.roll))]  # fmt: skip
    parts = [(PROJECTION_TYPE, bytes([EQUIRECTANGULAR])), (PROJECTION_PRIVATE, equirectangular_bounds(sphere)), *pose]
    stereo = [(STEREO_MODE, bytes([STEREO_MODES[sphere.stereo]]))] if sphere.stereo else []
    return [*stereo, (PROJECTION, _join(parts))]


def _marked(head: bytes, sphere: Sphere) -> tuple[int, bytes]:
    """Where the bytes from the table of contents to the tracks begin, and their new content, of the same size."""
    begin = next(start for number, start, _ in _places(head, 0) if number == SEGMENT)
    places: list[tuple[int, Element]] = []
    for number, start, end in _places(head, begin):
        places.append((end, (number, head[start:end])))
        if number == TRACKS:
            break
    names = [number for _, (number, _) in places]
    if names[0] != SEEK_HEAD or names[-1] != TRACKS or VOID not in names or len(head) < places[-1][0]:
        raise StopIteration
    end, marks = places[-1][0], projection_of(sphere)
    elements = [element for _, element in places if element[0] != VOID]
    elements[-1] = (TRACKS, _with_crc(_change(elements[-1][1], TRACK, lambda track: _mark_track(track, marks))))
    spare = end - begin - len(_join(elements))
    if spare < 2:
        raise StopIteration
    table, rest = elements[0], elements[1:]
    place, positions = len(_join([table])) + spare, {}
    for element in rest:
        positions[element[0]] = place
        place += len(_join([element]))
    table = (SEEK_HEAD, _with_crc(_change(table[1], SEEK, lambda seek: _move(seek, positions))))
    return begin, _join([table]) + _void(spare) + _join(rest)


def _mark_track(track: bytes, marks: list[Element]) -> bytes:
    parts = list(_elements(track))
    if (TRACK_TYPE, b"\x01") not in parts:
        return track
    kept = {PROJECTION, *(number for number, _ in marks)}
    return _change(
        track, VIDEO, lambda video: _join([*(part for part in _elements(video) if part[0] not in kept), *marks])
    )


def _move(seek: bytes, positions: dict[int, int]) -> bytes:
    """An entry of the table of contents, with the new position of its element."""
    parts = dict(_elements(seek))
    number = int.from_bytes(parts[SEEK_ID], "big")
    if number in positions:
        parts[SEEK_POSITION] = positions[number].to_bytes(len(parts[SEEK_POSITION]), "big")
    return _join(list(parts.items()))


def _change(content: bytes, name: int, change: Callable[[bytes], bytes]) -> bytes:
    return _join([(number, change(part) if number == name else part) for number, part in _elements(content)])


def _with_crc(content: bytes) -> bytes:
    """The content with the right checksum, if it has one."""
    parts = list(_elements(content))
    if parts[0][0] != CRC:
        return content
    rest = _join(parts[1:])
    return _join([(CRC, struct.pack("<I", zlib.crc32(rest)))]) + rest


def _void(size: int) -> bytes:
    """An element of unused bytes, of `size` bytes in all, at least 2."""
    width = 1 if size < 100 else 8
    return bytes([VOID]) + _size(size - 1 - width, width) + bytes(size - 1 - width)


def _join(elements: list[Element]) -> bytes:
    return b"".join(
        number.to_bytes((number.bit_length() + 7) // 8, "big") + _size(len(content)) + content
        for number, content in elements
    )


def _size(size: int, width: int = 0) -> bytes:
    """A size in the fewest bytes, or in `width`."""
    width = width or next(width for width in range(1, 9) if size < (1 << 7 * width) - 1)
    return (size | 1 << 7 * width).to_bytes(width, "big")


def _elements(content: bytes) -> Iterator[Element]:
    return ((number, content[start:end]) for number, start, end in _places(content, 0))


def _places(content: bytes, place: int) -> Iterator[tuple[int, int, int]]:
    """The id of each element from `place` on, and where its content begins and ends."""
    while place < len(content):
        width = 9 - content[place].bit_length()
        number = int.from_bytes(content[place : place + width], "big")
        place += width
        width = 9 - content[place].bit_length()
        size = int.from_bytes(content[place : place + width], "big") ^ 1 << 7 * width
        place += width
        yield number, place, place + size
        place += size
