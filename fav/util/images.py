"""Frames as PNG in memory, with a few words about them; pictures of the user from disk; resizing."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fav.errors import FavError
from fav.util.reading import read_file

MAX_BYTES = 1 << 29  # bytes of a picture file of the user
MAX_PIXELS = 1 << 28  # of it, 16384x16384: a small file may claim more than memory holds
SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEAD_BYTES = 4096  # as many have the text of a picture of ours
HEAD_END = len(SIGNATURE) + 25  # the chunk IHDR is 25 bytes long and always first
PNG_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))  # the chunk that is always last
CHUNKS = (b"IHDR", b"iTXt", b"tEXt", b"IDAT", b"IEND")  # others may turn the picture (eXIf) or replace it (acTL, fcTL)

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is lower than ours
warnings.filterwarnings("ignore", module="PIL")  # it reads no more than sizes here

# Measured on stylized 720p frames: 37 ms and 2.0 MB, OpenCV's default takes 86 ms for as many bytes.
FAST = [
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG,
]  # fmt: skip


def encode_png(frame: np.ndarray, text: dict[str, str] | None = None) -> bytes:
    """A PNG of `frame`, lossless, with `text` in iTXt chunks at its head.

    frame is (H, W, 3) BGR, uint8 or uint16. Keys are 1 to 79 printable ASCII characters, values any text
    without NUL. The bytes are a function of the arguments alone. Raises FavError for anything else.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0 or frame.dtype not in (np.uint8, np.uint16):
        raise FavError(f"PNG: expected a picture (H, W, 3) uint8 or uint16, got {frame.shape} {frame.dtype}")
    png = cv2.imencode(".png", np.ascontiguousarray(frame), FAST)[1].tobytes()
    return png[:HEAD_END] + b"".join(_text_chunk(*item) for item in (text or {}).items()) + png[HEAD_END:]


def png_limit(size: tuple[int, int], depth: int) -> int:
    """Bytes that a PNG of `encode_png` may have at most: of this (width, height), `depth` bytes a sample.

    That is an eighth more than its samples, which no compression adds to them, and room for its text.
    """
    width, height = size
    return (3 * depth * width + 1) * height * 9 // 8 + (1 << 16)


def decode_png(data: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """The picture in a PNG: (H, W, 3) BGR, uint8 or uint16 as it is stored.

    Raises FavError where the data is not one whole PNG as `encode_png` makes it: every chunk's checksum is verified; and
    where it is not of `size` (width, height), before memory is taken for it. MemoryError where that is not to be had.
    """
    stored = _head(data)
    if size is not None and stored != size:
        raise FavError(f"PNG: expected a picture of {size[0]}x{size[1]}, got {stored[0]}x{stored[1]}")
    try:
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from None  # that is this machine's fault, and not the picture's
        frame = None  # more pixels than it is willing to decode
    if frame is None:
        raise FavError("PNG: expected a picture, got chunks that are whole but do not decode")
    if frame.shape != (stored[1], stored[0], 3) or frame.dtype not in (np.uint8, np.uint16):
        raise FavError(
            f"PNG: expected a picture {(stored[1], stored[0], 3)} of 8 or 16 bits, got {frame.shape} {frame.dtype}"
        )
    return frame


def check_png_ends(head: bytes, tail: bytes, size: tuple[int, int], depth: int) -> None:
    """FavError where the first HEAD_END and the last len(PNG_END) bytes of a file are not those of a PNG of `encode_png` of
    `size` (width, height), `depth` bytes a sample. What lies between them is not known then."""
    if not head.startswith(SIGNATURE) or len(head) < HEAD_END:
        raise FavError(f"PNG: expected a PNG signature and a head, got {head[:8]!r} in {len(head)} bytes")
    body = head[len(SIGNATURE) + 4 : HEAD_END - 4]
    if struct.unpack(">I", head[HEAD_END - 4 : HEAD_END])[0] != zlib.crc32(body):
        raise FavError("PNG: expected an undamaged head, its checksum differs")
    width, height, bits, colors = struct.unpack_from(">IIBB", body, 4)
    if (width, height, bits, colors) != (*size, 8 * depth, 2):
        raise FavError(
            f"PNG: expected a picture of {size[0]}x{size[1]} and {8 * depth} bits RGB, got {width}x{height} and {bits}"
        )
    if tail != PNG_END:
        raise FavError("PNG: expected a whole file up to its chunk IEND, got one that is cut off")


def png_text(data: bytes) -> dict[str, str]:
    """The text that `encode_png` put at the head of a PNG, as it was given, from all of it or the first HEAD_BYTES.

    Raises FavError where the head is damaged.
    """
    text = {}
    for kind, body in _chunks(data, before=b"IDAT"):
        if kind == b"iTXt":
            key, _, rest = body.partition(b"\0")
            text[key.decode("latin-1")] = (
                rest[2:].split(b"\0", 2)[-1].decode("utf-8", "replace")
            )  # after two flags, a language and a translated key
    return text


def read_image(path: Path, deep: bool = False) -> np.ndarray:
    """The picture in a file, in any format OpenCV reads, upright: (H, W, 3) uint8 BGR. FavError says what is wrong.

    With `deep`, one of 16 bits stays uint16.
    """
    try:
        data = read_file(path, f"picture {path}", MAX_BYTES)
    except OSError as error:
        raise FavError(f"picture {path}: {error.strerror}") from error
    width, height = header_size(data) or (0, 0)
    if width * height > MAX_PIXELS:
        raise FavError(f"picture {path}: expected at most {MAX_PIXELS} pixels, got {width}x{height}")
    frame = _decoded(data, cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if deep else 0)) if data else None
    if frame is not None and frame.dtype not in (np.uint8, np.uint16):  # floating point
        frame = _decoded(data, cv2.IMREAD_COLOR)
    if frame is None:
        raise FavError(f"picture {path}: expected an image (PNG, JPEG, PPM, …), got {len(data)} bytes that are none")
    return frame


def header_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) that a picture file claims, by its head alone; None where that does not tell."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size
    except Exception:  # of whatever kind: OpenCV says what is wrong with it
        return None


def resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`frame` (H, W, 3) at `size`, (width, height) in pixels: averaged over areas where it shrinks, cubic where it grows."""
    height, width = frame.shape[:2]
    if size == (width, height):
        return frame
    shrinks = size[0] * size[1] < width * height
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _decoded(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # more pixels than it is willing to decode
        return None


def _head(data: bytes) -> tuple[int, int]:
    """Width and height that a PNG as `encode_png` makes it has in its head, all of its chunks looked at; else FavError."""
    kinds, head = [], b""
    for kind, body in _chunks(data):
        if kind not in CHUNKS or (kind == b"IHDR") != (not kinds):
            raise FavError(f"PNG: expected IHDR first and once, text and IDAT, got {kind!r} as chunk {len(kinds)}")
        kinds.append(kind)
        head = head or body
    if len(head) != 13 or head[8:] not in (b"\x08\2\0\0\0", b"\x10\2\0\0\0"):
        raise FavError(f"PNG: expected a head of 8 or 16 bits RGB, got {head[:20]!r}")
    return struct.unpack_from(">II", head)


def _chunks(data: bytes, before: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Type and body of each chunk, its checksum verified, up to IEND, or to the first of type `before`; FavError where that
    does not come."""
    if not data.startswith(SIGNATURE):
        raise FavError(f"PNG: expected a PNG signature, got {data[:8]!r}")
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == before:
            return
        body = data[position + 8 : position + 8 + length]
        checksum = data[position + 8 + length : position + 12 + length]
        if len(checksum) < 4:
            break
        if struct.unpack(">I", checksum)[0] != zlib.crc32(kind + body):
            raise FavError(f"PNG: expected an undamaged chunk {kind!r} at byte {position}, its checksum differs")
        yield kind, body
        if kind == b"IEND":
            return
        position += 12 + length
    raise FavError(f"PNG: expected a whole file up to its chunk IEND, got only {len(data)} bytes")


def _text_chunk(key: str, value: str) -> bytes:
    if not 0 < len(key) < 80 or not key.isprintable() or not key.isascii() or "\0" in value:
        raise FavError(
            f"PNG text: expected a key of 1 to 79 printable ASCII characters and a value without NUL, got {key!r}"
        )
    body = b"iTXt" + key.encode("ascii") + b"\0\0\0\0\0" + value.encode("utf-8")
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
