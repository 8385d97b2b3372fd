"""Flow with its reliability, from a frame to the one before it or to one that is a second earlier."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np

from fav.flow.consistency import reliability
from fav.flow.io import quantized
from fav.flow.methods import Flow
from fav.flow.warp import warp

MAX_CORRECTION = 1.0  # pixels; correct composed flow has a smaller error
CERTAIN = 0.999  # minimum of an interpolated reliability: all four neighbors with a weight are 1


@dataclass(frozen=True)
class FlowField:
    """Flow from a frame to the one before it in the chain, and its reliability.

    `flow` is (H, W, 2) float32 pixels, `reliability` (H, W), 0 to 1.
    """

    flow: np.ndarray
    reliability: np.ndarray


def estimate(
    flow: Flow,
    frame: np.ndarray,
    other: np.ndarray,
    min_filter: int = 7,
    report_progress: Callable[[], None] = lambda: None,
) -> FlowField:
    """Compute the flow from `frame` to `other`, and its reliability, rounded as on disk.

    Args:
        flow: The method.
        frame: (H, W, 3) uint8.
        other: (H, W, 3) uint8.
        min_filter: As in `fav.flow.consistency.reliability`.
        report_progress: Called between the two directions, because each may take long.
    """
    # Rounded before the check, because noise of 1e-4 pixels at the border would count as outside of the image.
    forth = quantized(flow(frame, other))
    report_progress()
    back = quantized(flow(other, frame))
    return FlowField(forth, reliability(forth, back, frame, min_filter=min_filter))


def compose(steps: Iterable[FlowField]) -> FlowField:
    """Compose at least one step into one flow field. Each step starts at the frame where the one before ended.

    The reliability is 1 where all steps have 1, else 0.
    """
    return reduce(_compose_two, steps)


def estimate_long_range(
    flow: Flow, frame: np.ndarray, earlier: np.ndarray, steps: Iterable[FlowField], min_filter: int = 7
) -> FlowField:
    """Compute the flow from a frame to one that is several frames earlier, given the steps between them.

    Composes the steps, warps `earlier` by the result, and estimates the remaining flow. This corrects the accumulated
    errors. Pixels near a correction of 1 pixel or more are unreliable. (docs/how-to/evaluate.md compares this with direct
    flow, which fails for fast motion, and is then wrong at pixels that count as reliable.)

    Args:
        flow: The method.
        frame: (H, W, 3) uint8.
        earlier: (H, W, 3) uint8.
        steps: The flow from each frame to the one before it, the latest first.
        min_filter: As in `estimate`.
    """
    composed = compose(steps)
    correction = estimate(flow, frame, warp(earlier, composed.flow), min_filter)
    inconsistent = (cv2.magnitude(*cv2.split(correction.flow)) >= MAX_CORRECTION).astype(np.uint8)
    inconsistent = cv2.dilate(inconsistent, np.ones((min_filter, min_filter), np.uint8))
    return compose([FlowField(correction.flow, correction.reliability * (1 - inconsistent)), composed])


def _compose_two(first: FlowField, second: FlowField) -> FlowField:
    reliable = warp(second.reliability.astype(np.float32), first.flow) > CERTAIN
    return FlowField(first.flow + warp(second.flow, first.flow), ((first.reliability == 1) & reliable).astype(np.uint8))
