"""Backward warping: sample an image at positions given by a flow."""

from functools import lru_cache

import cv2
import numpy as np

from fav.errors import FavError
from fav.util.opencv import NO_ARRAY


def warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Warp an image: the result at (x, y) is the image at (x, y) + flow[y, x].

    Sampling is bilinear, with exact positions. Beyond the border, the nearest pixel is used. Zero flow returns the image
    exactly.

    Args:
        image: (H, W), (H, W, 2) or (H, W, 3), uint8 or float32.
        flow: (H, W, 2) float32 pixels, finite.

    Returns:
        A new array with the shape and type of `image`.

    Raises:
        FavError: The sizes differ.
    """
    expected = (*image.shape[:2], 2)
    if flow.shape != expected or flow.dtype != np.float32:
        raise FavError(f"warp: expected a flow {expected} float32, got {flow.shape} {flow.dtype}")
    positions = cv2.add(pixel_grid(*image.shape[:2]), flow)
    if image.ndim == 3 and image.shape[2] not in (1, 3):
        # OpenCV's two-channel path rounds positions to 1/32 pixel; one and three channels are exact.
        return np.dstack([_sample(np.ascontiguousarray(plane), positions) for plane in cv2.split(image)])
    return _sample(image, positions).reshape(image.shape)


@lru_cache(maxsize=4)
def pixel_grid(height: int, width: int) -> np.ndarray:
    """Return the position (x, y) of every pixel, (H, W, 2) float32. The array is cached and read-only."""
    grid = np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))
    grid.flags.writeable = False
    return grid


def _sample(image: np.ndarray, positions: np.ndarray) -> np.ndarray:
    return cv2.remap(image, positions, NO_ARRAY, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
