"""Sequences made of photographs: moving layers, with the exact flow and the exact occlusion; pure.

Beyond what Ruder et al. (2018, section 6) made of stills (shift, zoom out), layers move and cover each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from fav.flow.consistency import inside_image
from fav.flow.warp import pixel_grid, warp
from fav.training.image_folder import Photo
from fav.training.motion_fields import Motion, draw_motions, origins
from fav.util.opencv import NO_ARRAY

SAME_LAYER = 0.1  # share of a layer by which a pixel and the one fetched for it may differ
OBJECTS = (0.3, 0.5, 0.2)  # how often none, one and two things move before a photograph


@dataclass(frozen=True)
class SyntheticSequence:
    """S frames (S, H, W, 3) uint8; flow (S - 1, H, W, 2) float32, pixels, from each frame but the first to the one
    before it; reliability (S - 1, H, W) uint8, 0 or 1.
    """

    frames: np.ndarray
    flow: np.ndarray
    reliability: np.ndarray


@dataclass(frozen=True)
class Layer:
    """A picture (h, w, 3) uint8 that moves. `place` is where the frame's (0, 0) lies in it in the first frame.

    opacity (h, w) float32, 0 to 1, is how much it covers; None for all: beyond its border the picture goes on mirrored.
    """

    picture: np.ndarray
    place: np.ndarray
    motions: list[Motion] = field(default_factory=list)
    opacity: np.ndarray | None = None


def compose(layers: list[Layer], side: int, steps: int) -> SyntheticSequence:
    """`steps` + 1 square frames of layers, the last one in front, each with at least `steps` motions.

    The flow of a pixel is that of the layer it shows most. It is reliable where it leads to a pixel inside the frame that
    shows as much of the same layer.
    """
    grid = pixel_grid(side, side)
    frames, flows, trusted = [], [], []
    before = None
    for step in range(steps + 1):
        shares, frame = [], np.zeros((side, side, 3), np.float32)
        for layer in layers:
            points = (origins(layer.motions[:step], grid) + layer.place).astype(np.float32)
            color = cv2.remap(layer.picture, points, NO_ARRAY, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
            cover = (
                np.float32(1) if layer.opacity is None else cv2.remap(layer.opacity, points, NO_ARRAY, cv2.INTER_LINEAR)
            )
            shares = [share * (1 - cover) for share in shares] + [
                np.broadcast_to(cover, (side, side)).astype(np.float32)
            ]
            frame += (color - frame) * shares[-1][..., None]
        frames.append(np.rint(frame).astype(np.uint8))
        if before is not None:
            shown = np.argmax(shares, axis=0)
            flow = np.zeros((side, side, 2), np.float32)
            same = np.zeros((side, side), bool)
            for number, layer in enumerate(layers):
                here = shown == number
                flow[here] = layer.motions[step - 1].flow(grid[here])
            for number, share in enumerate(shares):
                same |= (shown == number) & (np.abs(warp(before[number], flow) - share) < SAME_LAYER)
            flows.append(flow)
            trusted.append((same & inside_image(flow)).astype(np.uint8))
        before = shares
    flow, reliability = _stacked(flows, (side, side, 2), np.float32), _stacked(trusted, (side, side), np.uint8)
    return SyntheticSequence(np.stack(frames), flow, reliability)


def draw_sequence(
    kind: str, photos: Sequence[Photo], rng: np.random.Generator, side: int, steps: int
) -> SyntheticSequence:
    """A sequence of a kind of sample (not video), drawn from `photos`. Raises FavError where a photograph cannot be read."""
    layers = [Layer(*sample_background(photos, rng, side), draw_motions(kind, rng, side, steps))]
    if kind in ("affine", "elastic"):
        for _ in range(rng.choice(len(OBJECTS), p=OBJECTS)):
            layers.append(sample_foreground(photos, rng, side, draw_motions(kind, rng, side, steps)))
    sequence = compose(layers, side, steps)
    return add_noise(sequence, rng) if kind in ("affine", "elastic") else sequence


def add_noise(sequence: SyntheticSequence, rng: np.random.Generator) -> SyntheticSequence:
    """The sequence with light that changes by up to 6 % and noise of up to 6 grey levels; each in half of all cases."""
    count = len(sequence.frames)
    gain = 1 + (rng.uniform(-0.03, 0.03) * np.linspace(-1, 1, count) + rng.normal(0, 0.01, count)) * (
        rng.random() < 0.5
    )
    level = rng.uniform(1, 6) * (rng.random() < 0.5)
    frames = sequence.frames * gain.astype(np.float32)[:, None, None, None]
    if level:
        frames += np.float32(level) * rng.standard_normal(frames.shape, np.float32)
    return SyntheticSequence(np.rint(frames).clip(0, 255).astype(np.uint8), sequence.flow, sequence.reliability)


def drop_reliability(reliability: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The reliability (H, W) uint8 as flow that is only estimated might leave it: less at its edges, with holes, or gone.

    Nowhere more than before: what may not be trusted stays so.
    """
    if rng.random() < 0.1:
        return np.zeros_like(reliability)
    side = len(reliability)
    drop_reliability = cv2.erode(reliability, np.ones((7, 7), np.uint8)) if rng.random() < 0.7 else reliability.copy()
    for _ in range(rng.integers(0, 7)):
        centre, axes = rng.integers(0, side, 2).tolist(), rng.integers(side // 32 + 1, side // 4 + 2, 2).tolist()
        cv2.ellipse(drop_reliability, centre, axes, rng.uniform(0, 180), 0, 360, 0, -1)
    return drop_reliability


def sample_background(photos: Sequence[Photo], rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph, and a place in it for a frame of that side, which is at least half of the photograph's shorter side.

    Small photographs are enlarged: frames of a film have more pixels than they, and more that are smooth.
    """
    photo = photos[int(rng.integers(len(photos)))]
    picture = photo.read(round(side * 2 ** rng.random()))
    if rng.random() < 0.5:
        picture = np.ascontiguousarray(picture[:, ::-1])
    height, width = picture.shape[:2]
    return picture, np.array([rng.integers(width - side + 1), rng.integers(height - side + 1)], np.float32)


def sample_foreground(photos: Sequence[Photo], rng: np.random.Generator, side: int, motions: list[Motion]) -> Layer:
    """A round thing with a wavy edge, cut out of a photograph, somewhere in the frame."""
    radius = rng.uniform(0.1, 0.3) * side
    size = int(3 * radius) + 2
    picture, corner = sample_background(photos, rng, size)
    picture = picture[int(corner[1]) : int(corner[1]) + size, int(corner[0]) : int(corner[0]) + size]
    away = pixel_grid(size, size) - np.float32((size - 1) / 2)
    angle = np.arctan2(away[..., 1], away[..., 0])
    edge = 1 + sum(rng.uniform(-0.15, 0.15) * np.sin(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5))
    opacity = np.clip(radius * edge - np.linalg.norm(away, axis=-1) + 0.5, 0, 1).astype(np.float32)
    place = np.float32((size - 1) / 2) - rng.uniform(0, side, 2)
    return Layer(picture, place.astype(np.float32), motions, opacity)


def _stacked(arrays: list[np.ndarray], shape: tuple, kind: type) -> np.ndarray:
    return np.stack(arrays) if arrays else np.zeros((0, *shape), kind)
