"""Movements that are known everywhere and exactly; pure.

Points are (..., 2) float32, pixels, x to the right then y down.
"""

from dataclasses import dataclass, replace

import numpy as np

WAVES = 3
FASTEST_SHIFT = 16  # pixels a step
STILL = 0.15  # share of sequences that stand still: what builds up from frame to frame is seen there first


@dataclass(frozen=True)
class Motion:
    """Where the things at each point were one step before: point + flow(point).

    The flow is `offset` + `matrix` times the point's distance from `centre`, and waves: for each k, `heights[k]`
    (pixels, x and y) times the sine of `waves[k]` (radians a pixel, x and y) along the point plus `phases[k]`.
    """

    offset: np.ndarray  # (2,)
    matrix: np.ndarray  # (2, 2)
    centre: np.ndarray  # (2,)
    heights: np.ndarray  # (K, 2)
    waves: np.ndarray  # (K, 2)
    phases: np.ndarray  # (K,)

    def flow(self, points: np.ndarray) -> np.ndarray:
        """The flow at each point, like `points`."""
        flow = (points - self.centre) @ self.matrix.T + self.offset
        if len(self.waves):
            flow = flow + np.sin(points @ self.waves.T + self.phases) @ self.heights
        return flow.astype(np.float32)

    def scaled(self, speed: float) -> "Motion":
        """The same movement at another speed."""
        return replace(self, offset=speed * self.offset, matrix=speed * self.matrix, heights=speed * self.heights)


def origins(motions: list[Motion], points: np.ndarray) -> np.ndarray:
    """Where the things that are at `points` after all these motions, one a step, were before the first."""
    for motion in reversed(motions):
        points = points + motion.flow(points)
    return points


def still() -> Motion:
    return Motion(np.zeros(2), np.zeros((2, 2)), np.zeros(2), np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))


def draw_motions(kind: str, rng: np.random.Generator, side: int, steps: int) -> list[Motion]:
    """Movements of a picture of that side, one a step, of a kind of sample.

    shift: whole pixels. zoom_out: all shrinks towards a point. affine: also turned, stretched and sheared, up to 16 pixels
    a step at the border, most often much slower, and sometimes not at all. elastic: half as much, and waves. The speed
    changes evenly from the first to the last step.
    """
    centre = rng.uniform(0.25, 0.75, 2) * side
    motion = replace(still(), centre=centre)
    if kind == "shift":
        whole = [np.rint(rng.uniform(-FASTEST_SHIFT, FASTEST_SHIFT, 2)) for _ in range(steps)]
        return [replace(motion, offset=offset) for offset in whole]
    if kind == "zoom_out":
        return [replace(motion, matrix=rng.uniform(0.005, 0.05) * np.eye(2))] * steps
    reach = 8 / (side / 2)
    motion = replace(motion, offset=rng.uniform(-8, 8, 2), matrix=_turn_and_stretch(rng, reach))
    if kind == "elastic":
        lengths = rng.uniform(side / 4, side, WAVES)
        angles = rng.uniform(0, 2 * np.pi, WAVES)
        waves = 2 * np.pi / lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        heights = rng.uniform(-0.02, 0.02, (WAVES, 2)) * lengths[:, None]  # slopes of an eighth: nothing folds over
        motion = replace(motion.scaled(0.5), heights=heights, waves=waves, phases=rng.uniform(0, 2 * np.pi, WAVES))
    speed = 0 if rng.random() < STILL else 10 ** rng.uniform(-1.5, 0)
    return [motion.scaled(speed * pace) for pace in np.linspace(1, rng.uniform(0.3, 1.7), steps)]


def _turn_and_stretch(rng: np.random.Generator, reach: float) -> np.ndarray:
    """A matrix that moves points at distance 1 by up to `reach`: a turn, a zoom, and a little stretch and shear."""
    turn, zoom = rng.uniform(-reach, reach, 2) / 2
    return np.array([[zoom, -turn], [turn, zoom]]) + rng.uniform(-reach, reach, (2, 2)) / 8
