"""Detect truncated files, such as incomplete copies or downloads, by the sizes in their outermost structure.

Demuxers report no error if a Matroska or fragmented MP4 file ends early, so the sizes are read here.
Formats: ISO/IEC 14496-12 (boxes), RFC 8794 (EBML), RIFF, ISO/IEC 13818-1 (188-byte packets).
"""

import struct
from pathlib import Path
from typing import BinaryIO

BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"sidx", b"mfra", b"uuid", b"pnot"}
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def is_truncated(path: Path) -> bool:
    """Whether bytes are missing at the file's end. False if the format does not tell."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(400)
        if head[4:8] in BOXES:
            return _boxes_end(file, size) > size
        if head.startswith(EBML):
            return _segment_end(file) > size
        if head.startswith(b"RIFF"):
            return 8 + struct.unpack_from("<I", head, 4)[0] > size
        for packet, sync in ((188, 0), (192, 4)):
            if len(head) == 400 and head[sync] == head[sync + packet] == 0x47:
                return size % packet != 0
    return False


def broken_at(path: Path) -> int | None:
    """The offset at which the structure of an MP4, MOV or GIF is broken, and frames follow; None if it is not.

    FFmpeg reports no error there, and ends. Data after all boxes, which some cameras write, is none.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        if head[:4] == b"GIF8":
            return _gif_ends(file, size)
        if head[4:8] not in BOXES:
            return None
        end = _last_box(file, size)
        if end >= size:
            return None
        file.seek(end + 8)
        before = b""
        while block := file.read(1 << 20):
            if b"moof" in before + block or b"mdat" in before + block:
                return end
            before = block[-3:]
    return None


def _gif_ends(file: BinaryIO, size: int) -> int | None:
    """The offset in a GIF of something that is no block; None if all is made of blocks. Source: GIF89a, 1990."""
    if size < 13:
        return None  # it ends in its header
    file.seek(10)
    flags = file.read(1)[0]
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while at < size:
        file.seek(at)
        kind = file.read(1)
        if kind == b"!":
            file.read(1)
        elif kind == b",":
            flags = file.read(9)[-1:]
            file.seek((3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0) + 1, 1)
        else:
            return None if kind == b";" else at
        while (length := file.read(1)) and length[0]:
            file.seek(length[0], 1)
        at = file.tell()
    return None


def _boxes_end(file: BinaryIO, size: int) -> int:
    """The offset at which the last box of an MP4 or MOV file ends. Data of other kinds after it is taken for a part of it."""
    end = _last_box(file, size)
    return end if end > size else size


def _last_box(file: BinaryIO, size: int) -> int:
    """The offset up to which an MP4 or MOV file is made of boxes; larger than its size if bytes are missing."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return size + 1
        length = struct.unpack_from(">I", head)[0]
        if length == 1 and len(head) == 16:
            length = struct.unpack_from(">Q", head, 8)[0]
        if length == 0 and head[4:8] in BOXES:
            return size  # to the end of the file
        if length < 8 or head[4:8] not in BOXES and not head[4:8].isalnum():
            return at
        at += length
    return at


def _segment_end(file: BinaryIO) -> int:
    """The offset at which Matroska's segment ends; 0 if its size is unknown."""
    file.seek(4)
    file.seek(_number(file) or 0, 1)
    if file.read(4) != SEGMENT or (length := _number(file)) is None:
        return 0
    return file.tell() + length


def _number(file: BinaryIO) -> int | None:
    """Read EBML's variable-length size at the file's position; None if it is marked as unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & ((1 << (8 - width)) - 1)]) + file.read(width - 1), "big")
    return None if value == (1 << 7 * width) - 1 else value
