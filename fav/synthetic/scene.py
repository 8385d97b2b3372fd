"""Synthetic scenes with exact ground truth: the motion of every pixel, and whether it was visible one frame before.

A scene has flat layers one behind the other: a far plane, a ridge, blobs. Textures, motions and the camera are formulas, so
they can be evaluated anywhere. Distances are in units of 1/360 of the height; frames are counted from 0 within the scene.
One cut in the middle leads to another scene of the same kind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from fav.errors import FavError
from fav.flow.io import write_flo
from fav.flow.warp import pixel_grid
from fav.synthetic.motions import MOTIONS
from fav.synthetic.sample_clip import FAR_HILL, GRASS, NIGHT_TO_GOLD, NOON, SEA, WHEAT, WOOD, mix, ramp
from fav.util.images import encode_png

SHORTEST = 12  # frames of a scene with a cut: half of it is the shortest shot that the detector of cuts keeps
COARSEST, FINEST = 64, 4.0  # cells of the textures' noise: the largest in units, the smallest in pixels
SMALLEST = 48  # pixels of a side: below, the coarsest noise is finer than that
RELIABLE, EDGE, HIDDEN = 255, 128, 0  # in `Truth.seen`
BLOBS = ((34, 150, 70), (46, 105, 60), (58, 190, 90))  # radius, and how far each swings to the sides and up
SEVERAL = ((NIGHT_TO_GOLD, WOOD, WHEAT, SEA, FAR_HILL), (NOON, GRASS, SEA, WHEAT, WOOD))  # of the two shots
TABLE = 256


@dataclass(frozen=True)
class Scene:
    """The parameters of a scene. Raises FavError for an unknown motion, or sizes that are too small."""

    width: int = 640
    height: int = 360
    motion: str = "handheld"
    frames: int = 50

    def __post_init__(self):
        if self.motion not in MOTIONS:
            raise FavError(f"scene: expected a motion of {', '.join(MOTIONS)}, got {self.motion!r}")
        if min(self.width, self.height) < SMALLEST or self.frames < 1:
            raise FavError(
                f"scene: expected sides of {SMALLEST} pixels or more and a frame, got {self.frames} of "
                f"{self.width}x{self.height}"
            )

    @property
    def cut(self) -> int | None:
        """The first frame after the cut; None if the scene is too short for a cut."""
        return self.frames // 2 if self.frames >= SHORTEST else None

    def begins(self, number: int) -> bool:
        """Whether a shot begins with this frame."""
        return number in (0, self.cut)


@dataclass(frozen=True, eq=False)
class View:
    """One frame and what is known of it.

    image (H, W, 3) uint8 BGR; layer (H, W) uint8: the topmost one that covers half of the pixel or more; solid (H, W)
    bool: whether it alone is seen there; poses (L, 3, 3): homographies from each layer's plane (units) to pixels.
    """

    shot: int
    image: np.ndarray
    layer: np.ndarray
    solid: np.ndarray
    poses: np.ndarray


@dataclass(frozen=True, eq=False)
class Truth:
    """The exact flow from a frame to another one of its shot, and where it is reliable.

    Attributes:
        flow: (H, W, 2) float32 pixels, to the other frame, rounded to a millionth: exactly 0 where nothing moves.
        seen: (H, W) uint8. RELIABLE: the other frame, warped along the flow, shows the same point, and only this layer.
            HIDDEN: the point is covered, or outside of the image, in the other frame. EDGE: the pixel, or the one that is
            warped to it, is a mixture of two layers.
    """

    flow: np.ndarray
    seen: np.ndarray


def view(scene: Scene, number: int) -> View:
    """Draw frame `number` of a scene. It depends only on the arguments."""
    shot = int(scene.cut is not None and number >= scene.cut)
    time = number - shot * (scene.cut or 0)
    poses = _poses(scene, shot, time)
    x, y = cv2.split(pixel_grid(scene.height, scene.width).astype(np.float64))
    image = np.zeros((scene.height, scene.width, 3), np.float32)
    layer, solid = np.zeros(x.shape, np.uint8), np.ones(x.shape, bool)
    for level, (pose, cover) in enumerate(zip(poses, _covers(shot))):
        away = np.linalg.inv(pose)
        across, down = _moved(away, x, y)
        share = np.clip(cover(across, down) / _size_of_pixel(away) + 0.5, 0, 1)
        there = share > 0
        color = np.zeros_like(image)
        seed, colors = 100 * shot + 10 * level, SEVERAL[shot][level]
        color[there] = _texture(across[there], down[there], scene.height / 360, seed, colors)
        image = mix(image, color, share)
        layer[share >= 0.5] = level
        solid = np.where(share == 1, True, solid & (share == 0))
    return View(shot, np.rint(image).astype(np.uint8), layer, solid, poses)


def truth(here: View, there: View) -> Truth:
    """Compute the exact flow from one frame to another one of the same shot, and where it is reliable."""
    if here.shot != there.shot:
        raise FavError("scene: expected two frames of one shot, got a cut between them")
    height, width = here.layer.shape
    x, y = cv2.split(pixel_grid(height, width).astype(np.float64))
    flow = np.zeros((height, width, 2))
    for level, (pose, other) in enumerate(zip(here.poses, there.poses)):
        mine = here.layer == level
        moved = _moved(other @ np.linalg.inv(pose), x[mine], y[mine])
        flow[mine] = np.stack(moved, -1) - np.stack([x[mine], y[mine]], -1)
    flow = flow.round(6).astype(np.float32)
    at_x, at_y = x + flow[..., 0], y + flow[..., 1]
    inside = (at_x >= 0) & (at_y >= 0) & (at_x <= width - 1) & (at_y <= height - 1)
    same, pure = _at(there.layer, np.rint(at_y), np.rint(at_x)) == here.layer, here.solid.copy()
    for rows in (np.floor(at_y), np.ceil(at_y)):
        for columns in (np.floor(at_x), np.ceil(at_x)):
            pure &= _at(there.solid, rows, columns) & (_at(there.layer, rows, columns) == here.layer)
    seen = np.where(pure, RELIABLE, np.where(same | ~here.solid, EDGE, HIDDEN))
    return Truth(flow, np.where(inside, seen, HIDDEN).astype(np.uint8))


def write_scene(out: Path, scene: Scene, report_progress: Callable[[], None] = lambda: None) -> None:
    """Write all frames and what is known of them into the directory `out`, which must exist.

    frame_%04d.png, and for every frame that has one before it in its shot flow_bwd_%04d.flo and reliability_%04d.png
    (`Truth.seen`); cuts.csv, as `fav.video.shot_detection.read_cuts` reads it.
    """
    (out / "cuts.csv").write_text(f"cut\n{scene.cut}\n" if scene.cut else "# no cut\n")
    before = None
    for number in range(scene.frames):
        here = view(scene, number)
        (out / f"frame_{number:04d}.png").write_bytes(encode_png(here.image))
        if before is not None and not scene.begins(number):
            known = truth(here, before)
            write_flo(out / f"flow_bwd_{number:04d}.flo", known.flow)
            (out / f"reliability_{number:04d}.png").write_bytes(cv2.imencode(".png", known.seen)[1].tobytes())
        before = here
        report_progress()


def _poses(scene: Scene, shot: int, n: float) -> np.ndarray:
    """From each layer's plane to pixels in the n-th frame of a shot; (L, 3, 3)."""
    unit, side = scene.height / 360, -1 if shot else 1
    path, shake, turn, zoom, tilt = np.zeros(2), np.zeros(2), 0.0, 1.0, (0.0, 0.0)
    if scene.motion in ("pan", "fast"):
        path = np.array([(14 if scene.motion == "fast" else 1.5) * n * side, 0.0])
    if scene.motion == "fast":
        shake = np.array([0, 5 * np.sin(n / 3)])
    if scene.motion == "zoom":
        zoom = np.exp(0.3 * side * np.sin(2 * np.pi * n / 190))
    if scene.motion == "handheld":
        shake = np.array([6 * np.sin(n / 7) + 2.5 * np.sin(n / 2.3 + 1), 5 * np.sin(n / 9 + 2) + 2 * np.sin(n / 2.9)])
        turn, zoom = 0.011 * np.sin(n / 11) + 0.003 * np.sin(n / 3.7), 1 + 0.008 * np.sin(n / 13)
        tilt = 2e-5 * np.sin(n / 10), 2e-5 * np.sin(n / 8 + 1)
    lens = np.array([[unit, 0, (scene.width - 1) / 2], [0, unit, (scene.height - 1) / 2], [0, 0, 1]])
    eye = lens @ np.array([[1, 0, 0], [0, 1, 0], [*tilt, 1]]) @ _similar(turn, zoom, (0, 0))
    poses = [eye @ _similar(0, 1, -depth * (path + shake)) for depth in (1, 1.7)]
    speed, wide = 3 if scene.motion == "fast" else 1, scene.width / scene.height / (16 / 9)
    for number, (_, across, down) in enumerate(BLOBS):
        phase = speed * n / (34 + 9 * number) * (-1) ** number + 2 * number + 5 * shot
        place = np.array([across * wide * np.cos(phase), down * np.sin(1.3 * phase)])  # they go where the camera goes
        poses.append(eye @ _similar(0.7 * phase, 1 + 0.12 * np.sin(1.7 * phase), place - shake))
    poses.insert(2, poses.pop(1))  # the ridge hides the first blob
    return np.array(poses)


def _similar(turn: float, scale: float, place) -> np.ndarray:
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[cos, -sin, place[0]], [sin, cos, place[1]], [0, 0, 1]])


def _moved(homography: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    across, down, depth = (row[0] * x + row[1] * y + row[2] for row in homography)
    return across / depth, down / depth


def _size_of_pixel(away: np.ndarray) -> float:
    """The size of a pixel in the middle of the image, in units of a layer's plane."""
    return float(np.sqrt(abs(np.linalg.det(away[:2, :2]))))


def _covers(shot: int) -> list[Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """For each layer, a function of a point of its plane: the distance to the edge in units, negative outside."""

    def everywhere(x, y):
        return np.full_like(x, np.inf)

    def ridge(x, y):
        return y - 105 + 60 * _noise(x, np.zeros_like(x), 60, 7 + shot) + 14 * _noise(x, np.zeros_like(x), 13, 8 + shot)

    def blob(radius: float, number: int):
        def cover(x, y):
            angle = np.arctan2(y, x)
            rim = 1 + 0.16 * np.sin(3 * angle + number + shot) + 0.07 * np.sin(5 * angle - number)
            return radius * rim - np.hypot(x, y)

        return cover

    blobs = [blob(radius, number) for number, (radius, *_) in enumerate(BLOBS)]
    return [everywhere, blobs[0], ridge, *blobs[1:]]


def _texture(x: np.ndarray, y: np.ndarray, unit: float, seed: int, colors: tuple) -> np.ndarray:
    """Colors (N, 3) at points (N,) of a plane, in units. No detail is finer than a few pixels."""
    cell, weight, total, tone = COARSEST, 1.0, 0.0, np.zeros_like(x)
    while cell == COARSEST or cell * unit >= FINEST:  # finer ones would alias: they cannot be warped
        tone += weight * (_noise(x, y, cell, seed) - 0.5)
        total += weight
        cell, weight, seed = cell / 2, weight * 0.7, seed + 1
    return ramp(np.clip(0.5 + 2.4 * tone / total, 0, 1), colors)[0]


def _noise(x: np.ndarray, y: np.ndarray, cell: float, seed: int) -> np.ndarray:
    """Noise in [0, 1] at any point of a plane, twice differentiable. Its blobs are `cell` units wide."""
    left, top = np.floor(x / cell), np.floor(y / cell)
    across, down = _eased(x / cell - left), _eased(y / cell - top)
    rows, columns = ([(place.astype(np.int64) + step) % TABLE for step in (0, 1)] for place in (top, left))
    table = _table(seed)
    upper, lower = ((1 - across) * table[row, columns[0]] + across * table[row, columns[1]] for row in rows)
    return (1 - down) * upper + down * lower


@lru_cache(maxsize=128)
def _table(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((TABLE, TABLE))


def _eased(share: np.ndarray) -> np.ndarray:
    return share**3 * (share * (6 * share - 15) + 10)


def _at(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Look up `values` (H, W) at whole rows and columns. Outside of the array, the nearest value is used."""
    height, width = values.shape
    return values[np.clip(rows, 0, height - 1).astype(int), np.clip(columns, 0, width - 1).astype(int)]
