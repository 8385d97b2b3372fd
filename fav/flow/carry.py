"""Carry a mask, drawn on one frame, to other frames of its shot by the optical flow; pure."""

from dataclasses import dataclass

import cv2
import numpy as np

from fav.flow import Flow
from fav.flow.field import FlowField, estimate, estimate_long_range
from fav.flow.warp import warp

MIN_FILTER = 3  # pixels: unreliable regions are hardly enlarged, because the mask of the frame before is next best
FILL_SIGMA = 8.0  # pixels from which pixels without a value get theirs
LEAST_KNOWN = 1e-3  # share of such pixels with a value; with fewer, the frame before decides


@dataclass(frozen=True, eq=False)
class Carried:
    """A mask at one frame.

    Attributes:
        mask: (H, W) uint8.
        field: flow from this frame to the drawn one; its reliability is 1 where a pixel can be followed that far.
    """

    mask: np.ndarray
    field: FlowField

    @property
    def sure(self) -> float:
        """The fraction of pixels that can be followed to the drawn frame."""
        return float(np.mean(self.field.reliability == 1))


def drawn(mask: np.ndarray) -> Carried:
    """The mask (H, W) uint8 at the frame on which it was drawn."""
    return Carried(mask, FlowField(np.zeros((*mask.shape, 2), np.float32), np.ones(mask.shape, np.uint8)))


def carry(
    flow: Flow, start: Carried, start_frame: np.ndarray, before: Carried, frames: tuple[np.ndarray, np.ndarray]
) -> Carried:
    """Carry a mask by one frame, away from the drawn one.

    Pixels that can be followed to the drawn frame get the value there, so edges stay sharp and errors do not add up.
    Others get the value in the frame before; those that appear there for the first time get that of their surroundings.

    Args:
        flow: The method.
        start: Of `drawn`.
        start_frame: The frame on which it was drawn, (H, W, 3) uint8.
        before: The mask at the frame before.
        frames: The frame, and the one before it, both (H, W, 3) uint8.
    """
    here, there = frames
    step = estimate(flow, here, there, MIN_FILTER)
    whole = estimate_long_range(flow, here, start_frame, [step, before.field], MIN_FILTER)
    mask = warp(before.mask, step.flow)
    followed, known = whole.reliability == 1, (whole.reliability == 1) | (step.reliability == 1)
    mask[followed] = warp(start.mask, whole.flow)[followed]
    weights = cv2.GaussianBlur(known.astype(np.float32), (0, 0), FILL_SIGMA)
    values = cv2.GaussianBlur(mask.astype(np.float32) * known, (0, 0), FILL_SIGMA)
    filled = ~known & (weights > LEAST_KNOWN)
    mask[filled] = np.rint(values[filled] / weights[filled]).clip(0, 255).astype(np.uint8)
    return Carried(mask, whole)
