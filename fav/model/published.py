"""State dicts of published image models, told by their keys, as weights of a StyleNetwork.

Sources, by their descriptions: pytorch/examples (fast_neural_style), rrmina/fast-neural-style-pytorch,
safwankdb/ReCoNet-PyTorch, EmptySamurai/pytorch-reconet.
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

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # that an instance norm never used


@dataclass(frozen=True)
class Values:
    """How a model takes pictures and gives them: a value is a level, 0 to 255, times `scale` plus `shift`.

    `tanh`: the constant behind the tanh, from which its picture follows by `out_shift`; None: it ends without one.
    """

    words: str
    rgb: bool = True
    scale: float = 1.0
    shift: float = 0.0
    tanh: float | None = None
    out_shift: float = 0.0


@dataclass(frozen=True)
class PublishedLayout:
    """A layout of state dicts. `key` is one that all of them have, and no others."""

    name: str
    words: str
    key: str
    values: Values
    steps: "Callable[[_Builder], None]"


@dataclass(frozen=True)
class PublishedModel:
    """An image model as a StyleNetwork's: architecture, tanh constant, weights; and in words what it is, and its values."""

    layout: str
    words: str
    values: str
    arch: str
    tanh_constant: float
    state: dict[str, Tensor]


@dataclass
class _Builder:
    """Takes layers from a state dict, one after the other, and puts them down as a StyleNetwork has them."""

    source: dict[str, Tensor]
    layers: list[Layer] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict)
    index: int = 1  # behind the scale and shift of the frame
    convolutions: list[str] = field(default_factory=list)

    def count(self, pattern: str) -> int:
        """How many in a row, from the first, have keys of a pattern with {} for their number."""
        number = 0
        while any(key.startswith(pattern.format(number)) for key in self.source):
            number += 1
        return number

    def convolution(self, key: str, norm: str | None, stride: int = 1, transposed: bool = False) -> None:
        """A convolution that mirrors its input (or a transposed one), its norm and a ReLU; without a norm neither follows."""
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
        """A residual block: two pairs of a convolution and its norm."""
        keys = zip((*first, *second), (0, 1, 3, 4))
        channels = [self._take(key, f"{self.index}.0.0.{number}").shape[0] for key, number in keys]
        self.layers.append(Layer("R", 3, 1, channels[0], padding="m", rectified=rectified))
        self.index += 1

    def enlarged(self) -> None:
        """Every pixel repeated to a square of 2 x 2."""
        self.layers.append(Layer("U", 1, 2, 0, plain=True))
        self.index += 1

    def _take(self, key: str, target: str) -> Tensor:
        names = {"weight": "scale", "bias": "shift"}  # those of the norms of the first versions
        for name, former in names.items():
            found = next((one for one in (f"{key}.{name}", f"{key}.{former}") if one in self.source), None)
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


def _transformer_net(build: _Builder) -> None:
    _numbered_layers(build, [f"in{number}" for number in range(1, 6)])


def _numbered_layers(build: _Builder, norms: list[str]) -> None:
    """Three convolutions, blocks, and three convolutions behind enlargements; `norms` are those of all but the last."""
    for number, (stride, norm) in enumerate(zip((1, 2, 2), norms), 1):
        build.convolution(f"conv{number}.conv2d", norm, stride)
    _numbered_blocks(build)
    for number, norm in enumerate(norms[3:], 1):
        build.enlarged()
        build.convolution(f"deconv{number}.conv2d", norm)
    build.convolution("deconv3.conv2d", None)


def _numbered_blocks(build: _Builder) -> None:
    number = 1
    while f"res{number}.conv1.conv2d.weight" in build.source:
        of = f"res{number}"
        build.block((f"{of}.conv1.conv2d", f"{of}.in1"), (f"{of}.conv2.conv2d", f"{of}.in2"))
        number += 1


def _rrmina(build: _Builder) -> None:
    for number, stride in ((0, 1), (2, 2), (4, 2)):
        build.convolution(f"ConvBlock.{number}.conv_layer", f"ConvBlock.{number}.norm_layer", stride)
    for number in range(build.count("ResidualBlock.{}.")):
        of = f"ResidualBlock.{number}"
        first, second = ((f"{of}.conv{one}.conv_layer", f"{of}.conv{one}.norm_layer") for one in (1, 2))
        build.block(first, second)
    for number in (0, 2):
        build.convolution(
            f"DeconvBlock.{number}.conv_transpose", f"DeconvBlock.{number}.norm_layer", 2, transposed=True
        )
    build.convolution("DeconvBlock.4.conv_layer", None)


def _reconet(build: _Builder) -> None:
    names = [f"conv{number}" for number in (1, 2, 3)] + [f"deconv{number}" for number in (1, 2)]
    _numbered_layers(build, [f"{name}.instance" for name in names])
    last = build.convolutions[-1]
    for name in ("weight", "bias"):
        build.state[f"{last}.{name}"] = build.state[f"{last}.{name}"] / 255  # the tanh is of a 255th of it


def _reconet_wide(build: _Builder) -> None:
    def pair(of: str) -> tuple[str, str]:
        return f"{of}.layers.0.layers.1", f"{of}.layers.1"

    for number, stride in ((0, 1), (1, 2), (2, 2)):
        build.convolution(*pair(f"encoder.layers.{number}"), stride)
    number = 3
    while f"encoder.layers.{number}.branch.0.layers.1.weight" in build.source:
        of = f"encoder.layers.{number}.branch"
        build.block(pair(f"{of}.0"), pair(f"{of}.1"), rectified=True)
        number += 1
    for number in (1, 3):
        build.enlarged()
        build.convolution(*pair(f"decoder.layers.{number}"))
    build.convolution("decoder.layers.4.layers.0.layers.1", None)


_EXAMPLES = "fast_neural_style of pytorch/examples (TransformerNet)"
_RRMINA = "fast-neural-style-pytorch of rrmina (TransformerNetwork)"
LAYOUTS = [
    PublishedLayout(
        "transformer-net",
        _EXAMPLES,
        "in1.weight",
        Values("RGB, 0 to 255, in and out"),
        _transformer_net,
    ),
    PublishedLayout(
        "transformer-net-bgr",
        f"{_EXAMPLES}, first version",
        "in1.scale",
        Values("BGR, 0 to 255, in and out", rgb=False),
        _transformer_net,
    ),
    PublishedLayout(
        "rrmina",
        _RRMINA,
        "ConvBlock.0.conv_layer.weight",
        Values("BGR, 0 to 255, in and out", rgb=False),
        _rrmina,
    ),
    PublishedLayout(
        "rrmina-tanh",
        f"{_RRMINA}, with a tanh",
        "ConvBlock.0.conv_layer.weight",
        Values("BGR, 0 to 255, in; BGR, tanh times 150, out", rgb=False, tanh=150),
        _rrmina,
    ),
    PublishedLayout(
        "reconet",
        "ReCoNet-PyTorch of safwankdb (ReCoNet)",
        "conv1.instance.weight",
        Values("RGB, 0 to 1, in; RGB, tanh times 150 plus 127.5, out", scale=1 / 255, tanh=150, out_shift=127.5),
        _reconet,
    ),
    PublishedLayout(
        "reconet-wide",
        "pytorch-reconet of EmptySamurai (ReCoNet)",
        "encoder.layers.0.layers.1.weight",
        Values("RGB, -1 to 1, in and out (tanh)", scale=2 / 255, shift=-1, tanh=127.5, out_shift=127.5),
        _reconet_wide,
    ),
]
# What people have that is no style here, told by one key of it.
OTHERS = {
    "model.0.block.1.weight": "Fast-Neural-Style-Transfer of eriklindernoren, which rectifies its output: not supported",
    "features.0.weight": "a classifier such as VGG or SqueezeNet (the loss network, not the style)",
    "model.1.weight": "a CycleGAN generator of residual blocks: not supported; export it as ONNX",
    "model.model.1.weight": "a CycleGAN or pix2pix generator: not supported; export it as ONNX",
    "encoder.layers.0.layers.1.eps": "pytorch-reconet of EmptySamurai with filter response norms: not supported; export it as ONNX",
    "encoder.layers.0.layers.1.tau": "pytorch-reconet of EmptySamurai with filter response norms: not supported; export it as ONNX",
}


def layout_names() -> tuple[str, ...]:
    """The names of all layouts, as `--layout` takes them."""
    return tuple(layout.name for layout in LAYOUTS)


def described(state: Mapping[str, object]) -> str | None:
    """What a state dict is that is no style here, in words; None where nothing is known of it."""
    if "in1.scale" in state and "res1.in1.scale" in state and "res1.in2.scale" not in state:
        return "fast-neural-style of abhiskk, whose blocks have one norm: not supported"
    return next((words for key, words in OTHERS.items() if key in state), None)


def published_model(state: Mapping[str, Tensor], name: str | None = None) -> PublishedModel | None:
    """The image model of a state dict in a published layout; None where the keys are those of none.

    Args:
        state: Weights by their keys.
        name: The layout, where the keys fit several; None for the first that fits.

    Raises:
        FavError: The weights are not those of the layout: some are missing, or there are more.
    """
    fitting = [one for one in LAYOUTS if one.key in state]
    if name is not None:
        named = next(one for one in LAYOUTS if one.name == name)
        if all(one.steps is not named.steps for one in fitting):
            raise FavError(f"--layout {name}: expected {named.words}, got weights of something else")
        fitting = [named]
    if not fitting or described(state):
        return None
    layout = fitting[0]
    build = _Builder(dict(state))
    layout.steps(build)
    if left := next(iter(build.source), None):
        raise FavError(f"layer {left[:80]}: {layout.words} expects no such weights")
    return _finished(layout, build)


def _finished(layout: PublishedLayout, build: _Builder) -> PublishedModel:
    """The network with the values of pictures as this program has them: BGR, the mean color subtracted."""
    values, state, mean = layout.values, build.state, torch.from_numpy(MEAN_BGR)
    first, last = build.convolutions[0], build.convolutions[-1]
    if values.rgb:
        state[f"{first}.weight"] = state[f"{first}.weight"].flip(1)
        for name in ("weight", "bias"):
            state[f"{last}.{name}"] = state[f"{last}.{name}"].flip(0)
    state["0.weight"], state["0.bias"] = torch.full((3,), values.scale), mean * values.scale + values.shift
    ends = [] if values.tanh else [Layer("L", 1, 1, 0)]
    end = build.index + (2 if values.tanh else 0)
    scale, shift = (1.0, values.out_shift) if values.tanh else (1 / values.scale, -values.shift / values.scale)
    state[f"{end}.weight"], state[f"{end}.bias"] = torch.full((3,), scale), shift - mean
    whole = Layer("A", 1, 1, 0)
    arch = join([whole, *build.layers, *ends, whole])
    return PublishedModel(layout.name, layout.words, values.words, arch, values.tanh or TANH_CONSTANT, state)


def without_wrapper(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with its keys as they are without a wrapper for several devices or of a compiler."""
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", str(key)): value for key, value in state.items()}
