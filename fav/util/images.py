"""Encode and decode frames as PNG with text, read image files of the user, and resize images."""

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

MAX_BYTES = 1 << 29  # of an image file of the user
MAX_PIXELS = 1 << 28  # of an image file, 16384x16384; a small file may declare a size that does not fit into memory
SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEAD_BYTES = 4096  # the text of a PNG of this program is within these first bytes
HEAD_END = len(SIGNATURE) + 25  # the chunk IHDR has 25 bytes and is always first
PNG_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))  # the chunk IEND is always last
CHUNKS = (b"IHDR", b"iTXt", b"tEXt", b"IDAT", b"IEND")  # others may rotate the image (eXIf) or replace it (acTL, fcTL)

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is lower than MAX_PIXELS
warnings.filterwarnings("ignore", module="PIL")  # Pillow only reads sizes here

# Measured on stylized 720p frames: 37 ms and 2.0 MB. OpenCV's default takes 86 ms, for the same size.
FAST = [
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG,
]  # fmt: skip


def encode_png(frame: np.ndarray, text: dict[str, str] | None = None) -> bytes:
    """Encode a frame as a PNG with text. The bytes depend only on the arguments.

    Args:
        frame: (H, W, 3) BGR, uint8 or uint16.
        text: Text for iTXt chunks before the image data. Keys are 1 to 79 printable ASCII characters; values have no NUL.

    Raises:
        FavError: An argument is invalid.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0 or frame.dtype not in (np.uint8, np.uint16):
        raise FavError(f"PNG: expected an image (H, W, 3) uint8 or uint16, got {frame.shape} {frame.dtype}")
    png = cv2.imencode(".png", np.ascontiguousarray(frame), FAST)[1].tobytes()
    return with_text(png, text or {})


def with_text(png: bytes, text: dict[str, str]) -> bytes:
    """A PNG of `encode_png` with `text` in iTXt chunks at its head; FavError as there."""
    return png[:HEAD_END] + b"".join(_text_chunk(*item) for item in text.items()) + png[HEAD_END:]


def png_limit(size: tuple[int, int], depth: int) -> int:
    """Return the maximum size in bytes of a PNG of `encode_png`.

    It is the size of the samples plus an eighth, which is more than compression can add, plus 64 KiB for text.

    Args:
        size: (width, height).
        depth: Bytes per sample.
    """
    width, height = size
    return (3 * depth * width + 1) * height * 9 // 8 + (1 << 16)


def decode_png(data: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a PNG of `encode_png`. The checksums of all chunks are verified.

    Args:
        data: The PNG.
        size: The expected (width, height), which is checked before memory is allocated.

    Returns:
        (H, W, 3) BGR, uint8 or uint16 as stored.

    Raises:
        FavError: The data is damaged, incomplete, of another format or of another size.
        MemoryError: There is not enough memory.
    """
    stored = _size(data)
    if size is not None and stored != size:
        raise FavError(f"PNG: expected an image of {size[0]}x{size[1]}, got {stored[0]}x{stored[1]}")
    try:
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from None  # a problem of this machine, not of the image
        frame = None  # more pixels than OpenCV decodes
    if frame is None:
        raise FavError("PNG: expected an image, got complete chunks that do not decode")
    if frame.shape != (stored[1], stored[0], 3) or frame.dtype not in (np.uint8, np.uint16):
        raise FavError(
            f"PNG: expected an image {(stored[1], stored[0], 3)} of 8 or 16 bits, got {frame.shape} {frame.dtype}"
        )
    return frame


def check_png_ends(head: bytes, tail: bytes, size: tuple[int, int], depth: int) -> None:
    """Check the beginning and the end of a PNG of `encode_png`. The data between them is not checked.

    Args:
        head: The first HEAD_END bytes.
        tail: The last len(PNG_END) bytes.
        size: The expected (width, height).
        depth: The expected bytes per sample.

    Raises:
        FavError: They differ.
    """
    if not head.startswith(SIGNATURE) or len(head) < HEAD_END:
        raise FavError(f"PNG: expected a PNG signature and header, got {head[:8]!r} in {len(head)} bytes")
    body = head[len(SIGNATURE) + 4 : HEAD_END - 4]
    if struct.unpack(">I", head[HEAD_END - 4 : HEAD_END])[0] != zlib.crc32(body):
        raise FavError("PNG: expected an undamaged header, but its checksum differs")
    width, height, bits, colors = struct.unpack_from(">IIBB", body, 4)
    if (width, height, bits, colors) != (*size, 8 * depth, 2):
        raise FavError(
            f"PNG: expected an image of {size[0]}x{size[1]} and {8 * depth} bits RGB, got {width}x{height} and {bits}"
        )
    if tail != PNG_END:
        raise FavError("PNG: expected a complete file that ends with IEND, got a truncated one")


def png_text(data: bytes) -> dict[str, str]:
    """Return the text of a PNG of `encode_png`.

    Args:
        data: The PNG, or its first HEAD_BYTES.

    Raises:
        FavError: A chunk before the image data is damaged.
    """
    text = {}
    for kind, body in _chunks(data, before=b"IDAT"):
        if kind == b"iTXt":
            key, _, rest = body.partition(b"\0")
            value = rest[2:].split(b"\0", 2)[-1]  # after two flags, a language and a translated key
            text[key.decode("latin-1")] = value.decode("utf-8", "replace")
    return text


def read_image(path: Path, deep: bool = False) -> np.ndarray:
    """Read an image file in any format of OpenCV, rotated as its metadata says.

    Args:
        path: The file.
        deep: Whether to keep 16 bits per sample.

    Returns:
        (H, W, 3) BGR uint8; uint16 for an image of 16 bits with `deep`.

    Raises:
        FavError: The file is not an image, or too large.
    """
    try:
        data = read_file(path, f"image {path}", MAX_BYTES)
    except OSError as error:
        raise FavError(f"image {path}: {error.strerror}") from error
    width, height = header_size(data) or (0, 0)
    if width * height > MAX_PIXELS:
        raise FavError(f"image {path}: expected at most {MAX_PIXELS} pixels, got {width}x{height}")
    frame = _decode(data, cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if deep else 0)) if data else None
    if frame is not None and frame.dtype not in (np.uint8, np.uint16):  # floating point
        frame = _decode(data, cv2.IMREAD_COLOR)
    if frame is None:
        raise FavError(f"image {path}: expected an image (PNG, JPEG, PPM, …), got {len(data)} bytes of another format")
    return frame


def header_size(data: bytes) -> tuple[int, int] | None:
    """Return the (width, height) in the header of an image file; None if it cannot be read."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except Exception:  # Pillow raises many types; the decoder reports the error
        return None


def resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize `frame` (H, W, 3) to `size` (width, height): by area averaging if it has fewer pixels, else by cubic interpolation."""
    height, width = frame.shape[:2]
    if size == (width, height):
        return frame
    is_smaller = size[0] * size[1] < width * height
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC)


def limit_size(image: np.ndarray, size: int) -> np.ndarray:
    """Resize an image to `size` pixels on its longer side, if it has more."""
    scale = min(1, size / max(image.shape[:2]))
    height, width = image.shape[:2]
    return resize(image, (max(round(width * scale), 1), max(round(height * scale), 1)))


def _decode(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # more pixels than OpenCV decodes
        return None


def _size(data: bytes) -> tuple[int, int]:
    """Return the width and height of a PNG of `encode_png`. Verifies all chunks; raises FavError for other data."""
    kinds, header = [], b""
    for kind, body in _chunks(data):
        if kind not in CHUNKS or (kind == b"IHDR") != (not kinds):
            raise FavError(f"PNG: expected IHDR first and once, text and IDAT, got {kind!r} as chunk {len(kinds)}")
        kinds.append(kind)
        header = header or body
    if len(header) != 13 or header[8:] not in (b"\x08\2\0\0\0", b"\x10\2\0\0\0"):
        raise FavError(f"PNG: expected a header of 8 or 16 bits RGB, got {header[:20]!r}")
    return struct.unpack_from(">II", header)


def _chunks(data: bytes, before: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and body of each chunk up to IEND, or up to the first chunk of type `before`. Verifies checksums.

    Raises:
        FavError: A chunk is damaged, or the data ends too early.
    """
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
            raise FavError(f"PNG: expected an undamaged chunk {kind!r} at byte {position}, but its checksum differs")
        yield kind, body
        if kind == b"IEND":
            return
        position += 12 + length
    raise FavError(f"PNG: expected a complete file that ends with IEND, got only {len(data)} bytes")


def _text_chunk(key: str, value: str) -> bytes:
    if not 0 < len(key) < 80 or not key.isprintable() or not key.isascii() or "\0" in value:
        raise FavError(
            f"PNG text: expected a key of 1 to 79 printable ASCII characters and a value without NUL, got {key!r}"
        )
    body = b"iTXt" + key.encode("ascii") + b"\0\0\0\0\0" + value.encode("utf-8")
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
