"""Networks of the library ptlflow (Morimitsu 2021), such as LiteFlowNet (Hui, Tang and Loy 2018)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fav.errors import FavError
from fav.model.checkpoints import read_pickle

TRAINED_ON = "sintel"  # the set of weights that ptlflow downloads if none are given


class PtlFlow:
    """A flow network. Called with two frames (H, W, 3) uint8 BGR, it returns the flow (H, W, 2) from the first to the second."""

    def __init__(self, name: str, weights: Path | None, device: str = "cpu"):
        """Load a network.

        Args:
            name: The name of the network in ptlflow.
            weights: A checkpoint of ptlflow; None: ptlflow downloads one.
            device: The device of PyTorch.

        Raises:
            FavError: ptlflow or the weights are not available.
        """
        self.network = _network(name, weights).eval().to(device)
        self.device = device

    @torch.inference_mode()
    def __call__(self, frame_a: np.ndarray, frame_b: np.ndarray) -> np.ndarray:
        pair = torch.from_numpy(np.stack([frame_a, frame_b])).to(self.device).permute(0, 3, 1, 2)[None].float() / 255
        return np.ascontiguousarray(self.network({"images": pair})["flows"][0, 0].permute(1, 2, 0).cpu().numpy())


def library() -> Any:
    """Import ptlflow. Raises FavError, with instructions, if it cannot be imported."""
    try:
        import ptlflow
    except (ImportError, RuntimeError, OSError) as error:
        raise FavError(
            f"flow liteflownet: expected the package ptlflow with its dependencies, got {str(error).splitlines()[0][:200]!r}; "
            f"install it in a separate environment, with the torchvision build for its PyTorch, and without its "
            f"opencv-python, which would replace the installed OpenCV"
        ) from error
    return ptlflow


def check(weights: Path | None) -> None:
    """Raise FavError unless ptlflow is installed and the file of weights, if given, exists."""
    library()
    if weights is not None and not weights.is_file():
        raise FavError(f"ptlflow weights {weights}: expected a checkpoint of ptlflow, got no such file")


def version() -> str:
    """Return the versions of torch and ptlflow, which determine the result."""
    try:
        return f"torch {torch.__version__} ptlflow {library().__version__}"
    except FavError:
        return f"torch {torch.__version__}"


def _network(name: str, weights: Path | None):
    try:
        network = library().get_model(name, ckpt_path=None if weights else TRAINED_ON)
        if weights:
            network.load_state_dict(read_pickle(weights))  # ptlflow's own loader would run code in the file
        return network
    except FavError:
        raise
    except Exception as error:  # ptlflow does not document what it raises
        raise FavError(
            f"flow {name}: expected weights of ptlflow's {name}, got {str(error).splitlines()[0][:200]!r} for "
            f"{weights or TRAINED_ON}; download a checkpoint on another machine and give it with --flow-weights"
        ) from error
