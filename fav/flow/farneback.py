"""Two-frame motion estimation by polynomial expansion (Farnebäck 2003), OpenCV's implementation."""

import cv2
import numpy as np

from fav.util.opencv import NO_ARRAY


def flow(frame_a: np.ndarray, frame_b: np.ndarray) -> np.ndarray:
    """Return the flow from a to b, (H, W, 2) float32 pixels. The frames are (H, W, 3) uint8 BGR."""
    gray_a, gray_b = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in (frame_a, frame_b))
    return cv2.calcOpticalFlowFarneback(
        gray_a, gray_b, NO_ARRAY, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
    )
