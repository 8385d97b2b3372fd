"""Style and content loss of a film's frames, by the same network and formulas as in training."""

from pathlib import Path

import numpy as np
import torch

from fav.evaluation.metrics import FrameLosses
from fav.perceptual.loss import PerceptualLoss, as_tensor, read_style_image
from fav.perceptual.pretrained import load_loss_network

STYLE_IMAGE_SIZE = 512  # pixels of its longer side, as `python -m fav train` sees it by default


def losses_of(style: Path, loss_network: str, first: np.ndarray | None = None) -> FrameLosses:
    """How to measure style and content loss against the painting `style`; FavError where that or the network is not at hand.

    Both are in units of the film's first source frame, `first`, or the first that comes: a style loss of 1 is as unlike the
    painting as that frame is, a content loss of 1 as much amiss as there is in it (`fav.perceptual.loss.PerceptualLoss`).
    """
    painting = as_tensor(style_image_of(style))
    network = load_loss_network(loss_network)[0]
    units = [] if first is None else [PerceptualLoss(network, painting, [as_tensor(first)])]

    @torch.inference_mode()
    def losses(picture: np.ndarray, source: np.ndarray) -> tuple[float, float]:
        if not units:
            units.append(PerceptualLoss(network, painting, [as_tensor(source)]))
        content, style = units[0].losses(as_tensor(picture), as_tensor(source))
        return float(style), float(content)

    return losses


def style_image_of(style: Path) -> np.ndarray:
    """The painting as it is looked at, (H, W, 3) uint8 BGR; FavError where it is none."""
    return read_style_image(style, STYLE_IMAGE_SIZE)
