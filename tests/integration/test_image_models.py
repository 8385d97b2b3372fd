"""Published image models as styles of films: frame by frame, for first frames, and what the commands say of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fav.cli.tools import main
from fav.model.onnx_style import load_image_model
from fav.model.runner import StyleRunner
from tests.helpers.onnx_writer import save_examples
from tests.helpers.published_networks import Examples, randomized
from tests.helpers.video_jobs import create, frames_of, studio_of, work


@pytest.fixture(scope="module")
def candy(tmp_path_factory) -> Path:
    """A model of pytorch/examples."""
    path = tmp_path_factory.mktemp("models") / "candy.pth"
    torch.save(randomized(Examples(blocks=1), 60).state_dict(), path)
    return path


def fav(*words):
    return CliRunner().invoke(main, [*map(str, words)])


def test_a_film_of_an_image_model_says_that_it_has_no_memory(candy, clip, tmp_path):
    refusal = fav("stylize", clip, candy, tmp_path / "film.mp4")
    assert refusal.exit_code == 2 and not (tmp_path / "film.mp4").exists()
    assert "independently" in refusal.output and f"fav train --steady {candy}" in refusal.output.replace("\n", "")


def test_frame_by_frame_it_makes_a_film(candy, clip, tmp_path):
    made = fav("stylize", clip, candy, tmp_path / "film.mp4", "--no-temporal", "--frames", "2", "--no-cuts")
    assert made.exit_code == 0, made.output
    assert (tmp_path / "film.mp4").stat().st_size > 1000


def test_styles_show_says_whose_model_it_is_and_which_values_it_takes(candy):
    shown = fav("styles", "show", candy).output
    assert "origin: fast_neural_style of pytorch/examples" in shown and "values: RGB, 0 to 255, in and out" in shown
    assert "image model" in shown and shown == fav("styles", candy).output
    assert fav("styles", "show", candy, candy).exit_code == 2


def test_convert_takes_the_layout_by_its_name(candy, tmp_path):
    assert fav("convert", candy, tmp_path / "a.safetensors", "--layout", "transformer-net-bgr").exit_code == 0
    assert "BGR" in fav("styles", "show", tmp_path / "a.safetensors").output
    refusal = fav("convert", candy, tmp_path / "b.safetensors", "--layout", "caffe")
    assert refusal.exit_code == 2 and "--layout: expected one of transformer-net, " in refusal.output


def test_a_job_paints_each_frame_with_an_image_model(candy, clip, share):
    job = create(share, clip, candy, no_temporal=True, frames=2, precision="float32")
    assert work(job)
    stylizer, index = studio_of(job)
    runner = StyleRunner(load_image_model(candy))
    for number, frame in enumerate(frames_of(job)):
        assert np.abs(frame.astype(int) - runner.stylize(stylizer.reader.read(number, index))).max() <= 1


@pytest.mark.parametrize("kind", ["pth", "onnx"])
def test_an_image_model_paints_the_first_frame_of_a_film(candy, clip, style, share, tmp_path, kind):
    opener = candy
    if kind == "onnx":
        pytest.importorskip("openvino")
        opener = save_examples(tmp_path / "candy.onnx", randomized(Examples(blocks=1), 60))
    job = create(share, clip, style, first_frame_style=opener, frames=2, precision="float32")
    assert work(job)
    stylizer, index = studio_of(job)
    expected = StyleRunner(load_image_model(opener)).stylize(stylizer.reader.read(0, index))
    assert np.abs(frames_of(job)[0].astype(int) - expected).max() <= 1
