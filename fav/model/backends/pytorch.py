"""The network in PyTorch, on any device that it has: as it is, or compiled by `torch.compile`."""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from fav.model.devices import placed
from fav.model.network import EPSILON, InstanceNorm, StyleNetwork
from fav.model.preprocessing import MEAN_BGR


class PyTorch:
    """A backend (see `fav.model.backends`). `precision` is that of the convolutions and of what passes between them."""

    def __init__(self, network: StyleNetwork, precision: str, device: torch.device, compiled: bool = False):
        self.description = f"torch{' compile' if compiled else ''} {torch.__version__} {device.type} {precision}"
        self._device, self._type = device, getattr(torch, precision)
        # channels_last: the faster order of memory on CPUs, and the one in which convolutions did not depend on the
        # number of threads.
        network = lowered(network) if precision == "bfloat16" else network
        self._network = placed(network.eval(), device)
        self._mean = torch.from_numpy(MEAN_BGR).to(device)
        if compiled:
            # Freezing lays out the weights once, as the convolutions want them.
            self._network = torch.compile(self._network, dynamic=False, options={"freezing": device.type == "cpu"})

    @torch.inference_mode()
    def __call__(self, seen: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(seen).to(self._device).permute(2, 0, 1)[None].to(self._type)
        y = self._network(x)[0].permute(1, 2, 0) + self._mean
        return np.ascontiguousarray(y.round().clamp(0, 255).to(torch.uint8).cpu().numpy())


def lowered(network: StyleNetwork) -> StyleNetwork:
    """A copy of the network for one picture at a time in bfloat16, but for statistics and for the last convolution and all
    behind it: a third of the error comes from there, and near 150 a bfloat16 is a grey level off."""
    network = copy.deepcopy(network)
    kinds = nn.Conv2d, nn.ConvTranspose2d
    last = max(number for number, layer in enumerate(network) if any(isinstance(one, kinds) for one in layer.modules()))
    kept = set(network[last].modules())
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kinds) and child not in kept:
                child.bfloat16()
            elif isinstance(child, InstanceNorm):
                setattr(parent, name, _OnePictureNorm(child))
    return network.insert(last, _Widen())


class _OnePictureNorm(nn.Module):
    """InstanceNorm of a batch of one, which is batch normalization: torch's takes bfloat16 and sums up in float32."""

    def __init__(self, norm: InstanceNorm):
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.batch_norm(
            x, self.weight, self.bias, None, None, True, 0.0, EPSILON, False
        )  # F's refuses single pixels


class _Widen(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()
