"""The style network of Fast Artistic Videos, built from an architecture string: the authors' entries, and some of our own.

Sources: Ruder, Dosovitskiy, Brox, "Artistic style transfer for videos and spherical images" (2018);
Johnson, Alahi, Fei-Fei, "Perceptual losses for real-time style transfer" (2016), whose string this is.
Sub-pixel convolutions: Shi et al. (2016), with the initial weights of Aitken et al. (2017). Separable blocks: Liu et al.,
"A ConvNet for the 2020s" (2022).
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fav.errors import FavError
from fav.model.architecture import (
    CROP,
    DEFAULT_ARCH,
    EDGE,
    FIXED_NORMS,
    LINEAR,
    PADDINGS,
    SCALED,
    Layer,
    Padding,
    body,
    geometry,
    parse,
)

TANH_CONSTANT = 150.0
EPSILON = 1e-5
# By so many grey levels is the rim of a margin brighter: where all of a frame has one color, the norms have that to scale by.
# Without any spread they would make a picture of rounding errors. Zeros behind the margin, as much darker or brighter as the
# frame is, did that as well, but networks learnt to paint a frame along the edges from them.
RIM = 1.0
PUBLISHED = "cfRUBAL"  # kinds of layers that the authors' and other published programs have
_SQUARED = 1 << 22  # values squared at a time: in larger blocks, fresh memory costs more than the sum


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
        squares = reduce(torch.add, (band.square().sum((2, 3), keepdim=True) for band in bands))
        scale = self.weight[:, None, None] * (squares / x[0, 0].numel() + EPSILON).rsqrt()
        return torch.addcmul(self.bias[:, None, None], x, scale, out=out)


class Affine(nn.Module):
    """Every channel scaled and shifted: what batch normalization is once its statistics are fixed."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (value[:, None, None].to(x.dtype) for value in (self.weight, self.bias))
        return torch.addcmul(bias, x, weight)


class ResidualBlock(nn.Sequential):
    """Two 3x3 convolutions beside a shortcut; valid ones eat 2 pixels a side (and the shortcut is cropped as much), with a
    `mode` of padding the size stays. `rectified`: a ReLU follows the sum."""

    def __init__(
        self,
        channels: int,
        dilation: int = 1,
        mode: Padding | None = None,
        rectified: bool = False,
        norm: type[nn.Module] = InstanceNorm,
    ):
        branch = nn.Sequential(
            _convolution(channels, channels, 3, dilation=dilation, mode=mode),
            norm(channels),
            nn.ReLU(inplace=True),
            _convolution(channels, channels, 3, dilation=dilation, mode=mode),
            norm(channels),
        )
        super().__init__(nn.Sequential(branch))  # nested as ConcatTable(branch, shortcut) is, for its keys
        self.crop = 0 if mode else CROP * dilation
        self.rectified = rectified

    @property
    def branch(self) -> nn.Sequential:
        """The convolutions beside the shortcut."""
        return cast(nn.Sequential, cast(nn.Sequential, self[0])[0])

    def forward(self, input: Tensor) -> Tensor:
        branch = self.branch(input)
        total = branch + (input[..., self.crop : -self.crop, self.crop : -self.crop] if self.crop else input)
        return total.relu() if self.rectified else total


class SeparableBlock(nn.Sequential):
    """A convolution of each channel by itself, a norm, and two 1x1 convolutions with `expansion` times the channels between
    them, beside a shortcut; the size stays."""

    def __init__(self, channels: int, expansion: int, kernel: int):
        super().__init__(
            _convolution(channels, channels, kernel, groups=channels, mode="replicate"),
            InstanceNorm(channels),
            nn.Conv2d(channels, expansion * channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(expansion * channels, channels, 1),
        )

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + input


class Detour(nn.Sequential):
    """Layers whose result is added to what they began with: smaller pictures, which see farther, beside the larger one."""

    def forward(self, input: Tensor) -> Tensor:
        return run_layers(self, input) + input


class SubPixel(nn.Sequential):
    """A convolution whose channels then become squares of factor x factor pixels.

    All pixels of a square begin with the same weights (Aitken et al. 2017), so that there is no lattice to be unlearnt.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int, factor: int, edge: bool):
        mode: Padding = "replicate" if edge else "zeros"
        super().__init__(_convolution(channels, factor**2 * out_channels, kernel, mode=mode))
        self.factor = factor
        with torch.no_grad():
            for value in self[0].parameters():
                value.copy_(value[:: factor**2].repeat_interleave(factor**2, 0))

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_shuffle(self[0](input), self.factor)


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

    A padding that is a `margin`, still there when the picture is painted, counts in that multiple, and its outermost pixels are
    `RIM` grey levels brighter.
    """

    def __init__(self, padding: int, multiple: int, margin: int = 0):
        super().__init__()
        self.padding, self.multiple, self.margin = padding, multiple, margin

    def pads(self, size: int) -> tuple[int, int]:
        """The pixels before and behind `size` pixels."""
        return self.padding, self.padding + -(size + 2 * self.margin) % self.multiple

    def forward(self, x: Tensor) -> Tensor:
        for axis in (2, 3):
            size = x.shape[axis]
            before, after = self.pads(size)
            if after < size:
                pads = (0, 0, before, after) if axis == 2 else (before, after, 0, 0)
                x = F.pad(x, pads, mode="reflect")
            else:  # smaller than its own border: back and forth between its edges
                steps = torch.arange(-before, size + after, device=x.device) % max(2 * size - 2, 1)
                x = x.index_select(axis, torch.minimum(steps, 2 * size - 2 - steps))
        if not self.margin:
            return x
        inside = x.new_zeros(x.shape[2] - 2, x.shape[3] - 2)
        return x + F.pad(inside, (1, 1, 1, 1), value=RIM)


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
    The picture is `padding` pixels larger on each side than the frame, and so much that `multiple` divides its sides;
    `margin` of these pixels are left when it is painted, and cut off.
    Raises FavError for a string that is malformed or whose layers do not fit together.
    """

    def __init__(self, arch: str = DEFAULT_ARCH, in_channels: int = 7, tanh_constant: float = TANH_CONSTANT):
        specification = parse(arch)
        edge = specification[0].kind == EDGE
        padding, multiple = geometry(specification, arch)
        margin, period = padding if edge else 0, multiple
        if all(layer.kind in PUBLISHED for layer in specification):
            multiple = (
                1  # an odd side passes a strided convolution as in the authors' program: one pixel more comes out
            )
        layers: list[nn.Module] = [ReflectionPad(padding, multiple, margin)] if padding else []
        kinds = [layer.kind for layer in specification]
        norm = Affine if FIXED_NORMS in kinds else InstanceNorm
        built, channels = _layers(body(specification), in_channels, edge, arch, norm)
        if channels != 3:
            raise FavError(f"architecture {arch!r}: expected 3 channels at the end, got {channels}")
        if SCALED in kinds[:2]:
            layers.append(Affine(in_channels))
        if LINEAR not in kinds:
            built += [nn.Tanh(), ScaledTanh(tanh_constant)]
        if kinds[-1] == SCALED:
            built.append(Affine(3))
        super().__init__(*layers, *built)
        self.arch, self.in_channels, self.tanh_constant = arch, in_channels, tanh_constant
        self.padding, self.multiple, self.margin = padding, multiple, margin
        self.period = period  # pixels at which what an upsampling weaves repeats
        self.smallest = (
            max(_mirrored(self), default=0) * period or 1
        )  # side of a frame: there must be something to mirror

    def forward(self, input: Tensor) -> Tensor:
        """As the layers one after the other, but for what `run_layers` puts off."""
        x = input
        height, width = x.shape[2:]
        if not self.padding:
            x = ReflectionPad(0, self.multiple)(x)
        x, cut = run_layers(self, x), self.margin
        return x[..., cut : cut + height, cut : cut + width]


def run_layers(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """As the layers one after the other, but an upsampling waits for the convolution that needs it:
    the mean and variance of repeated pixels are those of the pixels themselves.
    """
    factor = 1
    for layer in layers:
        if isinstance(layer, Upsample):
            factor *= layer.factor
        elif factor > 1 and isinstance(layer, nn.Conv2d) and can_fuse(layer, factor):
            x, factor = fused_upsample_conv(x, layer, factor), 1
        elif factor > 1 and not isinstance(layer, POINTWISE):
            x, factor = layer(Upsample(factor)(x)), 1
        else:
            x = layer(x)
    return Upsample(factor)(x) if factor > 1 else x


POINTWISE = (InstanceNorm, Affine, nn.ReLU, nn.Tanh, ScaledTanh)  # what is the same before an upsampling and behind it


def _layers(
    specification: Sequence[Layer], channels: int, edge: bool, arch: str, norm: type[nn.Module] = InstanceNorm
) -> tuple[list[nn.Module], int]:
    """The modules of layers, and the channels that come out. Norms are at the end of what is not a block: a network's last layer
    has none, a detour's no ReLU, and with `edge` an upsampling has neither."""
    layers: list[nn.Module] = []
    for layer in specification:
        if layer.kind in "RS" and layer.channels != channels:
            raise FavError(f"architecture {arch!r}: a residual block keeps {channels} channels, got {layer}")
        if layer.kind == "[":
            inner, after = _layers(layer.inner, channels, edge, arch, norm)
            if after != channels:
                raise FavError(f"architecture {arch!r}: a detour keeps {channels} channels, got {after} from {layer}")
            layers.append(Detour(*inner, *([] if layer.inner[-1].kind in "RS[" else [norm(channels)])))
            continue
        layers.append(_build(layer, channels, edge, norm))
        channels = layer.channels or channels
        if layer is not specification[-1] and layer.kind not in ("RSU" if edge else "RS") and not layer.plain:
            layers += [norm(channels), nn.ReLU(inplace=True)]
    return layers, channels


def _build(layer: Layer, channels: int, edge: bool, norm: type[nn.Module]) -> nn.Module:
    reach = layer.kernel // 2
    mode: Padding | None = "replicate" if edge else PADDINGS.get(layer.padding)
    match layer.kind:
        case "U":
            return Upsample(layer.stride)
        case "R":
            return ResidualBlock(channels, layer.dilation, mode, layer.rectified, norm)
        case "S":
            return SeparableBlock(channels, layer.expansion, layer.kernel)
        case "p":
            return SubPixel(channels, layer.channels, layer.kernel, layer.stride, edge)
        case "f":
            return nn.ConvTranspose2d(channels, layer.channels, layer.kernel, layer.stride, reach, layer.stride - 1)
    return _convolution(channels, layer.channels, layer.kernel, layer.stride, mode=mode or "zeros")


def _convolution(
    channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    mode: Padding | None = None,
) -> nn.Conv2d:
    """A convolution whose input is continued in a mode of PyTorch, or not at all (None)."""
    return nn.Conv2d(
        channels,
        out_channels,
        kernel,
        stride,
        kernel // 2 * dilation if mode else 0,
        dilation,
        groups,
        padding_mode=mode if mode and kernel > 1 else "zeros",
    )


def _mirrored(network: nn.Module) -> Iterator[int]:
    """The pixels that each convolution with a mirrored input needs at least."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "reflect":
            yield layer.kernel_size[0] // 2 * layer.dilation[0] + 1


def can_fuse(conv: nn.Conv2d, factor: int) -> bool:
    """Whether `fused_upsample_conv` is exact. The mirror image of pixels repeated `factor` times is their edge repeated, but
    only as far as the first of them goes."""
    return conv.stride == (1, 1) and (conv.padding_mode != "reflect" or conv.kernel_size[0] // 2 < factor)


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
    # Repeated pixels are continued by their edge as the pixels themselves are.
    small = F.pad(x, (before, after, before, after), "constant" if conv.padding_mode == "zeros" else "replicate")
    # Pixels with their channels side by side, as in channels_last: whole pixels are moved, and no other copy is made.
    phases = (
        F.conv2d(small, weight, bias_of(conv).repeat(factor**2)).permute(0, 2, 3, 1).unflatten(3, (factor, factor, -1))
    )
    starts = [pixels[0] - nearest for pixels in met]
    rows = [
        torch.stack(
            [phases[:, top : top + height, left : left + width, p, q] for q, left in enumerate(starts)], 3
        ).flatten(2, 3)
        for p, top in enumerate(starts)
    ]
    return torch.stack(rows, 2).flatten(1, 2).permute(0, 3, 1, 2)


def bias_of(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """The bias (channels,) of a convolution of a style network, all of which have one."""
    if layer.bias is None:
        raise ValueError(f"expected a convolution with a bias, got {layer} without one")
    return layer.bias


def pixels_met(kernel: int, factor: int) -> list[list[int]]:
    """For each phase of a picture enlarged by `factor`: the pixel of the small picture that each tap of a centred kernel meets,
    counted from the one that the phase belongs to."""
    return [[(phase + tap - kernel // 2) // factor for tap in range(kernel)] for phase in range(factor)]


def meeting(pixels: list[int], size: int) -> Tensor:
    """(size, taps), 1 where a tap meets a pixel, counted from the first that is met; a kernel times it is folded."""
    matrix = torch.zeros(size, len(pixels))
    matrix[[pixel - pixels[0] for pixel in pixels], range(len(pixels))] = 1
    return matrix
