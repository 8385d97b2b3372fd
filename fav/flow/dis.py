"""DIS: fast optical flow by dense inverse search (Kroeger et al. 2016), OpenCV's implementation."""

from collections.abc import Callable

import cv2
import numpy as np

from fav.util.opencv import NO_ARRAY


def make(finest_scale: int = 1, refinements: int = 5) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Make DIS with OpenCV's medium preset: the finest scale is half the resolution, with 5 refinements.

    Measured (`benchmarks/flow.py --dis`): finest scale 0 has 10 % less error and takes four times as long. Scale 2 has
    25 % more error and takes a third. Without refinement, fewer pixels are reliable.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(finest_scale)
    dis.setVariationalRefinementIterations(refinements)

    def flow(frame_a: np.ndarray, frame_b: np.ndarray) -> np.ndarray:
        gray_a, gray_b = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in (frame_a, frame_b))
        return dis.calc(gray_a, gray_b, NO_ARRAY)

    return flow
