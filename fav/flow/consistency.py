"""Where a warped pixel may be trusted: the forward-backward rule of Ruder, Dosovitskiy and Brox.

Source: Artistic Style Transfer for Videos (2016), section 4.3, with the two changes of the authors' own
program: no motion boundaries, and a slack for flat regions, where no flow is exact and nobody sees it.
"""

import cv2
import numpy as np

from fav.errors import FavError
from fav.flow.warp import pixel_grid, warp

SIGMA = 3.0  # of the Gaussian that smooths the structure tensor, pixels


def reliability(flow_bwd: np.ndarray, flow_fwd: np.ndarray, frame: np.ndarray, min_filter: int = 7) -> np.ndarray:
    """1 where frame t-1, fetched along `flow_bwd`, shows what frame t shows; 0 where it may not.

    flow_bwd leads from t to t-1, flow_fwd from t-1 to t, both (H, W, 2) float32, pixels; frame is frame t,
    (H, W, 3) uint8. min_filter is the odd side, in pixels, of the minimum filter that ends it (1 for none);
    what lies beyond the border does not count there. Returns (H, W) uint8, 0 or 1. Raises FavError where
    the three do not fit together.
    """
    if min_filter < 1 or min_filter % 2 == 0:
        raise FavError(f"minimum filter: expected an odd side of 1 pixel or more, got {min_filter}")
    if flow_bwd.shape != flow_fwd.shape or flow_bwd.shape[:2] != frame.shape[:2]:
        raise FavError(
            f"reliability: expected two flows and a frame of one size, got {flow_bwd.shape}, {flow_fwd.shape} and {frame.shape}"
        )
    home = warp(flow_fwd, flow_bwd)
    gap = _squared_length(flow_bwd + home)
    allowed = 0.01 * (_squared_length(flow_bwd) + _squared_length(home)) + flat_tolerance(min_eigenvalue(frame)) + 0.5
    trusted = ((gap < allowed) & inside_image(flow_bwd)).astype(np.uint8)
    return cv2.erode(trusted, np.ones((min_filter, min_filter), np.uint8))


def round_trip_error(flow_bwd: np.ndarray, flow_fwd: np.ndarray) -> np.ndarray:
    """Distance by which each pixel of frame t misses home after going to t-1 and back.

    flow_bwd leads from t to t-1, flow_fwd from t-1 to t; both (H, W, 2) float32, pixels.
    Returns (H, W) float32, pixels.
    """
    return np.sqrt(_squared_length(flow_bwd + warp(flow_fwd, flow_bwd)))


def inside_image(flow: np.ndarray) -> np.ndarray:
    """Whether every pixel that is fetched for (x, y) + flow[y, x] lies in the picture: (H, W) bool.

    Of the four neighbours those with weight count, so that a still picture is inside up to its last
    row and column (the authors' program calls those outside).
    """
    height, width = flow.shape[:2]
    x, y = cv2.split(cv2.add(pixel_grid(height, width), flow))
    return (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)


def min_eigenvalue(frame: np.ndarray) -> np.ndarray:
    """How well each pixel can be told from its neighbours in every direction.

    The smaller eigenvalue of the structure tensor of `frame` (H, W, 3) uint8: central differences, summed
    over the colors, smoothed with a Gaussian of sigma 3. Returns (H, W) float32, scaled so that the
    largest is 1; all 0 where the frame has no structure.
    """
    across = cv2.Sobel(frame, cv2.CV_32F, 1, 0, ksize=1, borderType=cv2.BORDER_REPLICATE)
    down = cv2.Sobel(frame, cv2.CV_32F, 0, 1, ksize=1, borderType=cv2.BORDER_REPLICATE)
    xx, xy, yy = _smooth_product(across, across), _smooth_product(across, down), _smooth_product(down, down)
    smaller = np.maximum(0, (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy * xy))
    return smaller / max(smaller.max(), np.finfo(np.float32).tiny)


def flat_tolerance(min_eigenvalue: np.ndarray) -> np.ndarray:
    """What a round trip may miss in flat regions, beyond the rest of the rule: (H, W) float32, squared pixels.

    From 0 where `min_eigenvalue` (H, W) is half its mean or more, up to 2 where there is none.
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
