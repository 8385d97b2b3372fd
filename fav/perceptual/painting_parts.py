"""Suggest parts of a painting for --style-crop: parts that differ in colors and in strokes.

A network learns the mean statistics of the whole painting. A part has fewer kinds of strokes, so the network learns them
more clearly.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from fav.util.images import limit_size

COUNT = 6
SHARES = (0.5, 0.7)  # of the sides of the painting
STEPS = 5  # positions per axis
MARGIN = 0.03  # of the sides; photographs of paintings often show a frame
OVERLAP = 0.5  # maximum, of the smaller of two parts
ANALYZED_SIDE = 256  # pixels of the longer side
DETAIL_SIGMAS = (1.0, 4.0)  # pixels; the sizes of detail that are compared
MIN_PART = 128  # pixels per side; smaller parts have too few strokes


def painting_parts(image: np.ndarray, count: int = COUNT) -> list[tuple[int, int, int, int]]:
    """Choose parts of a painting that differ from each other.

    The first part is the one with most contrast. Each other part is the one that differs most from those before it, by the
    mean and the deviation of its colors and by the strength of fine and coarse detail.

    Args:
        image: (H, W, 3) uint8 BGR.
        count: The maximum number of parts.

    Returns:
        (x, y, width, height) of each part in pixels; empty if the image is too small.
    """
    boxes = _boxes(*image.shape[1::-1])
    if not boxes:
        return []
    features = _features(image, boxes)
    features = (features - features.mean(0)) / (features.std(0) + 1e-3)
    chosen = [int(np.argmax(features[:, 3:].sum(1)))]
    while len(chosen) < count:
        free = [n for n in range(len(boxes)) if all(_overlap(boxes[n], boxes[other]) <= OVERLAP for other in chosen)]
        if not free:
            break
        chosen.append(max(free, key=lambda n: min(np.linalg.norm(features[n] - features[other]) for other in chosen)))
    return [boxes[n] for n in chosen]


def _boxes(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """All parts that are considered, (x, y, width, height) in pixels."""
    boxes = []
    for share in SHARES:
        w, h = int(share * width), int(share * height)
        if min(w, h) < MIN_PART:
            continue
        for x in np.linspace(MARGIN * width, (1 - MARGIN) * width - w, STEPS):
            boxes += [(int(x), int(y), w, h) for y in np.linspace(MARGIN * height, (1 - MARGIN) * height - h, STEPS)]
    return boxes


def _features(image: np.ndarray, boxes: Sequence[tuple[int, int, int, int]]) -> np.ndarray:
    """For each part: mean of L, a, b; deviation of L, a, b; deviation of fine and of coarse detail. (N, 8) float64."""
    small = limit_size(image, ANALYZED_SIDE)
    scale = small.shape[1] / image.shape[1]
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_BGR2Lab)
    blurred = [cv2.GaussianBlur(lab[..., 0], (0, 0), sigma) for sigma in DETAIL_SIGMAS]
    layers = np.dstack([lab, lab[..., 0] - blurred[0], blurred[0] - blurred[1]])
    found = []
    for box in boxes:
        x, y, width, height = (round(scale * length) for length in box)
        pixels = layers[y : y + height, x : x + width].reshape(-1, layers.shape[-1])
        found.append([*pixels.mean(0)[:3], *pixels.std(0)])
    return np.array(found, np.float64)


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """The area in common, relative to the smaller part."""
    width, height = (
        max(0, min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis]))
        for axis in (0, 1)
    )
    return width * height / min(one[2] * one[3], other[2] * other[3])
