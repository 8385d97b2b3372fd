"""Detect the layout of published image models by the keys of their state dicts, and convert them to StyleNetwork.

The layouts are those of pytorch/examples (fast_neural_style), rrmina/fast-neural-style-pytorch, safwankdb/ReCoNet-PyTorch
and EmptySamurai/pytorch-reconet.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fav.errors import FavError
from fav.model.architecture import Layer, join
from fav.model.network import TANH_CONSTANT
from fav.model.preprocessing import MEAN_BGR

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # unused by an instance norm


@dataclass(frozen=True)
class ValueRange:
    """The format of a model's input and output.

    Attributes:
        description: For users.
        rgb: Whether the channels are RGB; otherwise BGR.
        scale: An input value is a level, 0 to 255, times `scale` plus `shift`.
        shift: See `scale`.
        tanh: The factor of a tanh at the end; None: there is no tanh, and the output has the format of the input.
        out_shift: With a tanh, a level is the output plus `out_shift`.
    """

    description: str
    rgb: bool = True
    scale: float = 1.0
    shift: float = 0.0
    tanh: float | None = None
    out_shift: float = 0.0


@dataclass(frozen=True)
class PublishedLayout:
    """A layout of state dicts.

    Attributes:
        name: As in `--layout`.
        description: For users.
        key: A key that identifies the layout.
        values: The format of input and output.
        build: Adds all layers to a builder.
    """

    name: str
    description: str
    key: str
    values: ValueRange
    build: "Callable[[_Builder], None]"


@dataclass(frozen=True)
class PublishedModel:
    """An image model, converted to the architecture and weights of a StyleNetwork.

    Attributes:
        layout: The name of its layout.
        description: Of the layout.
        values: Description of its original input and output.
        arch: The architecture string.
        tanh_constant: Of StyleNetwork.
        state: The state dict of StyleNetwork.
    """

    layout: str
    description: str
    values: str
    arch: str
    tanh_constant: float
    state: dict[str, Tensor]


@dataclass
class _Builder:
    """Moves layers from a state dict to the layers and the state dict of a StyleNetwork.

    Attributes:
        source: The weights that were not moved yet.
        layers: The layers so far.
        state: The state dict so far.
        index: The index of the next layer; index 0 is the scale and shift of the frame.
        convolutions: The keys of all convolutions.
    """

    source: dict[str, Tensor]
    layers: list[Layer] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict)
    index: int = 1
    convolutions: list[str] = field(default_factory=list)

    def count(self, pattern: str) -> int:
        """Return how many consecutive numbers from 0 exist as {} in a pattern of keys."""
        number = 0
        while any(key.startswith(pattern.format(number)) for key in self.source):
            number += 1
        return number

    def convolution(self, key: str, norm: str | None, stride: int = 1, transposed: bool = False) -> None:
        """Add a convolution with reflection padding, or a transposed one. With a `norm`, the norm and a ReLU follow."""
        weight = self._take(key, str(self.index))
        self.convolutions.append(str(self.index))
        channels, kernel = weight.shape[1 if transposed else 0], weight.shape[-1]
        self.layers.append(
            Layer("f" if transposed else "c", kernel, stride, channels, padding="" if transposed else "m")
        )
        self.index += 1
        if norm:
            self._take(norm, str(self.index))
            self.index += 2

    def block(self, first: tuple[str, str], second: tuple[str, str], rectified: bool = False) -> None:
        """Add a residual block. `first` and `second` are the keys of a convolution and its norm."""
        keys = zip((*first, *second), (0, 1, 3, 4))
        channels = [self._take(key, f"{self.index}.0.0.{number}").shape[0] for key, number in keys]
        self.layers.append(Layer("R", 3, 1, channels[0], padding="m", rectified=rectified))
        self.index += 1

    def upsampling(self) -> None:
        """Add nearest-neighbor upsampling by 2."""
        self.layers.append(Layer("U", 1, 2, 0, plain=True))
        self.index += 1

    def _take(self, key: str, target: str) -> Tensor:
        """Move the weight and the bias of a layer. Returns the weight; raises FavError if it is missing or invalid."""
        names = {"weight": "scale", "bias": "shift"}  # with the names of norms in first versions
        for name, old_name in names.items():
            found = next((one for one in (f"{key}.{name}", f"{key}.{old_name}") if one in self.source), None)
            if found is None:
                raise FavError(f"layer {key}.{name}: expected its weights, got none")
            self.state[f"{target}.{name}"] = self.source.pop(found)
        for name in STATISTICS:
            self.source.pop(f"{key}.{name}", None)
        weight = self.state[f"{target}.weight"]
        for name in names:
            value = self.state[f"{target}.{name}"]
            if not isinstance(value, Tensor) or value.layout != torch.strided or not value.is_floating_point():
                kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
                raise FavError(f"weights {key}.{name}: expected floating-point numbers, got {kind}")
        if weight.ndim not in (1, 4) or not weight.numel():
            raise FavError(f"layer {key}.weight: expected a convolution or a norm, got {tuple(weight.shape)}")
        return weight


def _build_transformer_net(builder: _Builder) -> None:
    _build_numbered_layers(builder, [f"in{number}" for number in range(1, 6)])


def _build_numbered_layers(builder: _Builder, norms: list[str]) -> None:
    """Add three convolutions, blocks, and three convolutions with upsampling. The last convolution has no norm."""
    for number, (stride, norm) in enumerate(zip((1, 2, 2), norms), 1):
        builder.convolution(f"conv{number}.conv2d", norm, stride)
    _build_numbered_blocks(builder)
    for number, norm in enumerate(norms[3:], 1):
        builder.upsampling()
        builder.convolution(f"deconv{number}.conv2d", norm)
    builder.convolution("deconv3.conv2d", None)


def _build_numbered_blocks(builder: _Builder) -> None:
    number = 1
    while f"res{number}.conv1.conv2d.weight" in builder.source:
        prefix = f"res{number}"
        builder.block((f"{prefix}.conv1.conv2d", f"{prefix}.in1"), (f"{prefix}.conv2.conv2d", f"{prefix}.in2"))
        number += 1


def _build_rrmina(builder: _Builder) -> None:
    for number, stride in ((0, 1), (2, 2), (4, 2)):
        builder.convolution(f"ConvBlock.{number}.conv_layer", f"ConvBlock.{number}.norm_layer", stride)
    for number in range(builder.count("ResidualBlock.{}.")):
        prefix = f"ResidualBlock.{number}"
        first, second = ((f"{prefix}.conv{one}.conv_layer", f"{prefix}.conv{one}.norm_layer") for one in (1, 2))
        builder.block(first, second)
    for number in (0, 2):
        builder.convolution(
            f"DeconvBlock.{number}.conv_transpose", f"DeconvBlock.{number}.norm_layer", 2, transposed=True
        )
    builder.convolution("DeconvBlock.4.conv_layer", None)


def _build_reconet(builder: _Builder) -> None:
    names = [f"conv{number}" for number in (1, 2, 3)] + [f"deconv{number}" for number in (1, 2)]
    _build_numbered_layers(builder, [f"{name}.instance" for name in names])
    last = builder.convolutions[-1]
    for name in ("weight", "bias"):
        builder.state[f"{last}.{name}"] = (
            builder.state[f"{last}.{name}"] / 255
        )  # the model divides by 255 before its tanh


def _build_reconet_wide(builder: _Builder) -> None:
    def keys(prefix: str) -> tuple[str, str]:
        return f"{prefix}.layers.0.layers.1", f"{prefix}.layers.1"

    for number, stride in ((0, 1), (1, 2), (2, 2)):
        builder.convolution(*keys(f"encoder.layers.{number}"), stride)
    number = 3
    while f"encoder.layers.{number}.branch.0.layers.1.weight" in builder.source:
        prefix = f"encoder.layers.{number}.branch"
        builder.block(keys(f"{prefix}.0"), keys(f"{prefix}.1"), rectified=True)
        number += 1
    for number in (1, 3):
        builder.upsampling()
        builder.convolution(*keys(f"decoder.layers.{number}"))
    builder.convolution("decoder.layers.4.layers.0.layers.1", None)


_EXAMPLES = "fast_neural_style of pytorch/examples (TransformerNet)"
_RRMINA = "fast-neural-style-pytorch of rrmina (TransformerNetwork)"
LAYOUTS = [
    PublishedLayout(
        "transformer-net",
        _EXAMPLES,
        "in1.weight",
        ValueRange("RGB, 0 to 255, in and out"),
        _build_transformer_net,
    ),
    PublishedLayout(
        "transformer-net-bgr",
        f"{_EXAMPLES}, first version",
        "in1.scale",
        ValueRange("BGR, 0 to 255, in and out", rgb=False),
        _build_transformer_net,
    ),
    PublishedLayout(
        "rrmina",
        _RRMINA,
        "ConvBlock.0.conv_layer.weight",
        ValueRange("BGR, 0 to 255, in and out", rgb=False),
        _build_rrmina,
    ),
    PublishedLayout(
        "rrmina-tanh",
        f"{_RRMINA}, with a tanh",
        "ConvBlock.0.conv_layer.weight",
        ValueRange("BGR, 0 to 255, in; BGR, tanh times 150, out", rgb=False, tanh=150),
        _build_rrmina,
    ),
    PublishedLayout(
        "reconet",
        "ReCoNet-PyTorch of safwankdb (ReCoNet)",
        "conv1.instance.weight",
        ValueRange("RGB, 0 to 1, in; RGB, tanh times 150 plus 127.5, out", scale=1 / 255, tanh=150, out_shift=127.5),
        _build_reconet,
    ),
    PublishedLayout(
        "reconet-wide",
        "pytorch-reconet of EmptySamurai (ReCoNet)",
        "encoder.layers.0.layers.1.weight",
        ValueRange("RGB, -1 to 1, in and out (tanh)", scale=2 / 255, shift=-1, tanh=127.5, out_shift=127.5),
        _build_reconet_wide,
    ),
]
# Models that are not supported, by a key that identifies them.
UNSUPPORTED = {
    "model.0.block.1.weight": "Fast-Neural-Style-Transfer of eriklindernoren, with a ReLU at its end: not supported",
    "features.0.weight": "a classifier such as VGG or SqueezeNet (the loss network, not the style)",
    "model.1.weight": "a CycleGAN generator of residual blocks: not supported; export it as ONNX",
    "model.model.1.weight": "a CycleGAN or pix2pix generator: not supported; export it as ONNX",
    "encoder.layers.0.layers.1.eps": "pytorch-reconet of EmptySamurai with filter response norms: not supported; export it as ONNX",
    "encoder.layers.0.layers.1.tau": "pytorch-reconet of EmptySamurai with filter response norms: not supported; export it as ONNX",
}


def layout_names() -> tuple[str, ...]:
    """Return the names of all layouts, as in `--layout`."""
    return tuple(layout.name for layout in LAYOUTS)


def describe_unsupported(state: Mapping[str, object]) -> str | None:
    """Describe a state dict of a known model that is not supported; None for others."""
    if "in1.scale" in state and "res1.in1.scale" in state and "res1.in2.scale" not in state:
        return "fast-neural-style of abhiskk, whose blocks have one norm: not supported"
    return next((description for key, description in UNSUPPORTED.items() if key in state), None)


def published_model(state: Mapping[str, Tensor], name: str | None = None) -> PublishedModel | None:
    """Convert a state dict of a published layout.

    Args:
        state: Weights by their keys.
        name: The layout, if the keys fit several; None: the first that fits.

    Returns:
        The model; None if the keys fit no layout.

    Raises:
        FavError: Weights of the layout are missing, or there are others.
    """
    candidates = [one for one in LAYOUTS if one.key in state]
    if name is not None:
        requested = next(one for one in LAYOUTS if one.name == name)
        if all(one.build is not requested.build for one in candidates):
            raise FavError(f"--layout {name}: expected {requested.description}, got weights of something else")
        candidates = [requested]
    if not candidates or describe_unsupported(state):
        return None
    layout = candidates[0]
    builder = _Builder(dict(state))
    layout.build(builder)
    if unused := next(iter(builder.source), None):
        raise FavError(f"layer {unused[:80]}: {layout.description} expects no such weights")
    return _convert_values(layout, builder)


def _convert_values(layout: PublishedLayout, builder: _Builder) -> PublishedModel:
    """Finish a model: convert its input and output to those of StyleNetwork, BGR levels minus the mean color."""
    values, state, mean = layout.values, builder.state, torch.from_numpy(MEAN_BGR)
    first, last = builder.convolutions[0], builder.convolutions[-1]
    if values.rgb:
        state[f"{first}.weight"] = state[f"{first}.weight"].flip(1)
        for name in ("weight", "bias"):
            state[f"{last}.{name}"] = state[f"{last}.{name}"].flip(0)
    state["0.weight"], state["0.bias"] = torch.full((3,), values.scale), mean * values.scale + values.shift
    linear = [] if values.tanh else [Layer("L", 1, 1, 0)]
    end = builder.index + (2 if values.tanh else 0)
    scale, shift = (1.0, values.out_shift) if values.tanh else (1 / values.scale, -values.shift / values.scale)
    state[f"{end}.weight"], state[f"{end}.bias"] = torch.full((3,), scale), shift - mean
    affine = Layer("A", 1, 1, 0)
    arch = join([affine, *builder.layers, *linear, affine])
    tanh_constant = values.tanh or TANH_CONSTANT
    return PublishedModel(layout.name, layout.description, values.description, arch, tanh_constant, state)


def strip_wrapper_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove the key prefixes of DataParallel and of torch.compile."""
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", str(key)): value for key, value in state.items()}
