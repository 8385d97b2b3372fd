"""Carry a mask, drawn on one frame, to other frames of its shot by the optical flow; pure."""

from dataclasses import dataclass

import cv2
import numpy as np

from fav.flow.field import FlowField, estimate, estimate_long_range
from fav.flow.methods import Flow
from fav.flow.warp import warp

MIN_FILTER = 3  # pixels: unreliable regions are hardly enlarged, because the mask of the frame before is next best
NEAR = 15  # pixels: what is within half of that from the mask is near it
FILL_RADIUS, FILL_STEP = 24, 3  # pixels: how far around, and how densely, pixels without a value look for theirs
FILL_SIGMA, COLOR_SIGMA = 10.0, 20.0  # pixels and gray levels in which their weight falls
LEAST_WEIGHT = 1e-6  # of all that a pixel finds; with less, the frame before decides
BLOCK = 1 << 12  # such pixels that are filled at once, to bound the memory


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
    def followed(self) -> float:
        """The fraction of the mask, and of what is near it, that can be followed to the drawn frame; 0 if nothing is left."""
        near = cv2.dilate((self.mask > 127).astype(np.uint8), np.ones((NEAR, NEAR), np.uint8)) == 1
        return float(np.mean(self.field.reliability[near] == 1)) if near.any() else 0.0


def drawn(mask: np.ndarray) -> Carried:
    """The mask (H, W) uint8 at the frame on which it was drawn."""
    return Carried(mask, FlowField(np.zeros((*mask.shape, 2), np.float32), np.ones(mask.shape, np.uint8)))


def carry(
    flow: Flow, start: Carried, start_frame: np.ndarray, before: Carried, frames: tuple[np.ndarray, np.ndarray]
) -> Carried:
    """Carry a mask by one frame, away from the drawn one.

    Pixels that can be followed to the drawn frame get the value there, so edges stay sharp and errors do not add up.
    Others get the value in the frame before; those that are seen for the first time get that of `fill`.

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
    return Carried(fill(mask, known, here), whole)


def fill(mask: np.ndarray, known: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Give pixels without a value that of known pixels of their color around them.

    Behind what moves away, one side of such a region belongs to it and the other to the background. Colors tell which.

    Args:
        mask: (H, W) uint8.
        known: (H, W) bool, where it has a value.
        frame: (H, W, 3) uint8.

    Returns:
        A new mask. Pixels that find nothing alike keep what they have.
    """
    height, width = mask.shape
    image, filled = cv2.GaussianBlur(frame, (0, 0), 1).astype(np.float32), mask.copy()
    reach = np.arange(-FILL_RADIUS, FILL_RADIUS + 1, FILL_STEP)
    down, across = (each.ravel() for each in np.meshgrid(reach, reach, indexing="ij"))
    near = np.exp(-(down**2 + across**2) / np.float32(2 * FILL_SIGMA**2))
    rows, columns = np.nonzero(~known)
    for begin in range(0, len(rows), BLOCK):
        r, c = rows[begin : begin + BLOCK], columns[begin : begin + BLOCK]
        y, x = r[:, None] + down, c[:, None] + across
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = y.clip(0, height - 1), x.clip(0, width - 1)
        difference = np.square(image[y, x] - image[r, c][:, None]).sum(-1)
        weights = near * np.exp(-difference / np.float32(2 * COLOR_SIGMA**2)) * (inside & known[y, x])
        total = weights.sum(1)
        found = total > LEAST_WEIGHT
        values = (weights[found] * mask[y, x][found]).sum(1) / total[found]
        filled[r[found], c[found]] = np.rint(values).clip(0, 255).astype(np.uint8)
    return filled
