"""Loss networks: image classifiers whose features measure how similar two images look.

Sources: Iandola et al., "SqueezeNet" (2016), v1.0 and v1.1; Simonyan and Zisserman, "Very deep convolutional networks
for large-scale image recognition" (2014), the version with 16 layers; Johnson, Alahi, Fei-Fei (2016), their use as a loss.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Borders = Literal["zeros", "replicate"]  # padding mode of the convolutions, as in PyTorch
CAFFE_MEAN = (104.0, 117.0, 123.0)  # BGR, 0 to 255
# Squeeze channels of fire2 to fire9. Each module has two expand layers, with four times as many channels each.
FIRE = (16, 16, 32, 32, 48, 48, 64, 64)
VGG = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)


@dataclass(frozen=True)
class LossNetworkSpec:
    """The architecture of a loss network, and the layers that the losses use.

    Attributes:
        name: The name for users.
        steps: The layers by name, in order. A step is ("conv", in channels, out channels, kernel, stride, padding),
            ("fire", in channels, squeeze channels) or ("pool", kernel).
        style_layers: The default layers of the style loss.
        content_layers: The default layers of the content loss.
    """

    name: str
    steps: dict[str, tuple]
    style_layers: tuple[str, ...]
    content_layers: tuple[str, ...]


def _squeezenet(name: str, outputs: int, kernel: int, pooled: tuple[str, ...]) -> LossNetworkSpec:
    """Return SqueezeNet whose first layer has `outputs` channels and this kernel size, with pooling after `pooled`."""
    steps: dict[str, tuple] = {"conv1": ("conv", 3, outputs, kernel, 2, 0)}
    for number, squeezed in enumerate(FIRE, 2):
        if (before := [*steps][-1]) in pooled:
            steps["pool" + before.removeprefix("conv").removeprefix("fire")] = ("pool", 3)
        steps[f"fire{number}"] = ("fire", outputs, squeezed)
        outputs = 8 * squeezed
    return LossNetworkSpec(name, steps, ("conv1", "fire3", "fire5", "fire7"), ("fire5",))


def _vgg16() -> LossNetworkSpec:
    steps: dict[str, tuple] = {}
    inputs, block, number = 3, 1, 1
    for outputs in VGG:
        if outputs == "pool":
            steps[f"pool{block}"] = ("pool", 2)
            block, number = block + 1, 1
        else:
            steps[f"conv{block}_{number}"] = ("conv", inputs, outputs, 3, 1, 1)
            inputs, number = outputs, number + 1
    return LossNetworkSpec("VGG-16", steps, ("conv1_2", "conv2_2", "conv3_3", "conv4_3"), ("conv3_3",))


LOSS_NETWORKS = {
    "squeezenet1_0": _squeezenet("SqueezeNet v1.0", 96, 7, ("conv1", "fire4", "fire8")),
    "squeezenet1_1": _squeezenet("SqueezeNet v1.1", 64, 3, ("conv1", "fire3", "fire5")),
    "vgg16": _vgg16(),
}


class LossNetwork(nn.Module):
    """Computes the features of the named layers for images (N, 3, H, W), BGR, 0 to 255.

    The weights are constant: they have no gradients. Layers after the last named one are omitted.
    """

    mean: Tensor

    def __init__(
        self,
        design: LossNetworkSpec,
        layers: tuple[str, ...],
        mean: tuple[float, float, float] = CAFFE_MEAN,
        borders: Borders = "zeros",
        pooling: str = "max",
    ):
        """Build the network with random weights.

        Args:
            design: The architecture.
            layers: The layers whose features are needed.
            mean: The mean color that is subtracted, BGR, 0 to 255.
            borders: Padding of the convolutions: `zeros`, as in the network's own training, or `replicate`. In small
                images, much is near the border, and with zeros a style learns a dark border.
            pooling: `max`, or `average`, which suits paintings with flat regions.
        """
        super().__init__()
        self.design, self.layers = design, layers
        names = [*design.steps]
        last = max(names.index(layer) for layer in layers)
        self.steps = nn.ModuleDict(
            {name: _build(*design.steps[name], borders=borders, pooling=pooling) for name in names[: last + 1]}
        )
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor, layers: tuple[str, ...] | None = None) -> dict[str, Tensor]:
        """Return the features by the names of their layers: those in `layers`, or all of the network's layers."""
        x, features = x - self.mean, {}
        wanted = set(layers or self.layers)
        for name, step in self.steps.items():
            if wanted == set(features):
                break
            x = step(x)
            if name in wanted:
                features[name] = x
        return features


class Fire(nn.Module):
    """SqueezeNet's fire module: a 1x1 squeeze convolution, then 1x1 and 3x3 expand convolutions in parallel."""

    def __init__(self, inputs: int, squeezed: int, borders: Borders = "zeros"):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1 = nn.Conv2d(squeezed, 4 * squeezed, 1)
        self.expand3 = nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1, padding_mode=borders)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu_()
        return torch.cat([self.expand1(x), self.expand3(x)], 1).relu_()


def _build(kind: str, *sizes: int, borders: Borders, pooling: str) -> nn.Module:
    if kind == "pool":
        pool = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
        return pool(sizes[0], 2, ceil_mode=sizes[0] == 3)  # SqueezeNet pools an incomplete last row, VGG does not
    if kind == "fire":
        return Fire(*sizes, borders=borders)
    inputs, outputs, kernel, stride, padding = sizes
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, padding_mode=borders), nn.ReLU(inplace=True)
    )
