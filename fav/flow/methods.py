"""The optical flow methods by name: what each costs, what it needs, and how it is made.

A method's module is imported when the method is used, because PyTorch takes seconds to import.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fav.errors import FavError

if TYPE_CHECKING:  # OpenCV takes a quarter of a second to import, and the names of the methods do not need it
    import numpy as np

Flow = Callable[["np.ndarray", "np.ndarray"], "np.ndarray"]

DOWNSCALE = 2  # halvings before DeepMatching; without them, a pair of 512x384 needs 10 GB
MIN_SIDE = 64  # pixels; smaller frames are too small for the coarse levels of some methods, and DIS rejects them


@dataclass(frozen=True)
class FlowOptions:
    """Options of the methods. Each method uses those that apply to it.

    Attributes:
        weights: The file of a network's weights.
        device: The device of PyTorch.
        precision: float32 or bfloat16, of convolutions.
        threads: Of an external program; None: all cores.
        downscale: How many times frames are halved before DeepMatching.
    """

    weights: Path | None = None
    device: str = "cpu"
    precision: str = "float32"
    threads: int | None = None
    downscale: int = DOWNSCALE


@dataclass(frozen=True)
class FlowMethod:
    """One flow method.

    Attributes:
        name: as in `--flow`.
        summary: its cost and quality.
        make: makes the function.
        check: raises FavError if it cannot be used.
        weights: where to get its weights, which are required unless its library `downloads` some.
        downloads: whether its library can download weights.
        is_expensive: it takes longer than the style network, so it should be divided among machines.
        version: the library that computes the flow, with its version; "" for OpenCV.
        revision: grows with each change of the code that changes a bit of the flow.
        min_side: frames with a smaller side, in pixels, are padded to it.
    """

    name: str
    summary: str
    make: Callable[["FlowOptions"], Flow]
    check: Callable[[Path | None], None] = lambda weights: None
    weights: str | None = None
    downloads: bool = False
    is_expensive: bool = False
    version: Callable[[], str] = lambda: ""
    revision: int = 1
    min_side: int = MIN_SIDE


def _make_dis(options: FlowOptions) -> Flow:
    from fav.flow import dis

    return dis.make()


def _make_farneback(options: FlowOptions) -> Flow:
    from fav.flow import farneback

    return farneback.flow


def _make_spynet(shrink: int) -> Callable[[FlowOptions], Flow]:
    def make(options: FlowOptions) -> Flow:
        import torch  # takes seconds to import

        from fav.flow import spynet

        # On CPUs always float32: bfloat16 saves a quarter of the time, and is off by up to 7 pixels in places.
        precision = "float32" if torch.device(options.device).type == "cpu" else options.precision
        return spynet.SpyNet(_require_weights(options.weights), options.device, precision, shrink)

    return make


def _make_deepflow(options: FlowOptions) -> Flow:
    from fav.flow import deepflow

    return deepflow.make()


def _make_deepflow2(options: FlowOptions) -> Flow:
    from fav.flow import deepflow2

    return deepflow2.make(options.threads, options.downscale)


def _check_deepflow(weights: Path | None) -> None:
    from fav.flow import deepflow

    deepflow.check()


def _check_deepflow2(weights: Path | None) -> None:
    from fav.flow import deepflow2

    deepflow2.check()


def _deepflow2_version() -> str:
    from fav.flow import deepflow2

    return deepflow2.program_hashes()


def _check_spynet(weights: Path | None) -> None:
    from fav.flow import spynet

    spynet.load_weights(_require_weights(weights))


def _require_weights(weights: Path | None) -> Path:
    if weights is None:
        raise FavError(f"flow spynet: expected weights, got none; give with --flow-weights {SPYNET_WEIGHTS}")
    return weights


def _torch_version() -> str:
    import torch

    return f"torch {torch.__version__}"


SPYNET_WEIGHTS = (
    "the authors' directory with modelL1_F.t7 to modelL6_F.t7 (https://github.com/anuragranj/spynet, models/), another of their "
    "sets ('models/modelL%d_C.t7'; C, 3, 4 or K), "
    "network-*.pytorch (https://github.com/sniklaus/pytorch-spynet), or a .safetensors file made from either"
)


def _make_raft(size: str) -> Callable[[FlowOptions], Flow]:
    def make(options: FlowOptions) -> Flow:
        from fav.flow import raft

        return raft.Raft(size, options.weights, options.device, options.precision)

    return make


def _check_raft(size: str) -> Callable[[Path | None], None]:
    def check(weights: Path | None) -> None:
        from fav.flow import raft

        raft.check(size, weights)

    return check


def _raft_version() -> str:
    from fav.flow import raft

    return raft.version()


def _make_liteflownet(options: FlowOptions) -> Flow:
    from fav.flow import ptlflow

    return ptlflow.PtlFlow("liteflownet", options.weights, options.device)


def _check_liteflownet(weights: Path | None) -> None:
    from fav.flow import ptlflow

    ptlflow.check(weights)


def _ptlflow_version() -> str:
    from fav.flow import ptlflow

    return ptlflow.version()


RAFT_WEIGHTS = "a state dict of torchvision (raft_small_C_T_V2-01064c6d.pth, raft_large_C_T_SKHT_V2-ff5fadd5.pth)"


def _raft(size: str, summary: str) -> FlowMethod:
    return FlowMethod(
        f"raft-{size}",
        summary,
        _make_raft(size),
        _check_raft(size),
        weights=RAFT_WEIGHTS,
        downloads=True,
        is_expensive=True,
        version=_raft_version,
        min_side=1,
    )


METHODS = {
    method.name: method
    for method in (
        FlowMethod("dis", "fast and accurate, recommended (15 ms for 512x384 on two cores)", _make_dis),
        FlowMethod("farneback", "older, 40 % more error than dis at 3 times its time", _make_farneback),
        FlowMethod(
            "spynet",
            "a small network for GPUs, 30 % less error than dis at 20 times its time on a CPU; needs --flow-weights",
            _make_spynet(1),
            _check_spynet,
            weights=SPYNET_WEIGHTS,
            is_expensive=True,
            version=_torch_version,
            # revision 1 used six levels for frames of all sizes, revision 2 bfloat16 and other convolutions on CPUs
            revision=3,
            min_side=1,
        ),
        FlowMethod(
            "spynet-half",
            "SPyNet of frames at half of their size: a sixth more error than spynet at a quarter of its time; needs --flow-weights",
            _make_spynet(2),
            _check_spynet,
            weights=SPYNET_WEIGHTS,
            is_expensive=True,
            version=_torch_version,
            min_side=1,
        ),
        FlowMethod(
            "deepflow",
            "slightly less error than dis and more reliable pixels, at 30 times its time",
            _make_deepflow,
            _check_deepflow,
            is_expensive=True,
        ),
        FlowMethod(
            "deepflow2",
            "the authors' method, for large motion; the slowest, and needs their two programs in bin/",
            _make_deepflow2,
            _check_deepflow2,
            is_expensive=True,
            version=_deepflow2_version,
        ),
        _raft(
            "small",
            "RAFT of torchvision (BSD), a network with 1 million weights, which torchvision downloads; needs torchvision",
        ),
        _raft("large", "the same network with 5 million weights"),
        FlowMethod(
            "liteflownet",
            "LiteFlowNet of ptlflow (Apache; weights for research), 5 million weights, which ptlflow downloads; needs ptlflow",
            _make_liteflownet,
            _check_liteflownet,
            weights="a checkpoint of ptlflow (liteflownet-sintel-17991e50.ckpt)",
            downloads=True,
            is_expensive=True,
            version=_ptlflow_version,
        ),
    )
}


def check(name: str, weights: Path | None = None) -> None:
    """Raise FavError unless `make` with the same arguments will succeed."""
    _method(name, weights).check(weights)


def is_published(name: str, independent: bool, given: bool = False) -> bool:
    """Whether flow is computed in tasks of its own and published.

    Args:
        name: The method.
        independent: Whether frames are stylized independently, without flow.
        given: Whether the user gives all flow as files.
    """
    return METHODS[name].is_expensive and not independent and not given


def version_string(name: str) -> str:
    """Return the name of a method, with its revision and its library. Equal strings give equal bits.

    OpenCV's version is not included; it is recorded separately.
    """
    method = METHODS[name]
    versioned, version = name if method.revision == 1 else f"{name} {method.revision}", method.version()
    return f"{versioned} by {version}" if version else versioned


def make(
    name: str,
    weights: Path | None = None,
    device: str = "cpu",
    precision: str = "float32",
    threads: int | None = None,
    downscale: int = DOWNSCALE,
) -> Flow:
    """Make a function that computes the flow from one frame to another.

    The function takes two frames (H, W, 3) uint8 BGR and returns (H, W, 2) float32 pixels, finite. The point (x, y) of the
    first frame is at (x, y) + flow[y, x] in the second. Small frames are padded to the method's minimum size by repeating
    their border. The function must be used in one thread only.

    Args:
        name: The method.
        weights: As in `FlowOptions`, like the other arguments.

    Raises:
        FavError: As in `check`. The function raises it if the frames differ in size or the method fails.
    """
    import numpy as np

    from fav.flow.io import check_flow

    side = _method(name, weights).min_side
    method = METHODS[name].make(FlowOptions(weights, device, precision, threads, downscale))

    def flow(frame_a: "np.ndarray", frame_b: "np.ndarray") -> "np.ndarray":
        for frame in (frame_a, frame_b):
            if frame.shape != (*frame_a.shape[:2], 3) or frame.dtype != np.uint8:
                raise FavError(
                    f"flow {name}: expected two frames {(*frame_a.shape[:2], 3)} uint8, got {frame.shape} {frame.dtype}"
                )
        height, width = frame_a.shape[:2]
        padded = method(_pad_to_min_side(frame_a, side), _pad_to_min_side(frame_b, side))
        result = padded[:height, :width].astype(np.float32)
        check_flow(result)
        return result

    return flow


def _method(name: str, weights: Path | None) -> FlowMethod:
    if name not in METHODS:
        raise FavError(f"flow: expected one of {', '.join(METHODS)}, got {name!r}")
    method = METHODS[name]
    if method.weights and weights is None and not method.downloads:
        raise FavError(f"flow {name}: expected weights, got none; give with --flow-weights {method.weights}")
    if weights is not None and not method.weights:
        raise FavError(f"flow {name}: expected no weights, got {weights}; omit --flow-weights")
    return method


def _pad_to_min_side(frame: "np.ndarray", min_side: int) -> "np.ndarray":
    import cv2

    bottom, right = (max(min_side - side, 0) for side in frame.shape[:2])
    return cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
