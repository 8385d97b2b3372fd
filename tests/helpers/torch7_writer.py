"""Writes Torch7's binary files, as torch.save in Lua does, for tests of the reader."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from fav.model.network import InstanceNorm, ReflectionPad, ResidualBlock, ScaledTanh, StyleNetwork, Upsample
from fav.model.torch7 import TorchObject

KINDS = {
    "f4": "Float",
    "f8": "Double",
    "f2": "Half",
    "i8": "Long",
    "i4": "Int",
    "i2": "Short",
    "u1": "Byte",
    "i1": "Char",
}


@dataclass(frozen=True, eq=False)
class View:
    """A tensor that looks at a storage (1-D array) which others may share; offset counts from 0."""

    storage: np.ndarray
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


class Raw(bytes):
    """Bytes to write where an object is expected."""


class Writer:
    """long is the size of Lua's long integers, 8 or 4 bytes; cuda writes arrays as CUDA tensors."""

    def __init__(self, long: int = 8, cuda: bool = False):
        self.long, self.cuda = {8: "q", 4: "i"}[long], cuda
        self.parts: list[bytes] = []
        self.written: dict[tuple[int, bool], int] = {}
        self.keep: list = []  # ids are only unique while their objects live

    def put(self, kind: str, *values) -> None:
        self.parts.append(struct.pack(f"<{len(values)}{kind}", *values))

    def string(self, text: str) -> None:
        self.put("i", len(text.encode()))
        self.parts.append(text.encode())

    def object(self, value) -> None:
        if isinstance(value, Raw):
            self.parts.append(value)
        elif value is None:
            self.put("i", 0)
        elif isinstance(value, bool):
            self.put("i", 5, value)
        elif isinstance(value, (int, float)):
            self.put("i", 1)
            self.put("d", value)
        elif isinstance(value, str):
            self.put("i", 2)
            self.string(value)
        elif isinstance(value, dict):
            if self.reference(3, value):
                self.put("i", len(value))
                for key, entry in value.items():
                    self.object(key)
                    self.object(entry)
        elif isinstance(value, TorchObject):
            if self.reference(4, value):
                self.header(value.class_name)
                self.object(value.fields)
        else:
            self.tensor(value)

    def reference(self, kind: int, value, storage: bool = False) -> bool:
        """Whether the value is new, so that it must follow."""
        known = (id(value), storage) in self.written
        index = self.written.setdefault((id(value), storage), len(self.written) + 1)
        self.keep.append(value)
        self.put("i", kind, index)
        return not known

    def header(self, class_name: str) -> None:
        self.string("V 1")
        self.string(class_name)

    def tensor(self, value: np.ndarray | View) -> None:
        if not self.reference(4, value):
            return
        if isinstance(value, np.ndarray):
            array = np.ascontiguousarray(value)
            value = View(array.ravel(), array.shape, tuple(step // array.itemsize for step in array.strides))
            self.keep.append(value)
        kind = KINDS[value.storage.dtype.str[1:]]
        prefix = "Cuda" + ("" if kind == "Float" else kind) if self.cuda else kind
        self.header(f"torch.{prefix}Tensor")
        self.put("i", len(value.shape))
        self.put(self.long, *value.shape, *value.strides, value.offset + 1)
        if self.reference(4, value.storage, storage=True):
            self.header(f"torch.{prefix}Storage")
            self.put(self.long, len(value.storage))
            long = value.storage.astype("<i8" if self.long == "q" else "<i4")
            self.parts.append((long if kind == "Long" else value.storage).tobytes())


def save(path: Path, value, long: int = 8, cuda: bool = False) -> Path:
    writer = Writer(long, cuda)
    writer.object(value)
    path.write_bytes(b"".join(writer.parts))
    return path


def sequence(*modules: TorchObject, name: str = "nn.Sequential") -> TorchObject:
    return TorchObject(name, {"modules": dict(enumerate(modules, 1)), "train": False})


def style_checkpoint(network: StyleNetwork, rows: bool = False, cudnn: bool = False) -> dict:
    """The checkpoint that the authors' train_video.lua saves, with the weights of `network`.

    rows writes kernels as SpatialConvolutionMM does, cudnn uses the classes of the CUDA library.
    """
    prefix = "cudnn" if cudnn else "nn"

    def module(layer: nn.Module) -> TorchObject:
        weights = {name: value.detach().numpy() for name, value in layer.named_parameters(recurse=False)}
        if isinstance(layer, ResidualBlock):
            branch = sequence(*map(module, layer[0][0]))
            both = sequence(branch, TorchObject("nn.ShaveImage", {"size": 2}), name="nn.ConcatTable")
            return sequence(both, TorchObject("nn.CAddTable", {"inplace": False}))
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            kernel, stride, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
            fields = {
                "nInputPlane": layer.in_channels,
                "nOutputPlane": layer.out_channels,
                "kW": kernel,
                "kH": kernel,
                "dW": stride,
                "dH": stride,
                "padW": padding,
                "padH": padding,
                **weights,
            }
            if isinstance(layer, nn.ConvTranspose2d):
                return TorchObject("nn.SpatialFullConvolution", {**fields, "adjW": stride - 1, "adjH": stride - 1})
            if rows:
                fields["weight"] = fields["weight"].reshape(layer.out_channels, -1)
                return TorchObject("nn.SpatialConvolutionMM", fields)
            return TorchObject(f"{prefix}.SpatialConvolution", fields)
        if isinstance(layer, InstanceNorm):
            return TorchObject("nn.InstanceNormalization", {"eps": 1e-5, "nOutput": len(layer.bias), **weights})
        if isinstance(layer, ReflectionPad):
            sides = ("pad_l", "pad_r", "pad_t", "pad_b")
            return TorchObject("nn.SpatialReflectionPadding", dict.fromkeys(sides, layer.padding))
        if isinstance(layer, Upsample):
            return TorchObject("nn.SpatialUpSamplingNearest", {"scale_factor": layer.factor})
        if isinstance(layer, ScaledTanh):
            return TorchObject("nn.MulConstant", {"constant_scalar": layer.constant, "inplace": False})
        return TorchObject(f"{prefix}.{type(layer).__name__}", {})

    variation = TorchObject("nn.TotalVariation", {"strength": 1e-6})
    return {
        "iter": 60000,
        "opt": {"arch": network.arch, "use_instance_norm": 1},
        "train_loss_history": {1: 5.5, 2: 5.25},
        "model": sequence(*map(module, network), variation),
    }
