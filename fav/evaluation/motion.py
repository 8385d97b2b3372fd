"""The difference between a film's motion and its source's, which shows strokes that drift or stick to the screen. Pure.

Source: tOF of Chu, Xie, Mayer, Leal-Taixe, Thuerey, "Learning temporal coherence via self-supervision for GAN-based video
generation" (2020).
"""

import numpy as np


def motion_error(film_flow: np.ndarray, source_flow: np.ndarray, reliability: np.ndarray) -> float | None:
    """Mean L1 distance between the flow of a film and the flow of its source, in pixels.

    Both flows are (H, W, 2) from a frame to the one before it, by the same method. The mean is weighted with the
    reliability (H, W), 0 to 1. Strokes that stick to the screen while objects move by v pixels give v. None if nothing is
    reliable.
    """
    trusted = float(reliability.sum(dtype=np.float64))
    distances = np.abs(film_flow - source_flow).sum(-1)
    return float((distances * reliability).sum(dtype=np.float64)) / trusted if trusted else None
