"""A wider network that paints what a narrower one paints, and can learn to paint more.

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
    """A network of architecture `arch` with the function of `network`, but for rounding; `network` itself where arch is its own.

    A channel becomes several that are alike, and each weight that read from it is shared out among them at random, by
    `seed`: they learn to differ, since they are read differently. Raises FavError unless the architectures have the same
    layers, and each layer of arch a multiple of the channels.
    """
    if arch == network.arch:
        return network
    if not _can_widen(parse(network.arch), parse(arch)):
        raise FavError(f"expected {arch}, or its layers with half of the channels or a third, got {network.arch}")
    larger = StyleNetwork(arch, network.in_channels, network.tanh_constant)
    random = torch.Generator().manual_seed(seed)
    for old, new in zip(network.modules(), larger.modules()):
        if isinstance(old, (nn.Conv2d, nn.ConvTranspose2d)) and isinstance(new, (nn.Conv2d, nn.ConvTranspose2d)):
            reads = 1 if isinstance(old, nn.Conv2d) else 0  # the axis of the weights that the channels read stand on
            weight = _repeated(old.weight, new.weight.shape[1 - reads], 1 - reads)
            new.weight.copy_(_shared_out(weight, new.weight.shape[reads], reads, random))
            bias_of(new).copy_(_repeated(bias_of(old), len(bias_of(new)), 0))
        else:
            for name, value in new.named_parameters(recurse=False):
                value.copy_(_repeated(getattr(old, name), len(value), 0))
    return larger


def _can_widen(narrow: Sequence[Layer], wide: Sequence[Layer]) -> bool:
    """Whether the layers differ by their channels alone, each of those of `wide` a multiple."""
    alike = [[replace(layer, channels=0, inner=()) for layer in layers] for layers in (narrow, wide)]
    return alike[0] == alike[1] and all(
        b.channels % max(a.channels, 1) == 0 and _can_widen(a.inner, b.inner) for a, b in zip(narrow, wide)
    )


def _repeated(value: Tensor, length: int, axis: int) -> Tensor:
    """The whole of `value` again and again along `axis`, up to `length`."""
    return torch.cat([value] * (length // value.shape[axis]), axis)


def _shared_out(weight: Tensor, length: int, axis: int, random: torch.Generator) -> Tensor:
    """`weight` repeated along `axis` up to `length`, each time a random share of it, all shares together 1."""
    copies = length // weight.shape[axis]
    shares = torch.rand((copies, *weight.shape), generator=random) + 1e-3
    return torch.cat([*(shares / shares.sum(0) * weight)], axis)
