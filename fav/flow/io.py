"""Encode and decode flow: the PNG in which flow is published, .flo files, and a color visualization.

Published flow is rounded. Flow in memory gets the same rounding (`quantized`), so that the film does not depend on which
node computed it.
"""

import struct
from pathlib import Path

import cv2
import numpy as np

from fav.errors import FavError
from fav.util.images import decode_png, encode_png, png_text

FLO_MAGIC = 202021.25
STEPS = 256  # maximum steps per pixel, for a rounding error of 1/512 pixel
ZERO = 2**15  # the stored value of zero flow
SCALE_KEY = "flow steps per pixel"
SCALES = {str(STEPS / 2**step) for step in range(140)}  # the smallest fits the longest flow in float32


def quantized(flow: np.ndarray) -> np.ndarray:
    """Round flow (H, W, 2) exactly as `decode_flow(encode_flow(flow, …))` does. A second call changes nothing.

    The error is at most 1/512 pixel if the longest component is below 128 pixels, twice that below 256, and so on.

    Raises:
        FavError: A value is not finite.
    """
    scale = _scale(flow)
    return _steps(flow, scale) / np.float32(scale)


def encode_flow(flow: np.ndarray, reliability: np.ndarray, text: dict[str, str] | None = None) -> bytes:
    """Encode flow and reliability as a 16-bit PNG.

    The layout is KITTI's (Menze and Geiger 2015): red and green are x and y plus 2**15, blue is the reliability. KITTI has
    64 steps per pixel. Here it is the largest power of two up to 256 that fits the longest component.

    Args:
        flow: (H, W, 2) float32 pixels, finite.
        reliability: (H, W) uint8, 0 or 1.
        text: Text for the PNG, in addition to the steps per pixel (`png_text`).
    """
    if reliability.shape != flow.shape[:2] or reliability.dtype != np.uint8 or reliability.max(initial=0) > 1:
        raise FavError(
            f"reliability: expected {flow.shape[:2]} uint8 of 0 and 1, got {reliability.shape} {reliability.dtype}"
        )
    scale = _scale(flow)
    x, y = cv2.split((_steps(flow, scale) + ZERO).astype(np.uint16))
    image = cv2.merge([reliability.astype(np.uint16), y, x])
    return encode_png(image, (text or {}) | {SCALE_KEY: str(scale)})


def decode_flow(data: bytes, size: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Decode a PNG of `encode_flow`.

    Args:
        data: The PNG.
        size: The expected (width, height).

    Returns:
        Flow (H, W, 2) float32, and reliability (H, W) uint8, 0 or 1.

    Raises:
        FavError: The data is damaged, or of another format or size.
    """
    image, scale = decode_png(data, size), png_text(data).get(SCALE_KEY)
    if image.dtype != np.uint16 or scale not in SCALES:
        raise FavError(
            f"flow: expected a 16-bit PNG with the text {SCALE_KEY!r}, got {image.dtype} with {str(scale)[:20]!r}"
        )
    reliability, y, x = cv2.split(image)
    if reliability.max() > 1:
        raise FavError(f"flow: expected a reliability of 0 and 1, got {reliability.max()}")
    with np.errstate(over="ignore"):
        flow = (cv2.merge([x, y]).astype(np.float32) - ZERO) / np.float32(scale)
    check_flow(flow)
    return flow, reliability.astype(np.uint8)


def encode_flo(flow: np.ndarray) -> bytes:
    """Encode `flow` (H, W, 2) float32 as a Middlebury .flo file."""
    check_flow(flow)
    height, width = flow.shape[:2]
    return struct.pack("<fii", FLO_MAGIC, width, height) + np.ascontiguousarray(flow, "<f4").tobytes()


def decode_flo(data: bytes, label: str = "flow") -> np.ndarray:
    """Decode a Middlebury .flo file to flow (H, W, 2) float32. Raises FavError, which begins with `label`, if it is damaged."""
    if len(data) < 12 or struct.unpack_from("<f", data)[0] != FLO_MAGIC:
        raise FavError(f"{label}: expected a .flo file, which begins with 'PIEH', got {data[:4]!r}")
    width, height = struct.unpack_from("<ii", data, 4)
    if width <= 0 or height <= 0 or len(data) != 12 + 8 * width * height:
        raise FavError(f"{label}: expected {12 + 8 * width * height} bytes for {width}x{height}, got {len(data)}")
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)


def pgm_header(size: tuple[int, int]) -> bytes:
    """Return the first bytes of a .pgm file of `size` (width, height) with 8 bits; the pixels follow."""
    return b"P5\n%d %d\n255\n" % size


def encode_reliability(reliable: np.ndarray) -> bytes:
    """Encode reliability (H, W) uint8, 0 or 1, as a .pgm file, in which 255 is reliable."""
    return pgm_header(reliable.shape[1::-1]) + (255 * reliable).astype(np.uint8).tobytes()


def write_flo(path: Path, flow: np.ndarray) -> None:
    """Write `flow` (H, W, 2) float32 as a Middlebury .flo file."""
    Path(path).write_bytes(encode_flo(flow))


def read_flo(path: Path) -> np.ndarray:
    """Read flow (H, W, 2) float32 from a Middlebury .flo file. Raises FavError if it is missing or damaged."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FavError(f"flow {path}: {error.strerror}") from error
    return decode_flo(data, f"flow {path}")


def check_flow(flow: np.ndarray) -> None:
    """Raise FavError unless `flow` is (H, W, 2) float32, not empty, and finite."""
    if flow.ndim != 3 or flow.shape[2] != 2 or flow.size == 0 or flow.dtype != np.float32:
        raise FavError(f"flow: expected (H, W, 2) float32, got {flow.shape} {flow.dtype}")
    if not np.isfinite(flow).all():
        raise FavError(f"flow: expected finite values, got {np.count_nonzero(~np.isfinite(flow))} that are not")


def flow_picture(flow: np.ndarray, longest: float | None = None) -> np.ndarray:
    """Visualize flow: the direction as hue and the length as saturation. White is no motion.

    Right is red and down is yellow, as in Baker et al., A Database and Evaluation Methodology for Optical Flow (2007).

    Args:
        flow: (H, W, 2) float32 pixels.
        longest: The length of full saturation in pixels; longer flow is darker. None: the longest of this flow.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    check_flow(flow)
    x, y = flow[..., 0], flow[..., 1]
    length = np.hypot(x, y)
    length = length / max(length.max() if longest is None else longest, np.finfo(np.float32).tiny)
    wheel = _color_wheel()
    position = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (len(wheel) - 1)
    before = np.floor(position).astype(int)
    fraction = (position - before)[..., None]
    hue = (1 - fraction) * wheel[before] + fraction * wheel[(before + 1) % len(wheel)]
    length = length[..., None]
    color = np.where(length <= 1, 1 - length * (1 - hue), 0.75 * hue)
    return (255 * color[..., ::-1]).astype(np.uint8)


def _color_wheel() -> np.ndarray:
    """Return 55 hues, (55, 3) RGB in [0, 1]. There are more between red and yellow, where the eye distinguishes more."""
    red, yellow, green, cyan, blue, magenta = np.array(
        [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]]
    )
    arcs = [
        (red, yellow, 15),
        (yellow, green, 6),
        (green, cyan, 4),
        (cyan, blue, 11),
        (blue, magenta, 13),
        (magenta, red, 6),
    ]
    return np.concatenate([np.linspace(start, stop, hues, endpoint=False) for start, stop, hues in arcs])


def _scale(flow: np.ndarray) -> float:
    check_flow(flow)
    longest, scale = np.abs(flow).max(), float(STEPS)
    while np.rint(longest * scale) >= ZERO:
        scale /= 2
    return scale


def _steps(flow: np.ndarray, scale: float) -> np.ndarray:
    return np.rint(flow * np.float32(scale)) + np.float32(0)  # turns -0 into 0, as integers do
