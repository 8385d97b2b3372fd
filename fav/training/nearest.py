"""Which of the styles at hand paints most like a painting: the one to begin with."""

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

TRIED_ON = 4  # pictures
COSTLY = 1.5  # times the multiplications of half width: with more, too few iterations fit into half an hour
SIDE = 256  # pixels of the frame whose multiplications are counted


@dataclass(frozen=True)
class Candidate:
    """A style to begin with, and how far what it paints is from the painting.

    style and palette are in the units of the losses: 0 is the painting itself, 1 an untouched photograph.
    """

    name: str
    path: Path
    network: StyleNetwork
    style: float
    palette: float

    @property
    def distance(self) -> float:
        return self.style + self.palette


def ranked(
    styles: Mapping[str, Path],
    perception: PerceptualLoss,
    photos: Sequence[np.ndarray],
    device: torch.device,
    arch: str = "",
    seed: int = 0,
) -> list[Candidate]:
    """The styles that a training can begin with, the nearest first.

    Each paints some pictures, every one alone, and what comes out is compared with the painting: by Gram matrices at the
    scales of the losses, and by colors.

    Args:
        styles: Files by their names. What is no style with a memory (7 channels) is left out, and so is a network of more
            than 1.5 times the multiplications of half width, and what cannot be widened to `arch`.
        perception: The losses against the painting.
        photos: Pictures (H, W, 3) uint8 BGR of one size; the first four are painted.
        device: Where.
        arch: The architecture to begin with; "": that of each style.
        seed: Of `net2wider`.

    Returns:
        The candidates with networks as they are to begin with; none where nothing fits.
    """
    frames = torch.cat([as_tensor(photo) for photo in photos[:TRIED_ON]]).to(device)
    found = []
    for name, path in styles.items():
        try:
            network = (
                net2wider(load_style(path, in_channels=7), arch, seed) if arch else load_style(path, in_channels=7)
            )
        except (FavError, OSError):
            continue
        if arch or multiplications(network.arch) <= COSTLY * multiplications(HALF_WIDTH):
            found.append(Candidate(name, path, network, *_distances(placed(network, device), perception, frames)))
    return sorted(found, key=lambda candidate: candidate.distance)


def multiplications(arch: str) -> int:
    """Multiplications of the convolutions of an architecture with a memory, for a frame of 256x256 pixels."""
    total = 0

    def count(layer: torch.nn.Module, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            seen = out if isinstance(layer, torch.nn.Conv2d) else inputs[0]
            total += layer.weight.numel() * seen.shape[2] * seen.shape[3]

    with torch.device("meta"):
        network = StyleNetwork(arch, 7)
        for layer in network.modules():
            layer.register_forward_hook(count)
        network(torch.empty(1, 7, SIDE, SIDE))
    return total


@torch.no_grad()
def _distances(network: StyleNetwork, perception: PerceptualLoss, frames: torch.Tensor) -> tuple[float, float]:
    painted = [unroll(network, [frame[None]], [], [], False).stylized[0].clamp(0, 255) for frame in frames]
    style = [float(perception.losses(picture, frame[None])[1]) for picture, frame in zip(painted, frames)]
    palette = perception.palette(torch.cat(painted), even_directions().to(frames.device))
    return float(np.mean(style)), float(palette)
