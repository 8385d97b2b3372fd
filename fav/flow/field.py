"""How a frame hangs on an earlier one: the one before it, or one that is a second away."""

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
    """How a frame hangs on the one before it in the chain.

    flow (H, W, 2) float32, pixels, leads from the frame to the one before; reliability (H, W), 0 to 1.
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
    """Flow from frame `here` to frame `there`, both (H, W, 3) uint8, and its reliability, as they travel.

    min_filter as in `fav.flow.consistency.reliability`. `report_progress` is called between the two directions, each of which may
    take long.
    """
    # Rounded before they are judged: noise of 1e-4 pixels at the border would count as leaving the image.
    onward = quantized(flow(here, there))
    report_progress()
    back = quantized(flow(there, here))
    return FlowField(onward, reliability(onward, back, here, min_filter=min_filter))


def compose(steps: Iterable[FlowField]) -> FlowField:
    """One step in place of several, at least one: the first leads from the frame itself, each from where the last one led.

    Reliable, 0 or 1, where every step is on the way.
    """
    return reduce(_after, steps)


def estimate_long_range(
    flow: Flow, here: np.ndarray, there: np.ndarray, steps: Iterable[FlowField], min_filter: int = 7
) -> FlowField:
    """How `here` hangs on `there`, some frames earlier, by the steps that lie between (the newest first).

    The steps are composed; then `there`, warped that way, is matched with `here` once more, which takes away what
    the steps' errors sum up to. Where that moves a pixel, or one near it, by 1 pixel or more, the way there is not
    reliable. (docs/how-to/evaluate.md compares this with flow from the one to the other, which loses its way where things
    move fast, and is reliable in places where it is wrong.)
    """
    far = compose(steps)
    rest = estimate(flow, here, warp(there, far.flow), min_filter)
    astray = (cv2.magnitude(*cv2.split(rest.flow)) >= MAX_ROUND_TRIP).astype(np.uint8)
    astray = cv2.dilate(astray, np.ones((min_filter, min_filter), np.uint8))
    return compose([FlowField(rest.flow, rest.reliability * (1 - astray)), far])


def _after(first: FlowField, second: FlowField) -> FlowField:
    onward = warp(second.reliability.astype(np.float32), first.flow) > CERTAIN
    return FlowField(first.flow + warp(second.flow, first.flow), ((first.reliability == 1) & onward).astype(np.uint8))
