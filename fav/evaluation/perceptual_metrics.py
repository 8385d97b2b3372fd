"""Style and content loss and palette distance of a film's frames, by the same network and formulas as in training."""

from pathlib import Path

import numpy as np
import torch

from fav.evaluation.metrics import FrameLosses
from fav.perceptual.loss import SCALES, PerceptualLoss, as_tensor
from fav.perceptual.painting import read_painting
from fav.perceptual.palette import colors, even_directions, squared_distance
from fav.perceptual.pretrained import load_loss_network


def losses_of(style: Path, loss_network: str, first: np.ndarray | None = None) -> FrameLosses:
    """How to measure style loss, content loss and palette distance against the painting `style`.

    The painting is the one that `python -m fav train` learns from by default: without the grain of its photograph; the
    style loss is the mean over three scales (1, 1/2, 1/4). Both losses are in units of the film's first source frame,
    `first`, or the first that comes: a style loss of 1 is as unlike the painting as that frame is, a content loss of 1 as
    much amiss as there is in it (`fav.perceptual.loss.PerceptualLoss`). The palette distance is in grey levels
    (`palette_distance`). Raises FavError where the painting or the network is not at hand.
    """
    painting = as_tensor(style_image_of(style))
    wanted = colors(painting)
    network = load_loss_network(loss_network, "replicate")[0]
    units = [] if first is None else [PerceptualLoss(network, painting, [as_tensor(first)], SCALES)]

    @torch.inference_mode()
    def losses(picture: np.ndarray, source: np.ndarray) -> tuple[float, float, float]:
        if not units:
            units.append(PerceptualLoss(network, painting, [as_tensor(source)], SCALES))
        content, style = units[0].losses(as_tensor(picture), as_tensor(source))
        return float(style), float(content), palette_distance(as_tensor(picture), wanted)

    return losses


def palette_distance(picture: torch.Tensor, wanted: torch.Tensor) -> float:
    """How far the colors of a picture (1, 3, H, W) are from those of a painting (`palette.colors`), in grey levels.

    The sliced Wasserstein distance in 16 even directions times the root of 3, at a quarter of the size: pictures that
    are alike but for a shift of 30 levels in one color are 30 apart.
    """
    return float(squared_distance(colors(picture), wanted, even_directions())) ** 0.5


def style_image_of(style: Path) -> np.ndarray:
    """The painting as it is looked at, (H, W, 3) uint8 BGR; FavError where it is none."""
    return read_painting(style).picture
