"""Read binary files of Torch7 without Lua, and without running code in them.

Format: File.lua, Tensor and Storage of torch7. Style models: models_video.lua of the authors, and models.lua and
preprocess.lua of jcjohnson/fast-neural-style.
"""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fav.errors import FavError
from fav.model.architecture import CROP, PADDINGS
from fav.model.network import (
    EPSILON,
    Affine,
    InstanceNorm,
    ReflectionPad,
    ResidualBlock,
    ScaledTanh,
    StyleNetwork,
    Upsample,
)
from fav.model.preprocessing import MEAN_BGR
from fav.util.reading import read_file

MAX_BYTES = 1 << 30
MAX_OBJECTS = 1_000_000
MAX_DEPTH = 100
MAX_DIMENSIONS = 8

_ARRAY = re.compile(r"torch\.(Cuda)?(Float|Double|Half|Long|Int|Short|Byte|Char)?(Tensor|Storage)")
_DTYPES = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "Int": "<i4", "Short": "<i2", "Byte": "u1", "Char": "i1"}


@dataclass(frozen=True, eq=False)
class TorchObject:
    """An instance of a Torch class: its `class_name`, such as `nn.SpatialConvolution`, and its fields by name."""

    class_name: str
    fields: dict


def load(path: Path) -> object:
    """Read the object in a binary Torch7 file.

    nil becomes None, a number float, a string str, and a table dict (lists have the keys 1, 2, ...). A tensor or storage
    becomes a numpy array; CUDA types become CPU types. Other instances of Torch classes become TorchObject. References to
    one object stay references to one object, and tensors may share memory. Long integers may have 8 or 4 bytes.

    Raises:
        FavError: The file is truncated, damaged or malicious, or contains Lua code.
    """
    try:
        data = read_file(path, str(path), MAX_BYTES)
    except OSError as error:
        raise FavError(f"{path}: cannot be read: {error.strerror}") from error
    failures = []
    for long in "qi":  # the file does not contain the size of its long integers
        reader = _Reader(data, long)
        try:
            value = reader.object()
            if reader.position < len(data):
                raise FavError(f"expected the end of the file, got {len(data) - reader.position} bytes more")
            return value
        except FavError as error:
            failures.append((reader.position, str(error)))
    position, reason = max(failures, key=lambda failure: failure[0])
    raise FavError(f"{path}: not a readable Torch7 file: at byte {position}: {reason}")


class _Reader:
    """Reads objects from the bytes of a file. `long` is the struct format of long integers."""

    def __init__(self, data: bytes, long: str):
        self.data, self.long = data, long
        self.position = self.count = self.depth = 0
        self.objects: dict[int, object] = {}  # by their index in the file

    def numbers(self, kind: str, count: int = 1) -> tuple:
        return struct.unpack(f"<{count}{kind}", self.take(count * struct.calcsize("<" + kind)))

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.position:
            raise FavError(f"expected {size} more bytes, got {len(self.data) - self.position} (truncated?)")
        self.position += size
        return self.data[self.position - size : self.position]

    def string(self) -> str:
        return self.take(self.numbers("i")[0]).decode("utf-8", "surrogateescape")

    def object(self) -> object:
        self.count, self.depth = self.count + 1, self.depth + 1
        if self.count > MAX_OBJECTS or self.depth > MAX_DEPTH:
            raise FavError(f"expected at most {MAX_OBJECTS} objects and {MAX_DEPTH} levels")
        (kind,) = self.numbers("i")
        if kind == 0:
            value = None
        elif kind == 1:
            (value,) = self.numbers("d")
        elif kind == 2:
            value = self.string()
        elif kind == 5:
            value = self.numbers("i")[0] == 1
        elif kind in (3, 4):
            (index,) = self.numbers("i")
            if index not in self.objects:
                self.table(index) if kind == 3 else self.instance(index)
            value = self.objects[index]
        elif kind in (6, 7, 8):
            raise FavError("it contains a Lua function; code is not loaded")
        else:
            raise FavError(f"expected the type number of an object, 0 to 8, got {kind}")
        self.depth -= 1
        return value

    def table(self, index: int) -> None:
        self.objects[index] = table = {}  # before its entries are read, because they may refer to it
        for _ in range(self.numbers("i")[0]):
            key = self.object()
            if not isinstance(key, (str, float, bool)):
                raise FavError(f"expected a string or a number as the key of a table, got {type(key).__name__}")
            table[key] = self.object()

    def instance(self, index: int) -> None:
        name = self.string()
        if name.startswith("V "):  # files from before 2012 have no version
            name = self.string()
        if match := _ARRAY.fullmatch(name):
            cuda, kind, form = match.groups()
            if kind or cuda:
                self.objects[index] = self.tensor() if form == "Tensor" else self.storage(kind or "Float")
                return
        fields: dict = {}
        self.objects[index] = TorchObject(name, fields)
        stored = self.object()
        if not isinstance(stored, dict):
            raise FavError(f"expected a table with the fields of {name[:80]!r}, got {type(stored).__name__}")
        fields.update(stored)

    def storage(self, kind: str) -> np.ndarray:
        dtype = np.dtype(_DTYPES.get(kind, "<i8" if self.long == "q" else "<i4"))
        (size,) = self.numbers(self.long)
        # Copied, because data in the file is not aligned; all copies together are no larger than the file.
        return np.frombuffer(self.take(size * dtype.itemsize), dtype).astype("<i8" if kind == "Long" else dtype)

    def tensor(self) -> np.ndarray:
        (dimensions,) = self.numbers("i")
        if not 0 <= dimensions <= MAX_DIMENSIONS:
            raise FavError(f"expected a tensor of at most {MAX_DIMENSIONS} dimensions, got {dimensions}")
        shape, strides = self.numbers(self.long, dimensions), self.numbers(self.long, dimensions)
        first = self.numbers(self.long)[0] - 1
        storage = self.object()
        if dimensions == 0:  # the only empty tensor in Torch7
            return np.empty(0, np.float32)
        if not isinstance(storage, np.ndarray) or storage.ndim != 1 or not storage.flags.c_contiguous:
            raise FavError("expected the storage of a tensor")
        last = first + sum((size - 1) * stride for size, stride in zip(shape, strides))
        values = math.prod(shape)  # limited by the storage, so that a small file cannot need much memory
        if min(first, *strides) < 0 or min(shape) < 1 or last >= storage.size or values > storage.size:
            raise FavError(f"expected a tensor within its {storage.size} values, got shape {shape} strides {strides}")
        width = storage.itemsize
        return np.ndarray(shape, storage.dtype, storage, first * width, [stride * width for stride in strides])


_PADS = ("pad_l", "pad_r", "pad_t", "pad_b")
_NO_OPERATION = {"Identity", "TotalVariation"}
_PADDINGS = {"SpatialReflectionPadding": "reflect", "SpatialReplicationPadding": "replicate"}
_CONVOLUTIONS = {"SpatialConvolution", "SpatialConvolutionMM"}
_RESNET_MEAN, _RESNET_STD = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)  # BGR, 0 to 1
_AFFINE = "fav.Affine"  # replaces the conversions of `-preprocessing resnet` before and after a model


def style_model(root: object) -> tuple[str, float, dict[str, torch.Tensor]]:
    """Convert a checkpoint of the authors: a table with the key `model`, or the model itself.

    Returns:
        The architecture, the tanh constant, and the state dict of a StyleNetwork.

    Raises:
        FavError: A module is unknown or does not fit; the message names the first one.
    """
    model = root.get("model") if isinstance(root, dict) else root
    if _class(model) != "Sequential":
        raise FavError(f"expected an nn.Sequential, or a table with one as its model, got {_describe(model)}")
    modules = _merge_padding([module for module in _modules(model, "model") if _class(module) not in _NO_OPERATION])
    modules = _add_conversions(modules, root.get("opt") if isinstance(root, dict) else None)
    entries, tanh_constant, in_channels, channels = [], None, None, None
    norms: set[str] = set()
    for number, module in enumerate(modules):
        where, name = f"layer {number}", _class(module)
        if name in (*_CONVOLUTIONS, "SpatialFullConvolution"):
            kernel, stride, channels = (_integer(module, field, where) for field in ("kW", "dW", "nOutputPlane"))
            kind, short = "fu" if name == "SpatialFullConvolution" else "cd"
            entry = f"{short}{channels}" if (kernel, stride) == (3, 2) else f"{kind}{kernel}s{stride}-{channels}"
            entries.append(entry + _padding_letter(module))
            in_channels = in_channels or _integer(module, "nInputPlane", where)
        elif name == "SpatialUpSamplingNearest":
            entries.append(f"U{_integer(module, 'scale_factor', where)}")
        elif name == "Sequential":
            entries.append(f"R{channels}{_block_padding(module)}" if channels else "R")
            norms |= {_class(part) for part in _branch(module)} & {"SpatialBatchNormalization"}
        elif name == "MulConstant":
            tanh_constant = _number(module, "constant_scalar", where)
        elif name == "SpatialBatchNormalization":
            norms.add(name)
        elif name == _AFFINE:
            entries.append("A")
        elif name not in ("SpatialReflectionPadding", "InstanceNormalization", "ReLU", "Tanh"):
            raise FavError(f"{where}: {_describe(module)} is not supported in a style network")
    entries = ["B", *entries] if norms else entries
    if tanh_constant is None or in_channels is None:
        raise FavError("expected convolutions and an nn.MulConstant after an nn.Tanh, got none")
    with torch.device("meta"):
        network = StyleNetwork(",".join(entries), in_channels, tanh_constant)
    state: dict[str, torch.Tensor] = {}
    if len(modules) != len(network):
        raise FavError(f"architecture {network.arch}: expected {len(network)} modules, got {len(modules)}")
    for number, (module, layer) in enumerate(zip(modules, network)):
        _match(module, layer, str(number), state)
    return network.arch, tanh_constant, state


def _merge_padding(modules: list) -> list:
    """Merge each padding module into the convolution after it, as a field `padding` with the padding mode of PyTorch."""
    merged: list = []
    for module in modules:
        before = merged[-1] if merged else None
        if not isinstance(module, TorchObject) or not isinstance(before, TorchObject):
            merged.append(module)
            continue
        if _class(module) in _CONVOLUTIONS and _class(before) in _PADDINGS:
            reach, own_padding = _number(module, "kW", "padding", 1) // 2, _number(module, "padW", "padding", 0)
            if own_padding == 0 and reach and all(before.fields.get(side) == reach for side in _PADS):
                fields = {**module.fields, "padding": _PADDINGS[_class(before)], "padW": reach, "padH": reach}
                merged[-1] = TorchObject(module.class_name, fields)
                continue
        merged.append(module)
    return merged


def _padding_letter(module: object) -> str:
    """Return the letter of a merged convolution's padding mode in an architecture string; "" without one."""
    mode = module.fields.get("padding") if isinstance(module, TorchObject) else None
    return next((letter for letter, name in PADDINGS.items() if name == mode and name != "zeros"), "")


def _branch(module: object) -> list:
    """Return the modules of a residual block, without its shortcut. Empty for another structure, which `_match` reports."""
    for _ in range(2):
        parts = module.fields.get("modules") if isinstance(module, TorchObject) else None
        module = parts.get(1) if isinstance(parts, dict) else None
    table = module.fields.get("modules") if isinstance(module, TorchObject) else None
    return _merge_padding(_modules(module, "block")) if isinstance(table, dict) else []


def _block_padding(module: object) -> str:
    """Return the letter of a residual block's padding mode; "" for a block without padding and with a cropped shortcut."""
    first = next(iter(_branch(module)), None)
    if not isinstance(first, TorchObject):
        return ""
    return _padding_letter(first) or ("z" if first.fields.get("padW") == 1 else "")


def _add_conversions(modules: list, options: object) -> list:
    """Add scales and shifts, so that the model takes and returns BGR levels minus the mean color.

    A model of `-preprocessing resnet` uses RGB, 0 to 1, minus ImageNet's mean, divided by its standard deviation.

    Args:
        modules: The modules of the model.
        options: The options of its training.

    Raises:
        FavError: The preprocessing is unknown.
    """
    kind = options.get("preprocessing", "vgg") if isinstance(options, dict) else "vgg"
    if kind == "vgg":
        return modules
    if kind != "resnet":
        raise FavError(f"preprocessing: expected vgg or resnet, got {str(kind)[:40]!r}")
    mean, deviation = 255 * np.array(_RESNET_MEAN, np.float32), 255 * np.array(_RESNET_STD, np.float32)
    before = TorchObject(_AFFINE, {"weight": 1 / deviation, "bias": (MEAN_BGR - mean) / deviation})
    after = TorchObject(_AFFINE, {"weight": deviation, "bias": mean - MEAN_BGR})
    convolutions = [number for number, module in enumerate(modules) if _class(module) in _CONVOLUTIONS]
    if not convolutions:
        return modules
    modules = modules.copy()
    for number, axes in ((convolutions[0], {"weight": 1}), (convolutions[-1], {"weight": 0, "bias": 0})):
        fields = dict(modules[number].fields)
        for name, axis in axes.items():
            if isinstance(value := fields.get(name), np.ndarray) and value.ndim > axis:
                shaped = (
                    value.reshape(len(value), -1, int(fields["kW"]), int(fields["kW"])) if name == "weight" else value
                )
                fields[name] = np.flip(shaped, axis)
        modules[number] = TorchObject(modules[number].class_name, fields)
    start = 1 if _class(modules[0]) == "SpatialReflectionPadding" else 0
    return [*modules[:start], before, *modules[start:], after]


def _match(module: object, layer: nn.Module, where: str, state: dict[str, torch.Tensor]) -> None:
    """Check that a module computes what `layer` does, and add its weights to `state`. Raises FavError if it does not."""
    if isinstance(layer, ResidualBlock):
        concat, _ = _parts(module, where, "Sequential", "ConcatTable", "CAddTable")
        branch, shortcut = _parts(concat, f"{where}.0", "ConcatTable", "Sequential", "ShaveImage", crop=layer.crop)
        if layer.crop:
            _check(shortcut, f"{where}.0.1", {"ShaveImage"}, {"size": CROP})
        parts = _merge_padding(_modules(branch, f"{where}.0.0"))
        if len(parts) != len(layer.branch):
            raise FavError(
                f"layer {where}.0.0: expected {len(layer.branch)} modules in a residual block, got {len(parts)}"
            )
        for number, (part, inner) in enumerate(zip(parts, layer.branch)):
            _match(part, inner, f"{where}.0.0.{number}", state)
        return
    module = _check(module, where, *_counterpart(layer))
    if _class(module) == "SpatialBatchNormalization":
        module = _fold_statistics(module, where)
    for name, parameter in layer.named_parameters():
        value = module.fields.get(name)
        if value is None and name == "bias" and not isinstance(layer, InstanceNorm):
            value = np.zeros(parameter.shape, np.float32)
        matrix = (len(parameter), parameter.numel() // len(parameter))  # the shape in a SpatialConvolutionMM
        if not isinstance(value, np.ndarray) or value.shape not in (tuple(parameter.shape), matrix):
            got = value.shape if isinstance(value, np.ndarray) else type(value).__name__
            raise FavError(f"layer {where}.{name}: expected {tuple(parameter.shape)}, got {got}")
        state[f"{where}.{name}"] = torch.from_numpy(value.astype(np.float32).reshape(parameter.shape))


def _fold_statistics(norm: TorchObject, where: str) -> TorchObject:
    """Fold the running statistics of a batch norm into its weight and bias, as in evaluation mode."""
    fields = norm.fields
    mean, variance = fields.get("running_mean"), fields.get("running_var")
    if not isinstance(mean, np.ndarray) or not isinstance(variance, np.ndarray) or mean.shape != variance.shape:
        raise FavError(f"layer {where}: expected {_describe(norm)} with running_mean and running_var, got others")
    scale = 1 / np.sqrt(variance.astype(np.float64) + _number(norm, "eps", f"layer {where}", EPSILON))
    parameters = [fields.get("weight"), fields.get("bias")]
    weight, bias = (value if isinstance(value, np.ndarray) and value.size else None for value in parameters)
    if any(value is not None and value.shape != mean.shape for value in (weight, bias)):
        raise FavError(f"layer {where}: expected a weight and a bias of {mean.shape}, got others")
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return TorchObject(norm.class_name, {**fields, "weight": scale, "bias": shift})


def _counterpart(layer: nn.Module) -> tuple[set[str], Mapping[str, float]]:
    """Return the Torch7 classes that are equivalent to `layer`, and the required values of their fields."""
    match layer:
        case ReflectionPad():
            return {"SpatialReflectionPadding"}, dict.fromkeys(_PADS, layer.padding)
        case nn.Conv2d() | nn.ConvTranspose2d():
            fields = {"nInputPlane": layer.in_channels, "nOutputPlane": layer.out_channels}
            pairs = {"k": layer.kernel_size, "d": layer.stride, "pad": layer.padding}
            if isinstance(layer, nn.ConvTranspose2d):
                pairs["adj"] = layer.output_padding
            fields |= {prefix + side: pair[0] for prefix, pair in pairs.items() for side in "WH"}
            full = isinstance(layer, nn.ConvTranspose2d)
            return {"SpatialFullConvolution"} if full else {"SpatialConvolution", "SpatialConvolutionMM"}, fields
        case InstanceNorm():
            return {"InstanceNormalization"}, {"eps": EPSILON}
        case Affine():
            return {_AFFINE, "SpatialBatchNormalization"}, {}
        case Upsample():
            return {"SpatialUpSamplingNearest"}, {"scale_factor": layer.factor}
        case ScaledTanh():
            return {"MulConstant"}, {"constant_scalar": layer.constant}
    return {type(layer).__name__}, {}  # ReLU and Tanh have their own names


def _check(module: object, where: str, names: set[str], fields: Mapping[str, float]) -> TorchObject:
    if not isinstance(module, TorchObject) or _class(module) not in names:
        raise FavError(f"layer {where}: expected nn.{min(names)}, got {_describe(module)}")
    for field, expected in fields.items():
        got = _number(module, field, f"layer {where}", default=0)
        if got != expected:
            raise FavError(f"layer {where}: expected {_describe(module)} with {field} {expected:g}, got {got:g}")
    return module


def _parts(module: object, where: str, name: str, *names: str, crop: int = CROP) -> list:
    if not crop:
        names = (*names[:-1], "Identity")
    parts = _modules(module, where) if _class(module) == name else []
    if [_class(part) for part in parts] != list(names):
        got = ", ".join(map(_describe, parts)) or _describe(module)
        kind = "convolutions without padding and a cropped shortcut" if crop else "padded convolutions and a shortcut"
        raise FavError(
            f"layer {where}: expected an nn.{name} of {' and '.join(names)} (a residual block of {kind}), got {got}"
        )
    return parts


def _modules(module: object, where: str) -> list:
    table = module.fields.get("modules") if isinstance(module, TorchObject) else None
    if not isinstance(table, dict) or set(table) != set(range(1, len(table) + 1)):
        raise FavError(f"layer {where}: expected a list of modules in {_describe(module)}")
    return [table[number] for number in range(1, len(table) + 1)]


def _class(module: object) -> str:
    return re.sub(r"^(nn|cudnn)\.", "", module.class_name) if isinstance(module, TorchObject) else ""


def _describe(module: object) -> str:
    return module.class_name[:80] if isinstance(module, TorchObject) else f"a {type(module).__name__}"


def _number(module: TorchObject, field: str, where: str, default: float | None = None) -> float:
    value = module.fields.get(field, default)
    if not isinstance(value, (float, int)):
        raise FavError(f"{where}: expected a number as {field} of {_describe(module)}, got {type(value).__name__}")
    return value


def _integer(module: TorchObject, field: str, where: str) -> int:
    value = _number(module, field, where)
    if not 1 <= value <= 9999 or value != int(value):
        raise FavError(f"{where}: expected 1 to 9999 as {field} of {_describe(module)}, got {value}")
    return int(value)
