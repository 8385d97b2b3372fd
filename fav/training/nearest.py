"""Rank the installed styles by their distance to a painting. A training starts from the nearest one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fav.errors import FavError
from fav.model.architecture import HALF_WIDTH
from fav.model.checkpoints import load_style
from fav.model.devices import placed
from fav.model.network import StyleNetwork
from fav.perceptual.loss import PerceptualLoss, as_tensor
from fav.perceptual.palette import even_directions
from fav.training.net2wider import net2wider
from fav.training.unroll import unroll

TRIED_ON = 4  # images
COSTLY = 0.5  # maximum cost, in multiplications of half width; with more, half an hour has fewer iterations
SIDE = 256  # pixels per side of the frame for which multiplications are counted


@dataclass(frozen=True)
class Candidate:
    """A style that a training can start from.

    Attributes:
        name: Of the style.
        path: Of its file.
        network: Its network, with the architecture of the training.
        style: Its style loss: 0 is the painting itself, 1 an unchanged photograph.
        palette: Its palette loss, in the same units.
    """

    name: str
    path: Path
    network: StyleNetwork
    style: float
    palette: float

    @property
    def distance(self) -> float:
        """The sum of both losses."""
        return self.style + self.palette


def ranked(
    styles: Mapping[str, Path],
    perception: PerceptualLoss,
    photos: Sequence[np.ndarray],
    device: torch.device,
    arch: str = "",
    seed: int = 0,
) -> list[Candidate]:
    """Rank styles by the style loss and the palette loss of stylized images, the nearest first.

    Image models are ignored, and networks with more than half of the multiplications of half width. With `arch`, styles
    that cannot be widened to it are ignored.

    Args:
        styles: Style files by name.
        perception: The losses for the painting.
        photos: Images (H, W, 3) uint8 BGR of one size. The first four are stylized, each without a prior.
        device: Of the networks.
        arch: The architecture of the training; "": that of each style.
        seed: Of `net2wider`.

    Returns:
        The candidates; empty if no style is suitable.
    """
    frames = torch.cat([as_tensor(photo) for photo in photos[:TRIED_ON]]).to(device)
    candidates = []
    for name, path in styles.items():
        try:
            network = load_style(path, in_channels=7)
            network = net2wider(network, arch, seed) if arch else network
        except (FavError, OSError):
            continue
        if arch or multiplications(network.arch) <= COSTLY * multiplications(HALF_WIDTH):
            candidates.append(Candidate(name, path, network, *_distances(placed(network, device), perception, frames)))
    return sorted(candidates, key=lambda candidate: candidate.distance)


def multiplications(arch: str) -> int:
    """Count the multiplications of the convolutions of a video model, for a frame of 256x256 pixels."""
    total = 0

    def count(layer: torch.nn.Module, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            positions = out if isinstance(layer, torch.nn.Conv2d) else inputs[0]
            total += layer.weight.numel() * positions.shape[2] * positions.shape[3]

    with torch.device("meta"):
        network = StyleNetwork(arch, 7)
        for layer in network.modules():
            layer.register_forward_hook(count)
        network(torch.empty(1, 7, SIDE, SIDE))
    return total


@torch.no_grad()
def _distances(network: StyleNetwork, perception: PerceptualLoss, frames: torch.Tensor) -> tuple[float, float]:
    """Return the style loss and the palette loss of stylized frames."""
    stylized = [unroll(network, [frame[None]], [], [], False).stylized[0].clamp(0, 255) for frame in frames]
    style = [float(perception.losses(image, frame[None])[1]) for image, frame in zip(stylized, frames)]
    palette = perception.palette(torch.cat(stylized), even_directions().to(frames.device))
    return float(np.mean(style)), float(palette)
