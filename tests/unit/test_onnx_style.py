"""Image models as ONNX: they paint what the published network paints, and files of another kind are named."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fav.errors import FavError
from fav.model.checkpoints import load_style
from fav.model.onnx_fields import has_external_data
from fav.model.onnx_style import load_image_model, load_onnx, model_facts
from fav.model.runner import StyleRunner
from tests.helpers.onnx_writer import Graph, field, save_examples
from tests.helpers.published_networks import Examples, randomized

pytest.importorskip("openvino")


def frame(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@torch.inference_mode()
def expected(network, picture: np.ndarray, scale: float = 1, shift: float = 0, end=lambda y: y) -> np.ndarray:
    """What the published network makes of a frame (H, W, 3) uint8 BGR, rounded to levels."""
    height, width = picture.shape[:2]
    x = torch.from_numpy(picture[..., ::-1].astype(np.float32)).permute(2, 0, 1)[None] * scale + shift
    y = (end(network(x)) - shift) / scale
    return y[0, :, :height, :width].permute(1, 2, 0).flip(2).round().clamp(0, 255).numpy()


@pytest.mark.parametrize(
    "end, gain, scale, shift",
    [("", 60, 1, 0), ("Tanh", 1, 2 / 255, -1), ("Sigmoid", 1, 1 / 255, 0)],
)
def test_a_model_paints_what_it_was_exported_from_in_its_own_range(tmp_path, end, gain, scale, shift):
    network = randomized(Examples(blocks=1), gain)
    path = save_examples(tmp_path / "candy.onnx", network, end=end)
    runner = StyleRunner(load_image_model(path))
    apply = {"": lambda y: y, "Tanh": torch.tanh, "Sigmoid": torch.sigmoid}[end]
    for size in ((24, 28), (25, 31)):
        found = runner.stylize(frame(*size))
        assert found.shape == (*size, 3) and found.dtype == np.uint8 and found.std() > 5
        assert np.abs(found - expected(network, frame(*size), scale, shift, apply)).max() <= 1
    low, high = {"": (0, 255), "Tanh": (-1, 1), "Sigmoid": (0, 1)}[end]
    assert model_facts(path).metadata["values"] == f"RGB, {low} to {high}, in and out, NCHW"
    assert "onnx cpu float32" in runner.numeric_class()


def test_a_model_that_was_exported_for_one_size_takes_others(tmp_path):
    network = randomized(Examples(blocks=1), 60)
    path = save_examples(tmp_path / "candy.onnx", network, shape=(1, 3, 224, 224))
    found = StyleRunner(load_image_model(path)).stylize(frame(30, 45))
    assert np.abs(found - expected(network, frame(30, 45))).max() <= 1


def test_the_same_frame_gives_the_same_bytes(tmp_path):
    path = save_examples(tmp_path / "candy.onnx", randomized(Examples(blocks=1), 60))
    runner, again = StyleRunner(load_image_model(path)), StyleRunner(load_image_model(path))
    first = runner.stylize(frame(24, 28))
    runner.stylize(frame(30, 28))
    assert np.array_equal(runner.stylize(frame(24, 28)), first) and np.array_equal(again.stylize(frame(24, 28)), first)


def test_as_the_style_of_a_film_it_is_told_what_to_do(tmp_path):
    path = save_examples(tmp_path / "candy.onnx", randomized(Examples(blocks=1)))
    with pytest.raises(
        FavError, match="candy.onnx: .* ONNX image model: it stylizes each frame independently.*--no-temporal.*--steady"
    ):
        load_style(path, in_channels=7)


def smaller(path):
    graph = Graph()
    return graph.save(
        path, graph.node("MaxPool", ["input"], kernel_shape=[2, 2], strides=[2, 2]), (1, 3, "h", "w"), (1, 3, "a", "b")
    )


def of_one_channel(path):
    graph = Graph()
    return graph.save(path, graph.node("Relu", ["input"]), (1, 1, "h", "w"), (1, 1, "h", "w"))


def damaged(path):
    whole = save_examples(path, randomized(Examples(blocks=1))).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def nonsense(path):
    graph = Graph()
    return graph.save(path, graph.node("Frobnicate", ["input"]), (1, 3, "h", "w"), (1, 3, "h", "w"))


@pytest.mark.parametrize(
    "make, complaint",
    [
        (smaller, "expected a model that keeps the size of a frame, 64x64, got 32x32"),
        (of_one_channel, "expected a model that takes an image of 3 channels"),
        (damaged, "expected an undamaged ONNX model"),
        (nonsense, "expected an ONNX model that OpenVINO reads"),
    ],
)
def test_other_models_are_refused_in_one_line(tmp_path, make, complaint):
    with pytest.raises(FavError, match=f"model.onnx: {complaint}") as error:
        load_onnx(make(tmp_path / "model.onnx"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("location", ["secret.bin", "{}/secret.bin", "../secret.bin"])
def test_weights_in_other_files_are_refused(tmp_path, monkeypatch, location):
    monkeypatch.chdir(tmp_path)
    np.full(3, 5, np.float32).tofile("secret.bin")
    graph = Graph()
    place = field(13, field(1, "location") + field(2, location.format(tmp_path)))
    shape = field(1, 1) + field(1, 3) + field(1, 1) + field(1, 1)
    graph.values.append(shape + field(2, 1) + field(8, "constant0") + place + field(14, 1))
    out = graph.node("Add", ["input", "constant0"])
    path = graph.save(tmp_path / "model.onnx", out, (1, 3, "h", "w"), (1, 3, "h", "w"))
    with pytest.raises(FavError, match="that contains its weights, got one with weights in other files"):
        load_onnx(path)


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_fields_of_hostile_bytes_are_read_or_refused(data):
    with suppress(FavError):
        has_external_data(field(1, 4) + data)


def test_without_openvino_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = save_examples(tmp_path / "candy.onnx", randomized(Examples(blocks=1)))
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(FavError, match="an ONNX model needs OpenVINO: .*pip install openvino"):
        load_onnx(path)
