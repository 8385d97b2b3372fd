"""A texture in which every motion can be seen."""

import cv2
import numpy as np


def texture(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def shifted_pair(height, width):
    """Two views of one texture: what is at (x, y) in the first is at (x + 3, y - 2) in the second."""
    big = texture(height + 20, width + 20)
    return big[10 : 10 + height, 10 : 10 + width].copy(), big[12 : 12 + height, 7 : 7 + width].copy()
