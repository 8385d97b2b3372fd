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
    """Make a function that computes style loss, content loss and palette distance of a frame.

    The style image is denoised as by `fav train`. The style loss is the mean over three scales (1, 1/2, 1/4).
    Both losses are normalized by the film's first source frame: that frame itself has a style loss of 1, and a content
    loss of 1 is its mean feature energy (`fav.perceptual.loss.PerceptualLoss`). The palette distance is in gray levels.

    Args:
        style: the style image.
        loss_network: its name or file.
        first: the first source frame, (H, W, 3) uint8 BGR; None: the first frame that is measured.

    Raises:
        FavError: the style image or the network cannot be read.
    """
    painting = as_tensor(style_image_of(style))
    style_colors = colors(painting)
    network = load_loss_network(loss_network, "replicate")[0]
    cache = [] if first is None else [PerceptualLoss(network, painting, [as_tensor(first)], SCALES)]

    @torch.inference_mode()
    def losses(frame: np.ndarray, source: np.ndarray) -> tuple[float, float, float]:
        if not cache:
            cache.append(PerceptualLoss(network, painting, [as_tensor(source)], SCALES))
        content, style = cache[0].losses(as_tensor(frame), as_tensor(source))
        return float(style), float(content), palette_distance(as_tensor(frame), style_colors)

    return losses


def palette_distance(image: torch.Tensor, style_colors: torch.Tensor) -> float:
    """Return the distance between the colors of an image and those of a style image, in gray levels.

    It is the sliced Wasserstein distance in 16 even directions, times sqrt(3), at a quarter of the size. A shift of one
    color channel by 30 levels gives 30.

    Args:
        image: (1, 3, H, W).
        style_colors: The result of `fav.perceptual.palette.colors`.
    """
    return float(squared_distance(colors(image), style_colors, even_directions())) ** 0.5


def style_image_of(style: Path) -> np.ndarray:
    """Read the style image as the losses use it, (H, W, 3) uint8 BGR. Raises FavError if it cannot be read."""
    return read_painting(style).picture
