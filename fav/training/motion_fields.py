"""Synthetic motion with exact flow at every point. Pure functions.

Points are (..., 2) float32 in pixels, x to the right, then y down.
"""

from dataclasses import dataclass, replace

import numpy as np

WAVES = 3
MAX_SHIFT = 16  # pixels per frame
STILL_PROBABILITY = 0.15  # of a sequence without motion: errors that accumulate are most visible there


@dataclass(frozen=True)
class Motion:
    """Motion between two consecutive frames. `point + flow(point)` is the position of a point in the frame before.

    The flow is the sum of an affine motion, `offset + matrix @ (point - center)`, and of K waves,
    `amplitudes[k] * sin(frequencies[k] @ point + phases[k])`.

    Attributes:
        offset: (2,) pixels.
        matrix: (2, 2).
        center: (2,) pixels.
        amplitudes: (K, 2) pixels, x and y.
        frequencies: (K, 2) radians per pixel, x and y.
        phases: (K,) radians.
    """

    offset: np.ndarray
    matrix: np.ndarray
    center: np.ndarray
    amplitudes: np.ndarray
    frequencies: np.ndarray
    phases: np.ndarray

    def flow(self, points: np.ndarray) -> np.ndarray:
        """Return the flow at each point, with the shape of `points`."""
        flow = (points - self.center) @ self.matrix.T + self.offset
        if len(self.frequencies):
            flow = flow + np.sin(points @ self.frequencies.T + self.phases) @ self.amplitudes
        return flow.astype(np.float32)

    def scaled(self, speed: float) -> "Motion":
        """Return the same motion with its speed multiplied by `speed`."""
        return replace(self, offset=speed * self.offset, matrix=speed * self.matrix, amplitudes=speed * self.amplitudes)


def trace_back(motions: list[Motion], points: np.ndarray) -> np.ndarray:
    """Return the positions in the first frame of `points` of the last frame, given the motions between all frames."""
    for motion in reversed(motions):
        points = points + motion.flow(points)
    return points


def still() -> Motion:
    """Return zero motion."""
    return Motion(np.zeros(2), np.zeros((2, 2)), np.zeros(2), np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))


def draw_motions(kind: str, rng: np.random.Generator, side: int, steps: int) -> list[Motion]:
    """Draw random motions for a sequence.

    Args:
        kind: `shift`: whole pixels. `zoom_out`: a zoom towards a point. `affine`: shift, rotation, zoom and shear of up
            to 16 pixels per frame at the border, mostly much less, sometimes none. `elastic`: half of that, plus waves.
            In the last two kinds, the speed changes linearly.
        rng: Random numbers.
        side: The side of the frames, in pixels.
        steps: The number of motions, one less than frames.
    """
    center = rng.uniform(0.25, 0.75, 2) * side
    motion = replace(still(), center=center)
    if kind == "shift":
        offsets = [np.rint(rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2)) for _ in range(steps)]
        return [replace(motion, offset=offset) for offset in offsets]
    if kind == "zoom_out":
        return [replace(motion, matrix=rng.uniform(0.005, 0.05) * np.eye(2))] * steps
    limit = 8 / (side / 2)
    motion = replace(motion, offset=rng.uniform(-8, 8, 2), matrix=_draw_matrix(rng, limit))
    if kind == "elastic":
        lengths = rng.uniform(side / 4, side, WAVES)
        angles = rng.uniform(0, 2 * np.pi, WAVES)
        frequencies = 2 * np.pi / lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        # The slope is at most 1/8, so the mapping has no folds.
        amplitudes = rng.uniform(-0.02, 0.02, (WAVES, 2)) * lengths[:, None]
        motion = replace(motion.scaled(0.5), amplitudes=amplitudes, frequencies=frequencies)
        motion = replace(motion, phases=rng.uniform(0, 2 * np.pi, WAVES))
    speed = 0 if rng.random() < STILL_PROBABILITY else 10 ** rng.uniform(-1.5, 0)
    return [motion.scaled(speed * factor) for factor in np.linspace(1, rng.uniform(0.3, 1.7), steps)]


def _draw_matrix(rng: np.random.Generator, limit: float) -> np.ndarray:
    """Draw a matrix of a rotation, a zoom, and a little shear. It moves points at distance 1 by up to `limit`."""
    rotation, zoom = rng.uniform(-limit, limit, 2) / 2
    return np.array([[zoom, -rotation], [rotation, zoom]]) + rng.uniform(-limit, limit, (2, 2)) / 8
