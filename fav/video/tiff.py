"""Check whether FFmpeg decodes a TIFF image completely.

By default, FFmpeg leaves strips that it cannot decode black, without an error. In strict mode (`err_detect=explode`),
it refuses each unknown tag, even tags that it writes itself. So a copy without unknown tags is decoded strictly.
Format: TIFF 6.0.
"""

import struct

import av
from av.error import FFmpegError

# Tags that FFmpeg's decoder knows (libavcodec/tiff.c), without those of GeoTIFF and camera raw data
KNOWN = {254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 282, 283, 284, 292, 293, 297, 317, 320, 322, 323, 324, 325,
         330, 347, 530}  # fmt: skip
ENTRY = 12  # bytes of a tag and its value


def decodes(data: bytes) -> bool:
    """Whether every strip and tile of a TIFF's first image decodes."""
    decoder = av.CodecContext.create("tiff", "r")
    decoder.options = {"err_detect": "explode"}
    decoder.thread_count = 1
    try:
        return bool(decoder.decode(av.Packet(without_unknown_tags(data))))
    except FFmpegError:
        return False


def without_unknown_tags(data: bytes) -> bytes:
    """Remove unknown tags from the first directory of a TIFF. Other data is returned unchanged."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return data
    start = struct.unpack_from(f"{order}I", data, 4)[0]
    if start + 2 > len(data):
        return data
    count = struct.unpack_from(f"{order}H", data, start)[0]
    end = start + 2 + ENTRY * count
    if end + 4 > len(data):
        return data
    entries = [data[at : at + ENTRY] for at in range(start + 2, end, ENTRY)]
    known = [entry for entry in entries if struct.unpack_from(f"{order}H", entry)[0] in KNOWN]
    directory = struct.pack(f"{order}H", len(known)) + b"".join(known) + bytes(4)
    return data[:start] + directory + data[start + len(directory) :]
