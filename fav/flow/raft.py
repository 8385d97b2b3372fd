"""RAFT (Teed and Deng 2020) of torchvision, large and small."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from fav.errors import FavError
from fav.model.checkpoints import read_pickle

MULTIPLE, MIN_SIDE = 8, 128  # pixels per side; RAFT works at 1/8 of the size, and halves that three times
INSTALL = (
    "install the torchvision build for the installed PyTorch (https://pytorch.org/get-started/locally), "
    "with --no-deps if pip requires another PyTorch"
)


class Raft:
    """A flow network. Called with two frames (H, W, 3) uint8 BGR, it returns the flow (H, W, 2) from the first to the second."""

    def __init__(self, size: str, weights: Path | None, device: str = "cpu", precision: str = "float32"):
        """Load a network.

        Args:
            size: `small` or `large`.
            weights: A state dict of torchvision; None: torchvision downloads one.
            device: The device of PyTorch.
            precision: float32 or bfloat16.

        Raises:
            FavError: torchvision or the weights are not available.
        """
        self.network = load_network(size, weights).eval().to(device)
        self.device = device
        self.use_bfloat16 = precision == "bfloat16"

    @torch.inference_mode()
    def __call__(self, frame_a: np.ndarray, frame_b: np.ndarray) -> np.ndarray:
        height, width = frame_a.shape[:2]
        bottom, right = (max(-side % MULTIPLE, MIN_SIDE - side) for side in (height, width))
        pair = torch.from_numpy(np.stack([frame_a, frame_b])[..., ::-1].copy()).to(self.device).permute(0, 3, 1, 2)
        pair = F.pad(pair.float() / 127.5 - 1, (0, right, 0, bottom), mode="replicate")
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.use_bfloat16):
            flow = self.network(pair[:1], pair[1:])[-1]
        return np.ascontiguousarray(flow[0, :, :height, :width].float().permute(1, 2, 0).cpu().numpy())


def load_network(size: str, weights: Path | None) -> nn.Module:
    """Load torchvision's network with these weights. The arguments and errors are those of `Raft`."""
    models = import_models()
    make = {"small": models.raft_small, "large": models.raft_large}[size]
    if weights is None:
        available = {"small": models.Raft_Small_Weights, "large": models.Raft_Large_Weights}[size]
        try:
            return make(weights=available.DEFAULT)
        except OSError as error:  # includes URLError
            raise FavError(
                f"flow raft-{size}: expected torchvision to download its weights, got {str(error)[:200]!r}; download "
                f"{available.DEFAULT.url} on another machine and give it with --flow-weights"
            ) from error
    network = make(weights=None)
    try:
        network.load_state_dict(read_pickle(weights))
    except OSError as error:
        raise FavError(f"RAFT weights {weights}: {error.strerror}") from error
    except (RuntimeError, TypeError) as error:
        raise FavError(
            f"RAFT weights {weights}: expected a state dict of torchvision's raft_{size}, got other names or shapes"
        ) from error
    return network


def import_models() -> ModuleType:
    """Import torchvision's module. Raises FavError, with instructions, if it cannot be imported."""
    try:
        return import_module("torchvision.models.optical_flow")  # the type checker may not find torchvision
    except (ImportError, RuntimeError, OSError) as error:  # not installed, or built for another PyTorch
        raise FavError(
            f"flow raft: expected torchvision, got {str(error).splitlines()[0][:200]!r}; {INSTALL}"
        ) from error


def check(size: str, weights: Path | None) -> None:
    """Raise FavError unless `Raft` will succeed. A download of weights is not tried."""
    if weights is None:
        import_models()
    else:
        load_network(size, weights)


def version() -> str:
    """Return the versions of torch and torchvision, which determine the result."""
    try:
        torchvision = import_module("torchvision")
    except (ImportError, RuntimeError, OSError):
        return f"torch {torch.__version__}"
    return f"torch {torch.__version__} torchvision {torchvision.__version__}"
