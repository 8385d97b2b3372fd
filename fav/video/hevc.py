"""HEVC in ranges: where decoding can begin, and whether FFmpeg has decoded all of each picture. Source: ITU-T H.265.

If the coded data of a picture ends early, FFmpeg reports nothing. The rest of the picture keeps what was in its memory: an
older picture, which is another one if decoding began elsewhere. So the last samples of old pictures are overwritten before
FFmpeg uses their memory again. If they appear in a new picture, it was not decoded to its end.

This needs pictures of one slice, which is decoded from the top left to the bottom right corner.
"""

from collections import deque

import av
import numpy as np
from av.video.plane import VideoPlane

from fav.video.nal_units import nal_units
from fav.video.side_data import side_data

SLICES, IDR, CRA = range(32), (19, 20), (21,)  # types of NAL units: table 7-1
PARAMETER_SETS, PICTURE_PARAMETER_SET = (32, 33, 34), 34
BLOCK = 8  # samples: the side of the least coding block
LEAST_CODING_TREE = 16  # samples: the side of the least coding tree block
MOST_KEPT, LEAST_KEPT, MOST_KEPT_BYTES = 17, 4, 256 << 20  # pictures that may be references, of which HEVC allows 16
MARK = np.random.default_rng(265).integers(0, 256, (BLOCK, BLOCK)).astype(np.uint16)  # no picture has such a corner


class CodedPictures:
    """Checks the packets of an HEVC stream.

    Args:
        extradata: of the stream.
    """

    def __init__(self, extradata: bytes):
        boxed = len(extradata) > 22 and not extradata.startswith((b"\0\0\1", b"\0\0\0\1"))
        self._length_size = (extradata[21] & 3) + 1 if boxed else 0
        units = _units_of_record(extradata) if boxed else list(nal_units(extradata, 0))
        self._known = [unit for unit in units if _type(unit) in PARAMETER_SETS]

    def problem(self, packet: av.Packet) -> str:
        """Why ranges cannot be relied on because of this packet; empty if nothing is wrong."""
        slices = []
        for unit in self._units(packet):
            if _type(unit) in PARAMETER_SETS and not self._is_known(unit):
                return "its parameters change"
            if _type(unit) in SLICES and not _layer(unit):
                slices.append(unit)
        if len(slices) != 1 or not _is_first(slices[0]):
            return "a picture has several slices, or one is damaged"
        return "its parameters change" if packet.has_sidedata("new_extradata") else ""

    def begins(self, packet: av.Packet) -> bool:
        """Whether no later picture that is shown after this one needs an earlier one: IDR and CRA pictures."""
        return any(_type(unit) in IDR + CRA and not _layer(unit) for unit in self._units(packet))

    def _units(self, packet: av.Packet) -> list[bytes]:
        return [unit for unit in nal_units(bytes(packet), self._length_size) if len(unit) > 2]

    def _is_known(self, unit: bytes) -> bool:
        """Whether each decoder has this parameter set at any time, because no other one replaces it."""
        names = [_name(known) for known in self._known]
        return unit in self._known and len(set(names)) == len(names)


def _units_of_record(record: bytes) -> list[bytes]:
    """The NAL units of an HEVCDecoderConfigurationRecord: ISO/IEC 14496-15, 8.3.3.1."""
    units, place = [], 23
    while place + 3 < len(record):
        count, place = int.from_bytes(record[place + 1 : place + 3], "big"), place + 3
        while count and place + 2 < len(record):
            size = int.from_bytes(record[place : place + 2], "big")
            units.append(record[place + 2 : place + 2 + size].rstrip(b"\0"))
            count, place = count - 1, place + 2 + size
    return [unit for unit in units if len(unit) > 2]


def _type(unit: bytes) -> int:
    return unit[0] >> 1 & 63


def _layer(unit: bytes) -> int:
    return (unit[0] & 1) << 5 | unit[1] >> 3


def _is_first(unit: bytes) -> bool:
    """Whether a slice is the first one of its picture."""
    return unit[2] >= 0x80


def _name(unit: bytes) -> tuple[int, int]:
    """The kind of a parameter set; of picture parameter sets also the number, of which there may be several."""
    if _type(unit) != PICTURE_PARAMETER_SET:
        return _type(unit), 0
    bits = int.from_bytes(unit[2:6].ljust(4, b"\0"), "big")
    zeros = 32 - bits.bit_length()
    return _type(unit), bits >> max(31 - 2 * zeros, 0)


class WholePictures:
    """Finds pictures that were not decoded to their end. It must see each picture that the decoder returns, once.

    Attributes:
        problem: why the pictures so far may be incomplete; empty if they are complete.
    """

    def __init__(self):
        self.problem = ""
        self._kept: deque[av.VideoFrame] = deque()

    def add(self, frame: av.VideoFrame, coded_size: tuple[int, int]) -> None:
        """Check a picture. It is kept for a while, because the decoder may need it as a reference.

        Args:
            frame: as the decoder returned it.
            coded_size: width and height with the parts that are not shown.
        """
        if side_data(frame, "FILM_GRAIN_PARAMS") is not None:
            self.problem = self.problem or "it has film grain"
        if not self.problem:
            self.problem = self._problem_of(frame, coded_size)
        if self.problem:
            self._kept.clear()
            return
        self._kept.append(frame)
        size = sum(plane.buffer_size for plane in frame.planes)
        if len(self._kept) > min(MOST_KEPT, max(LEAST_KEPT, MOST_KEPT_BYTES // size)):
            self._release(self._kept.popleft())

    def _problem_of(self, frame: av.VideoFrame, coded_size: tuple[int, int]) -> str:
        planes = frame.planes
        if len(planes) != 3 or not frame.format.name.startswith("yuv"):
            return f"pictures are {frame.format.name}"
        for shown, coded in zip((frame.width, frame.height), coded_size):
            least = BLOCK if coded % LEAST_CODING_TREE else LEAST_CODING_TREE  # of the last coding tree block
            if not 0 <= coded - shown <= least - BLOCK:
                return "the end of each picture is not shown"
        luma, *chroma = (_corner(plane, side, frame) for plane, side in zip(planes, _sides(frame)))
        # New memory is zero. FFmpeg makes gray pictures in the place of missing ones.
        unused = {0, 1 << frame.format.components[0].bits - 1}
        same = int(luma.flat[0])
        unwritten = (luma == MARK).all() or same in unused and all((part == same).all() for part in (luma, *chroma))
        return "a picture is not decoded to its end" if unwritten else ""

    def _release(self, frame: av.VideoFrame) -> None:
        """Mark the memory of a picture, so that the decoder can use it again."""
        before = frame.planes[0].buffer_ptr
        frame.make_writable()  # does nothing if the decoder does not use it
        if frame.planes[0].buffer_ptr != before:
            self.problem = "pictures are references for long"
        else:
            _corner(frame.planes[0], (BLOCK, BLOCK), frame)[...] = MARK


def _sides(frame: av.VideoFrame) -> list[tuple[int, int]]:
    """Width and height of the last block, in samples of each plane."""
    planes = frame.planes
    return [
        (max(BLOCK * plane.width // planes[0].width, 1), max(BLOCK * plane.height // planes[0].height, 1))
        for plane in planes
    ]


def _corner(plane: VideoPlane, side: tuple[int, int], frame: av.VideoFrame) -> np.ndarray:
    """The samples of a plane at its bottom right corner; changes go to the frame."""
    kind = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    rows = np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)
    width, height = side
    return rows[-height:, plane.width - width : plane.width]
