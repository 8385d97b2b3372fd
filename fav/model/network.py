"""The style network of Fast Artistic Videos, built from an architecture string.

Sources: Ruder, Dosovitskiy, Brox, "Artistic style transfer for videos and spherical images" (2018);
Johnson, Alahi, Fei-Fei, "Perceptual losses for real-time style transfer" (2016), who defined the string.
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
# Gray levels that are added to the outermost pixels of the margin. So the norms have some variance in a frame of one color;
# otherwise they would amplify rounding errors. Zero padding has the same effect, but networks learned to draw a border
# along the edges from it.
RIM = 1.0
PUBLISHED = "cfRUBAL"  # kinds of layers in the authors' and other published programs
_CHUNK = 1 << 22  # values that are squared at once; with more, allocating memory takes longer than the sum


class InstanceNorm(nn.Module):
    """Instance normalization with scale and shift.

    It is computed in elementary steps. For channels_last, torch's kernels are slower (instance_norm), or less precise and
    dependent on the number of threads (group_norm). Without gradients it works in place: the input is overwritten.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = None if torch.is_grad_enabled() or torch.compiler.is_compiling() else x
        x = torch.sub(x, x.mean((2, 3), keepdim=True), out=out)
        chunks = x.split(max(1, _CHUNK // x[:, :, 0].numel()), 2)
        squares = reduce(torch.add, (chunk.square().sum((2, 3), keepdim=True) for chunk in chunks))
        scale = self.weight[:, None, None] * (squares / x[0, 0].numel() + EPSILON).rsqrt()
        return torch.addcmul(self.bias[:, None, None], x, scale, out=out)


class Affine(nn.Module):
    """A scale and a shift of each channel, such as batch normalization with fixed statistics."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (value[:, None, None].to(x.dtype) for value in (self.weight, self.bias))
        return torch.addcmul(bias, x, weight)


class ResidualBlock(nn.Sequential):
    """A residual block of two 3x3 convolutions.

    Without a padding `mode`, each side loses 2 pixels times `dilation`, and the shortcut is cropped. With one, the size
    is kept. `rectified`: a ReLU follows the sum.
    """

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
        super().__init__(
            nn.Sequential(branch)
        )  # nested like ConcatTable(branch, shortcut), for the same state dict keys
        self.crop = 0 if mode else CROP * dilation
        self.rectified = rectified

    @property
    def branch(self) -> nn.Sequential:
        """The layers parallel to the shortcut."""
        return cast(nn.Sequential, cast(nn.Sequential, self[0])[0])

    def forward(self, input: Tensor) -> Tensor:
        branch = self.branch(input)
        total = branch + (input[..., self.crop : -self.crop, self.crop : -self.crop] if self.crop else input)
        return total.relu() if self.rectified else total


class SeparableBlock(nn.Sequential):
    """A residual block of a depthwise convolution, a norm, and two 1x1 convolutions. The size is kept.

    Between the 1x1 convolutions there are `expansion` times as many channels.
    """

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


class ResidualBranch(nn.Sequential):
    """Layers whose output is added to their input. Inside, smaller feature maps give a larger receptive field."""

    def forward(self, input: Tensor) -> Tensor:
        return run_layers(self, input) + input


class SubPixel(nn.Sequential):
    """A sub-pixel convolution: the channels of a convolution become blocks of factor x factor pixels.

    Initially, all pixels of a block have the same weights (Aitken et al. 2017). This avoids checkerboard artifacts.
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
    """Nearest-neighbor upsampling by an integer factor."""

    def __init__(self, factor: int):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.factor, mode="nearest")


class ReflectionPad(nn.Module):
    """Reflection padding by `padding` pixels at each side.

    At the bottom and on the right, more is added until the size is a multiple of `multiple`. Without a `margin`, that is
    the size of the frame; with one, the size of the frame and the margin. The outermost pixels of a margin are RIM gray
    levels brighter. An image may be smaller than its padding.
    """

    def __init__(self, padding: int, multiple: int, margin: int = 0):
        super().__init__()
        self.padding, self.multiple, self.margin = padding, multiple, margin

    def pads(self, size: int) -> tuple[int, int]:
        """Return the padding before and after `size` pixels."""
        return self.padding, self.padding + -(size + 2 * self.margin) % self.multiple

    def forward(self, x: Tensor) -> Tensor:
        for axis in (2, 3):
            size = x.shape[axis]
            before, after = self.pads(size)
            if after < size:
                pads = (0, 0, before, after) if axis == 2 else (before, after, 0, 0)
                x = F.pad(x, pads, mode="reflect")
            else:  # the image is smaller than its padding, so it is reflected several times
                positions = torch.arange(-before, size + after, device=x.device) % max(2 * size - 2, 1)
                x = x.index_select(axis, torch.minimum(positions, 2 * size - 2 - positions))
        if not self.margin:
            return x
        inside = x.new_zeros(x.shape[2] - 2, x.shape[3] - 2)
        return x + F.pad(inside, (1, 1, 1, 1), value=RIM)


class ScaledTanh(nn.Module):
    """A constant factor that scales the output of a tanh to gray levels."""

    def __init__(self, constant: float):
        super().__init__()
        self.constant = constant

    def forward(self, x: Tensor) -> Tensor:
        return x * self.constant


class StyleNetwork(nn.Sequential):
    """A style network. It accepts frames of any size.

    The layers have the same indices as in the authors' Torch7 models. So a state dict has the keys of their PyTorch port:
    `1.weight` is the first convolution, `2.weight` its norm, and `10.0.0.0.weight` the first convolution of the first
    residual block.

    Attributes:
        arch: The architecture string.
        in_channels: 3 for an image model, 7 for a video model (`fav.model.preprocessing.network_input`).
        tanh_constant: The factor of the tanh, in gray levels.
        padding: Pixels that are added at each side of the frame.
        multiple: The padded sides are multiples of it.
        margin: Pixels of the padding that remain in the output, and are cropped.
        period: The total stride, in pixels. Checkerboard artifacts repeat with it.
        min_side: Minimum side of a frame, in pixels.

    Shape:
        Input (N, in_channels, H, W) float32. Output (N, 3, H, W) within +-tanh_constant.
    """

    def __init__(self, arch: str = DEFAULT_ARCH, in_channels: int = 7, tanh_constant: float = TANH_CONSTANT):
        """Build the network with random weights. Raises FavError if the string is invalid or layers do not fit."""
        specification = parse(arch)
        edge = specification[0].kind == EDGE
        padding, multiple = geometry(specification, arch)
        margin, period = padding if edge else 0, multiple
        if all(layer.kind in PUBLISHED for layer in specification):
            multiple = 1  # odd sides are not padded, as in the authors' program
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
        self.period = period
        self.min_side = max(_reflection_sizes(self), default=0) * period or 1

    def forward(self, input: Tensor) -> Tensor:
        """Run all layers, with fused upsampling (`run_layers`)."""
        x = input
        height, width = x.shape[2:]
        if not self.padding:
            x = ReflectionPad(0, self.multiple)(x)
        x, crop = run_layers(self, x), self.margin
        return x[..., crop : crop + height, crop : crop + width]


def run_layers(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Run layers in order, but delay each upsampling until the next convolution, and fuse both.

    The layers between them give the same result on the small image: repeated pixels have the same mean and variance.
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


POINTWISE = (InstanceNorm, Affine, nn.ReLU, nn.Tanh, ScaledTanh)  # layers that commute with an upsampling


def _layers(
    specification: Sequence[Layer], channels: int, edge: bool, arch: str, norm: type[nn.Module] = InstanceNorm
) -> tuple[list[nn.Module], int]:
    """Build the modules of layers. Returns them and the number of output channels.

    A norm and a ReLU follow each layer that is not a block. Exceptions: the last layer of the network has neither, the
    last layer of a branch has no ReLU, and with `edge`, an upsampling has neither.
    """
    layers: list[nn.Module] = []
    for layer in specification:
        if layer.kind in "RS" and layer.channels != channels:
            raise FavError(f"architecture {arch!r}: a residual block keeps {channels} channels, got {layer}")
        if layer.kind == "[":
            inner, after = _layers(layer.inner, channels, edge, arch, norm)
            if after != channels:
                raise FavError(f"architecture {arch!r}: a branch keeps {channels} channels, got {after} from {layer}")
            layers.append(ResidualBranch(*inner, *([] if layer.inner[-1].kind in "RS[" else [norm(channels)])))
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
    """Build a convolution with a padding mode of PyTorch, or without padding (None)."""
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


def _reflection_sizes(network: nn.Module) -> Iterator[int]:
    """Yield the minimum input size of each convolution with reflection padding."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "reflect":
            yield layer.kernel_size[0] // 2 * layer.dilation[0] + 1


def can_fuse(conv: nn.Conv2d, factor: int) -> bool:
    """Whether `fused_upsample_conv` is exact for this convolution.

    It uses replicate padding. For repeated pixels, reflection padding equals replicate padding within the first pixel.
    """
    return conv.stride == (1, 1) and (conv.padding_mode != "reflect" or conv.kernel_size[0] // 2 < factor)


def fused_upsample_conv(x: Tensor, conv: nn.Conv2d, factor: int) -> Tensor:
    """Compute `conv(Upsample(factor)(x))` without the upsampled image, for an odd square kernel of stride 1.

    The upsampled image has factor x factor phases: positions modulo `factor`. A 9x9 kernel on pixels repeated twice
    depends on 5x5 pixels only, in each phase. So one 5x5 convolution of the small image gives all four phases, as in the
    sub-pixel convolution of Shi et al. (2016). This is a third of the work; on a CPU, a 9x9 kernel with 3 outputs takes a
    twentieth of the time.
    """
    height, width = x.shape[2:]
    sources = source_pixels(conv.kernel_size[0], factor)
    nearest, size = sources[0][0], max(pixels[-1] - pixels[0] for pixels in sources) + 1
    fold = torch.stack([fold_matrix(pixels, size) for pixels in sources]).to(x)
    weight = torch.einsum("pit,qju,octu->pqocij", fold, fold, conv.weight).flatten(0, 2)
    before, after = -nearest, sources[-1][0] + size - 1
    small = F.pad(x, (before, after, before, after), "constant" if conv.padding_mode == "zeros" else "replicate")
    # With channels last, as in memory, whole pixels are moved and no other copy is made.
    phases = (
        F.conv2d(small, weight, bias_of(conv).repeat(factor**2)).permute(0, 2, 3, 1).unflatten(3, (factor, factor, -1))
    )
    starts = [pixels[0] - nearest for pixels in sources]
    rows = [
        torch.stack(
            [phases[:, top : top + height, left : left + width, p, q] for q, left in enumerate(starts)], 3
        ).flatten(2, 3)
        for p, top in enumerate(starts)
    ]
    return torch.stack(rows, 2).flatten(1, 2).permute(0, 3, 1, 2)


def bias_of(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """Return the bias (channels,) of a convolution of a style network. Raises ValueError if it has none."""
    if layer.bias is None:
        raise ValueError(f"expected a convolution with a bias, got {layer} without one")
    return layer.bias


def source_pixels(kernel: int, factor: int) -> list[list[int]]:
    """Return, for each phase of an image upsampled by `factor`, the small image's pixel under each tap of a centered kernel.

    Pixels are counted relative to the pixel of the phase.
    """
    return [[(phase + tap - kernel // 2) // factor for tap in range(kernel)] for phase in range(factor)]


def fold_matrix(pixels: list[int], size: int) -> Tensor:
    """Return the matrix (size, taps) that sums the taps of a kernel on the same pixel. `pixels` are as in `source_pixels`."""
    matrix = torch.zeros(size, len(pixels))
    matrix[[pixel - pixels[0] for pixel in pixels], range(len(pixels))] = 1
    return matrix
