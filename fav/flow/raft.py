"""RAFT (Teed and Deng 2020), as torchvision has it: large and small."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from fav.errors import FavError
from fav.model.checkpoints import read_pickle

MULTIPLE, LEAST = 8, 128  # pixels: of a side; RAFT looks for motion in pictures of an eighth, halved three times
INSTALL = (
    "install torchvision in the build that belongs to the PyTorch here (https://pytorch.org/get-started/locally), "
    "with --no-deps if pip wants another PyTorch"
)


class Raft:
    """A loaded network; called with two frames (H, W, 3) uint8 BGR it returns the flow (H, W, 2) from the first to the second.

    `size` is small or large; `weights` a state dict of torchvision, None for those that torchvision downloads. FavError where
    either is not to be had.
    """

    def __init__(self, size: str, weights: Path | None, device: str = "cpu", precision: str = "float32"):
        self.network = network_of(size, weights).eval().to(device)
        self.device = device
        self.low = precision == "bfloat16"

    @torch.inference_mode()
    def __call__(self, frame_a: np.ndarray, frame_b: np.ndarray) -> np.ndarray:
        height, width = frame_a.shape[:2]
        below, right = (max(-side % MULTIPLE, LEAST - side) for side in (height, width))
        both = torch.from_numpy(np.stack([frame_a, frame_b])[..., ::-1].copy()).to(self.device).permute(0, 3, 1, 2)
        both = F.pad(both.float() / 127.5 - 1, (0, right, 0, below), mode="replicate")
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.low):
            flow = self.network(both[:1], both[1:])[-1]
        return np.ascontiguousarray(flow[0, :, :height, :width].float().permute(1, 2, 0).cpu().numpy())


def network_of(size: str, weights: Path | None) -> nn.Module:
    """torchvision's network with these weights; as for `Raft`."""
    models = models_of()
    make = {"small": models.raft_small, "large": models.raft_large}[size]
    if weights is None:
        kind = {"small": models.Raft_Small_Weights, "large": models.Raft_Large_Weights}[size]
        try:
            return make(weights=kind.DEFAULT)
        except OSError as error:  # URLError is one
            raise FavError(
                f"flow raft-{size}: expected torchvision to download its weights, got {str(error)[:200]!r}; download "
                f"{kind.DEFAULT.url} elsewhere and give it with --flow-weights"
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


def models_of() -> ModuleType:
    """torchvision's module; FavError with the cure where it is not to be had."""
    try:
        return import_module("torchvision.models.optical_flow")  # which need not be there for a checker of types
    except (ImportError, RuntimeError, OSError) as error:  # not there, or built for another PyTorch
        raise FavError(
            f"flow raft: expected torchvision, got {str(error).splitlines()[0][:200]!r}; {INSTALL}"
        ) from error


def check(size: str, weights: Path | None) -> None:
    """FavError unless `Raft` will succeed, but for the download of weights."""
    if weights is None:
        models_of()
    else:
        network_of(size, weights)


def version() -> str:
    """torch and torchvision, of which a result is a function."""
    try:
        torchvision = import_module("torchvision")
    except (ImportError, RuntimeError, OSError):
        return f"torch {torch.__version__}"
    return f"torch {torch.__version__} torchvision {torchvision.__version__}"
