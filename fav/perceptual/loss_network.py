"""Loss networks: classifiers of photographs, whose features say how alike two pictures look.

Sources: Iandola et al., "SqueezeNet" (2016), v1.0 and v1.1; Simonyan and Zisserman, "Very deep convolutional networks
for large-scale image recognition" (2014), the 16 layers; their use as a loss: Johnson, Alahi, Fei-Fei (2016).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Borders = Literal["zeros", "replicate"]  # what a convolution sees beyond a picture: black, or its border repeated
CAFFE_MEAN = (104.0, 117.0, 123.0)  # BGR, 0 to 255
FIRE = (
    16,
    16,
    32,
    32,
    48,
    48,
    64,
    64,
)  # squeezed channels of fire2 to fire9; each expands to four times as many, twice
VGG = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)


@dataclass(frozen=True)
class LossNetworkSpec:
    """A kind of loss network: its steps in order, name and what it is made of, and the layers that the losses look at.

    A step is ("conv", inputs, outputs, kernel, stride, padding), ("fire", inputs, squeezed) or ("pool", kernel).
    """

    name: str
    steps: dict[str, tuple]
    style_layers: tuple[str, ...]
    content_layers: tuple[str, ...]


def _squeezenet(name: str, outputs: int, kernel: int, pooled: tuple[str, ...]) -> LossNetworkSpec:
    """SqueezeNet with so many first kernels of that size, and pooling after those layers."""
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
    """Pictures (N, 3, H, W), BGR, 0 to 255, to the features of the named layers.

    Nothing is learnt: the weights have no gradients. Layers after the last one named are left out. borders: what a
    convolution sees beyond a picture, "zeros", as in the training of the network, or "replicate", the border repeated: at
    small sizes much of a picture is near its border, and a style would learn a dark rim. pooling: "max", or "average",
    which suits paintings of flat areas.
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
        """Features by the names of their layers; `layers`, some of the network's own, where not all of them are wanted."""
        x, found = x - self.mean, {}
        wanted = set(layers or self.layers)
        for name, step in self.steps.items():
            if wanted == set(found):
                break
            x = step(x)
            if name in wanted:
                found[name] = x
        return found


class Fire(nn.Module):
    """SqueezeNet's module: squeezed by a 1x1 convolution, then expanded by 1x1 and 3x3 ones side by side."""

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
        return pool(sizes[0], 2, ceil_mode=sizes[0] == 3)  # SqueezeNet's pools see the last row, VGG's do not
    if kind == "fire":
        return Fire(*sizes, borders=borders)
    inputs, outputs, kernel, stride, padding = sizes
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, padding_mode=borders), nn.ReLU(inplace=True)
    )
