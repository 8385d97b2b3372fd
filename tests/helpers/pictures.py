"""Pictures to compare with."""

import numpy as np


def gray(level: int) -> np.ndarray:
    return np.full((48, 64, 3), level, np.uint8)
