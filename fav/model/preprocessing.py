"""Turn a frame, a warped prior and a reliability into the input of the network; pure."""

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
    """What a video model sees: (H, W, 7) float32.

    Channels 0 to 2 are `frame` (H, W, 3) uint8 BGR, 3 to 5 `warped_prior` (H, W, 3), the stylized
    frame before it, fetched to where it belongs now, both minus the mean color; 6 is `reliability`
    (H, W), 0 to 1. Where the prior is not reliable stands `fill` (H, W, 3), its mean subtracted; None
    for zeros. Without a prior nothing is reliable. Raises FavError where the pieces do not fit together.
    """
    height, width, _ = _checked("frame", frame, (None, None, 3)).shape
    # Plane by plane: NumPy takes five times as long over three values a pixel at a time.
    planes = [plane - mean for plane, mean in zip(cv2.split(frame), MEAN_BGR)]
    fills = cv2.split(_checked("fill", fill, (height, width, 3))) if fill is not None else None
    if warped_prior is None:
        nothing = np.zeros((height, width), np.float32)
        return cv2.merge([*planes, *(fills or [nothing] * 3), nothing])
    _checked("warped prior", warped_prior, (height, width, 3))
    trust = _checked("reliability", reliability, (height, width)).astype(np.float32)
    priors = [(plane - mean) * trust for plane, mean in zip(cv2.split(warped_prior), MEAN_BGR)]
    if fills is not None:
        priors = [prior + plane * (1 - trust) for prior, plane in zip(priors, fills)]
    return cv2.merge([*planes, *priors, trust])


def fill_for(kind: str, key: str, number: int, shape: tuple[int, ...]) -> np.ndarray | None:
    """What stands where nothing is reliable, its mean subtracted: like a frame of `shape` (H, W, 3), float32.

    None, for zeros, with `vgg-mean`. With `uniform-random`, noise that is a function of `key` (of the
    job) and the number of the frame alone. Raises FavError for another kind.
    """
    if kind == "vgg-mean":
        return None
    if kind == "uniform-random":
        seed = int.from_bytes(hashlib.sha256(f"{number} {key}".encode()).digest())
        noise = np.random.Generator(np.random.PCG64(seed)).random(shape, np.float32)
        return noise * np.float32(255) - MEAN_BGR
    raise FavError(f"fill: expected {' or '.join(FILLS)}, got {kind!r}")


def _checked(what: str, array: np.ndarray | None, expected: tuple[int | None, ...]) -> np.ndarray:
    shape = getattr(array, "shape", ())
    if (
        array is None
        or len(shape) != len(expected)
        or any(want not in (None, got) for want, got in zip(expected, shape))
    ):
        wanted = ", ".join("any" if want is None else str(want) for want in expected)
        raise FavError(f"{what}: expected ({wanted}), got {shape if array is not None else 'none'}")
    return array
