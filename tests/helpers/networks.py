"""Small style networks with random weights, and where the bundled style lies."""

from pathlib import Path

import torch

from fav.flow import spynet
from fav.model.network import (
    StyleNetwork,
)
from tests.helpers.checkout import ROOT

SMALL = "c9s1-4,d6,d8,R8,R8,R8,R8,R8,U2,c3s1-6,U2,c9s1-3"
STRINGS = [
    SMALL,
    "c3s1-4,d6,R6,u4,c3s1-3",
    "c5s1-4,c3s2-6,R6,R6,f3s2-4,c9s1-3",
    "c9s1-4,d6,d8,d8,R8,U4,c5s1-6,U2,c9s1-3",
    "c3s1-4,U3,c3s3-5,c3s1-3",
    "c3s1-4,R4,d3,U2",
    "E,c7s2-4,d6,R6,R6d2,U2,c3s1-4,U2,c5s1-3",
    "E,c5s2-8,[d8,[d8,S8x2k7,U2,c3s1-8],S8x3k3,U2,c5s1-8],R8,U2,c7s1-3",
    "E,c3s1-4,d6,R6,p5s2-4,c3s1-3",
    "E,c9s4-6,[d6,U2],S6x3k7,p3s4-3",
    "c5s2-4,R4d2,p3s2-3",
    "c9s1-4e,c3s2-6e,R6zr,R6e,U2p,c3s1-4e,c5s1-3",
]
# With entries of published image models around the layers, or a mirror image around pictures, which must not be tiny.
MARKED = [
    "c9s1-4m,c3s2-6e,R6m,R6zr,R6e,U2p,c3s1-4m,c5s1-3m",
    "B,c5s1-4,d6m,R6m,U2,c5s1-3",
    "A,c5s1-4m,c3s2-6m,R6m,U2p,c3s1-4m,c5s1-3m,L,A",
    "B,A,c3s1-4e,d6,R6zr,R6,u4,c3s1-3,A",
    "A,c3s2-6m,U2p,c5s1-3m,L",
]


def random_network(arch: str = SMALL, in_channels: int = 7) -> StyleNetwork:
    torch.manual_seed(0)
    network = StyleNetwork(arch, in_channels).requires_grad_(False).eval()
    for _name, value in network.named_parameters():
        value.normal_(std=0.3) if value.ndim == 1 else value.normal_(std=value[0].numel() ** -0.5)
    return network


def picture(height: int, width: int, channels: int = 7) -> torch.Tensor:
    return 60 * torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(1))


BUNDLED = ROOT / "styles" / "starry_night.safetensors"
TRANSPOSED = "c9s1-4,d6,d8,R8,R8,u6,u4,c9s1-3"  # the default of the authors' training program


def make_tiny_spynet(path: Path) -> Path:
    """The weights of a SPyNet, random and small."""
    torch.manual_seed(0)
    levels = torch.nn.ModuleList(spynet.make_level() for _ in range(spynet.LEVELS))
    weights = {
        spynet.name_of(level, key): value
        for level, module in enumerate(levels)
        for key, value in module.state_dict().items()
    }
    spynet.save_weights(weights, path)
    return path
