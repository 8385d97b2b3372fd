"""Run the network in PyTorch, directly or with `torch.compile`."""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from fav.model.devices import placed
from fav.model.network import EPSILON, InstanceNorm, StyleNetwork
from fav.model.preprocessing import MEAN_BGR


class PyTorch:
    """A backend (`fav.model.backends`). `precision` is that of the convolutions and of the values between layers."""

    def __init__(self, network: StyleNetwork, precision: str, device: torch.device, compiled: bool = False):
        self.description = f"torch{' compile' if compiled else ''} {torch.__version__} {device.type} {precision}"
        self._device, self._type = device, getattr(torch, precision)
        # The memory format channels_last is faster on CPUs. In tests with it, convolutions did not depend on the number of
        # threads.
        network = to_bfloat16(network) if precision == "bfloat16" else network
        self._network = placed(network.eval(), device)
        self._mean = torch.from_numpy(MEAN_BGR).to(device)
        if compiled:
            # Freezing converts the weights to the format of the convolutions once.
            self._network = torch.compile(self._network, dynamic=False, options={"freezing": device.type == "cpu"})

    @torch.inference_mode()
    def __call__(self, x: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(x).to(self._device).permute(2, 0, 1)[None].to(self._type)
        y = self._network(images)[0].permute(1, 2, 0) + self._mean
        return np.ascontiguousarray(y.round().clamp(0, 255).to(torch.uint8).cpu().numpy())


def to_bfloat16(network: StyleNetwork) -> StyleNetwork:
    """Return a copy of the network in bfloat16, for batches of one image.

    Statistics of norms, the last convolution and all layers after it stay in float32. A third of the error of bfloat16
    comes from these layers: near 150, a bfloat16 value can be off by one gray level.
    """
    network = copy.deepcopy(network)
    convolutions = nn.Conv2d, nn.ConvTranspose2d
    last = max(
        number
        for number, layer in enumerate(network)
        if any(isinstance(module, convolutions) for module in layer.modules())
    )
    float32_modules = set(network[last].modules())
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, convolutions) and child not in float32_modules:
                child.bfloat16()
            elif isinstance(child, InstanceNorm):
                setattr(parent, name, _SingleImageNorm(child))
    return network.insert(last, _ToFloat32())


class _SingleImageNorm(nn.Module):
    """InstanceNorm for a batch of one, computed by batch normalization, which takes bfloat16 and sums in float32."""

    def __init__(self, norm: InstanceNorm):
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.batch_norm(
            x, self.weight, self.bias, None, None, True, 0.0, EPSILON, False
        )  # torch.nn.functional.batch_norm rejects single pixels


class _ToFloat32(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()
