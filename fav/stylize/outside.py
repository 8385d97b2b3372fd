"""Frames of a film with a second style outside of its mask; pure.

Both styles stylize every frame, each from its own frame before. A published frame has them one below the other, so
that a film with another mask is made of the same frames.
"""

import numpy as np


def stack(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """One frame (2H, W, 3) with that of the style above that of the outside style, both (H, W, 3)."""
    return np.vstack([inside, outside])


def split(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two frames (H, W, 3) of `stack`; no copies."""
    half = frame.shape[0] // 2
    return frame[:half], frame[half:]
