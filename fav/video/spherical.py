"""The marks of a 360° video: how its frames are laid out on the sphere, and the boxes that say so in MP4 and MOV.

FFmpeg reads the marks (as side data of frames), but PyAV cannot give them to its muxers. So they are put into the finished
file: the boxes `st3d` and `sv3d` of Google's "Spherical Video V2", which players and video sites read.
(`spherical_matroska` does the same in Matroska and WebM.)
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from av import VideoFrame

from fav.video.side_data import side_data

EQUIRECTANGULAR, TILE = 0, 2  # FFmpeg's numbers of projections that `sv3d` calls `equi`
STEREO = {
    0: 0,
    2: 1,
    1: 2,
}  # FFmpeg's numbers of stereo layouts, and those of `st3d`: mono, top and bottom, side by side
ENTRY_HEAD = 8 + 78  # bytes of a video track's sample entry before its boxes
CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


@dataclass(frozen=True)
class Sphere:
    """The layout of a 360° video.

    Attributes:
        yaw: of the initial view, like `pitch` and `roll` in degrees times 65536.
        stereo: 0: one view; 1: one above the other; 2: side by side.
        bounds: what is missing at the top, bottom, left and right, in parts of 2^32 of the sphere.
    """

    yaw: int = 0
    pitch: int = 0
    roll: int = 0
    stereo: int = 0
    bounds: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def is_whole(self) -> bool:
        """Whether frames show the whole sphere once."""
        return self.stereo == 0 and not any(self.bounds)


def sphere_of(frame: VideoFrame) -> Sphere | None:
    """The layout of a decoded frame; None if it is not marked as equirectangular."""
    mapping, stereo = side_data(frame, "SPHERICAL"), side_data(frame, "STEREO3D")
    if mapping is None or len(mapping) < 32:
        return None
    projection, yaw, pitch, roll, left, top, right, bottom = struct.unpack_from("=i3i4I", mapping)
    layout = STEREO.get(struct.unpack_from("=i", stereo)[0]) if stereo and len(stereo) >= 4 else 0
    if projection not in (EQUIRECTANGULAR, TILE) or layout is None:
        return None
    bounds = (top, bottom, left, right) if projection == TILE else (0, 0, 0, 0)
    return Sphere(yaw, pitch, roll, layout, bounds)


def boxes_of(sphere: Sphere) -> bytes:
    """The boxes `st3d` and `sv3d` of a layout."""
    stereo = _box(b"st3d", struct.pack(">IB", 0, sphere.stereo))
    head = _box(b"svhd", struct.pack(">I", 0) + b"\0")  # without the name of a program
    pose = _box(b"prhd", struct.pack(">I3i", 0, sphere.yaw, sphere.pitch, sphere.roll))
    shape = _box(b"equi", equirectangular_bounds(sphere))
    return stereo + _box(b"sv3d", head + _box(b"proj", pose + shape))


def equirectangular_bounds(sphere: Sphere) -> bytes:
    """The content of the box `equi`, which Matroska also uses."""
    return struct.pack(">I4I", 0, *sphere.bounds)


def mark(film: Path | str, sphere: Sphere) -> None:
    """Mark a finished MP4 or MOV, whose header is at its end, as a 360° video. The film is changed in place.

    Raises:
        ValueError: it is no such file.
    """
    with open(film, "r+b") as file:
        place = _find_header(file, os.fstat(file.fileno()).st_size)
        file.seek(place)
        header = file.read()
        size = struct.unpack_from(">I", header)[0]
        marked = _insert(header[:size], boxes_of(sphere))
        if marked is None:
            raise ValueError(f"{film}: expected a video track in its header, found none")
        file.seek(place)
        file.write(marked + header[size:])


def _find_header(file, end: int) -> int:
    """The place of the box `moov`, which must come after all data: their places are in it."""
    place, header, data = 0, None, 0
    while place + 8 <= end:
        file.seek(place)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1:
            size = struct.unpack(">Q", file.read(8))[0]
        header, data = (place if kind == b"moov" else header), (place if kind == b"mdat" else data)
        place += max(size, 8) if size else end
    if header is None or header < data:
        raise ValueError(
            f"{file.name}: expected a header at its end, found {'one before the data' if header else 'none'}"
        )
    return header


def _insert(box: bytes, marks: bytes) -> bytes | None:
    """A box with the marks in the sample entries of the first video track; None if that is not in it."""
    kind = box[4:8]
    if kind == b"stsd":
        entries = box[16:]
        size = struct.unpack_from(">I", entries)[0]
        if size < ENTRY_HEAD:
            return None
        return _box(kind, box[8:16] + _box(entries[4:8], entries[8:size] + marks) + entries[size:])
    if kind not in CONTAINERS or kind == b"trak" and not _is_video(box):
        return None
    parts = list(_boxes(box))
    for number, part in enumerate(parts):
        if (changed := _insert(part, marks)) is not None:
            return _box(kind, b"".join([*parts[:number], changed, *parts[number + 1 :]]))
    return None


def _is_video(track: bytes) -> bool:
    media = next((box for box in _boxes(track) if box[4:8] == b"mdia"), b"\0" * 8)
    return any(box[4:8] == b"hdlr" and box[16:20] == b"vide" for box in _boxes(media))


def _boxes(box: bytes) -> Iterator[bytes]:
    """The boxes in a box."""
    place = 8
    while place + 8 <= len(box):
        size = struct.unpack_from(">I", box, place)[0]
        if size < 8:
            return
        yield box[place : place + size]
        place += size


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content
