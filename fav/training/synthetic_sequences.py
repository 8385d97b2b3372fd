"""Make training sequences from photographs: moving layers with exact flow and exact occlusions. Pure functions.

Ruder et al. (2018, section 6) shift photographs and zoom out. Here, several layers also move and occlude each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from fav.flow.consistency import inside_image
from fav.flow.warp import pixel_grid, warp
from fav.training.image_folder import Photo
from fav.training.motion_fields import Motion, draw_motions, trace_back
from fav.util.opencv import NO_ARRAY

MAX_WEIGHT_CHANGE = 0.1  # of a layer's weight in a pixel and in the pixel that it is warped from
OBJECT_COUNTS = (0.3, 0.5, 0.2)  # probabilities of 0, 1 and 2 foreground objects


@dataclass(frozen=True)
class SyntheticSequence:
    """S frames with their flow.

    Attributes:
        frames: (S, H, W, 3) uint8 BGR.
        flow: (S - 1, H, W, 2) float32 pixels, from each frame but the first to the one before it.
        reliability: (S - 1, H, W) uint8, 0 or 1.
    """

    frames: np.ndarray
    flow: np.ndarray
    reliability: np.ndarray


@dataclass(frozen=True)
class Layer:
    """An image that moves.

    Attributes:
        image: (h, w, 3) uint8. It is mirrored beyond its border.
        origin: The position (x, y) in the image of the top left pixel of the first frame.
        motions: The motion from each frame to the next.
        opacity: (h, w) float32, 0 to 1, and 0 beyond the border; None: opaque everywhere.
    """

    image: np.ndarray
    origin: np.ndarray
    motions: list[Motion] = field(default_factory=list)
    opacity: np.ndarray | None = None


def compose(layers: list[Layer], side: int, steps: int) -> SyntheticSequence:
    """Render `steps` + 1 square frames of layers.

    The flow of a pixel is that of its dominant layer. The pixel is reliable if its flow leads to a pixel inside the
    frame in which this layer has the same weight.

    Args:
        layers: From back to front, each with at least `steps` motions.
        side: The side of the frames, in pixels.
        steps: The number of motions.
    """
    grid = pixel_grid(side, side)
    frames, flows, masks = [], [], []
    previous = None  # the weights of the layers in the frame before
    for step in range(steps + 1):
        weights, frame = [], np.zeros((side, side, 3), np.float32)
        for layer in layers:
            points = (trace_back(layer.motions[:step], grid) + layer.origin).astype(np.float32)
            color = cv2.remap(layer.image, points, NO_ARRAY, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
            alpha = (
                np.float32(1) if layer.opacity is None else cv2.remap(layer.opacity, points, NO_ARRAY, cv2.INTER_LINEAR)
            )
            weights = [weight * (1 - alpha) for weight in weights]
            weights.append(np.broadcast_to(alpha, (side, side)).astype(np.float32))
            frame += (color - frame) * weights[-1][..., None]
        frames.append(np.rint(frame).astype(np.uint8))
        if previous is not None:
            dominant = np.argmax(weights, axis=0)
            flow = np.zeros((side, side, 2), np.float32)
            visible = np.zeros((side, side), bool)
            for number, layer in enumerate(layers):
                inside = dominant == number
                flow[inside] = layer.motions[step - 1].flow(grid[inside])
            for number, weight in enumerate(weights):
                change = np.abs(warp(previous[number], flow) - weight)
                visible |= (dominant == number) & (change < MAX_WEIGHT_CHANGE)
            flows.append(flow)
            masks.append((visible & inside_image(flow)).astype(np.uint8))
        previous = weights
    flow, reliability = _stack(flows, (side, side, 2), np.float32), _stack(masks, (side, side), np.uint8)
    return SyntheticSequence(np.stack(frames), flow, reliability)


def draw_sequence(
    kind: str, photos: Sequence[Photo], rng: np.random.Generator, side: int, steps: int
) -> SyntheticSequence:
    """Draw a random sequence.

    Args:
        kind: The kind of motion, as in `draw_motions`.
        photos: The images to use.
        rng: Random numbers.
        side: The side of the frames, in pixels.
        steps: The number of motions, one less than frames.

    Raises:
        FavError: A photograph cannot be read.
    """
    layers = [Layer(*sample_background(photos, rng, side), draw_motions(kind, rng, side, steps))]
    if kind in ("affine", "elastic"):
        for _ in range(rng.choice(len(OBJECT_COUNTS), p=OBJECT_COUNTS)):
            layers.append(sample_foreground(photos, rng, side, draw_motions(kind, rng, side, steps)))
    sequence = compose(layers, side, steps)
    return add_noise(sequence, rng) if kind in ("affine", "elastic") else sequence


def add_noise(sequence: SyntheticSequence, rng: np.random.Generator) -> SyntheticSequence:
    """Return the sequence with changes of brightness of up to 6 %, and noise of up to 6 gray levels.

    Each is applied with a probability of one half.
    """
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
    """Reduce a reliability mask as errors of estimated flow do: erode it, add elliptic holes, or clear it.

    Unreliable pixels stay unreliable.

    Shape:
        reliability: (H, W) uint8, 0 or 1. Returns the same.
    """
    if rng.random() < 0.1:
        return np.zeros_like(reliability)
    side = len(reliability)
    reduced = cv2.erode(reliability, np.ones((7, 7), np.uint8)) if rng.random() < 0.7 else reliability.copy()
    for _ in range(rng.integers(0, 7)):
        center, axes = rng.integers(0, side, 2).tolist(), rng.integers(side // 32 + 1, side // 4 + 2, 2).tolist()
        cv2.ellipse(reduced, center, axes, rng.uniform(0, 180), 0, 360, 0, -1)
    return reduced


def sample_background(photos: Sequence[Photo], rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a photograph, and a position in it for a frame of side `side`.

    The photograph is resized, so that its shorter side is 1 to 2 times `side`. Small photographs are enlarged, because
    frames of a film are often larger and smoother than photographs.

    Returns:
        The image (h, w, 3) uint8, and the position (x, y) of the frame's top left pixel.
    """
    photo = photos[int(rng.integers(len(photos)))]
    image = photo.read(round(side * 2 ** rng.random()))
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    height, width = image.shape[:2]
    return image, np.array([rng.integers(width - side + 1), rng.integers(height - side + 1)], np.float32)


def sample_foreground(photos: Sequence[Photo], rng: np.random.Generator, side: int, motions: list[Motion]) -> Layer:
    """Draw a round object with a wavy outline, cut out of a photograph, at a random position in the frame."""
    radius = rng.uniform(0.1, 0.3) * side
    size = int(3 * radius) + 2
    image, corner = sample_background(photos, rng, size)
    image = image[int(corner[1]) : int(corner[1]) + size, int(corner[0]) : int(corner[0]) + size]
    from_center = pixel_grid(size, size) - np.float32((size - 1) / 2)
    angle = np.arctan2(from_center[..., 1], from_center[..., 0])
    outline = 1 + sum(rng.uniform(-0.15, 0.15) * np.sin(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5))
    opacity = np.clip(radius * outline - np.linalg.norm(from_center, axis=-1) + 0.5, 0, 1).astype(np.float32)
    origin = np.float32((size - 1) / 2) - rng.uniform(0, side, 2)
    return Layer(image, origin.astype(np.float32), motions, opacity)


def _stack(arrays: list[np.ndarray], shape: tuple, dtype: type) -> np.ndarray:
    """Stack arrays of one shape; with no arrays, return an empty one."""
    return np.stack(arrays) if arrays else np.zeros((0, *shape), dtype)
