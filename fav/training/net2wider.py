"""A wider network that paints what a narrower one paints, and can learn to paint more.

Source: Chen, Goodfellow, Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer" (2016), section 2.2.
"""

import torch
from torch import Tensor, nn

from fav.errors import FavError
from fav.model.network import StyleNetwork, parse


@torch.no_grad()
def net2wider(network: StyleNetwork, arch: str, seed: int) -> StyleNetwork:
    """A network of architecture `arch` with the function of `network`, but for rounding; `network` itself where arch is its own.

    A channel becomes several that are alike, and each weight that read from it is shared out among them at random, by
    `seed`: they learn to differ, since they are read differently. Raises FavError unless the architectures have the same
    layers, and each layer of arch a multiple of the channels.
    """
    if arch == network.arch:
        return network
    narrow, wide = parse(network.arch), parse(arch)
    same = [(a.kind, a.kernel, a.stride) for a in narrow] == [(b.kind, b.kernel, b.stride) for b in wide]
    if not same or any(b.channels % max(a.channels, 1) for a, b in zip(narrow, wide)):
        raise FavError(f"expected {arch}, or its layers with half of the channels or a third, got {network.arch}")
    larger = StyleNetwork(arch, network.in_channels, network.tanh_constant)
    random = torch.Generator().manual_seed(seed)
    for old, new in zip(network.modules(), larger.modules()):
        if isinstance(old, (nn.Conv2d, nn.ConvTranspose2d)):
            reads = 1 if isinstance(old, nn.Conv2d) else 0  # the axis of the weights that the channels read stand on
            weight = _repeated(old.weight, new.weight.shape[1 - reads], 1 - reads)
            new.weight.copy_(_shared_out(weight, new.weight.shape[reads], reads, random))
            new.bias.copy_(_repeated(old.bias, len(new.bias), 0))
        else:
            for name, value in new.named_parameters(recurse=False):
                value.copy_(_repeated(getattr(old, name), len(value), 0))
    return larger


def _repeated(value: Tensor, length: int, axis: int) -> Tensor:
    """The whole of `value` again and again along `axis`, up to `length`."""
    return torch.cat([value] * (length // value.shape[axis]), axis)


def _shared_out(weight: Tensor, length: int, axis: int, random: torch.Generator) -> Tensor:
    """`weight` repeated along `axis` up to `length`, each time a random share of it, all shares together 1."""
    copies = length // weight.shape[axis]
    shares = torch.rand((copies, *weight.shape), generator=random) + 1e-3
    return torch.cat([*(shares / shares.sum(0) * weight)], axis)
