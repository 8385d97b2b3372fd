"""Flow and reliability between a frame and an earlier one: the one before it, or one that is a second earlier."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np

from fav.flow import Flow
from fav.flow.consistency import reliability
from fav.flow.io import quantized
from fav.flow.warp import warp

MAX_ROUND_TRIP = 1.0  # pixels: composed flow that is right is off by less
CERTAIN = 0.999  # of an interpolated reliability: all four neighbours that have weight are 1


@dataclass(frozen=True)
class FlowField:
    """Flow from a frame to the one before it in the chain, and its reliability.

    `flow` is (H, W, 2) float32 pixels, `reliability` (H, W), 0 to 1.
    """

    flow: np.ndarray
    reliability: np.ndarray


def estimate(
    flow: Flow,
    here: np.ndarray,
    there: np.ndarray,
    min_filter: int = 7,
    report_progress: Callable[[], None] = lambda: None,
) -> FlowField:
    """Flow from frame `here` to frame `there`, both (H, W, 3) uint8, and its reliability, rounded as on disk.

    `min_filter` is as in `fav.flow.consistency.reliability`. `report_progress` is called between the two directions, each
    of which may take long.
    """
    # Rounded before the check: noise of 1e-4 pixels at the border would count as outside of the image.
    onward = quantized(flow(here, there))
    report_progress()
    back = quantized(flow(there, here))
    return FlowField(onward, reliability(onward, back, here, min_filter=min_filter))


def compose(steps: Iterable[FlowField]) -> FlowField:
    """Compose several steps (at least one) into one. The first starts at the frame, each next one where the last ended.

    The result is reliable, 0 or 1, where all steps are.
    """
    return reduce(_after, steps)


def estimate_long_range(
    flow: Flow, here: np.ndarray, there: np.ndarray, steps: Iterable[FlowField], min_filter: int = 7
) -> FlowField:
    """Flow from `here` to `there`, some frames earlier, given the steps between them (the newest first).

    Composes the steps, warps `there` by the result, and estimates the remaining flow from `here` to it: this corrects
    the accumulated errors. Pixels near a correction of 1 pixel or more are not reliable. (docs/how-to/evaluate.md compares
    this with direct flow, which fails for fast motion, and is then wrong in places that count as reliable.)
    """
    far = compose(steps)
    rest = estimate(flow, here, warp(there, far.flow), min_filter)
    inconsistent = (cv2.magnitude(*cv2.split(rest.flow)) >= MAX_ROUND_TRIP).astype(np.uint8)
    inconsistent = cv2.dilate(inconsistent, np.ones((min_filter, min_filter), np.uint8))
    return compose([FlowField(rest.flow, rest.reliability * (1 - inconsistent)), far])


def _after(first: FlowField, second: FlowField) -> FlowField:
    onward = warp(second.reliability.astype(np.float32), first.flow) > CERTAIN
    return FlowField(first.flow + warp(second.flow, first.flow), ((first.reliability == 1) & onward).astype(np.uint8))
