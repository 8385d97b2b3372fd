"""The variational part of DeepFlow (Weinzaepfel et al. 2013) without DeepMatching, from OpenCV contrib."""

from collections.abc import Callable

import cv2
import numpy as np

from fav.errors import FavError
from fav.util.opencv import NO_ARRAY


def check() -> None:
    """Raise FavError if OpenCV was installed without its contrib modules."""
    if not hasattr(cv2, "optflow"):
        raise FavError(
            f"flow deepflow: expected OpenCV with its contrib modules, got {cv2.__version__} without them; "
            "uninstall every opencv-* package, then install opencv-contrib-python-headless"
        )


def make() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Make DeepFlow with OpenCV's default parameters. Raises FavError like `check`."""
    check()
    deepflow = cv2.optflow.createOptFlow_DeepFlow()

    def flow(frame_a: np.ndarray, frame_b: np.ndarray) -> np.ndarray:
        gray_a, gray_b = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in (frame_a, frame_b))
        return deepflow.calc(gray_a, gray_b, NO_ARRAY)

    return flow
