"""Convert decoded samples (YUV or other) to BGR and back, according to the color tags of the stream.

The numbers of color tags are those of ITU-T H.273, as in FFmpeg.
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
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}  # libswscale's number of each matrix
LUMA_WEIGHTS = {  # of red and blue, by matrix
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
OTHER_MATRICES = {8: "YCgCo", 10: "BT.2020 constant luminance", 11: "SMPTE ST 2085", 12: "chromaticity-derived", 13:
                  "chromaticity-derived", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-R", 17: "YCgCo-R"}  # fmt: skip
LINEAR = 8  # transfer characteristic of linear light
HD_HEIGHT = 720  # untagged video of at least this height is treated as BT.709, smaller video as BT.601

# At most 0.5 gray levels from the formula, and the same on all processors. (libswscale's fast path is up to 3 levels
# off, and repeats chroma in blocks.) 4 ms instead of 1 ms for 1280x720.
ACCURATE_FLAGS = (Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
           | Interpolation.FULL_CHR_H_INP | Interpolation.BITEXACT)  # fmt: skip
FAST_FLAGS = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
SHIFT = 16  # fractional bits of fixed-point numbers
LEFT, MIDDLE = np.array([0.25, 0.5, 0.25]), np.array([0.5, 0.5])  # chroma filters: on a column, between two rows


@dataclass(frozen=True)
class ColorInfo:
    """The color tags of a stream, as H.273 numbers.

    Attributes:
        matrix: never unknown. For RGB sources, it is the matrix to convert them with.
        range: LIMITED or FULL.
        primaries: 2 is unknown.
        transfer: 2 is unknown.
    """

    matrix: int
    range: int
    primaries: int
    transfer: int

    @classmethod
    def of(cls, frame: av.VideoFrame, tone_map: bool = False) -> "ColorInfo":
        """The tags of a decoded frame; with `tone_map`, those of the SDR frame that an HDR one is converted to."""
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
    """Whether its transfer characteristic is PQ or HLG."""
    return frame.color_trc in (hdr.PQ, hdr.HLG)


def is_linear(frame: av.VideoFrame) -> bool:
    """Whether its samples are linear light: floating point, as in OpenEXR, or YUV that is tagged as linear.

    The tag is ignored for RGB integers, because FFmpeg tags every DPX image as linear.
    """
    floating = "f32" in frame.format.name or "f16" in frame.format.name
    return floating or frame.color_trc == LINEAR and not frame.format.is_rgb


def has_alpha(frame: av.VideoFrame) -> bool:
    return any(part.is_alpha for part in frame.format.components)


def check_matrix(frame: av.VideoFrame, video: object) -> None:
    """Raise FavError if the color matrix of a video is not supported."""
    name = OTHER_MATRICES.get(frame.colorspace)
    if name and not frame.format.is_rgb:
        raise FavError(
            f"{video}: expected a color matrix such as BT.709, BT.601 or BT.2020, got {name}; convert the video first: "
            f"ffmpeg -i {sanitize(video)} -vf zscale=matrix=709 -crf 12 film.mkv"
        )


def to_bgr(
    frame: av.VideoFrame, reformatter: VideoReformatter, tone_map: bool = False, sixteen_bit: bool = False
) -> np.ndarray:
    """Convert a decoded frame to BGR, and apply its display matrix.

    Args:
        frame: the decoded frame; its color tags are completed.
        reformatter: caches the conversion context between frames.
        tone_map: convert HDR to SDR.
        sixteen_bit: return uint16, where 65535 is white, which keeps the precision of sources of more than 8 bits.

    Returns:
        (H, W, 3) uint8 or uint16, contiguous.
    """
    matrix = display_matrix(frame)
    _complete_tags(frame)
    if tone_map and is_hdr(frame):
        if sixteen_bit and not frame.format.is_rgb:
            (blue, green, red), white = cv2.split(_yuv_to_bgr16(frame, reformatter)), 65535
        else:
            green, blue, red, white = _to_gbr16(frame, reformatter)
        image = hdr.to_sdr(red, green, blue, white, frame.color_trc, frame.color_primaries, sixteen_bit)
    elif is_linear(frame):
        image = _linear_to_srgb(frame, reformatter, sixteen_bit)
    elif sixteen_bit and frame.format.is_rgb and _bits(frame) == 8:
        image = _to_bgr8(frame, reformatter).astype(np.uint16) * 257
    elif sixteen_bit and (frame.format.is_rgb or len(frame.format.components) < 3):
        if frame.format.name.startswith("gbr") and frame.format.name.endswith("le"):
            # When libswscale changes the number of bits, it is off by a sixth of an 8-bit level.
            white = (1 << _bits(frame)) - 1
            green, blue, red = (_samples(plane, np.uint16) for plane in frame.planes[:3])
        else:
            green, blue, red, white = _to_gbr16(frame, reformatter)
        image = cv2.merge([_table16(white)[plane] for plane in (blue, green, red)])
    elif sixteen_bit:
        image = _yuv_to_bgr16(frame, reformatter)
    elif _bits(frame) > 8 and (frame.format.is_rgb or frame.color_range == FULL or len(frame.format.components) < 3):
        # libswscale cuts the lower bits off, so the result would be off by half a level on average.
        green, blue, red, white = _to_gbr16(frame, reformatter)
        image = cv2.merge([_table8(white)[plane] for plane in (blue, green, red)])
    else:
        image = _to_bgr8(frame, reformatter)
    return np.ascontiguousarray(upright(image, *matrix))


def _bits(frame: av.VideoFrame) -> int:
    return max(part.bits for part in frame.format.components) if frame.format.components else 8


def _to_gbr16(frame: av.VideoFrame, reformatter: VideoReformatter) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Green, blue and red of a frame, (H, W) uint16 each, and the value of white."""
    planar = reformatter.reformat(frame, format="gbrp16le", interpolation=ACCURATE_FLAGS, threads=1)
    bits, limited = _bits(frame), frame.color_range == LIMITED and not frame.format.is_rgb
    white = (1 << 16) - 1 if limited and len(frame.format.components) >= 3 else ((1 << bits) - 1) << (16 - bits)
    green, blue, red = (_samples(plane, np.uint16) for plane in planar.planes)
    return green, blue, red, white


def _yuv_to_bgr16(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """Convert a YUV frame to (H, W, 3) uint16 BGR.

    libswscale only upsamples chroma. Its own conversion would be a third of an 8-bit level too dark on average.
    Elementwise float32 operations give the same result on all processors.
    """
    matrix, full = frame.colorspace, frame.color_range == FULL
    planar = reformatter.reformat(
        frame, format="yuv444p16le", src_colorspace=MATRICES[matrix], dst_colorspace=MATRICES[matrix],
        src_color_range=frame.color_range, dst_color_range=frame.color_range, interpolation=ACCURATE_FLAGS, threads=1,
    )  # fmt: skip
    bits, (red_weight, blue_weight) = _bits(frame), LUMA_WEIGHTS[matrix]
    level = np.float32(1 << 8)  # an 8-bit level in 16 bits
    black, luma_range, chroma_range = 16 * level, 219 * level, 224 * level
    if full:  # libswscale fills the lower bits of luma, but not those of chroma
        black, luma_range, chroma_range = 0, np.float32(65535), np.float32(((1 << bits) - 1) << (16 - bits))
    planes = (_samples(plane, np.uint16).astype(np.float32) for plane in planar.planes)
    luma, cb, cr = (next(planes) - black) / luma_range, *((plane - 128 * level) / chroma_range for plane in planes)
    blue = luma + np.float32(2 * (1 - blue_weight)) * cb
    red = luma + np.float32(2 * (1 - red_weight)) * cr
    green_weight = 1 - red_weight - blue_weight
    green = (luma - np.float32(red_weight) * red - np.float32(blue_weight) * blue) / np.float32(green_weight)
    return cv2.merge(
        [np.rint(np.clip(plane, 0, 1) * np.float32(65535)).astype(np.uint16) for plane in (blue, green, red)]
    )


@cache
def _table8(white: int) -> np.ndarray:
    """Table from a 16-bit value to the nearest 8-bit value, where `white` becomes 255."""
    return np.minimum((np.arange(1 << 16) * 255 + white // 2) // white, 255).astype(np.uint8)


@cache
def _table16(white: int) -> np.ndarray:
    """Table from a value to the nearest 16-bit value, where `white` becomes 65535."""
    return np.minimum((np.arange(1 << 16) * 65535 + white // 2) // white, 65535).astype(np.uint16)


def _linear_to_srgb(frame: av.VideoFrame, reformatter: VideoReformatter, sixteen_bit: bool = False) -> np.ndarray:
    """Convert a frame of linear light to sRGB; values above 1 become white."""
    planar = reformatter.reformat(frame, format="gbrpf32le", interpolation=ACCURATE_FLAGS, threads=1)
    planes = [np.clip(np.nan_to_num(_samples(plane, np.float32)), 0, 1) for plane in planar.planes]
    codes = [np.rint(plane * np.float32((1 << 16) - 1)).astype(np.uint16) for plane in planes]
    green, blue, red = (_srgb_table(sixteen_bit)[code] for code in codes)
    return cv2.merge((blue, green, red))


@cache
def _srgb_table(sixteen_bit: bool = False) -> np.ndarray:
    """Table from 16-bit linear light to sRGB, uint8 or uint16."""
    light = np.linspace(0, 1, 1 << 16)
    code = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(65535 * code).astype(np.uint16) if sixteen_bit else np.rint(255 * code).astype(np.uint8)


@cache
def _linear_table(white: int) -> np.ndarray:
    """Table from an sRGB value to linear light from 0 to 1."""
    code = np.arange(white + 1) / white
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _to_bgr8(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    # Planes are converted and merged: libswscale has no vector code for "bgr24". Same values in half the time.
    green, blue, red = map(
        _samples, reformatter.reformat(frame, format="gbrp", interpolation=ACCURATE_FLAGS, threads=1).planes
    )
    return cv2.merge((blue, green, red))


def to_small_bgr(frame: av.VideoFrame, long_side: int, reformatter: VideoReformatter) -> np.ndarray:
    """Convert a decoded frame to a small BGR image; the display matrix is not applied.

    Colors are a few gray levels off, but the same on all processors. 0.3 ms for 1280x720.

    Args:
        frame: the decoded frame; its color tags are completed.
        long_side: maximum of width and height; a smaller frame keeps its size.
        reformatter: caches the conversion context between frames.

    Returns:
        (h, w, 3) uint8, contiguous.
    """
    _complete_tags(frame)
    scale = min(long_side / max(frame.width, frame.height), 1)
    width, height = (max(round(side * scale), 1) for side in (frame.width, frame.height))
    return np.ascontiguousarray(
        reformatter.reformat(frame, width, height, "bgr24", interpolation=FAST_FLAGS, threads=1).to_ndarray()
    )


def from_bgr(image: np.ndarray, colors: ColorInfo, reformatter: VideoReformatter) -> av.VideoFrame:
    """Convert an image (H, W, 3) uint8 BGR, H and W even, to a frame in yuv420p.

    A chroma sample is at the left column of its two, between its two rows. This is H.264's default. (libswscale puts it
    in the middle, so that `to_bgr` would shift colors by half a pixel.)
    """
    height, width = image.shape[:2]
    if colors.range == FULL:
        return _yuv420p_frame(_full_range_planes(image, colors.matrix), height, width, colors)
    frame, (blue, green, red) = av.VideoFrame(width, height, "gbrp"), cv2.split(image)
    for plane, samples in zip(frame.planes, (green, blue, red)):
        _samples(plane)[...] = samples
    full = reformatter.reformat(frame, format="yuv444p", dst_colorspace=MATRICES[colors.matrix],
                                dst_color_range=colors.range, interpolation=ACCURATE_FLAGS, threads=1).to_ndarray()  # fmt: skip
    planes = [full[0], *(cv2.sepFilter2D(plane, -1, LEFT, MIDDLE, anchor=(1, 0), borderType=cv2.BORDER_REPLICATE)[::2, ::2]
                         for plane in full[1:])]  # fmt: skip
    return _yuv420p_frame(planes, height, width, colors)


def frame_of(image: np.ndarray, colors: ColorInfo, pixel_format: str, reformatter: VideoReformatter) -> av.VideoFrame:
    """Convert an image to a frame in one of the pixel formats of films.

    Args:
        image: (H, W, 3) BGR, uint8 or uint16, where 65535 is white; H and W as `even_size` returns them.
        colors: color tags of the frame; matrix and range decide the samples of YUV formats.
        pixel_format: FFmpeg's name: planar YUV, planar RGB, `bgr0`, or the semi-planar `p010le`.
        reformatter: used for yuv420p and for semi-planar formats.

    Returns:
        A new frame. Each sample is the nearest to the formula of H.273; chroma is at the left column of its two.
    """
    if pixel_format == "yuv420p" and image.dtype == np.uint8:
        return from_bgr(image, colors, reformatter)
    if pixel_format == "p010le":
        planar = frame_of(image, colors, "yuv420p10le", reformatter)
        semi_planar = reformatter.reformat(planar, format=pixel_format, interpolation=ACCURATE_FLAGS, threads=1)
        semi_planar.colorspace, semi_planar.color_range = colors.matrix, colors.range
        return semi_planar
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
    """The color tags of a film.

    Args:
        colors: of the source.
        pixel_format: of the film.
        full_range: whether the film's codec can be tagged as full range.
    """
    if av.VideoFormat(pixel_format, 16, 16).is_rgb:
        return replace(colors, matrix=RGB, range=FULL)
    return colors if full_range else replace(colors, range=LIMITED)


def even_size(height: int, width: int, pixel_format: str) -> tuple[int, int]:
    """(height, width) of a film: rounded up to even numbers if a chroma sample covers two rows or columns."""
    shape = av.VideoFormat(pixel_format, 16, 16)
    down, across = shape.chroma_height(16) < 16, shape.chroma_width(16) < 16
    return height + (height % 2 if down else 0), width + (width % 2 if across else 0)


def light_of(image: np.ndarray, pixel_format: str) -> av.VideoFrame:
    """Convert an sRGB image (H, W, 3) uint8 or uint16 BGR to a frame of linear light from 0 to 1."""
    height, width = image.shape[:2]
    frame = av.VideoFrame(width, height, pixel_format)
    blue, green, red = cv2.split(_linear_table(255 if image.dtype == np.uint8 else 65535)[image])
    for plane, samples in zip(frame.planes, (green, blue, red)):
        _samples(plane, np.float32)[...] = samples
    return frame


def _rgb_samples(image: np.ndarray, bits: int) -> np.ndarray:
    """The image with `bits` per sample, each rounded to the nearest level."""
    top, white = (255 if image.dtype == np.uint8 else 65535), (1 << bits) - 1
    if top == white:
        return image
    levels = (np.arange(top + 1) * white + top // 2) // top
    return levels.astype(np.uint8 if bits == 8 else np.uint16)[image]


def _yuv_samples(
    image: np.ndarray, colors: ColorInfo, bits: int, half_width: bool, half_height: bool
) -> list[np.ndarray]:
    """The Y, Cb and Cr planes of an image, with `bits` per sample.

    Elementwise float32 operations give the same result on all processors.
    """
    top = np.float32(255 if image.dtype == np.uint8 else 65535)
    blue, green, red = (plane.astype(np.float32) / top for plane in cv2.split(image))
    red_weight, blue_weight = (np.float32(weight) for weight in LUMA_WEIGHTS[colors.matrix])
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    white, level = (1 << bits) - 1, 1 << (bits - 8)  # the largest value, and an 8-bit level
    limited = 16 * level, 219 * level, 224 * level
    black, luma_range, chroma_range = (0, white, white) if colors.range == FULL else limited
    planes = [black + np.float32(luma_range) * luma]
    for channel, weight in ((blue, blue_weight), (red, red_weight)):
        chroma = (channel - luma) * (np.float32(chroma_range) / (2 * (1 - weight)))
        if half_height:
            chroma = (chroma[::2] + chroma[1::2]) / 2
        if half_width:
            padded = np.pad(chroma, ((0, 0), (1, 1)), mode="edge")
            chroma = (padded[:, :-2:2] + 2 * padded[:, 1:-1:2] + padded[:, 2::2]) / 4
        planes.append(chroma + 128 * level)
    return [np.clip(np.rint(plane), 0, white).astype(np.uint8 if bits == 8 else np.uint16) for plane in planes]


def _yuv420p_frame(planes: list[np.ndarray], height: int, width: int, colors: ColorInfo) -> av.VideoFrame:
    samples = np.concatenate([plane.ravel() for plane in planes]).reshape(height * 3 // 2, width)
    frame = av.VideoFrame.from_ndarray(samples, format="yuv420p")
    frame.colorspace, frame.color_range = colors.matrix, colors.range
    return frame


def _full_range_planes(image: np.ndarray, matrix: int) -> list[np.ndarray]:
    """The planes of an image in full-range yuv420p.

    libswscale's chroma would be half a level too low. Integers give the same result on all processors.
    """
    red, blue = LUMA_WEIGHTS[matrix]
    rows = np.array([(blue, 1 - red - blue, red),
                     (0.5, -(1 - red - blue) / (2 * (1 - blue)), -red / (2 * (1 - blue))),
                     (-blue / (2 * (1 - red)), -(1 - red - blue) / (2 * (1 - red)), 0.5)])  # fmt: skip
    rows = np.rint(rows * (1 << SHIFT)).astype(np.int32)
    rows[:, 1] += np.array([1 << SHIFT, 0, 0], np.int32) - rows.sum(axis=1, dtype=np.int32)  # gray must stay gray
    parts = [plane.astype(np.int32) for plane in cv2.split(image)]
    y, u, v = (np.asarray(sum(weight * part for weight, part in zip(row, parts))) for row in rows)
    planes = [(y + (1 << SHIFT - 1)) >> SHIFT]
    for chroma in (u, v):
        rows_of_two = chroma[::2] + chroma[1::2]
        padded = np.pad(rows_of_two, ((0, 0), (1, 1)), mode="edge")
        eighths = padded[:, :-2:2] + 2 * padded[:, 1:-1:2] + padded[:, 2::2]
        planes.append(((eighths + (1 << SHIFT + 2)) >> SHIFT + 3) + 128)
    return [np.clip(plane, 0, 255).astype(np.uint8) for plane in planes]


def _samples(plane: VideoPlane, dtype: type = np.uint8) -> np.ndarray:
    """A view (H, W) of a plane's samples, without row padding."""
    size = np.dtype(dtype).itemsize
    return np.frombuffer(memoryview(plane), dtype).reshape(plane.height, plane.line_size // size)[:, : plane.width]


def _complete_tags(frame: av.VideoFrame) -> None:
    """Complete the color tags of a decoded frame, because libswscale reads them."""
    if not frame.format.is_rgb:
        colors = ColorInfo.of(frame)
        frame.colorspace, frame.color_range = colors.matrix, colors.range


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """The display matrix as signs (a, b, c, d): x' = a x + c y, y' = b x + d y turns the stored image upright.

    Oblique rotations are rounded to the nearest right angle.
    """
    data = side_data(frame, "DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].astype(int)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        b = c = 0
    else:
        a = d = 0
    a, b, c, d = (int(np.sign(value)) for value in (a, b, c, d))
    return a, b, c, d


def upright(image: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Apply a display matrix to a stored image (H, W, 3); returns a view."""
    if b:
        image = image.transpose(1, 0, 2)
    return image[:: -1 if b + d < 0 else 1, :: -1 if a + c < 0 else 1]
