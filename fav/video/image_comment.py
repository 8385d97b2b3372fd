"""A text in the file of an image, where its format has a place for it: PNG, TIFF 6.0, OpenEXR. Pixels are not touched."""

import struct

from fav.util.images import with_text

EXR = b"\x76\x2f\x31\x01"
ASCII, DESCRIPTION, ENTRY = 2, 270, 12  # of TIFF: a type, a tag, the bytes of a tag and its value


def with_comment(image: bytes, comment: str) -> bytes:
    """Return the file of an image with a comment in it.

    Args:
        image: A PNG of `encode_png`, a TIFF of OpenCV, or an OpenEXR of FFmpeg.
        comment: Any text without NUL.

    Returns:
        The file with the comment: iTXt `Comment` of PNG, `ImageDescription` of TIFF, `comments` of OpenEXR. The bytes follow from
        the arguments.

    Raises:
        ValueError: The image is of another format.
    """
    if image.startswith(b"\x89PNG"):
        return with_text(image, {"Comment": comment})
    if image[:4] == b"II*\0":
        return _tiff(image, comment.encode() + b"\0")
    if image.startswith(EXR):
        return _exr(image, comment.encode())
    raise ValueError(f"image: expected a PNG, a TIFF or an OpenEXR, got a file that begins with {image[:4]!r}")


def _tiff(image: bytes, text: bytes) -> bytes:
    """A new directory of tags at the end; no offset to anything else changes."""
    start = struct.unpack_from("<I", image, 4)[0]
    count = struct.unpack_from("<H", image, start)[0]
    entries = [image[at : at + ENTRY] for at in range(start + 2, start + 2 + ENTRY * count, ENTRY)]
    following = image[start + 2 + ENTRY * count :][:4]  # where the next picture is
    place = len(image) + len(image) % 2
    text = text.ljust(5, b"\0")  # four bytes would lie in the tag itself
    entries.append(struct.pack("<HHII", DESCRIPTION, ASCII, len(text), place))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    image = image.ljust(place, b"\0") + text
    image += b"\0" * (len(image) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + following
    return image[:4] + struct.pack("<I", len(image)) + image[8:] + directory


def _exr(image: bytes, text: bytes) -> bytes:
    """One more attribute at the end of the header; the table after it has places in the file, which move."""
    at = 8
    while image[at]:
        for _ in ("name", "type"):
            at = image.index(b"\0", at) + 1
        at += 4 + struct.unpack_from("<I", image, at)[0]
    attribute = b"comments\0string\0" + struct.pack("<I", len(text)) + text
    first = struct.unpack_from("<Q", image, at + 1)[0]  # the first block follows the table
    places = struct.unpack_from(f"<{(first - at - 1) // 8}Q", image, at + 1)
    moved = struct.pack(f"<{len(places)}Q", *(place + len(attribute) for place in places))
    return image[:at] + attribute + b"\0" + moved + image[first:]
