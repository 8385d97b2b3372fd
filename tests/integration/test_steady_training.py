"""`fav train --steady` and `--copy`: a model becomes a style; and the options that a training has beside it."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fav.cli.tools import main
from fav.model.checkpoints import load_style, save_style, style_facts
from fav.training.checkpoint import load_state
from fav.training.config import TrainingConfig, parse_layers
from fav.training.distill import load_image_teacher
from fav.training.losses import pixel_loss
from fav.training.unroll import network_input
from tests.helpers.commands import refused
from tests.helpers.published_networks import Examples, randomized
from tests.helpers.training_material import TINY

FEW = ("--arch", TINY, "--crop", "32", "--batch", "2", "--workers", "0", "--threads", "1", "--precision", "float32",
       "--num-frame-steps", "0:1")  # fmt: skip


@pytest.fixture
def candy(tmp_path) -> Path:
    """A tiny model of pytorch/examples."""
    torch.save(randomized(Examples(width=2, blocks=1), 40).state_dict(), tmp_path / "candy.pth")
    return tmp_path / "candy.pth"


def call(*words):
    return CliRunner().invoke(main, ["train", *map(str, words)])


def rows_of(path: Path) -> list[dict[str, float]]:
    return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(path.open())]


def test_an_image_model_becomes_a_style_that_films(candy, photos, tmp_path, clip):
    out = tmp_path / "steady.safetensors"
    result = call("--steady", candy, photos, out, *FEW, "--loss-network", "none", "--iterations", 30)
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "steady.losses.csv")
    for name in ("pixel", "total"):
        assert np.mean([row[name] for row in rows[-10:]]) < 0.8 * np.mean([row[name] for row in rows[:10]])
    facts = style_facts(out)
    assert (facts.in_channels, facts.arch, facts.metadata["style"]) == (7, TINY, "candy.pth")
    assert "steadied" in facts.metadata and f"--steady {candy.name}" in facts.metadata["command"]
    assert "pixel" in facts.metadata["losses"] and "palette" not in facts.metadata["losses"]
    film = CliRunner().invoke(main, ["stylize", str(clip), str(out), str(tmp_path / "film.mp4"), "--frames", "2"])
    assert film.exit_code == 0, film.output


def test_with_a_loss_network_the_look_of_the_target_is_learned_as_well(candy, photos, loss_network, tmp_path):
    words = "--steady", candy, photos, tmp_path / "out.safetensors", *FEW, "--loss-network", loss_network
    assert call(*words, "--iterations", 2, "--style-layers", "conv1:2,fire3:1").exit_code == 0
    assert all(row["style"] > 0 and row["content"] > 0 for row in rows_of(tmp_path / "out.losses.csv"))
    assert call(*words, "--iterations", 4, "--style-layers", "conv1:2,fire3:1").exit_code == 0  # it goes on
    refused(call(*words, "--iterations", 5), "started with other options", "style-layers was conv1:2,fire3:1, not ")


def test_the_models_pictures_are_learned_before_memory_and_with_small_weights_for_steadiness(candy, photos, tmp_path):
    words = "--steady", candy, photos, tmp_path / "out.safetensors", *FEW[:-2], "--loss-network", "none"
    assert call(*words, "--iterations", 10, "--forgetting-weight", 7, "--data-mix", "shift:1").exit_code == 0
    assert [row["steps"] for row in rows_of(tmp_path / "out.losses.csv")] == [0] * 3 + [1] * 6 + [2]
    recipe = load_state(tmp_path / "out.safetensors.training")["recipe"]
    assert (recipe["temporal_weight"], recipe["forgetting_weight"], recipe["end_factor"]) == (60, 7, 0.1)


def test_a_teacher_gives_what_its_model_paints(candy):
    pictures = torch.randint(0, 256, (2, 3, 28, 32), generator=torch.Generator().manual_seed(0)).float()
    taught = load_image_teacher(candy, torch.device("cpu"), 32)(network_input(pictures))
    expected = load_style(candy)(pictures - torch.tensor((103.939, 116.779, 123.68)).view(1, 3, 1, 1))
    expected = (expected + torch.tensor((103.939, 116.779, 123.68)).view(1, 3, 1, 1)).clamp(0, 255)
    assert taught.shape == pictures.shape and (taught - expected).abs().max() <= 1


def test_a_style_is_copied_to_another_architecture(style, photos, tmp_path):
    out = tmp_path / "copy.safetensors"
    style = save_style(load_style(style), tmp_path / "starry.safetensors", {"style": "starry.jpg"})
    arch = "c3s2-4,R4,U2,c3s1-3"
    words = "--copy", style, photos, out, *FEW[2:], "--arch", arch, "--loss-network", "none", "--iterations", 30
    result = call(*words)
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "copy.losses.csv")
    assert np.mean([row["pixel"] for row in rows[-10:]]) < 0.8 * np.mean([row["pixel"] for row in rows[:10]])
    facts = style_facts(out)
    assert (facts.in_channels, facts.arch, facts.metadata["style"]) == (7, arch, "starry.jpg")
    assert style.name in facts.metadata["copied"] and f"--copy {style.name}" in facts.metadata["command"]
    recipe = load_state(tmp_path / "copy.safetensors.training")["recipe"]
    assert (recipe["copied"], recipe["temporal_weight"], recipe["pixel_weight"]) == (True, 0, 100)


def test_a_copy_with_the_weights_of_its_style_is_perfect_also_with_memory(style, photos, tmp_path):
    out = tmp_path / "out.safetensors"
    words = "--copy", style, photos, out, *FEW[2:-1], "0:2", "--data-mix", "shift:1", "--init", style
    assert call(*words, "--loss-network", "none", "--iterations", 1, "--lattice-weight", 0).exit_code == 0
    (row,) = rows_of(tmp_path / "out.losses.csv")
    assert row["steps"] == 2 and row["pixel"] < 1e-4, row  # targets are clipped to 0..255


def test_what_cannot_be_made_steady_is_refused_before_any_work(candy, photos, painting, tmp_path, style):
    out = tmp_path / "out.safetensors"
    refused(call("--steady", candy, painting, photos, out), "expected PHOTOS_DIR OUT, got 3", "no painting is needed")
    refused(call("--copy", candy, photos, out, "--loss-network", "none"), "expected a video model (7 channels)")
    refused(call("--copy", "no_such_style", photos, out), "--copy: expected the name of a style or a file")
    refused(call("--steady", "no_such.pth", photos, out), "--steady: expected a file, got no_such.pth")
    refused(call("--copy", style, "--steady", candy, photos, out), "expected --steady or --copy, got both")
    refused(call("--copy", style, photos, style), "exists")
    refused(call("--steady", style, photos, out, "--loss-network", "none"), "expected an image model (3 channels)")
    refused(call(painting, photos, out, "--loss-network", "none"), "--loss-network none: expected with --steady")
    refused(call("--steady", candy, photos, out, "--style-crop", "0,0,9,9"), "--style-crop: expected with a painting")
    assert "Missing argument 'OUT'" in call("--steady", candy, photos).output
    assert not out.exists()


def test_a_painting_is_learned_with_every_knob(painting, photos, loss_network, tmp_path):
    knobs = ("--pixel-weight", 5, "--pixel-loss", "smooth-l1", "--style-layers", "conv1:1,fire2:3", "--content-layers",
             "fire3", "--lr-decay-every", 2, "--lr-decay-factor", 0.5, "--single-image-until", 2)  # fmt: skip
    out = tmp_path / "out.safetensors"
    result = call(
        painting, photos, out, *FEW, "--style-size", 96, "--loss-network", loss_network, *knobs, "--iterations", 3
    )
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "out.losses.csv")
    assert all(row["pixel"] > 0 for row in rows) and [row["steps"] for row in rows[:2]] == [0, 0]
    assert "validation: content" in CliRunner().invoke(main, ["styles", "show", str(out)]).output


@pytest.mark.parametrize(
    "words, complaint",
    [
        (("--style-layers", "conv1:x"), "--style-layers: expected LAYER:WEIGHT"),
        (("--content-layers", "conv1:0"), "--content-layers: expected a weight above 0"),
        (("--style-layers", "fire99"), "expected layers among conv1, fire2"),
        (("--arch", "B,c3s1-3"), "--arch: expected a string without B, A and L"),
    ],
)
def test_a_knob_that_makes_no_sense_is_refused(painting, photos, loss_network, tmp_path, words, complaint):
    refused(call(painting, photos, tmp_path / "out.safetensors", "--loss-network", loss_network, *words), complaint)


def test_the_learning_rate_decays_and_stills_come_first():
    config = TrainingConfig("x", learning_rate=0.1, decay_every=100, decay_factor=0.5, single_image_until=50)
    assert [config.rate_at(iteration) for iteration in (0, 99, 100, 250)] == [0.1, 0.1, 0.05, 0.025]
    assert {config.kind(iteration) for iteration in range(50)} == {"single_image"}
    assert len({config.kind(iteration) for iteration in range(50, 100)}) > 2
    assert TrainingConfig("x", learning_rate=0.1).rate_at(10**6) == 0.1


def test_trainings_of_before_are_those_of_the_defaults():
    config = TrainingConfig("x")
    assert "pixel_weight" not in config.to_json() and not config.differences(config.to_json())
    assert "pixel-weight was 0.0, not 3" in TrainingConfig("x", pixel_weight=3).differences(config.to_json())


def test_pixel_losses_are_in_units_of_255_levels():
    black, white = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 255.0)
    assert pixel_loss(black, white, "l2") == pixel_loss(black, white, "l1") == 1
    assert pixel_loss(black, white, "smooth-l1") == pytest.approx(254.5 / 255)
    assert parse_layers("--style-layers", "conv1,fire5:0.5,fire7:0") == {"conv1": 1, "fire5": 0.5}
