"""The network as a graph of OpenVINO, for CPUs: built by hand, since what is exactly true of it is known here alone.

Nothing is kept on disk: such a graph is compiled in less than a tenth of a second, so that there is no cache to be broken.
"""

from collections.abc import Callable
from functools import cache
from itertools import groupby, product

import cv2
import numpy as np
import openvino
import torch
from openvino import opset14 as ops
from torch import nn

from fav.model.network import (
    EPSILON,
    InstanceNorm,
    ReflectionPad,
    ResidualBlock,
    ScaledTanh,
    StyleNetwork,
    Upsample,
    meeting,
    pixels_met,
)
from fav.model.preprocessing import MEAN_BGR

HINTS = {"float32": "f32", "bfloat16": "bf16"}
HEIGHT_AND_WIDTH = (2, 3)


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
        before, multiple = self._network.padding, self._network.multiple
        below, right = (before + -side % multiple for side in (height, width))
        mirrored = cv2.copyMakeBorder(
            seen, before, below, before, right, cv2.BORDER_REFLECT_101
        )  # as ReflectionPad does
        return self._infer(mirrored)[:height, :width].copy()  # the next frame is painted into the same memory

    def _compiled(self, height: int, width: int) -> Callable[[np.ndarray], np.ndarray]:
        padding, multiple = self._network.padding, self._network.multiple
        graph = build_ov_model(self._network, *(2 * padding + side + -side % multiple for side in (height, width)))
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
    x, factor = ops.transpose(seen, [0, 3, 1, 2]), 1
    for layer in network:
        if isinstance(layer, ReflectionPad):
            continue
        if isinstance(layer, Upsample):
            factor *= layer.factor
        elif factor > 1 and isinstance(layer, nn.Conv2d) and layer.stride == (1, 1):
            x, factor = _convolved_enlarged(x, layer, factor), 1
        elif factor > 1 and isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, ResidualBlock)):
            x, factor = LAYERS[type(layer)](_enlarged(x, factor), layer), 1
        else:
            x = LAYERS[type(layer)](x, layer)
    x = ops.add(_enlarged(x, factor) if factor > 1 else x, MEAN_BGR[None, :, None, None])
    levels = ops.convert(
        ops.clamp(ops.round(x, "half_to_even"), 0, 255), "u8"
    )  # transposed as bytes, a quarter of floats
    return openvino.Model([ops.result(ops.transpose(levels, [0, 2, 3, 1]))], [seen], "style network")


def _convolved(x: openvino.Output, layer: nn.Conv2d) -> openvino.Output:
    sums = ops.convolution(x, _plain(layer.weight), layer.stride, layer.padding, layer.padding, (1, 1))
    return ops.add(sums, _by_channel(layer.bias))


def _convolved_transposed(x: openvino.Output, layer: nn.ConvTranspose2d) -> openvino.Output:
    sums = ops.convolution_backprop_data(
        x,
        _plain(layer.weight),
        layer.stride,
        pads_begin=layer.padding,
        pads_end=layer.padding,
        dilations=(1, 1),
        output_padding=layer.output_padding,
    )
    return ops.add(sums, _by_channel(layer.bias))


def _convolved_enlarged(x: openvino.Output, layer: nn.Conv2d, factor: int) -> openvino.Output:
    """As `convolve_enlarged`: phases that meet the same pixels share a convolution, the others have one each."""
    met = pixels_met(layer.kernel_size[0], factor)
    reach = [(pixels[0], pixels[-1]) for pixels in met]
    fold = [meeting(pixels, pixels[-1] - pixels[0] + 1).numpy() for pixels in met]
    weight, bias = _plain(layer.weight), _plain(layer.bias)
    found = []
    for (rows, columns), phases in groupby(
        product(range(factor), repeat=2), lambda phase: (reach[phase[0]], reach[phase[1]])
    ):
        weights = [fold[p] @ weight @ fold[q].T for p, q in phases]
        begin, end = (-rows[0], -columns[0]), (rows[1], columns[1])
        sums = ops.convolution(x, np.concatenate(weights), (1, 1), begin, end, (1, 1))
        found.append(ops.add(sums, np.tile(bias, len(weights))[None, :, None, None]))
    return ops.depth_to_space(ops.concat(found, 1) if len(found) > 1 else found[0], "blocks_first", factor)


def _normalized(x: openvino.Output, layer: InstanceNorm) -> openvino.Output:
    x = ops.mvn(x, HEIGHT_AND_WIDTH, True, EPSILON, "inside_sqrt")
    return ops.add(ops.multiply(x, _by_channel(layer.weight)), _by_channel(layer.bias))


def _with_block(x: openvino.Output, block: ResidualBlock) -> openvino.Output:
    branch = x
    for layer in block[0][0]:
        branch = LAYERS[type(layer)](branch, layer)
    return ops.add(branch, ops.slice(x, [2, 2], [-2, -2], [1, 1], HEIGHT_AND_WIDTH))


def _enlarged(x: openvino.Output, factor: int) -> openvino.Output:
    scales = np.array([factor, factor], np.float32)
    return ops.interpolate(x, scales, "nearest", "scales", [0], [0], "asymmetric", "floor", axes=HEIGHT_AND_WIDTH)


def _plain(weight: torch.Tensor) -> np.ndarray:
    return weight.detach().float().cpu().contiguous().numpy()


def _by_channel(values: torch.Tensor) -> np.ndarray:
    return _plain(values)[None, :, None, None]


LAYERS: dict[type, Callable[[openvino.Output, nn.Module], openvino.Output]] = {
    nn.Conv2d: _convolved,
    nn.ConvTranspose2d: _convolved_transposed,
    InstanceNorm: _normalized,
    ResidualBlock: _with_block,
    nn.ReLU: lambda x, layer: ops.relu(x),
    nn.Tanh: lambda x, layer: ops.tanh(x),
    ScaledTanh: lambda x, layer: ops.multiply(x, np.float32(layer.constant)),
}
