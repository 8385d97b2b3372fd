"""Between the YUV (or other) samples of a codec and BGR pixels, by the color tags of the stream.

Numbers of tags are those of ITU-T H.273, as everywhere in FFmpeg.
"""

from dataclasses import dataclass, replace
from functools import cache

import av
import cv2
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import Interpolation, VideoReformatter

from fav.errors import FavError, sanitize
from fav.video import hdr
from fav.video.side_data import side_data

RGB, BT709, UNKNOWN, SMPTE170M = 0, 1, 2, 6  # matrix coefficients
LIMITED, FULL = 1, 2
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}  # tag: libswscale's name for the same numbers
LUMA = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
OTHER_MATRICES = {8: "YCgCo", 10: "BT.2020 constant luminance", 11: "SMPTE ST 2085", 12: "chromaticity-derived", 13:
                  "chromaticity-derived", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-R", 17: "YCgCo-R"}  # fmt: skip
LINEAR = 8  # a transfer: light itself
HD_HEIGHT = 720  # what is untagged is taken for BT.709 from this height on, for BT.601 below

# Within 0.5 grey levels of the formula, where the fast path is 3 off and repeats chroma blockwise;
# the same on all processors. 4 ms instead of 1 ms for 1280x720.
ACCURATE_FLAGS = (Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
           | Interpolation.FULL_CHR_H_INP | Interpolation.BITEXACT)  # fmt: skip
FAST_FLAGS = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
SHIFT = 16  # bits behind the point of whole numbers
LEFT, MIDDLE = np.array([0.25, 0.5, 0.25]), np.array([0.5, 0.5])  # filters around a column, and between two rows


@dataclass(frozen=True)
class ColorInfo:
    """Color tags of a stream: matrix never unknown or RGB, range never unknown; the others as they are (2: unknown).

    With `tone_map`, those of the SDR pictures that are made of HDR.
    """

    matrix: int
    range: int
    primaries: int
    transfer: int

    @classmethod
    def of(cls, frame: av.VideoFrame, tone_map: bool = False) -> "ColorInfo":
        if tone_map and is_hdr(frame):
            return cls(BT709, LIMITED, 1, 1)
        if is_linear(frame):
            return cls(BT709 if frame.height >= HD_HEIGHT else SMPTE170M, LIMITED, UNKNOWN, UNKNOWN)
        guess = BT709 if frame.height >= HD_HEIGHT else SMPTE170M
        full = frame.color_range == FULL or frame.format.name.startswith("yuvj")
        rgb = frame.format.is_rgb
        return cls(frame.colorspace if frame.colorspace in MATRICES and not rgb else guess,
                   FULL if full and not rgb else LIMITED, frame.color_primaries,
                   UNKNOWN if frame.color_trc == LINEAR else frame.color_trc)  # fmt: skip


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether its values stand for light as PQ and HLG have it."""
    return frame.color_trc in (hdr.PQ, hdr.HLG)


def is_linear(frame: av.VideoFrame) -> bool:
    """Whether its values are light itself, as in EXR: floating point, or YUV that says so.

    Whole numbers of red, green and blue are for a display, whatever is said: FFmpeg writes into each DPX that they are light.
    """
    floating = "f32" in frame.format.name or "f16" in frame.format.name
    return floating or frame.color_trc == LINEAR and not frame.format.is_rgb


def has_alpha(frame: av.VideoFrame) -> bool:
    return any(part.is_alpha for part in frame.format.components)


def check_matrix(frame: av.VideoFrame, video: object) -> None:
    """FavError where the colors of a video cannot be told."""
    name = OTHER_MATRICES.get(frame.colorspace)
    if name and not frame.format.is_rgb:
        raise FavError(
            f"{video}: expected colors by a matrix as of BT.709, BT.601 or BT.2020, got {name}; convert the video first: "
            f"ffmpeg -i {sanitize(video)} -vf zscale=matrix=709 -crf 12 film.mkv"
        )


def to_bgr(
    frame: av.VideoFrame, reformatter: VideoReformatter, tone_map: bool = False, deep: bool = False
) -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8 BGR, upright by its display matrix, contiguous; HDR as SDR with `tone_map`.

    `deep` gives uint16, of which 65535 is white, and keeps what a source of more than 8 bits has.
    """
    turn = display_matrix(frame)
    _tag(frame)
    if tone_map and is_hdr(frame):
        if deep and not frame.format.is_rgb:
            (blue, green, red), white = cv2.split(_deep_of_yuv(frame, reformatter)), 65535
        else:
            green, blue, red, white = _deep(frame, reformatter)
        image = hdr.to_sdr(red, green, blue, white, frame.color_trc, frame.color_primaries, deep)
    elif is_linear(frame):
        image = _of_light(frame, reformatter, deep)
    elif deep and frame.format.is_rgb and _bits(frame) == 8:
        image = _by_swscale(frame, reformatter).astype(np.uint16) * 257
    elif deep and (frame.format.is_rgb or len(frame.format.components) < 3):
        if frame.format.name.startswith("gbr") and frame.format.name.endswith("le"):
            white = (
                1 << _bits(frame)
            ) - 1  # libswscale, from one number of bits to another, is a sixth of a level of 8 off
            green, blue, red = (_samples(plane, np.uint16) for plane in frame.planes[:3])
        else:
            green, blue, red, white = _deep(frame, reformatter)
        image = cv2.merge([_sixteen_bits(white)[plane] for plane in (blue, green, red)])
    elif deep:
        image = _deep_of_yuv(frame, reformatter)
    elif _bits(frame) > 8 and (frame.format.is_rgb or frame.color_range == FULL or len(frame.format.components) < 3):
        # libswscale cuts the lower bits off: half a level too bright in the mean
        green, blue, red, white = _deep(frame, reformatter)
        image = cv2.merge([_eight_bits(white)[plane] for plane in (blue, green, red)])
    else:
        image = _by_swscale(frame, reformatter)
    return np.ascontiguousarray(upright(image, *turn))


def _bits(frame: av.VideoFrame) -> int:
    return max(part.bits for part in frame.format.components) if frame.format.components else 8


def _deep(frame: av.VideoFrame, reformatter: VideoReformatter) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Green, blue and red of a frame in 16 bits, (H, W) uint16 each, and the value that stands for white."""
    made = reformatter.reformat(frame, format="gbrp16le", interpolation=ACCURATE_FLAGS, threads=1)
    bits, limited = _bits(frame), frame.color_range == LIMITED and not frame.format.is_rgb
    white = (1 << 16) - 1 if limited and len(frame.format.components) >= 3 else ((1 << bits) - 1) << (16 - bits)
    green, blue, red = (_samples(plane, np.uint16) for plane in made.planes)
    return green, blue, red, white


def _deep_of_yuv(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """A frame of Y, Cb and Cr as (H, W, 3) uint16 BGR. libswscale, which brings chroma to full size, would be a third of a level
    of 8 bits too dark in the mean. Elementwise float32, the same on all processors."""
    matrix, full = frame.colorspace, frame.color_range == FULL
    made = reformatter.reformat(
        frame, format="yuv444p16le", src_colorspace=MATRICES[matrix], dst_colorspace=MATRICES[matrix],
        src_color_range=frame.color_range, dst_color_range=frame.color_range, interpolation=ACCURATE_FLAGS, threads=1,
    )  # fmt: skip
    bits, (of_red, of_blue) = _bits(frame), LUMA[matrix]
    one = np.float32(1 << 8)  # what a level of 8 bits is in 16
    black, luma_span, chroma_span = 16 * one, 219 * one, 224 * one
    if full:  # libswscale fills the lower bits of luma, and not those of chroma
        black, luma_span, chroma_span = 0, np.float32(65535), np.float32(((1 << bits) - 1) << (16 - bits))
    planes = (_samples(plane, np.uint16).astype(np.float32) for plane in made.planes)
    luma, cb, cr = (next(planes) - black) / luma_span, *((plane - 128 * one) / chroma_span for plane in planes)
    blue = luma + np.float32(2 * (1 - of_blue)) * cb
    red = luma + np.float32(2 * (1 - of_red)) * cr
    green = (luma - np.float32(of_red) * red - np.float32(of_blue) * blue) / np.float32(1 - of_red - of_blue)
    return cv2.merge(
        [np.rint(np.clip(plane, 0, 1) * np.float32(65535)).astype(np.uint16) for plane in (blue, green, red)]
    )


@cache
def _eight_bits(white: int) -> np.ndarray:
    """The nearest of 8 bits by a value of 16, of which one stands for white."""
    return np.minimum((np.arange(1 << 16) * 255 + white // 2) // white, 255).astype(np.uint8)


@cache
def _sixteen_bits(white: int) -> np.ndarray:
    """The value of 16 bits by another one, of which one stands for white."""
    return np.minimum((np.arange(1 << 16) * 65535 + white // 2) // white, 65535).astype(np.uint16)


def _of_light(frame: av.VideoFrame, reformatter: VideoReformatter, deep: bool = False) -> np.ndarray:
    """A picture of light from 0 to 1, as sRGB; brighter light is white."""
    made = reformatter.reformat(frame, format="gbrpf32le", interpolation=ACCURATE_FLAGS, threads=1)
    planes = [np.clip(np.nan_to_num(_samples(plane, np.float32)), 0, 1) for plane in made.planes]
    codes = [np.rint(plane * np.float32((1 << 16) - 1)).astype(np.uint16) for plane in planes]
    green, blue, red = (_srgb(deep)[code] for code in codes)
    return cv2.merge((blue, green, red))


@cache
def _srgb(deep: bool = False) -> np.ndarray:
    """8 bits of sRGB, or 16, by light in 16 bits."""
    light = np.linspace(0, 1, 1 << 16)
    code = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(65535 * code).astype(np.uint16) if deep else np.rint(255 * code).astype(np.uint8)


@cache
def _light_of_srgb(top: int) -> np.ndarray:
    """Light from 0 to 1 by a value of sRGB, of which `top` is white."""
    code = np.arange(top + 1) / top
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _by_swscale(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    # Into planes and merged: the same values as into "bgr24", which libswscale has no vector code for, in half the time.
    green, blue, red = map(
        _samples, reformatter.reformat(frame, format="gbrp", interpolation=ACCURATE_FLAGS, threads=1).planes
    )
    return cv2.merge((blue, green, red))


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
    if colors.range == FULL:
        return _frame(_of_full_range(image, colors.matrix), height, width, colors)
    frame, (blue, green, red) = av.VideoFrame(width, height, "gbrp"), cv2.split(image)
    for plane, samples in zip(frame.planes, (green, blue, red)):
        _samples(plane)[...] = samples
    full = reformatter.reformat(frame, format="yuv444p", dst_colorspace=MATRICES[colors.matrix],
                                dst_color_range=colors.range, interpolation=ACCURATE_FLAGS, threads=1).to_ndarray()  # fmt: skip
    planes = [full[0], *(cv2.sepFilter2D(plane, -1, LEFT, MIDDLE, anchor=(1, 0), borderType=cv2.BORDER_REPLICATE)[::2, ::2]
                         for plane in full[1:])]  # fmt: skip
    return _frame(planes, height, width, colors)


def frame_of(image: np.ndarray, colors: ColorInfo, pixel_format: str, reformatter: VideoReformatter) -> av.VideoFrame:
    """The picture as a frame in any pixel format that films have.

    Args:
        image: (H, W, 3) BGR, uint8 or uint16 of which 65535 is white; H and W as `even_size` makes them.
        colors: What the frame is tagged with; in yuv420p they decide the samples as in `from_bgr`.
        pixel_format: FFmpeg's name: planar YUV, planar RGB, `bgr0`, or the semi-planar `p010le`.
        reformatter: It is used for some formats of 8 bits, and for semi-planar ones.

    Returns:
        A new frame; each sample is the nearest to the formula of H.273, chroma at the left column of its two.
    """
    if pixel_format == "yuv420p" and image.dtype == np.uint8:
        return from_bgr(image, colors, reformatter)
    if pixel_format == "p010le":
        planar = frame_of(image, colors, "yuv420p10le", reformatter)
        made = reformatter.reformat(planar, format=pixel_format, interpolation=ACCURATE_FLAGS, threads=1)
        made.colorspace, made.color_range = colors.matrix, colors.range
        return made
    height, width = image.shape[:2]
    frame = av.VideoFrame(width, height, pixel_format)
    bits = _bits(frame)
    if pixel_format == "bgr0":
        samples = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(height, -1)[:, : 4 * width]
        samples.reshape(height, width, 4)[...] = cv2.merge(
            [*cv2.split(_rgb_samples(image, 8)), np.zeros((height, width), np.uint8)]
        )
    elif frame.format.is_rgb:
        blue, green, red = cv2.split(_rgb_samples(image, bits))
        for plane, samples in zip(frame.planes, (green, blue, red)):
            _samples(plane, samples.dtype.type)[...] = samples
    else:
        half = frame.planes[1].width < width, frame.planes[1].height < height
        for plane, samples in zip(frame.planes, _yuv_samples(image, colors, bits, *half)):
            _samples(plane, samples.dtype.type)[...] = samples
    frame.colorspace, frame.color_range = colors.matrix, colors.range
    return frame


def film_colors(colors: ColorInfo, pixel_format: str, full_range: bool) -> ColorInfo:
    """The tags of a film whose source has `colors`, in a pixel format, by a codec that may say full range, or may not."""
    if av.VideoFormat(pixel_format, 16, 16).is_rgb:
        return replace(colors, matrix=RGB, range=FULL)
    return colors if full_range else replace(colors, range=LIMITED)


def even_size(height: int, width: int, pixel_format: str) -> tuple[int, int]:
    """(height, width) of a film of such frames: even where a chroma sample covers two rows or columns."""
    shape = av.VideoFormat(pixel_format, 16, 16)
    down, across = shape.chroma_height(16) < 16, shape.chroma_width(16) < 16
    return height + (height % 2 if down else 0), width + (width % 2 if across else 0)


def light_of(image: np.ndarray, pixel_format: str) -> av.VideoFrame:
    """A picture, (H, W, 3) uint8 or uint16 BGR, of sRGB, as one of light from 0 to 1: what `is_linear` reads back."""
    height, width = image.shape[:2]
    frame = av.VideoFrame(width, height, pixel_format)
    blue, green, red = cv2.split(_light_of_srgb(255 if image.dtype == np.uint8 else 65535)[image])
    for plane, samples in zip(frame.planes, (green, blue, red)):
        _samples(plane, np.float32)[...] = samples
    return frame


def _rgb_samples(image: np.ndarray, bits: int) -> np.ndarray:
    """The picture in so many bits, each sample at the nearest level."""
    top, white = (255 if image.dtype == np.uint8 else 65535), (1 << bits) - 1
    if top == white:
        return image
    levels = (np.arange(top + 1) * white + top // 2) // top
    return levels.astype(np.uint8 if bits == 8 else np.uint16)[image]


def _yuv_samples(
    image: np.ndarray, colors: ColorInfo, bits: int, half_width: bool, half_height: bool
) -> list[np.ndarray]:
    """Planes of Y, Cb and Cr in so many bits. Elementwise float32, the same on all processors."""
    top = np.float32(255 if image.dtype == np.uint8 else 65535)
    blue, green, red = (plane.astype(np.float32) / top for plane in cv2.split(image))
    of_red, of_blue = (np.float32(share) for share in LUMA[colors.matrix])
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    whole, one = (1 << bits) - 1, 1 << (bits - 8)
    black, luma_span, chroma_span = (0, whole, whole) if colors.range == FULL else (16 * one, 219 * one, 224 * one)
    planes = [black + np.float32(luma_span) * luma]
    for channel, share in ((blue, of_blue), (red, of_red)):
        chroma = (channel - luma) * (np.float32(chroma_span) / (2 * (1 - share)))
        if half_height:
            chroma = (chroma[::2] + chroma[1::2]) / 2
        if half_width:
            padded = np.pad(chroma, ((0, 0), (1, 1)), mode="edge")
            chroma = (padded[:, :-2:2] + 2 * padded[:, 1:-1:2] + padded[:, 2::2]) / 4
        planes.append(chroma + 128 * one)
    return [np.clip(np.rint(plane), 0, whole).astype(np.uint8 if bits == 8 else np.uint16) for plane in planes]


def _frame(planes: list[np.ndarray], height: int, width: int, colors: ColorInfo) -> av.VideoFrame:
    samples = np.concatenate([plane.ravel() for plane in planes]).reshape(height * 3 // 2, width)
    frame = av.VideoFrame.from_ndarray(samples, format="yuv420p")
    frame.colorspace, frame.color_range = colors.matrix, colors.range
    return frame


def _of_full_range(image: np.ndarray, matrix: int) -> list[np.ndarray]:
    """Planes of yuv420p; libswscale's chroma is half a level low here. In whole numbers, the same on all processors."""
    red, blue = LUMA[matrix]
    rows = np.array([(blue, 1 - red - blue, red),
                     (0.5, -(1 - red - blue) / (2 * (1 - blue)), -red / (2 * (1 - blue))),
                     (-blue / (2 * (1 - red)), -(1 - red - blue) / (2 * (1 - red)), 0.5)])  # fmt: skip
    rows = np.rint(rows * (1 << SHIFT)).astype(np.int32)
    rows[:, 1] += np.array([1 << SHIFT, 0, 0], np.int32) - rows.sum(axis=1, dtype=np.int32)  # grey stays grey
    parts = [plane.astype(np.int32) for plane in cv2.split(image)]
    y, u, v = (np.asarray(sum(weight * part for weight, part in zip(row, parts))) for row in rows)
    planes = [(y + (1 << SHIFT - 1)) >> SHIFT]
    for chroma in (u, v):
        rows_of_two = chroma[::2] + chroma[1::2]
        padded = np.pad(rows_of_two, ((0, 0), (1, 1)), mode="edge")
        eighths = padded[:, :-2:2] + 2 * padded[:, 1:-1:2] + padded[:, 2::2]
        planes.append(((eighths + (1 << SHIFT + 2)) >> SHIFT + 3) + 128)
    return [np.clip(plane, 0, 255).astype(np.uint8) for plane in planes]


def _samples(plane: VideoPlane, kind: type = np.uint8) -> np.ndarray:
    """A view (H, W) of a plane whose samples are of a kind, without the padding of its rows."""
    size = np.dtype(kind).itemsize
    return np.frombuffer(memoryview(plane), kind).reshape(plane.height, plane.line_size // size)[:, : plane.width]


def _tag(frame: av.VideoFrame) -> None:
    """Write onto a decoded frame what its colors are taken for, where libswscale reads it."""
    if not frame.format.is_rgb:
        colors = ColorInfo.of(frame)
        frame.colorspace, frame.color_range = colors.matrix, colors.range


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """Signs of (a, b, c, d) in x' = a x + c y, y' = b x + d y, which shows a stored picture upright."""
    data = side_data(frame, "DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].astype(int)
    if abs(a) + abs(d) >= abs(b) + abs(c):  # an oblique rotation is taken for the nearest right angle
        b = c = 0
    else:
        a = d = 0
    a, b, c, d = (int(np.sign(value)) for value in (a, b, c, d))
    return a, b, c, d


def upright(image: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """A view of the stored picture (H, W, 3) as `display_matrix` shows it."""
    if b:
        image = image.transpose(1, 0, 2)
    return image[:: -1 if b + d < 0 else 1, :: -1 if a + c < 0 else 1]
