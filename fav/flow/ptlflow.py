"""Networks of the library ptlflow (Morimitsu 2021), of which LiteFlowNet (Hui, Tang and Loy 2018) is one."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fav.errors import FavError
from fav.model.checkpoints import read_pickle

LEAST = 64  # pixels of a side
TRAINED_ON = "sintel"  # the set of weights that ptlflow downloads if none are given


class PtlFlow:
    """A loaded network; called with two frames (H, W, 3) uint8 BGR it returns the flow (H, W, 2) from the first to the second.

    `name` is ptlflow's of the network; `weights` a checkpoint of ptlflow, None for the one that it downloads. FavError where
    either is not to be had.
    """

    def __init__(self, name: str, weights: Path | None, device: str = "cpu"):
        self.network = _network(name, weights).eval().to(device)
        self.device = device

    @torch.inference_mode()
    def __call__(self, frame_a: np.ndarray, frame_b: np.ndarray) -> np.ndarray:
        both = torch.from_numpy(np.stack([frame_a, frame_b])).to(self.device).permute(0, 3, 1, 2)[None].float() / 255
        return np.ascontiguousarray(self.network({"images": both})["flows"][0, 0].permute(1, 2, 0).cpu().numpy())


def library() -> Any:
    """ptlflow; FavError with the cure where it is not to be had."""
    try:
        import ptlflow
    except (ImportError, RuntimeError, OSError) as error:
        raise FavError(
            f"flow liteflownet: expected the package ptlflow and what it needs, got {str(error).splitlines()[0][:200]!r}; "
            f"install it in an environment of its own, with torchvision in the build that belongs to its PyTorch, and without its "
            f"opencv-python, which would replace the OpenCV that is here"
        ) from error
    return ptlflow


def check(weights: Path | None) -> None:
    """FavError unless ptlflow and the file of weights, if one is given, are there."""
    library()
    if weights is not None and not weights.is_file():
        raise FavError(f"ptlflow weights {weights}: expected a checkpoint of ptlflow, got no such file")


def version() -> str:
    """torch and ptlflow, of which a result is a function."""
    try:
        return f"torch {torch.__version__} ptlflow {library().__version__}"
    except FavError:
        return f"torch {torch.__version__}"


def _network(name: str, weights: Path | None):
    try:
        network = library().get_model(name, ckpt_path=None if weights else TRAINED_ON)
        if weights:
            network.load_state_dict(read_pickle(weights))  # read here, so that no code in it is run
        return network
    except FavError:
        raise
    except Exception as error:  # ptlflow has no list of what it raises, nor have torch.load and urllib below it
        raise FavError(
            f"flow {name}: expected weights of ptlflow's {name}, got {str(error).splitlines()[0][:200]!r} for "
            f"{weights or TRAINED_ON}; download a checkpoint elsewhere and give it with --flow-weights"
        ) from error
