"""Convert a network to a wider one that computes the same function, to continue the training with more channels.

Source: Chen, Goodfellow, Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer" (2016), section 2.2.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from fav.errors import FavError
from fav.model.architecture import Layer, parse
from fav.model.network import StyleNetwork, bias_of


@torch.no_grad()
def net2wider(network: StyleNetwork, arch: str, seed: int) -> StyleNetwork:
    """Return a network of architecture `arch` with the same function as `network`, except for rounding.

    Each channel is repeated. Each weight that reads the channel is split randomly among the copies. So the copies get
    different gradients, and learn different features.

    Args:
        network: The network to widen. It is returned unchanged if it has this architecture.
        arch: The architecture. It has the same layers; each has a multiple of the channels.
        seed: Of the random split.

    Raises:
        FavError: The architectures do not match.
    """
    if arch == network.arch:
        return network
    if not _can_widen(parse(network.arch), parse(arch)):
        raise FavError(f"expected {arch}, or its layers with half of the channels or a third, got {network.arch}")
    larger = StyleNetwork(arch, network.in_channels, network.tanh_constant)
    random = torch.Generator().manual_seed(seed)
    for old, new in zip(network.modules(), larger.modules()):
        if isinstance(old, (nn.Conv2d, nn.ConvTranspose2d)) and isinstance(new, (nn.Conv2d, nn.ConvTranspose2d)):
            in_axis = 1 if isinstance(old, nn.Conv2d) else 0  # the axis of the input channels
            weight = _repeat(old.weight, new.weight.shape[1 - in_axis], 1 - in_axis)
            new.weight.copy_(_repeat_and_split(weight, new.weight.shape[in_axis], in_axis, random))
            bias_of(new).copy_(_repeat(bias_of(old), len(bias_of(new)), 0))
        else:
            for name, value in new.named_parameters(recurse=False):
                value.copy_(_repeat(getattr(old, name), len(value), 0))
    return larger


def _can_widen(narrow: Sequence[Layer], wide: Sequence[Layer]) -> bool:
    """Whether the layers differ only in their channels, and those of `wide` are multiples."""
    shapes = [[replace(layer, channels=0, inner=()) for layer in layers] for layers in (narrow, wide)]
    return shapes[0] == shapes[1] and all(
        b.channels % max(a.channels, 1) == 0 and _can_widen(a.inner, b.inner) for a, b in zip(narrow, wide)
    )


def _repeat(value: Tensor, length: int, axis: int) -> Tensor:
    """Return copies of `value`, concatenated along `axis` to `length`."""
    return torch.cat([value] * (length // value.shape[axis]), axis)


def _repeat_and_split(weight: Tensor, length: int, axis: int, random: torch.Generator) -> Tensor:
    """Return copies of `weight`, concatenated along `axis` to `length`, each times random fractions that sum to 1."""
    copies = length // weight.shape[axis]
    fractions = torch.rand((copies, *weight.shape), generator=random) + 1e-3
    return torch.cat([*(fractions / fractions.sum(0) * weight)], axis)
