"""Style and content loss of a film's frames, by the same network and formulas as in training."""

from pathlib import Path

import numpy as np
import torch

from ..training.loss_weights import load_loss_network
from ..training.losses import Perception
from ..training.setup import as_tensor, read_painting
from .measures import FrameLosses

PAINTING_SIZE = 512  # pixels of its longer side, as `python -m fav train` sees it by default


def losses_of(style: Path, loss_network: str) -> FrameLosses:
    """How to measure style and content loss against the painting `style`; FavError where that or the network is not at hand.

    Both are in units of the first source frame that comes: a style loss of 1 is as unlike the painting as that frame is,
    a content loss of 1 as much amiss as there is in it (`fav.training.losses.Perception`).
    """
    painting = as_tensor(read_painting(style, PAINTING_SIZE))
    network = load_loss_network(loss_network)[0]
    units: list[Perception] = []

    @torch.inference_mode()
    def losses(picture: np.ndarray, source: np.ndarray) -> tuple[float, float]:
        if not units:
            units.append(Perception(network, painting, [as_tensor(source)]))
        content, style = units[0].losses(as_tensor(picture), as_tensor(source))
        return float(style), float(content)

    return losses
