"""Image models as ONNX, run by OpenVINO: how they take pictures is read off their inputs and a probe.

ONNX holds no code. A file that names other files for its weights is refused, since they could lie anywhere.
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
from fav.model.onnx_fields import names_files
from fav.util.reading import opened, read_file

if TYPE_CHECKING:
    import openvino

PROBED = 64  # side of the picture by which the range of a model's values is found
MOST_BEYOND = 64  # pixels by which a picture may be larger than its frame, as strides let it


@dataclass(frozen=True)
class OnnxValues:
    """How a model takes and gives pictures: RGB levels, 0 to 255, times `scale` plus `shift`; channels last or not."""

    scale: float
    shift: float
    channels_last: bool

    @property
    def words(self) -> str:
        """The range in words."""
        low, high = self.shift, 255 * self.scale + self.shift
        return f"RGB, {low:g} to {high:g}, in and out, {'NHWC' if self.channels_last else 'NCHW'}"


@dataclass(frozen=True)
class OnnxStyle:
    """An image model of an ONNX file: a style of 3 channels. `data` is the file."""

    path: Path
    data: bytes
    in_channels: int = 3
    min_side: int = 1
    arch: str = "onnx"

    def model(self, height: int, width: int) -> "openvino.Model":
        """The model of OpenVINO for frames of a size. FavError where it is of another kind or takes another size."""
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
        """How it takes pictures: what it gives for levels from 0 to 255 tells whether it works with 0 to 1 or -1 to 1."""
        ramp = np.linspace(0, 255, PROBED, dtype=np.float32)
        probe = np.stack(
            [np.tile(ramp, (PROBED, 1)), np.tile(ramp[:, None], (1, PROBED)), 255 - np.add.outer(ramp, ramp) / 2], 2
        )
        channels_last = self._channels_last(self.model(PROBED, PROBED))
        given = self.compiled(PROBED, PROBED, "f32", channels_last)(probe)
        if np.abs(given).max() > 1.5:
            return OnnxValues(1, 0, channels_last)
        return OnnxValues(2 / 255, -1, channels_last) if given.min() < -0.05 else OnnxValues(1 / 255, 0, channels_last)

    def compiled(
        self, height: int, width: int, precision: str, channels_last: bool
    ) -> Callable[[np.ndarray], np.ndarray]:
        """What makes of a picture (H, W, 3), RGB and of the model's values, another one; both float32."""
        from fav.model.backends.openvino import core

        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        request = core().compile_model(self.model(height, width), "CPU", options).create_infer_request()

        def run(picture: np.ndarray) -> np.ndarray:
            seen = picture if channels_last else np.ascontiguousarray(picture.transpose(2, 0, 1))
            given = request.infer([seen[None].astype(np.float32)])[0]
            if given.ndim != 4 or given.shape[3 if channels_last else 1] != 3:
                raise FavError(f"{self.path}: expected a model that gives a picture of 3 channels, got {given.shape}")
            found = given[0] if channels_last else given[0].transpose(1, 2, 0)
            beyond = [found.shape[0] - height, found.shape[1] - width]
            if min(beyond) < 0 or max(beyond) > MOST_BEYOND:
                raise FavError(
                    f"{self.path}: expected a model that keeps the size of a frame, {width}x{height}, got "
                    f"{found.shape[1]}x{found.shape[0]}"
                )
            return np.array(found[:height, :width], np.float32)

        return run

    def _read(self, core: "openvino.Core") -> "openvino.Model":
        try:
            model: Any = core.read_model(self.data)
        except RuntimeError as error:
            reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "")[:200]
            raise FavError(f"{self.path}: expected an ONNX model that OpenVINO reads, got {reason!r}") from error
        inputs = [one.get_partial_shape() for one in model.inputs]
        if len(inputs) != 1 or len(inputs[0]) != 4:
            raise FavError(f"{self.path}: expected a model of one picture as its only input, got inputs {inputs}")
        return model

    def _channels_last(self, model: "openvino.Model") -> bool:
        shape = model.inputs[0].get_partial_shape()
        sizes = [one.get_length() if one.is_static else None for one in shape]
        if sizes[1] != 3 and sizes[3] != 3:
            raise FavError(f"{self.path}: expected a model that takes a picture of 3 channels, got {shape}")
        return sizes[1] != 3


class OnnxBackend:
    """A backend (see `fav.model.backends`) for an ONNX model, which sees frames less the mean color as all do."""

    def __init__(self, style: OnnxStyle, precision: str):
        import openvino

        self.description = f"openvino {openvino.get_version()} onnx cpu {precision}"
        self._style, self._hint = style, {"float32": "f32", "bfloat16": "bf16"}[precision]
        self._size: tuple[int, int] | None = None
        self._infer: Callable[[np.ndarray], np.ndarray]

    def __call__(self, seen: np.ndarray) -> np.ndarray:
        from fav.model.preprocessing import MEAN_BGR

        values, (height, width) = self._style.values, seen.shape[:2]
        if self._size != (height, width):
            self._infer = self._style.compiled(height, width, self._hint, values.channels_last)
            self._size = height, width
        levels = cv2.cvtColor(seen + MEAN_BGR, cv2.COLOR_BGR2RGB)
        painted = (
            self._infer(levels * np.float32(values.scale) + np.float32(values.shift)) - values.shift
        ) / values.scale
        return np.ascontiguousarray(np.rint(painted[..., ::-1]).clip(0, 255).astype(np.uint8))


def load_onnx(path: Path) -> OnnxStyle:
    """The image model of an ONNX file, looked at as a whole.

    Raises:
        FavError: OpenVINO is not there, or the file is not of such a model.
    """
    from fav.model.backends import BACKENDS

    if missing := BACKENDS["openvino"].missing():
        raise FavError(f"{path}: an ONNX model needs OpenVINO: {missing}")
    style = OnnxStyle(path, read_file(path, str(path), MAX_BYTES))
    if not style.data:
        raise FavError(f"{path}: expected an ONNX model, got an empty file")
    try:
        outside = names_files(style.data)
    except FavError as error:
        raise FavError(f"{path}: {error}") from error
    if outside:
        raise FavError(
            f"{path}: expected an ONNX model with its weights inside, got one that names other files for them"
        )
    style.values  # noqa: B018  # runs it once
    return style


def load_image_model(path: Path) -> StyleNetwork | OnnxStyle:
    """An image model (3 channels) of any kind of file that `load_style` or `load_onnx` reads. FavError as they raise it."""
    return load_onnx(path) if holds_onnx(path) else load_style(path, in_channels=3)


def holds_onnx(path: Path) -> bool:
    """Whether a file is ONNX, by its content. FavError where it cannot be read."""
    try:
        with opened(path, str(path)) as file:
            return is_onnx(os.read(file.fileno(), HEAD))
    except OSError as error:
        raise FavError(f"{path}: cannot be read: {error.strerror}; expected {FORMATS}") from error


def model_facts(path: Path) -> StyleFacts:
    """As `fav.model.checkpoints.style_facts`, of ONNX models as well."""
    if not holds_onnx(path):
        return style_facts(path)
    style = load_onnx(path)
    return StyleFacts("onnx", 3, 0, "onnx", {"origin": "an ONNX image model", "values": style.values.words})
