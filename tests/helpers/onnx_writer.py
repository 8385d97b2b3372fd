"""Writes ONNX files of published image models, field by field as onnx.proto has them: no package for it is needed."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from tests.helpers.published_networks import Examples

FLOAT, FLOATS, INTS, STRING = 1, 6, 7, 3  # kinds of attributes in onnx.proto; FLOAT as an element type as well


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: bytes | int | str) -> bytes:
    """A field of a message: an integer, or bytes (text, a message)."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def attribute(name: str, value: str | float | Sequence[int]) -> bytes:
    if isinstance(value, str):
        return field(1, name) + field(4, value) + field(20, STRING)
    if isinstance(value, float):
        return field(1, name) + varint(2 << 3 | 5) + struct.pack("<f", value) + field(20, FLOAT)
    return field(1, name) + b"".join(field(8, one) for one in value) + field(20, INTS)


def tensor(name: str, array: np.ndarray) -> bytes:
    dims = b"".join(field(1, size) for size in array.shape)
    return dims + field(2, FLOAT) + field(8, name) + field(9, array.astype("<f4").tobytes())


def value_info(name: str, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(field(1, field(1, one) if isinstance(one, int) else field(2, one)) for one in shape)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, dims)))


class Graph:
    """A graph in the making, of operators of version 9 as in the published models."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.values: list[bytes] = []

    def node(self, kind: str, inputs: Sequence[str], **attributes) -> str:
        """Add an operator; the name of its output."""
        out = f"value{len(self.nodes)}"
        words = b"".join(field(1, one) for one in inputs) + field(2, out) + field(4, kind)
        self.nodes.append(words + b"".join(field(5, attribute(*one)) for one in attributes.items()))
        return out

    def constant(self, array: np.ndarray) -> str:
        name = f"constant{len(self.values)}"
        self.values.append(tensor(name, array))
        return name

    def mirrored(self, x: str, conv: nn.Conv2d) -> str:
        reach = conv.kernel_size[0] // 2
        padded = self.node("Pad", [x], mode="reflect", pads=[0, 0, reach, reach, 0, 0, reach, reach])
        weights = [self.constant(value.numpy()) for value in (conv.weight, conv.bias)]
        return self.node("Conv", [padded, *weights], strides=list(conv.stride), kernel_shape=list(conv.kernel_size))

    def normed(self, x: str, norm: nn.InstanceNorm2d) -> str:
        weights = [self.constant(value.numpy()) for value in (norm.weight, norm.bias)]
        return self.node("InstanceNormalization", [x, *weights], epsilon=norm.eps)

    def enlarged(self, x: str) -> str:
        return self.node("Upsample", [x, self.constant(np.array([1, 1, 2, 2]))], mode="nearest")

    def save(self, path: Path, out: str, shape: Sequence[int | str], out_shape: Sequence[int | str]) -> Path:
        graph = b"".join(field(1, node) for node in self.nodes) + field(2, "style")
        graph += b"".join(field(5, value) for value in self.values)
        graph += field(11, value_info("input", shape)) + field(12, value_info(out, out_shape))
        path.write_bytes(field(1, 4) + field(2, "pytorch") + field(7, graph) + field(8, field(1, "") + field(2, 9)))
        return path


def save_examples(path: Path, network: Examples, shape: Sequence[int | str] = (1, 3, "h", "w"), end: str = "") -> Path:
    """TransformerNet as pytorch/examples exports it; `end` is an operator behind it (Tanh, Sigmoid)."""
    graph, x = Graph(), "input"
    for number in (1, 2, 3):
        x = graph.mirrored(x, getattr(network, f"conv{number}").conv2d)
        x = graph.node("Relu", [graph.normed(x, getattr(network, f"in{number}"))])
    for number in range(1, network.blocks + 1):
        block = getattr(network, f"res{number}")
        inner = graph.node("Relu", [graph.normed(graph.mirrored(x, block.conv1.conv2d), block.in1)])
        x = graph.node("Add", [graph.normed(graph.mirrored(inner, block.conv2.conv2d), block.in2), x])
    for number in (1, 2):
        x = graph.mirrored(graph.enlarged(x), getattr(network, f"deconv{number}").conv2d)
        x = graph.node("Relu", [graph.normed(x, getattr(network, f"in{number + 3}"))])
    x = graph.mirrored(x, network.deconv3.conv2d)
    return graph.save(path, graph.node(end, [x]) if end else x, shape, ("n", 3, "oh", "ow"))
