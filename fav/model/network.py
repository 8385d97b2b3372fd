"""The style network of Fast Artistic Videos, built from the authors' architecture string.

Sources: Ruder, Dosovitskiy, Brox, "Artistic style transfer for videos and spherical images" (2018);
Johnson, Alahi, Fei-Fei, "Perceptual losses for real-time style transfer" (2016), whose string this is.
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fav.errors import FavError

DEFAULT_ARCH = "c9s1-32,d64,d128,R128,R128,R128,R128,R128,U2,c3s1-64,U2,c9s1-3"
TANH_CONSTANT = 150.0
EPSILON = 1e-5
MAX_LAYERS = 100
MAX_STRIDE = 64
_CROP = 2  # what a residual block's two valid 3x3 convolutions eat on each side
_SQUARED = 1 << 22  # values squared at a time: in larger blocks, fresh memory costs more than the sum
_TOKEN = re.compile(
    r"(?P<kind>c|f)(?P<kernel>\d{1,2})s(?P<stride>[1-9])-(?P<channels>[1-9]\d{0,3})"
    r"|(?P<short>[duR])(?P<short_channels>[1-9]\d{0,3})|U(?P<factor>[1-9])"
)


@dataclass(frozen=True)
class Layer:
    """One entry of an architecture string.

    kind: c convolution, f full (transposed) convolution, R residual block, U nearest upsampling;
    `d` and `u` are a c and an f of 3x3 and stride 2. channels is what comes out (0 for U: unchanged),
    stride what the layer divides (c) or multiplies (f, U) the size by.
    """

    kind: str
    kernel: int
    stride: int
    channels: int


def parse(arch: str) -> list[Layer]:
    """The layers of an architecture string.

    Raises FavError that names the first entry that is not understood.
    """
    entries = arch.split(",")
    if len(entries) > MAX_LAYERS:
        raise FavError(f"architecture {arch[:200]!r}: expected at most {MAX_LAYERS} layers, got {len(entries)}")
    return [_parse_entry(entry, arch) for entry in entries]


def _parse_entry(entry: str, arch: str) -> Layer:
    match = _TOKEN.fullmatch(entry)
    if match is None:
        raise FavError(f"architecture {arch[:200]!r}: expected cKsS-C, fKsS-C, dC, uC, RC or UN, got {entry[:40]!r}")
    if match["factor"]:
        return Layer("U", 1, int(match["factor"]), 0)
    if match["short"]:
        kind, stride = {"d": ("c", 2), "u": ("f", 2), "R": ("R", 1)}[match["short"]]
        return Layer(kind, 3, stride, int(match["short_channels"]))
    kernel = int(match["kernel"])
    if kernel % 2 == 0:
        raise FavError(f"architecture {arch[:200]!r}: expected an odd kernel, got {entry!r}")
    return Layer(match["kind"], kernel, int(match["stride"]), int(match["channels"]))


class InstanceNorm(nn.Module):
    """Every channel of every picture to mean 0 and variance 1, then scaled and shifted.

    In plain steps, because torch's own kernels for channels_last are slower (instance_norm), or split
    their sums by the number of threads and lose three digits (group_norm). Without gradients it works
    in place: its argument is overwritten.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = None if torch.is_grad_enabled() or torch.compiler.is_compiling() else x
        x = torch.sub(x, x.mean((2, 3), keepdim=True), out=out)
        bands = x.split(max(1, _SQUARED // x[:, :, 0].numel()), 2)
        squares = sum(band.square().sum((2, 3), keepdim=True) for band in bands)
        scale = self.weight[:, None, None] * (squares / x[0, 0].numel() + EPSILON).rsqrt()
        return torch.addcmul(self.bias[:, None, None], x, scale, out=out)


class ResidualBlock(nn.Sequential):
    """Two valid 3x3 convolutions beside a shortcut cropped to the same size; eats 2 pixels a side."""

    def __init__(self, channels: int):
        branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(channels),
        )
        super().__init__(nn.Sequential(branch))  # nested as ConcatTable(branch, shortcut) is, for its keys

    def forward(self, x: Tensor) -> Tensor:
        return self[0][0](x) + x[..., _CROP:-_CROP, _CROP:-_CROP]


class Upsample(nn.Module):
    """Every pixel repeated to a square of factor x factor."""

    def __init__(self, factor: int):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.factor, mode="nearest")


class ReflectionPad(nn.Module):
    """The picture continued by its mirror images, `padding` pixels up and to the left, and below and
    to the right as far as the next size that is a multiple of `multiple`, and `padding` more.
    """

    def __init__(self, padding: int, multiple: int):
        super().__init__()
        self.padding, self.multiple = padding, multiple

    def forward(self, x: Tensor) -> Tensor:
        for axis in (2, 3):
            size = x.shape[axis]
            before, after = self.padding, self.padding + -size % self.multiple
            if after < size:
                pads = (0, 0, before, after) if axis == 2 else (before, after, 0, 0)
                x = F.pad(x, pads, mode="reflect")
            else:  # smaller than its own border: back and forth between its edges
                steps = torch.arange(-before, size + after, device=x.device) % max(2 * size - 2, 1)
                x = x.index_select(axis, torch.minimum(steps, 2 * size - 2 - steps))
        return x


class ScaledTanh(nn.Module):
    """The values of a tanh stretched to the range of a picture."""

    def __init__(self, constant: float):
        super().__init__()
        self.constant = constant

    def forward(self, x: Tensor) -> Tensor:
        return x * self.constant


class StyleNetwork(nn.Sequential):
    """(N, in_channels, H, W) float32 to (N, 3, H, W) within +-tanh_constant, for any H and W.

    in_channels is 3 (an image model: the frame) or 7 (a video model: see `fav.model.preprocessing.network_input`).
    The layers stand at the indices that they have in the authors' Lua models, so a state dict has the
    keys of their PyTorch port: `1.weight` the first convolution, `2.weight` its norm, ..., and
    `10.0.0.0.weight` the first convolution of the first residual block.
    Raises FavError for a string that is malformed or whose layers do not fit together.
    """

    def __init__(self, arch: str = DEFAULT_ARCH, in_channels: int = 7, tanh_constant: float = TANH_CONSTANT):
        specification = parse(arch)
        padding, multiple = _geometry(specification, arch)
        layers: list[nn.Module] = [ReflectionPad(padding, multiple)] if padding else []
        channels = in_channels
        for number, layer in enumerate(specification, 1):
            if layer.kind == "R" and layer.channels != channels:
                raise FavError(
                    f"architecture {arch!r}: a residual block keeps {channels} channels, got R{layer.channels}"
                )
            layers.append(_build(layer, channels))
            channels = layer.channels or channels
            if layer.kind != "R" and number < len(specification):
                layers += [InstanceNorm(channels), nn.ReLU(inplace=True)]
        if channels != 3:
            raise FavError(f"architecture {arch!r}: expected 3 channels at the end, got {channels}")
        super().__init__(*layers, nn.Tanh(), ScaledTanh(tanh_constant))
        self.arch, self.in_channels, self.tanh_constant = arch, in_channels, tanh_constant
        self.padding, self.multiple = padding, multiple

    def forward(self, x: Tensor) -> Tensor:
        """As the layers one after the other, but an upsampling waits for the convolution that needs it:
        the mean and variance of repeated pixels are those of the pixels themselves.
        """
        height, width = x.shape[2:]
        if not self.padding:
            x = ReflectionPad(0, self.multiple)(x)
        factor = 1
        for layer in self:
            if isinstance(layer, Upsample):
                factor *= layer.factor
            elif factor > 1 and isinstance(layer, nn.Conv2d) and layer.stride == (1, 1):
                x, factor = fused_upsample_conv(x, layer, factor), 1
            elif factor > 1 and isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, ResidualBlock)):
                x, factor = layer(Upsample(factor)(x)), 1
            else:
                x = layer(x)
        return Upsample(factor)(x)[..., :height, :width] if factor > 1 else x[..., :height, :width]


def _geometry(specification: list[Layer], arch: str) -> tuple[int, int]:
    """Pixels of the frame that the residual blocks eat on each side, and the total stride."""
    scale, multiple, eaten = Fraction(1), 1, Fraction(0)
    for layer in specification:
        if layer.kind == "R":
            eaten += _CROP * scale
        scale = scale * layer.stride if layer.kind == "c" else scale / layer.stride
        multiple = math.lcm(multiple, scale.numerator)
        if multiple > MAX_STRIDE or scale.denominator > 4:
            raise FavError(
                f"architecture {arch[:200]!r}: expected pictures of 1/{MAX_STRIDE} to 4 times the frame on the way"
            )
    if scale != 1:
        raise FavError(
            f"architecture {arch!r}: expected a picture of the size of the frame, got {1 / scale} times that"
        )
    return math.ceil(eaten), multiple


def _build(layer: Layer, channels: int) -> nn.Module:
    reach = layer.kernel // 2
    if layer.kind == "U":
        return Upsample(layer.stride)
    if layer.kind == "R":
        return ResidualBlock(channels)
    if layer.kind == "f":
        return nn.ConvTranspose2d(channels, layer.channels, layer.kernel, layer.stride, reach, layer.stride - 1)
    return nn.Conv2d(channels, layer.channels, layer.kernel, layer.stride, reach)


def fused_upsample_conv(x: Tensor, conv: nn.Conv2d, factor: int) -> Tensor:
    """`conv(Upsample(factor)(x))` without the enlarged picture, for an odd square kernel of stride 1.

    A kernel of 9 over pixels repeated twice meets 5 different pixels, whatever the phase: one 5x5
    convolution of the small picture gives the four phases (the sub-pixel convolution of Shi et al.
    2016), for a third of the work and, on a CPU, a twentieth of the time of a 9x9 kernel with 3 outputs.
    """
    height, width = x.shape[2:]
    met = pixels_met(conv.kernel_size[0], factor)
    nearest, size = met[0][0], max(pixels[-1] - pixels[0] for pixels in met) + 1
    fold = torch.stack([meeting(pixels, size) for pixels in met]).to(x)
    weight = torch.einsum("pit,qju,octu->pqocij", fold, fold, conv.weight).flatten(0, 2)
    before, after = -nearest, met[-1][0] + size - 1
    small = F.pad(x, (before, after, before, after))
    # Pixels with their channels side by side, as in channels_last: whole pixels are moved, and no other copy is made.
    phases = F.conv2d(small, weight, conv.bias.repeat(factor**2)).permute(0, 2, 3, 1).unflatten(3, (factor, factor, -1))
    starts = [pixels[0] - nearest for pixels in met]
    rows = [
        torch.stack(
            [phases[:, top : top + height, left : left + width, p, q] for q, left in enumerate(starts)], 3
        ).flatten(2, 3)
        for p, top in enumerate(starts)
    ]
    return torch.stack(rows, 2).flatten(1, 2).permute(0, 3, 1, 2)


def pixels_met(kernel: int, factor: int) -> list[list[int]]:
    """For each phase of a picture enlarged by `factor`: the pixel of the small picture that each tap of a centred kernel meets,
    counted from the one that the phase belongs to."""
    return [[(phase + tap - kernel // 2) // factor for tap in range(kernel)] for phase in range(factor)]


def meeting(pixels: list[int], size: int) -> Tensor:
    """(size, taps), 1 where a tap meets a pixel, counted from the first that is met; a kernel times it is folded."""
    matrix = torch.zeros(size, len(pixels))
    matrix[[pixel - pixels[0] for pixel in pixels], range(len(pixels))] = 1
    return matrix
