"""The network as a graph of OpenVINO, for CPUs: built by hand, since what is exactly true of it is known here alone.

Nothing is kept on disk: such a graph is compiled in less than a tenth of a second, so that there is no cache to be broken.
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
    Detour,
    InstanceNorm,
    ReflectionPad,
    ResidualBlock,
    ScaledTanh,
    SeparableBlock,
    StyleNetwork,
    SubPixel,
    Upsample,
    bias_of,
    can_fuse,
    meeting,
    pixels_met,
)
from fav.model.preprocessing import MEAN_BGR

HINTS = {"float32": "f32", "bfloat16": "bf16"}
HEIGHT_AND_WIDTH = (2, 3)
CONTINUED = {"replicate": "edge", "reflect": "reflect"}  # PyTorch's words for a padding, and OpenVINO's


class OpenVino:
    """A backend (see `fav.model.backends`). A graph is made for the size of the first frame, and anew when that changes."""

    def __init__(self, network: StyleNetwork, precision: str):
        self.description = f"openvino {openvino.get_version()} cpu {precision}"
        self._network, self._precision = network, precision
        self._size: tuple[int, int] | None = None
        self._infer: Callable[[np.ndarray], np.ndarray]

    def __call__(self, seen: np.ndarray) -> np.ndarray:
        height, width, _ = seen.shape
        if self._size != (height, width):
            self._size, self._infer = (height, width), self._compiled(height, width)
        (above, below), (left, right) = self._pads(height, width)
        mirrored = cv2.copyMakeBorder(seen, above, below, left, right, cv2.BORDER_REFLECT_101)  # as ReflectionPad does
        if self._network.margin:
            mirrored[[0, -1]] += RIM
            mirrored[1:-1, [0, -1]] += RIM
        cut = self._network.margin
        painted = self._infer(mirrored)[cut : cut + height, cut : cut + width]
        return painted.copy()  # the next frame is painted into the same memory

    def _pads(self, height: int, width: int) -> list[tuple[int, int]]:
        network = self._network
        mirror = ReflectionPad(network.padding, network.multiple, network.margin)
        return [mirror.pads(side) for side in (height, width)]

    def _compiled(self, height: int, width: int) -> Callable[[np.ndarray], np.ndarray]:
        sides = zip((height, width), self._pads(height, width))
        graph = build_ov_model(self._network, *(side + sum(pads) for side, pads in sides))
        request = (
            core()
            .compile_model(
                graph,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": HINTS[self._precision],
                    "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                    "NUM_STREAMS": 1,
                    "ENABLE_CPU_PINNING": False,  # nodes on one machine would all take the same cores
                },
            )
            .create_infer_request()
        )
        return lambda mirrored: request.infer([mirrored[None]], share_inputs=True, share_outputs=True)[0][0]


@cache
def core() -> openvino.Core:
    """The one of this process. Each one gives the thread a stack for signals and takes it back when it goes; of several, some
    leave a stack that is freed already, and the next signal (the end of a child) is the end of the process."""
    return openvino.Core()


def build_ov_model(network: StyleNetwork, height: int, width: int) -> openvino.Model:
    """The network behind its ReflectionPad: (1, H, W, in_channels) float32 to (1, H, W, 3) uint8, for H and W that it divides.

    As in `StyleNetwork.forward`, an upsampling waits for the convolution that needs it.
    """
    seen = ops.parameter([1, height, width, network.in_channels], np.float32)
    x = _through(ops.transpose(seen, [0, 3, 1, 2]), network)
    x = ops.add(x, MEAN_BGR[None, :, None, None])
    levels = ops.convert(
        ops.clamp(ops.round(x, "half_to_even"), 0, 255), "u8"
    )  # transposed as bytes, a quarter of floats
    painted = ops.result(ops.transpose(levels, [0, 2, 3, 1]))
    # OpenVINO's types take the constructor for that of the class that this one stands for.
    return openvino.Model([painted], [seen], "style network")  # pyright: ignore[reportGeneralTypeIssues]


def _through(x: openvino.Node, layers: Iterable[nn.Module]) -> openvino.Node:
    factor = 1
    for layer in layers:
        if isinstance(layer, ReflectionPad):
            continue
        if isinstance(layer, Upsample):
            factor *= layer.factor
        elif factor > 1 and isinstance(layer, nn.Conv2d) and can_fuse(layer, factor):
            x, factor = _convolved_enlarged(x, layer, factor), 1
        elif factor > 1 and not isinstance(layer, POINTWISE):
            x, factor = LAYERS[type(layer)](_enlarged(x, factor), layer), 1
        else:
            x = LAYERS[type(layer)](x, layer)
    return _enlarged(x, factor) if factor > 1 else x


def _convolved(x: openvino.Node, layer: nn.Conv2d) -> openvino.Node:
    padding = cast("tuple[int, int]", layer.padding)  # torch has words for it, too, which no network here uses
    if layer.padding_mode != "zeros":
        x, padding = _continued(x, padding, padding, CONTINUED[layer.padding_mode]), (0, 0)
    weight = _plain(layer.weight)
    if layer.groups > 1:
        weight = weight.reshape(layer.groups, -1, *weight.shape[1:])
        sums = ops.group_convolution(x, weight, layer.stride, padding, padding, layer.dilation)
    else:
        sums = ops.convolution(x, weight, layer.stride, padding, padding, layer.dilation)
    return ops.add(sums, _by_channel(bias_of(layer)))


def _continued(x: openvino.Node, begin: Sequence[int], end: Sequence[int], mode: str = "edge") -> openvino.Node:
    """The picture with its edge pixels repeated, or mirrored; begin up and to the left, end below and to the right."""
    return ops.pad(x, [0, 0, *begin], [0, 0, *end], mode)


def _convolved_transposed(x: openvino.Node, layer: nn.ConvTranspose2d) -> openvino.Node:
    sums = ops.convolution_backprop_data(
        x,
        _plain(layer.weight),
        layer.stride,
        pads_begin=layer.padding,
        pads_end=layer.padding,
        dilations=(1, 1),
        output_padding=layer.output_padding,
    )
    return ops.add(sums, _by_channel(bias_of(layer)))


def _convolved_enlarged(x: openvino.Node, layer: nn.Conv2d, factor: int) -> openvino.Node:
    """As `convolve_enlarged`: phases that meet the same pixels share a convolution, the others have one each."""
    met = pixels_met(layer.kernel_size[0], factor)
    reach = [(pixels[0], pixels[-1]) for pixels in met]
    fold = [meeting(pixels, pixels[-1] - pixels[0] + 1).numpy() for pixels in met]
    weight, bias = _plain(layer.weight), _plain(bias_of(layer))
    found = []
    for (rows, columns), phases in groupby(
        product(range(factor), repeat=2), lambda phase: (reach[phase[0]], reach[phase[1]])
    ):
        weights = [fold[p] @ weight @ fold[q].T for p, q in phases]
        begin, end, source = (-rows[0], -columns[0]), (rows[1], columns[1]), x
        if layer.padding_mode != "zeros":  # of the mirror image of repeated pixels, see can_fuse
            source, begin, end = _continued(x, begin, end), (0, 0), (0, 0)
        sums = ops.convolution(source, np.concatenate(weights), (1, 1), begin, end, (1, 1))
        found.append(ops.add(sums, np.tile(bias, len(weights))[None, :, None, None]))
    return ops.depth_to_space(ops.concat(found, 1) if len(found) > 1 else found[0], "blocks_first", factor)


def _normalized(x: openvino.Node, layer: InstanceNorm) -> openvino.Node:
    x = ops.mvn(x, HEIGHT_AND_WIDTH, True, EPSILON, "inside_sqrt")
    return ops.add(ops.multiply(x, _by_channel(layer.weight)), _by_channel(layer.bias))


def _with_block(x: openvino.Node, block: ResidualBlock) -> openvino.Node:
    crop = block.crop
    shortcut = ops.slice(x, [crop, crop], [-crop, -crop], [1, 1], HEIGHT_AND_WIDTH) if crop else x
    total = ops.add(_through(x, block.branch), shortcut)
    return ops.relu(total) if block.rectified else total


def _with_detour(x: openvino.Node, layers: SeparableBlock | Detour) -> openvino.Node:
    return ops.add(_through(x, layers), x)


def _sub_pixel(x: openvino.Node, layer: SubPixel) -> openvino.Node:
    return ops.depth_to_space(_through(x, layer), "depth_first", layer.factor)


def _enlarged(x: openvino.Node, factor: int) -> openvino.Node:
    scales = np.array([factor, factor], np.float32)
    return ops.interpolate(x, scales, "nearest", "scales", [0], [0], "asymmetric", "floor", axes=HEIGHT_AND_WIDTH)


def _plain(weight: torch.Tensor) -> np.ndarray:
    return weight.detach().float().cpu().contiguous().numpy()


def _by_channel(values: torch.Tensor) -> np.ndarray:
    return _plain(values)[None, :, None, None]


LAYERS: dict[type[nn.Module], Callable[[openvino.Node, Any], openvino.Node]] = {
    nn.Conv2d: _convolved,
    nn.ConvTranspose2d: _convolved_transposed,
    InstanceNorm: _normalized,
    Affine: lambda x, layer: ops.add(ops.multiply(x, _by_channel(layer.weight)), _by_channel(layer.bias)),
    ResidualBlock: _with_block,
    SeparableBlock: _with_detour,
    Detour: _with_detour,
    SubPixel: _sub_pixel,
    nn.ReLU: lambda x, layer: ops.relu(x),
    nn.Tanh: lambda x, layer: ops.tanh(x),
    ScaledTanh: lambda x, layer: ops.multiply(x, np.float32(layer.constant)),
}
