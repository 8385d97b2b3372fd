"""The width of the sharpest edges of a frame, to detect blur. Pure.

The width of an edge is the range of the luma around it divided by the steepest step between pixels. It does not depend
on the contrast: 1 for an edge between two pixels, s sqrt(2 pi) after a Gaussian blur of standard deviation s (the
perceptual blur of Marziliano et al. 2002, by slope instead of extrema). A film that is consistent because it is blurred
has wider edges than its source.
"""

import cv2
import numpy as np

WINDOW = 13  # pixels; the side of the square in which the range of the luma is computed
STEEPEST = 0.05  # fraction of the pixels that count as edges
MIN_STEP = 4.0  # gray levels; a smaller step is no edge


def edge_width(image: np.ndarray) -> float | None:
    """Return the median width of the steepest 5 % of the pixels of an image (H, W, 3) uint8, in pixels.

    The result is None if no step between pixels has 4 gray levels.
    """
    luma = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    across = np.abs(np.diff(luma, axis=1))[:-1]
    down = np.abs(np.diff(luma, axis=0))[:, :-1]
    steps = np.maximum(across, down)
    threshold = max(float(np.quantile(steps, 1 - STEEPEST)), MIN_STEP)
    edges = steps >= threshold
    if not edges.any():
        return None
    square = np.ones((WINDOW, WINDOW), np.uint8)
    spread = (cv2.dilate(luma, square) - cv2.erode(luma, square))[:-1, :-1]
    steepest = cv2.dilate(steps, np.ones((3, 3), np.uint8))
    return float(np.median(spread[edges] / steepest[edges]))
