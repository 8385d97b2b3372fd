"""The reliability of warped pixels: the forward-backward consistency check of Ruder, Dosovitskiy and Brox.

Source: Artistic Style Transfer for Videos (2016), section 4.3, with two changes from the authors' program: no motion
boundaries, and a tolerance for flat regions, where flow is inexact but errors are invisible.
"""

import cv2
import numpy as np

from fav.errors import FavError
from fav.flow.warp import pixel_grid, warp

SIGMA = 3.0  # of the Gaussian that smooths the structure tensor, pixels


def reliability(flow_bwd: np.ndarray, flow_fwd: np.ndarray, frame: np.ndarray, min_filter: int = 7) -> np.ndarray:
    """Whether frame t-1, warped by `flow_bwd`, shows the same points as frame t.

    Args:
        flow_bwd: (H, W, 2) float32 pixels, from t to t-1.
        flow_fwd: (H, W, 2) float32 pixels, from t-1 to t.
        frame: frame t, (H, W, 3) uint8.
        min_filter: odd side in pixels of the final minimum filter (1: none). It ignores pixels outside of the frame.

    Returns:
        (H, W) uint8, 1 where the warped pixel is reliable, else 0.

    Raises:
        FavError: the sizes differ.
    """
    if min_filter < 1 or min_filter % 2 == 0:
        raise FavError(f"minimum filter: expected an odd side of 1 pixel or more, got {min_filter}")
    if flow_bwd.shape != flow_fwd.shape or flow_bwd.shape[:2] != frame.shape[:2]:
        raise FavError(
            f"reliability: expected two flows and a frame of one size, got {flow_bwd.shape}, {flow_fwd.shape} and {frame.shape}"
        )
    back = warp(flow_fwd, flow_bwd)
    error = _squared_length(flow_bwd + back)
    limit = 0.01 * (_squared_length(flow_bwd) + _squared_length(back)) + flat_tolerance(min_eigenvalue(frame)) + 0.5
    reliable = ((error < limit) & inside_image(flow_bwd)).astype(np.uint8)
    return cv2.erode(reliable, np.ones((min_filter, min_filter), np.uint8))


def round_trip_error(flow_bwd: np.ndarray, flow_fwd: np.ndarray) -> np.ndarray:
    """Return the distance between each pixel of frame t and its position after following the flow to t-1 and back.

    Args:
        flow_bwd: (H, W, 2) float32 pixels, from t to t-1.
        flow_fwd: (H, W, 2) float32 pixels, from t-1 to t.

    Returns:
        (H, W) float32, pixels.
    """
    return np.sqrt(_squared_length(flow_bwd + warp(flow_fwd, flow_bwd)))


def inside_image(flow: np.ndarray) -> np.ndarray:
    """Return (H, W) bool: whether the position (x, y) + flow[y, x] is inside the image.

    Zero flow is inside also in the last row and column, unlike in the authors' program.
    """
    height, width = flow.shape[:2]
    x, y = cv2.split(cv2.add(pixel_grid(height, width), flow))
    return (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)


def min_eigenvalue(frame: np.ndarray) -> np.ndarray:
    """Return the smaller eigenvalue of the structure tensor. It is large at corners, and 0 in flat regions.

    Central differences of `frame` (H, W, 3) uint8, summed over the colors, smoothed with a Gaussian of sigma 3. Returns
    (H, W) float32, scaled to a maximum of 1; all 0 for a uniform frame.
    """
    across = cv2.Sobel(frame, cv2.CV_32F, 1, 0, ksize=1, borderType=cv2.BORDER_REPLICATE)
    down = cv2.Sobel(frame, cv2.CV_32F, 0, 1, ksize=1, borderType=cv2.BORDER_REPLICATE)
    xx, xy, yy = _smooth_product(across, across), _smooth_product(across, down), _smooth_product(down, down)
    smaller = np.maximum(0, (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy * xy))
    return smaller / max(smaller.max(), np.finfo(np.float32).tiny)


def flat_tolerance(min_eigenvalue: np.ndarray) -> np.ndarray:
    """Return the additional tolerance of the check in flat regions, (H, W) float32, squared pixels.

    It is 0 where `min_eigenvalue` (H, W) is at least half its mean, and increases to 2 where it is 0.
    """
    mean = min_eigenvalue.mean()
    if mean == 0:
        return np.full_like(min_eigenvalue, 2)
    return 4 / mean * np.maximum(0, mean / 2 - min_eigenvalue)


def _smooth_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    product = cv2.transform(a * b, np.ones((1, 3), np.float32))
    return cv2.GaussianBlur(product, (0, 0), SIGMA, borderType=cv2.BORDER_REFLECT)


def _squared_length(flow: np.ndarray) -> np.ndarray:
    x, y = cv2.split(flow)
    return x * x + y * y
