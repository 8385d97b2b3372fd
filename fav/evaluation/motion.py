"""The difference between a film's motion and its source's, which shows strokes that drift or stick to the screen. Pure.

Source: tOF of Chu, Xie, Mayer, Leal-Taixe, Thuerey, "Learning temporal coherence via self-supervision for GAN-based video
generation" (2020).
"""

import numpy as np


def motion_error(film_flow: np.ndarray, source_flow: np.ndarray, reliability: np.ndarray) -> float | None:
    """Return the mean L1 distance between the flow of a film and the flow of its source, in pixels.

    Strokes that stick to the screen while objects move by v pixels give v.

    Args:
        film_flow: (H, W, 2) pixels, from a frame to the one before it.
        source_flow: The same for the source, by the same method.
        reliability: (H, W), 0 to 1; the weights of the mean.

    Returns:
        None if no pixel is reliable.
    """
    weight = float(reliability.sum(dtype=np.float64))
    distances = np.abs(film_flow - source_flow).sum(-1)
    return float((distances * reliability).sum(dtype=np.float64)) / weight if weight else None
