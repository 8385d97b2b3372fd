"""Strokes that swim or stick: how far a film's own motion is from its source's. Pure.

Source: tOF of Chu, Xie, Mayer, Leal-Taixe, Thuerey, "Learning temporal coherence via self-supervision for GAN-based video
generation" (2020).
"""

import numpy as np


def motion_error(film_flow: np.ndarray, source_flow: np.ndarray, reliability: np.ndarray) -> float | None:
    """Mean distance of the flow that is estimated in a film from the one in its source, in pixels.

    Both flows are (H, W, 2) from a frame to the one before it, by the same method; the sum of the distances across and down
    is averaged over the reliable pixels, reliability being (H, W), 0 to 1. Strokes that stick to the screen while things
    move by v pixels have v, strokes that swim at random have what they swim. None where nothing is reliable.
    """
    trusted = float(reliability.sum(dtype=np.float64))
    distances = np.abs(film_flow - source_flow).sum(-1)
    return float((distances * reliability).sum(dtype=np.float64)) / trusted if trusted else None
