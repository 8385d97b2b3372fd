"""Published image models, written anew from their descriptions: what their files are compared with."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fav.model.torch7 import TorchObject
from tests.helpers.torch7_writer import sequence


class MirroredConvolution(nn.Module):
    """A convolution whose input is continued by its mirror image, as `name` in the state dict."""

    def __init__(self, name: str, channels: int, out_channels: int, kernel: int, stride: int = 1):
        super().__init__()
        self.name, self.reach = name, kernel // 2
        self.add_module(name, nn.Conv2d(channels, out_channels, kernel, stride))

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.name)(F.pad(x, (self.reach,) * 4, mode="reflect"))


def enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


class FirstNorm(nn.Module):
    """The instance norm of the first version: its own, with other names and a smaller epsilon."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
        return (x - mean) / (variance + 1e-9).sqrt() * self.scale[:, None, None] + self.shift[:, None, None]


class ExamplesBlock(nn.Module):
    def __init__(self, channels: int, norm):
        super().__init__()
        self.conv1, self.in1 = MirroredConvolution("conv2d", channels, channels, 3), norm(channels)
        self.conv2, self.in2 = MirroredConvolution("conv2d", channels, channels, 3), norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.in2(self.conv2(self.in1(self.conv1(x)).relu()))


class Examples(nn.Module):
    """TransformerNet of pytorch/examples; `first` as in its first version."""

    def __init__(self, width: int = 4, blocks: int = 5, first: bool = False):
        super().__init__()

        def norm(channels: int) -> nn.Module:
            return FirstNorm(channels) if first else nn.InstanceNorm2d(channels, affine=True)

        sizes = width, 2 * width, 4 * width
        self.blocks = blocks
        self.conv1, self.in1 = MirroredConvolution("conv2d", 3, sizes[0], 9), norm(sizes[0])
        self.conv2, self.in2 = MirroredConvolution("conv2d", sizes[0], sizes[1], 3, 2), norm(sizes[1])
        self.conv3, self.in3 = MirroredConvolution("conv2d", sizes[1], sizes[2], 3, 2), norm(sizes[2])
        for number in range(1, blocks + 1):
            self.add_module(f"res{number}", ExamplesBlock(sizes[2], norm))
        self.deconv1, self.in4 = MirroredConvolution("conv2d", sizes[2], sizes[1], 3), norm(sizes[1])
        self.deconv2, self.in5 = MirroredConvolution("conv2d", sizes[1], sizes[0], 3), norm(sizes[0])
        self.deconv3 = MirroredConvolution("conv2d", sizes[0], 3, 9)

    def forward(self, x: Tensor) -> Tensor:
        for number in (1, 2, 3):
            x = getattr(self, f"in{number}")(getattr(self, f"conv{number}")(x)).relu()
        for number in range(1, self.blocks + 1):
            x = getattr(self, f"res{number}")(x)
        x = self.in4(self.deconv1(enlarged(x))).relu()
        x = self.in5(self.deconv2(enlarged(x))).relu()
        return self.deconv3(x)


class RrminaLayer(nn.Module):
    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1, normed: bool = True):
        super().__init__()
        self.reach = kernel // 2
        self.conv_layer = nn.Conv2d(channels, out_channels, kernel, stride)
        if normed:
            self.norm_layer = nn.InstanceNorm2d(out_channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_layer(F.pad(x, (self.reach,) * 4, mode="reflect"))
        return self.norm_layer(x) if hasattr(self, "norm_layer") else x


class RrminaEnlarging(nn.Module):
    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.conv_transpose = nn.ConvTranspose2d(channels, out_channels, 3, 2, 1, 1)
        self.norm_layer = nn.InstanceNorm2d(out_channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm_layer(self.conv_transpose(x))


class RrminaBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.conv2 = RrminaLayer(channels, channels, 3), RrminaLayer(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x).relu()) + x


class Rrmina(nn.Module):
    """TransformerNetwork of rrmina; `tanh`: TransformerNetworkTanh."""

    def __init__(self, width: int = 4, blocks: int = 5, tanh: bool = False):
        super().__init__()
        a, b, c = width, 2 * width, 4 * width
        self.tanh = tanh
        self.ConvBlock = nn.Sequential(
            RrminaLayer(3, a, 9), nn.ReLU(), RrminaLayer(a, b, 3, 2), nn.ReLU(), RrminaLayer(b, c, 3, 2), nn.ReLU()
        )
        self.ResidualBlock = nn.Sequential(*(RrminaBlock(c) for _ in range(blocks)))
        self.DeconvBlock = nn.Sequential(
            RrminaEnlarging(c, b), nn.ReLU(), RrminaEnlarging(b, a), nn.ReLU(), RrminaLayer(a, 3, 9, normed=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.DeconvBlock(self.ResidualBlock(self.ConvBlock(x)))
        return 150 * x.tanh() if self.tanh else x


class ReconetLayer(MirroredConvolution):
    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1):
        super().__init__("conv2d", channels, out_channels, kernel, stride)
        self.instance = nn.InstanceNorm2d(out_channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.instance(super().forward(x)).relu()


class Reconet(nn.Module):
    """ReCoNet of safwankdb's port."""

    def __init__(self, width: int = 4, blocks: int = 5):
        super().__init__()
        a, b, c = width, 2 * width, 4 * width
        self.blocks = blocks
        self.conv1, self.conv2, self.conv3 = ReconetLayer(3, a, 9), ReconetLayer(a, b, 3, 2), ReconetLayer(b, c, 3, 2)
        for number in range(1, blocks + 1):
            self.add_module(f"res{number}", ExamplesBlock(c, lambda channels: nn.InstanceNorm2d(channels, affine=True)))
        self.deconv1, self.deconv2 = ReconetLayer(c, b, 3), ReconetLayer(b, a, 3)
        self.deconv3 = MirroredConvolution("conv2d", a, 3, 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3(self.conv2(self.conv1(x)))
        for number in range(1, self.blocks + 1):
            x = getattr(self, f"res{number}")(x)
        x = self.deconv2(enlarged(self.deconv1(enlarged(x))))
        return (self.deconv3(x) / 255).tanh() * 150 + 127.5


def wide_convolution(channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Module:
    layers = nn.Sequential(nn.ReflectionPad2d(kernel // 2), nn.Conv2d(channels, out_channels, kernel, stride))
    return _Layers(layers)


class _Layers(nn.Module):
    def __init__(self, layers: nn.Module):
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def wide_layer(channels: int, out_channels: int, kernel: int, stride: int = 1, activation: bool = True) -> nn.Module:
    convolution = wide_convolution(channels, out_channels, kernel, stride)
    norm = nn.InstanceNorm2d(out_channels, affine=True)
    return _Layers(nn.Sequential(convolution, norm, *([nn.ReLU()] if activation else [])))


class WideBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.branch = nn.Sequential(
            wide_layer(channels, channels, 3), wide_layer(channels, channels, 3, activation=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.branch(x)).relu()


class WideReconet(nn.Module):
    """ReCoNet of EmptySamurai's port: four blocks that rectify their sum, and a tanh at the end."""

    def __init__(self, width: int = 4, blocks: int = 4):
        super().__init__()
        a, b, c = width, 2 * width, 4 * width
        down = wide_layer(3, a, 9), wide_layer(a, b, 3, 2), wide_layer(b, c, 3, 2)
        self.encoder = _Layers(nn.Sequential(*down, *(WideBlock(c) for _ in range(blocks))))
        up = nn.Upsample(scale_factor=2), wide_layer(c, b, 3), nn.Upsample(scale_factor=2), wide_layer(b, a, 3)
        last = _Layers(nn.Sequential(wide_convolution(a, 3, 9), nn.Tanh()))
        self.decoder = _Layers(nn.Sequential(*up, last))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class JohnsonBlock(nn.Module):
    """A residual block that keeps the size, its convolutions padded in `mode`."""

    def __init__(self, channels: int, mode: str, norm: Callable[[int], nn.Module]):
        super().__init__()
        convolutions = [nn.Conv2d(channels, channels, 3, padding=1, padding_mode=mode) for _ in range(2)]
        self.branch = nn.Sequential(convolutions[0], norm(channels), nn.ReLU(), convolutions[1], norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def johnson(mode: str, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    """A model of jcjohnson/fast-neural-style for `c9s1-4,d6,d8,R8,R8,u6,U2,c3s1-4,c9s1-3` with a padding of PyTorch's `mode`.

    As published, d and u pad with zeros whatever the mode is.
    """

    def c(channels: int, out: int, kernel: int) -> nn.Conv2d:
        return nn.Conv2d(channels, out, kernel, padding=kernel // 2, padding_mode=mode)

    def followed(layer: nn.Module, channels: int) -> list[nn.Module]:
        return [layer, norm(channels), nn.ReLU()]

    return nn.Sequential(
        *followed(c(3, 4, 9), 4),
        *followed(nn.Conv2d(4, 6, 3, 2, 1), 6),
        *followed(nn.Conv2d(6, 8, 3, 2, 1), 8),
        JohnsonBlock(8, mode, norm),
        JohnsonBlock(8, mode, norm),
        *followed(nn.ConvTranspose2d(8, 6, 3, 2, 1, 1), 6),
        *followed(nn.Upsample(scale_factor=2), 6),
        *followed(c(6, 4, 3), 4),
        c(4, 3, 9),
        nn.Tanh(),
    )


def randomized(network: nn.Module, gain: float = 1, seed: int = 0) -> nn.Module:
    """The network with random weights of a size that keeps values alive, the last ones times `gain`; in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.parameters():
        std = 0.3 if value.ndim == 1 else value[0].numel() ** -0.5
        value.data = torch.randn(value.shape, generator=generator) * std + (value.ndim == 1) * 0.5
    for value in [*network.parameters()][-2:]:
        value.data *= gain
    return network.requires_grad_(False).eval()


def johnson_checkpoint(network: nn.Sequential, options: dict, constant: float = 150) -> dict:
    """The checkpoint of jcjohnson's train.lua with the weights of `johnson`, its padding as modules of their own."""

    def modules(layer: nn.Module) -> list[TorchObject]:
        if isinstance(layer, JohnsonBlock):
            beside = sequence(*(part for one in layer.branch for part in modules(one)))
            both = sequence(beside, TorchObject("nn.Identity", {}), name="nn.ConcatTable")
            return [sequence(both, TorchObject("nn.CAddTable", {}))]
        weights = {name: value.numpy() for name, value in layer.state_dict().items() if value.ndim}
        match layer:
            case nn.Conv2d() | nn.ConvTranspose2d():
                kernel, stride, reach = layer.kernel_size[0], layer.stride[0], layer.padding[0]
                own = 0 if layer.padding_mode != "zeros" else reach
                fields = {"nInputPlane": layer.in_channels, "nOutputPlane": layer.out_channels, **weights}
                for side in "WH":
                    fields |= {f"k{side}": kernel, f"d{side}": stride, f"pad{side}": own}
                if isinstance(layer, nn.ConvTranspose2d):
                    return [TorchObject("nn.SpatialFullConvolution", {**fields, "adjW": 1, "adjH": 1})]
                padding = {"reflect": "Reflection", "replicate": "Replication"}.get(layer.padding_mode)
                sides = dict.fromkeys(("pad_l", "pad_r", "pad_t", "pad_b"), reach)
                before = [TorchObject(f"nn.Spatial{padding}Padding", sides)] if padding else []
                return [*before, TorchObject("nn.SpatialConvolution", fields)]
            case nn.BatchNorm2d():
                return [TorchObject("nn.SpatialBatchNormalization", {"eps": layer.eps, "affine": True, **weights})]
            case nn.InstanceNorm2d():
                return [TorchObject("nn.InstanceNormalization", {"eps": layer.eps, **weights})]
            case nn.Upsample():
                return [TorchObject("nn.SpatialUpSamplingNearest", {"scale_factor": 2})]
        return [TorchObject(f"nn.{type(layer).__name__}", {})]

    ends = TorchObject("nn.MulConstant", {"constant_scalar": constant}), TorchObject("nn.TotalVariation", {})
    return {"opt": options, "model": sequence(*(part for one in network for part in modules(one)), *ends)}
