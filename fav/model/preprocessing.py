"""Make the input of the network from a frame, the warped prior and its reliability. Pure functions.

The prior is the previous stylized frame. Warped along the flow, it is aligned with the current frame.
"""

import hashlib

import cv2
import numpy as np

from fav.errors import FavError

MEAN_BGR = np.array((103.939, 116.779, 123.68), np.float32)
FILLS = ("vgg-mean", "uniform-random")


def network_input(
    frame: np.ndarray,
    warped_prior: np.ndarray | None = None,
    reliability: np.ndarray | None = None,
    fill: np.ndarray | None = None,
) -> np.ndarray:
    """Return the input of a video model.

    Args:
        frame: (H, W, 3) uint8 BGR.
        warped_prior: (H, W, 3), the previous stylized frame, warped. Without it, all pixels are unreliable.
        reliability: (H, W), 0 to 1.
        fill: (H, W, 3), the values of unreliable pixels minus the mean color; None: zeros.

    Returns:
        (H, W, 7) float32. Channels 0 to 2 are the frame and 3 to 5 the prior times its reliability, both minus the mean
        color. Channel 6 is the reliability.

    Raises:
        FavError: The sizes differ.
    """
    height, width, _ = _check_shape("frame", frame, (None, None, 3)).shape
    # Channel by channel: this is five times as fast in NumPy.
    planes = [plane - mean for plane, mean in zip(cv2.split(frame), MEAN_BGR)]
    fills = cv2.split(_check_shape("fill", fill, (height, width, 3))) if fill is not None else None
    if warped_prior is None:
        zeros = np.zeros((height, width), np.float32)
        return cv2.merge([*planes, *(fills or [zeros] * 3), zeros])
    _check_shape("warped prior", warped_prior, (height, width, 3))
    mask = _check_shape("reliability", reliability, (height, width)).astype(np.float32)
    priors = [(plane - mean) * mask for plane, mean in zip(cv2.split(warped_prior), MEAN_BGR)]
    if fills is not None:
        priors = [prior + plane * (1 - mask) for prior, plane in zip(priors, fills)]
    return cv2.merge([*planes, *priors, mask])


def fill_for(kind: str, key: str, number: int, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the `fill` of `network_input` for a frame.

    Args:
        kind: `vgg-mean`, or `uniform-random` for noise.
        key: A key of the job. The noise depends only on it and on `number`.
        number: The number of the frame.
        shape: (H, W, 3), the shape of the result.

    Returns:
        float32; None, which means zeros, for `vgg-mean`.

    Raises:
        FavError: The kind is unknown.
    """
    if kind == "vgg-mean":
        return None
    if kind == "uniform-random":
        seed = int.from_bytes(hashlib.sha256(f"{number} {key}".encode()).digest())
        noise = np.random.Generator(np.random.PCG64(seed)).random(shape, np.float32)
        return noise * np.float32(255) - MEAN_BGR
    raise FavError(f"fill: expected {' or '.join(FILLS)}, got {kind!r}")


def _check_shape(what: str, array: np.ndarray | None, expected: tuple[int | None, ...]) -> np.ndarray:
    """Return the array. Raises FavError unless it has the shape; None stands for any length."""
    shape = getattr(array, "shape", ())
    if (
        array is None
        or len(shape) != len(expected)
        or any(want not in (None, got) for want, got in zip(expected, shape))
    ):
        wanted = ", ".join("any" if want is None else str(want) for want in expected)
        raise FavError(f"{what}: expected ({wanted}), got {shape if array is not None else 'none'}")
    return array
