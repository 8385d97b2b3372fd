"""Run the network in OpenVINO, on CPUs. The OpenVINO model is built layer by layer, with fused upsampling.

The compiled model is not cached on disk, because compiling takes less than 0.1 s.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import groupby, product
from typing import Any, cast

import cv2
import numpy as np
import openvino
import torch
from openvino import opset14 as ops
from torch import nn

from fav.model.network import (
    EPSILON,
    POINTWISE,
    RIM,
    Affine,
    InstanceNorm,
    ReflectionPad,
    ResidualBlock,
    ResidualBranch,
    ScaledTanh,
    SeparableBlock,
    StyleNetwork,
    SubPixel,
    Upsample,
    bias_of,
    can_fuse,
    fold_matrix,
    source_pixels,
)
from fav.model.preprocessing import MEAN_BGR

HINTS = {"float32": "f32", "bfloat16": "bf16"}
HEIGHT_AND_WIDTH = (2, 3)
PAD_MODES = {"replicate": "edge", "reflect": "reflect"}  # OpenVINO's name of each padding mode of PyTorch


class OpenVino:
    """A backend (`fav.model.backends`). The model is compiled again when the size of the frames changes."""

    def __init__(self, network: StyleNetwork, precision: str):
        self.description = f"openvino {openvino.get_version()} cpu {precision}"
        self._network, self._precision = network, precision
        self._size: tuple[int, int] | None = None
        self._infer: Callable[[np.ndarray], np.ndarray]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        height, width, _ = x.shape
        if self._size != (height, width):
            self._size, self._infer = (height, width), self._compile(height, width)
        (top, bottom), (left, right) = self._pads(height, width)
        padded = cv2.copyMakeBorder(x, top, bottom, left, right, cv2.BORDER_REFLECT_101)  # as ReflectionPad does
        if self._network.margin:
            padded[[0, -1]] += RIM
            padded[1:-1, [0, -1]] += RIM
        crop = self._network.margin
        stylized = self._infer(padded)[crop : crop + height, crop : crop + width]
        return stylized.copy()  # OpenVINO writes the next frame to the same memory

    def _pads(self, height: int, width: int) -> list[tuple[int, int]]:
        network = self._network
        padding = ReflectionPad(network.padding, network.multiple, network.margin)
        return [padding.pads(side) for side in (height, width)]

    def _compile(self, height: int, width: int) -> Callable[[np.ndarray], np.ndarray]:
        sides = zip((height, width), self._pads(height, width))
        model = build_ov_model(self._network, *(side + sum(pads) for side, pads in sides))
        request = (
            core()
            .compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": HINTS[self._precision],
                    "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                    "NUM_STREAMS": 1,
                    "ENABLE_CPU_PINNING": False,  # with pinning, all nodes of a machine would use the same cores
                },
            )
            .create_infer_request()
        )
        return lambda padded: request.infer([padded[None]], share_inputs=True, share_outputs=True)[0][0]


@cache
def core() -> openvino.Core:
    """Return the only Core of this process.

    Each Core installs a signal stack for the thread, and removes it at its end. With several, a freed stack can remain
    installed. Then the next signal, such as the end of a child process, crashes the process.
    """
    return openvino.Core()


def build_ov_model(network: StyleNetwork, height: int, width: int) -> openvino.Model:
    """Build the OpenVINO model of a network without its ReflectionPad. Upsampling is fused as in `StyleNetwork.forward`.

    Args:
        network: The network.
        height: Of the padded input, in pixels.
        width: Of the padded input, in pixels.

    Shape:
        Input (1, H, W, in_channels) float32. Output (1, H, W, 3) uint8.
    """
    inputs = ops.parameter([1, height, width, network.in_channels], np.float32)
    x = _run_layers(ops.transpose(inputs, [0, 3, 1, 2]), network)
    x = ops.add(x, MEAN_BGR[None, :, None, None])
    # Converted before the transpose: bytes are a quarter of the data.
    levels = ops.convert(ops.clamp(ops.round(x, "half_to_even"), 0, 255), "u8")
    outputs = ops.result(ops.transpose(levels, [0, 2, 3, 1]))
    # OpenVINO's annotations describe the constructor of another class.
    return openvino.Model([outputs], [inputs], "style network")  # pyright: ignore[reportGeneralTypeIssues]


def _run_layers(x: openvino.Node, layers: Iterable[nn.Module]) -> openvino.Node:
    factor = 1
    for layer in layers:
        if isinstance(layer, ReflectionPad):
            continue
        if isinstance(layer, Upsample):
            factor *= layer.factor
        elif factor > 1 and isinstance(layer, nn.Conv2d) and can_fuse(layer, factor):
            x, factor = _fused_upsample_conv(x, layer, factor), 1
        elif factor > 1 and not isinstance(layer, POINTWISE):
            x, factor = LAYERS[type(layer)](_upsample(x, factor), layer), 1
        else:
            x = LAYERS[type(layer)](x, layer)
    return _upsample(x, factor) if factor > 1 else x


def _convolution(x: openvino.Node, layer: nn.Conv2d) -> openvino.Node:
    padding = cast("tuple[int, int]", layer.padding)  # torch also allows strings, which no network here uses
    if layer.padding_mode != "zeros":
        x, padding = _pad(x, padding, padding, PAD_MODES[layer.padding_mode]), (0, 0)
    weight = _as_numpy(layer.weight)
    if layer.groups > 1:
        weight = weight.reshape(layer.groups, -1, *weight.shape[1:])
        sums = ops.group_convolution(x, weight, layer.stride, padding, padding, layer.dilation)
    else:
        sums = ops.convolution(x, weight, layer.stride, padding, padding, layer.dilation)
    return ops.add(sums, _by_channel(bias_of(layer)))


def _pad(x: openvino.Node, begin: Sequence[int], end: Sequence[int], mode: str = "edge") -> openvino.Node:
    """Pad with `begin` (height, width) pixels at the top and left, and `end` at the bottom and right."""
    return ops.pad(x, [0, 0, *begin], [0, 0, *end], mode)


def _transposed_convolution(x: openvino.Node, layer: nn.ConvTranspose2d) -> openvino.Node:
    sums = ops.convolution_backprop_data(
        x,
        _as_numpy(layer.weight),
        layer.stride,
        pads_begin=layer.padding,
        pads_end=layer.padding,
        dilations=(1, 1),
        output_padding=layer.output_padding,
    )
    return ops.add(sums, _by_channel(bias_of(layer)))


def _fused_upsample_conv(x: openvino.Node, layer: nn.Conv2d, factor: int) -> openvino.Node:
    """Like `fav.model.network.fused_upsample_conv`. Phases with the same source pixels share one convolution."""
    sources = source_pixels(layer.kernel_size[0], factor)
    ranges = [(pixels[0], pixels[-1]) for pixels in sources]
    fold = [fold_matrix(pixels, pixels[-1] - pixels[0] + 1).numpy() for pixels in sources]
    weight, bias = _as_numpy(layer.weight), _as_numpy(bias_of(layer))
    outputs = []
    for (rows, columns), phases in groupby(
        product(range(factor), repeat=2), lambda phase: (ranges[phase[0]], ranges[phase[1]])
    ):
        weights = [fold[p] @ weight @ fold[q].T for p, q in phases]
        begin, end, padded = (-rows[0], -columns[0]), (rows[1], columns[1]), x
        if layer.padding_mode != "zeros":  # can_fuse explains why this also holds for reflection padding
            padded, begin, end = _pad(x, begin, end), (0, 0), (0, 0)
        sums = ops.convolution(padded, np.concatenate(weights), (1, 1), begin, end, (1, 1))
        outputs.append(ops.add(sums, np.tile(bias, len(weights))[None, :, None, None]))
    return ops.depth_to_space(ops.concat(outputs, 1) if len(outputs) > 1 else outputs[0], "blocks_first", factor)


def _instance_norm(x: openvino.Node, layer: InstanceNorm) -> openvino.Node:
    x = ops.mvn(x, HEIGHT_AND_WIDTH, True, EPSILON, "inside_sqrt")
    return ops.add(ops.multiply(x, _by_channel(layer.weight)), _by_channel(layer.bias))


def _residual_block(x: openvino.Node, block: ResidualBlock) -> openvino.Node:
    crop = block.crop
    shortcut = ops.slice(x, [crop, crop], [-crop, -crop], [1, 1], HEIGHT_AND_WIDTH) if crop else x
    total = ops.add(_run_layers(x, block.branch), shortcut)
    return ops.relu(total) if block.rectified else total


def _add_input(x: openvino.Node, layers: SeparableBlock | ResidualBranch) -> openvino.Node:
    return ops.add(_run_layers(x, layers), x)


def _sub_pixel(x: openvino.Node, layer: SubPixel) -> openvino.Node:
    return ops.depth_to_space(_run_layers(x, layer), "depth_first", layer.factor)


def _upsample(x: openvino.Node, factor: int) -> openvino.Node:
    scales = np.array([factor, factor], np.float32)
    return ops.interpolate(x, scales, "nearest", "scales", [0], [0], "asymmetric", "floor", axes=HEIGHT_AND_WIDTH)


def _as_numpy(weight: torch.Tensor) -> np.ndarray:
    return weight.detach().float().cpu().contiguous().numpy()


def _by_channel(values: torch.Tensor) -> np.ndarray:
    return _as_numpy(values)[None, :, None, None]


LAYERS: dict[type[nn.Module], Callable[[openvino.Node, Any], openvino.Node]] = {
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed_convolution,
    InstanceNorm: _instance_norm,
    Affine: lambda x, layer: ops.add(ops.multiply(x, _by_channel(layer.weight)), _by_channel(layer.bias)),
    ResidualBlock: _residual_block,
    SeparableBlock: _add_input,
    ResidualBranch: _add_input,
    SubPixel: _sub_pixel,
    nn.ReLU: lambda x, layer: ops.relu(x),
    nn.Tanh: lambda x, layer: ops.tanh(x),
    ScaledTanh: lambda x, layer: ops.multiply(x, np.float32(layer.constant)),
}
