"""Between the YUV (or other) samples of a codec and BGR pixels, by the color tags of the stream.

Numbers of tags are those of ITU-T H.273, as everywhere in FFmpeg.
"""

from dataclasses import dataclass

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

RGB, BT709, UNKNOWN, SMPTE170M = 0, 1, 2, 6  # matrix coefficients
LIMITED, FULL = 1, 2
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}  # tag: libswscale's name for the same numbers
HD_HEIGHT = 720  # what is untagged is taken for BT.709 from this height on, for BT.601 below

# Within 0.5 grey levels of the formula, where the fast path is 3 off and repeats chroma blockwise;
# the same on all processors. 4 ms instead of 1 ms for 1280x720.
ACCURATE_FLAGS = (Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
           | Interpolation.FULL_CHR_H_INP | Interpolation.BITEXACT)  # fmt: skip
FAST_FLAGS = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
LEFT, MIDDLE = np.array([0.25, 0.5, 0.25]), np.array([0.5, 0.5])  # filters around a column, and between two rows


@dataclass(frozen=True)
class ColorInfo:
    """Color tags of a stream: matrix never unknown or RGB, range never unknown; the others as they are (2: unknown)."""

    matrix: int
    range: int
    primaries: int
    transfer: int

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "ColorInfo":
        guess = BT709 if frame.height >= HD_HEIGHT else SMPTE170M
        full = frame.color_range == FULL or frame.format.name.startswith("yuvj")
        rgb = frame.format.is_rgb
        return cls(frame.colorspace if frame.colorspace in MATRICES and not rgb else guess,
                   FULL if full and not rgb else LIMITED, frame.color_primaries, frame.color_trc)  # fmt: skip


def to_bgr(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8 BGR, upright by its display matrix, contiguous."""
    _tag(frame)
    # Into planes and merged: the same values as into "bgr24", which libswscale has no vector code for, in half the time.
    green, blue, red = map(
        _samples, reformatter.reformat(frame, format="gbrp", interpolation=ACCURATE_FLAGS, threads=1).planes
    )
    image = cv2.merge((blue, green, red))
    return np.ascontiguousarray(upright(image, *display_matrix(frame)))


def to_small_bgr(frame: av.VideoFrame, long_side: int, reformatter: VideoReformatter) -> np.ndarray:
    """A decoded frame as (h, w, 3) uint8 BGR as it is stored, not turned, its longer side at most `long_side`, contiguous.

    Colors are a few grey levels off, but the same on all processors. 0.3 ms for 1280x720.
    """
    _tag(frame)
    scale = min(long_side / max(frame.width, frame.height), 1)
    width, height = (max(round(side * scale), 1) for side in (frame.width, frame.height))
    return np.ascontiguousarray(
        reformatter.reformat(frame, width, height, "bgr24", interpolation=FAST_FLAGS, threads=1).to_ndarray()
    )


def from_bgr(image: np.ndarray, colors: ColorInfo, reformatter: VideoReformatter) -> av.VideoFrame:
    """The picture (H, W, 3) uint8 BGR, H and W even, as a frame in yuv420p.

    A chroma sample lies where H.264 has it if nothing else is said: at the left column of its two, between its
    two rows. (libswscale would put it in the middle, and to_bgr then shows colors half a pixel beside their place.)
    """
    height, width = image.shape[:2]
    frame, (blue, green, red) = av.VideoFrame(width, height, "gbrp"), cv2.split(image)
    for plane, samples in zip(frame.planes, (green, blue, red)):
        _samples(plane)[...] = samples
    full = reformatter.reformat(frame, format="yuv444p", dst_colorspace=MATRICES[colors.matrix],
                                dst_color_range=colors.range, interpolation=ACCURATE_FLAGS, threads=1).to_ndarray()  # fmt: skip
    planes = [full[0], *(cv2.sepFilter2D(plane, -1, LEFT, MIDDLE, anchor=(1, 0), borderType=cv2.BORDER_REPLICATE)[::2, ::2]
                         for plane in full[1:])]  # fmt: skip
    samples = np.concatenate([plane.ravel() for plane in planes]).reshape(height * 3 // 2, width)
    frame = av.VideoFrame.from_ndarray(samples, format="yuv420p")
    frame.colorspace, frame.color_range = colors.matrix, colors.range
    return frame


def _samples(plane: av.video.plane.VideoPlane) -> np.ndarray:
    """A view (H, W) uint8 of a plane of 8 bits, without the padding of its rows."""
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def _tag(frame: av.VideoFrame) -> None:
    """Write onto a decoded frame what its colors are taken for, where libswscale reads it."""
    if not frame.format.is_rgb:
        colors = ColorInfo.of(frame)
        frame.colorspace, frame.color_range = colors.matrix, colors.range


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """Signs of (a, b, c, d) in x' = a x + c y, y' = b x + d y, which shows a stored picture upright."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(int)
    if abs(a) + abs(d) >= abs(b) + abs(c):  # an oblique rotation is taken for the nearest right angle
        b = c = 0
    else:
        a = d = 0
    return tuple(int(np.sign(value)) for value in (a, b, c, d))


def upright(image: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """A view of the stored picture (H, W, 3) as `display_matrix` shows it."""
    if b:
        image = image.transpose(1, 0, 2)
    return image[:: -1 if b + d < 0 else 1, :: -1 if a + c < 0 else 1]
