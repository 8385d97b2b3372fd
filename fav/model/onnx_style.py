"""Run image models in ONNX format with OpenVINO. The range of their values is detected by a test image.

ONNX contains no code. A file with external data is refused, since its path may lead anywhere.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from fav.errors import FavError
from fav.model.checkpoints import FORMATS, HEAD, MAX_BYTES, StyleFacts, is_onnx, load_style, style_facts
from fav.model.network import StyleNetwork
from fav.model.onnx_fields import has_external_data
from fav.util.reading import opened, read_file

if TYPE_CHECKING:
    import openvino

PROBE_SIDE = 64  # pixels of the test image
MAX_EXTRA = 64  # pixels by which the output of a model with strides may be larger than the frame


@dataclass(frozen=True)
class OnnxValues:
    """The format of a model's input and output: RGB levels, 0 to 255, times `scale` plus `shift`, NHWC or NCHW."""

    scale: float
    shift: float
    channels_last: bool

    @property
    def description(self) -> str:
        """The format for users."""
        low, high = self.shift, 255 * self.scale + self.shift
        return f"RGB, {low:g} to {high:g}, in and out, {'NHWC' if self.channels_last else 'NCHW'}"


@dataclass(frozen=True)
class OnnxStyle:
    """An image model of an ONNX file: a style of 3 channels. `data` is the content of the file."""

    path: Path
    data: bytes
    in_channels: int = 3
    min_side: int = 1
    arch: str = "onnx"

    def model(self, height: int, width: int) -> "openvino.Model":
        """Return the OpenVINO model for frames of a size, in pixels.

        Raises:
            FavError: The model does not take one image of this size.
        """
        from fav.model.backends.openvino import core

        model = self._read(core())
        try:
            shape = [1, height, width, 3] if self._channels_last(model) else [1, 3, height, width]
            model.reshape({model.inputs[0].get_any_name(): shape})
        except RuntimeError as error:
            size = model.inputs[0].get_partial_shape()
            raise FavError(
                f"{self.path}: expected a model for frames of any size, got one that takes {size}, not {width}x{height}; "
                f"export it with dynamic height and width"
            ) from error
        return model

    @cached_property
    def values(self) -> OnnxValues:
        """The format of the values, detected from the output for a ramp of levels from 0 to 255.

        An output beyond 1.5 means 0 to 255, a negative one -1 to 1, others 0 to 1.
        """
        ramp = np.linspace(0, 255, PROBE_SIDE, dtype=np.float32)
        horizontal, vertical = np.tile(ramp, (PROBE_SIDE, 1)), np.tile(ramp[:, None], (1, PROBE_SIDE))
        probe = np.stack([horizontal, vertical, 255 - np.add.outer(ramp, ramp) / 2], 2)
        channels_last = self._channels_last(self.model(PROBE_SIDE, PROBE_SIDE))
        output = self.compile(PROBE_SIDE, PROBE_SIDE, "f32", channels_last)(probe)
        if np.abs(output).max() > 1.5:
            return OnnxValues(1, 0, channels_last)
        return OnnxValues(2 / 255, -1, channels_last) if output.min() < -0.05 else OnnxValues(1 / 255, 0, channels_last)

    def compile(
        self, height: int, width: int, precision: str, channels_last: bool
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Compile the model for frames of a size.

        Args:
            height: Of the frames, in pixels.
            width: Of the frames, in pixels.
            precision: `f32` or `bf16`.
            channels_last: Whether the model takes NHWC.

        Returns:
            A function from an image (H, W, 3) float32 to the stylized one. Both are RGB, in the range of the model.
        """
        from fav.model.backends.openvino import core

        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        request = core().compile_model(self.model(height, width), "CPU", options).create_infer_request()

        def run(image: np.ndarray) -> np.ndarray:
            x = image if channels_last else np.ascontiguousarray(image.transpose(2, 0, 1))
            output = request.infer([x[None].astype(np.float32)])[0]
            if output.ndim != 4 or output.shape[3 if channels_last else 1] != 3:
                raise FavError(f"{self.path}: expected a model that returns an image of 3 channels, got {output.shape}")
            stylized = output[0] if channels_last else output[0].transpose(1, 2, 0)
            extra = [stylized.shape[0] - height, stylized.shape[1] - width]
            if min(extra) < 0 or max(extra) > MAX_EXTRA:
                raise FavError(
                    f"{self.path}: expected a model that keeps the size of a frame, {width}x{height}, got "
                    f"{stylized.shape[1]}x{stylized.shape[0]}"
                )
            return np.array(stylized[:height, :width], np.float32)

        return run

    def _read(self, core: "openvino.Core") -> "openvino.Model":
        try:
            model: Any = core.read_model(self.data)
        except RuntimeError as error:
            reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "")[:200]
            raise FavError(f"{self.path}: expected an ONNX model that OpenVINO reads, got {reason!r}") from error
        inputs = [one.get_partial_shape() for one in model.inputs]
        if len(inputs) != 1 or len(inputs[0]) != 4:
            raise FavError(f"{self.path}: expected a model with one image as its only input, got inputs {inputs}")
        return model

    def _channels_last(self, model: "openvino.Model") -> bool:
        shape = model.inputs[0].get_partial_shape()
        sizes = [one.get_length() if one.is_static else None for one in shape]
        if sizes[1] != 3 and sizes[3] != 3:
            raise FavError(f"{self.path}: expected a model that takes an image of 3 channels, got {shape}")
        return sizes[1] != 3


class OnnxBackend:
    """A backend (`fav.model.backends`) for an ONNX model. Its input is the frame minus the mean color, as for all backends."""

    def __init__(self, style: OnnxStyle, precision: str):
        import openvino

        self.description = f"openvino {openvino.get_version()} onnx cpu {precision}"
        self._style, self._hint = style, {"float32": "f32", "bfloat16": "bf16"}[precision]
        self._size: tuple[int, int] | None = None
        self._infer: Callable[[np.ndarray], np.ndarray]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        from fav.model.preprocessing import MEAN_BGR

        values, (height, width) = self._style.values, x.shape[:2]
        if self._size != (height, width):
            self._infer = self._style.compile(height, width, self._hint, values.channels_last)
            self._size = height, width
        levels = cv2.cvtColor(x + MEAN_BGR, cv2.COLOR_BGR2RGB)
        output = self._infer(levels * np.float32(values.scale) + np.float32(values.shift))
        stylized = (output - values.shift) / values.scale
        return np.ascontiguousarray(np.rint(stylized[..., ::-1]).clip(0, 255).astype(np.uint8))


def load_onnx(path: Path) -> OnnxStyle:
    """Load an image model from an ONNX file, and run it once as a check.

    Raises:
        FavError: OpenVINO is not installed, or the file is not such a model.
    """
    from fav.model.backends import BACKENDS

    if missing := BACKENDS["openvino"].missing():
        raise FavError(f"{path}: an ONNX model needs OpenVINO: {missing}")
    style = OnnxStyle(path, read_file(path, str(path), MAX_BYTES))
    if not style.data:
        raise FavError(f"{path}: expected an ONNX model, got an empty file")
    try:
        external = has_external_data(style.data)
    except FavError as error:
        raise FavError(f"{path}: {error}") from error
    if external:
        raise FavError(
            f"{path}: expected an ONNX model that contains its weights, got one with weights in other files; "
            f"save it without external data"
        )
    style.values  # noqa: B018  # runs the model once
    return style


def load_image_model(path: Path) -> StyleNetwork | OnnxStyle:
    """Load an image model (3 channels) from any file that `load_style` or `load_onnx` reads; raises as they do."""
    return load_onnx(path) if holds_onnx(path) else load_style(path, in_channels=3)


def holds_onnx(path: Path) -> bool:
    """Whether the content of a file is ONNX. Raises FavError if it cannot be read."""
    try:
        with opened(path, str(path)) as file:
            return is_onnx(os.read(file.fileno(), HEAD))
    except OSError as error:
        raise FavError(f"{path}: cannot be read: {error.strerror}; expected {FORMATS}") from error


def model_facts(path: Path) -> StyleFacts:
    """Like `fav.model.checkpoints.style_facts`, also for ONNX models."""
    if not holds_onnx(path):
        return style_facts(path)
    style = load_onnx(path)
    return StyleFacts("onnx", 3, 0, "onnx", {"origin": "an ONNX image model", "values": style.values.description})
