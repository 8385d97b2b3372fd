"""Optical flow by several methods, all alike to call: `make("dis")(a, b)` is the flow from a to b.

A method sees the frames alone: the same two frames give the same flow, bit by bit, whatever
the number of OpenCV's threads (for SPyNet, PyTorch's must be the same).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fav.errors import FavError
from fav.flow import deepflow, deepflow2, dis, farneback
from fav.flow.io import check_flow

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]

MIN_SIDE = 64  # pixels: below, the coarse levels of some methods see nothing, and DIS refuses


@dataclass(frozen=True)
class FlowMethod:
    """One way to find flow. `summary` says what it costs and gives, `weights` where to get what it must be given.

    `is_expensive` ones take longer than the network, so that it pays to have other machines at them. `version` is what computes the flow
    where that is not OpenCV, with its version.
    """

    name: str
    summary: str
    make: Callable[[Path | None, str, str], Flow]
    check: Callable[[Path | None], None] = lambda weights: None
    weights: str | None = None
    is_expensive: bool = False
    version: Callable[[], str] = lambda: ""


def _make_spynet(weights: Path | None, device: str, precision: str) -> Flow:
    from fav.flow import spynet  # PyTorch takes seconds to import

    return spynet.SpyNet(weights, device, precision)


def _check_spynet(weights: Path | None) -> None:
    from fav.flow import spynet

    spynet.load_weights(weights)


def _torch() -> str:
    import torch

    return f"torch {torch.__version__}"


SPYNET_WEIGHTS = (
    "the authors' directory of modelL1_F.t7 to modelL6_F.t7 (https://github.com/anuragranj/spynet, models/), "
    "network-*.pytorch (https://github.com/sniklaus/pytorch-spynet), or a .safetensors file made from either"
)

METHODS = {
    method.name: method
    for method in (
        FlowMethod("dis", dis.SUMMARY, lambda *version_string: dis.make()),
        FlowMethod("farneback", farneback.SUMMARY, lambda *version_string: farneback.flow),
        FlowMethod(
            "spynet",
            "a small network made for GPUs, 30 % less error than dis at 20 times its time on a CPU, 40 in float32; needs --flow-weights",
            _make_spynet,
            _check_spynet,
            weights=SPYNET_WEIGHTS,
            is_expensive=True,
            version=_torch,
        ),
        FlowMethod(
            "deepflow",
            deepflow.SUMMARY,
            lambda *version_string: deepflow.make(),
            lambda weights: deepflow.check(),
            is_expensive=True,
        ),
        FlowMethod(
            "deepflow2",
            deepflow2.SUMMARY,
            lambda *version_string: deepflow2.make(),
            lambda weights: deepflow2.check(),
            is_expensive=True,
            version=deepflow2.program_hashes,
        ),
    )
}


def check(name: str, weights: Path | None = None) -> None:
    """Raises FavError, before any work, unless `make` with the same arguments will succeed."""
    _method(name, weights).check(weights)


def is_published(name: str, independent: bool) -> bool:
    """Whether a film's flow is made ahead, as files, by machines that do not paint."""
    return METHODS[name].is_expensive and not independent


def version_string(name: str) -> str:
    """A method by its name and, where OpenCV's version does not tell, what computes it: equal words, equal bits."""
    version = METHODS[name].version()
    return f"{name} by {version}" if version else name


def make(name: str, weights: Path | None = None, device: str = "cpu", precision: str = "float32") -> Flow:
    """A function that takes two frames (H, W, 3) uint8 BGR and returns the flow from the first to the second.

    The flow is (H, W, 2) float32, pixels, finite: what is at (x, y) in the first is at (x, y) + flow[y, x] in
    the second. Any size: frames with a side below 64 pixels are continued to 64 by repeating their border.
    The function belongs to one thread. `device` is PyTorch's and `precision` (float32 or bfloat16) that of convolutions, for
    the methods that have them. Raises FavError like `check`; so does the function, where the frames differ in size or
    the method fails.
    """
    method = _method(name, weights).make(weights, device, precision)

    def flow(frame_a: np.ndarray, frame_b: np.ndarray) -> np.ndarray:
        for frame in (frame_a, frame_b):
            if frame.shape != (*frame_a.shape[:2], 3) or frame.dtype != np.uint8:
                raise FavError(
                    f"flow {name}: expected two frames {(*frame_a.shape[:2], 3)} uint8, got {frame.shape} {frame.dtype}"
                )
        height, width = frame_a.shape[:2]
        found = method(_pad_to_min_side(frame_a), _pad_to_min_side(frame_b))[:height, :width].astype(np.float32)
        check_flow(found)
        return found

    return flow


def _method(name: str, weights: Path | None) -> FlowMethod:
    if name not in METHODS:
        raise FavError(f"flow: expected one of {', '.join(METHODS)}, got {name!r}")
    method = METHODS[name]
    if method.weights and weights is None:
        raise FavError(f"flow {name}: expected weights, got none; give with --flow-weights {method.weights}")
    if weights is not None and not method.weights:
        raise FavError(f"flow {name}: expected no weights, got {weights}; leave --flow-weights out")
    return method


def _pad_to_min_side(frame: np.ndarray) -> np.ndarray:
    bottom, right = (max(MIN_SIDE - side, 0) for side in frame.shape[:2])
    return cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
