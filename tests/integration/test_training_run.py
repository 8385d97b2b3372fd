"""`python -m fav train` as it is typed: small real trainings, killed and resumed; bad input is one line before any work."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fav.cli.tools import main
from fav.errors import FavError
from fav.model.architecture import HALF_WIDTH, PRESETS, WIDE_VIEW
from fav.model.checkpoints import load_style, save_style, style_facts
from fav.training.checkpoint import load_state
from fav.training.config import TrainingConfig, parse_mix, parse_steps
from fav.training.schedule import Schedule
from fav.util.images import read_image
from tests.helpers.checkout import ROOT
from tests.helpers.commands import refused
from tests.helpers.networks import random_network
from tests.helpers.training_material import TINY, WIDE


@pytest.fixture
def words(photos, painting, loss_network, tmp_path) -> list[str]:
    """A small training, to be continued with its options."""
    return [
        "train",
        str(painting),
        str(photos),
        str(tmp_path / "out.safetensors"),
        "--loss-network",
        str(loss_network),
        "--arch",
        TINY,
        "--crop",
        "32",
        "--batch",
        "2",
        "--style-size",
        "96",
        "--num-frame-steps",
        "0:0,2:1,4:2",
        "--workers",
        "0",
        "--threads",
        "1",
        "--precision",
        "float32",
    ]


def call(*options):
    return CliRunner().invoke(main, [str(option) for option in options])


def started(words: list[str], *options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "fav", *words, *map(str, options)], cwd=ROOT, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)  # fmt: skip


def until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    state = load_state(path)
    return {f"{part}.{key}": value for part in ("network", "average") for key, value in state[part].items()}


def test_a_style_is_learned_and_films(words, tmp_path, clip):
    result = call(*words, "--iterations", 24)
    assert result.exit_code == 0, result.output
    out = tmp_path / "out.safetensors"
    assert f"done: {out}, 24 iterations" in result.output and "; the style is not ready: " in result.output
    assert (
        "learning stripes.png from " in result.output
        and " photographs on cpu in float32, 24 iterations" in result.output
    )
    rows = list(csv.DictReader((tmp_path / "out.losses.csv").open()))
    totals = [float(row["total"]) for row in rows]
    assert len(totals) == 24 and np.mean(totals[-5:]) < 0.85 * np.mean(totals[:5])
    assert {float(row["steps"]) for row in rows[4:]} == {0, 2}
    assert all(read_image(tmp_path / name).std() > 5 for name in ("out.sheet.png", "out.losses.png"))
    facts = style_facts(out)
    assert (facts.arch, facts.in_channels) == (TINY, 7)
    assert (facts.metadata["style"], facts.metadata["iterations"]) == ("stripes.png", "24")
    assert not any(os.sep + "tmp" in value or str(tmp_path) in value for value in facts.metadata.values())
    assert "'photos of '" in facts.metadata["command"] and "--crop 32" in facts.metadata["command"]
    assert out.stat().st_size < 20_000  # float16
    filmed = call("stylize", clip, out, tmp_path / "film.mp4", "--frames", 3, "--threads", 1)
    assert filmed.exit_code == 0, filmed.output
    assert sorted(path.name for path in tmp_path.glob("*out*")) == [
        "out.losses.csv", "out.losses.png", "out.safetensors", "out.safetensors.training", "out.sheet.png"]  # fmt: skip


@pytest.mark.slow
def test_a_style_learns_to_paint_from_nothing_what_it_paints_in_a_film(words, tmp_path):
    last = {}
    for weight in (1e-6, 1000):  # with the first it is measured alone
        for path in tmp_path.glob("out.*"):
            path.unlink()
        result = call(*words, "--num-frame-steps", "0:2", "--iterations", 60, "--forgetting-weight", weight)
        assert result.exit_code == 0, result.output
        rows = list(csv.DictReader((tmp_path / "out.losses.csv").open()))
        assert {float(row["steps"]) > 0: float(row["forgetting"]) > 0 for row in rows} == {False: False, True: True}
        last[weight] = np.mean([float(row["forgetting"]) for row in rows[-30:] if float(row["steps"])])
    assert last[1000] < last[1e-6] / 2
    assert re.search(r"temporal [^,]+, forgetting \d", style_facts(tmp_path / "out.safetensors").metadata["losses"])


def test_a_training_that_is_killed_goes_on_to_the_same_weights(words, tmp_path):
    state = tmp_path / "out.safetensors.training"
    process = started(words, "--iterations", 2000, "--save-every", 0)
    until(lambda: state.exists() and len(load_state(state)["history"]) >= 3)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    done = len(load_state(state)["history"])
    result = call(*words, "--iterations", done + 4)
    assert result.exit_code == 0 and f"continuing after iteration {done}" in result.output, result.output
    whole = [word.replace("out.safetensors", "whole.safetensors") for word in words]
    assert call(*whole, "--iterations", done + 4).exit_code == 0
    resumed, uninterrupted = weights_of(state), weights_of(tmp_path / "whole.safetensors.training")
    assert all(torch.equal(resumed[key], value) for key, value in uninterrupted.items())
    a, b = (load_style(tmp_path / name).state_dict() for name in ("out.safetensors", "whole.safetensors"))
    assert all(torch.equal(a[key], b[key]) for key in b)


@pytest.mark.slow
def test_a_training_that_is_told_to_stop_saves_its_state_and_makes_no_sheet(words, tmp_path):
    state = tmp_path / "out.safetensors.training"
    process = started(words, "--iterations", 100000, "--save-every", 0)
    until(state.exists)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM and "the same line continues" in told and "Traceback" not in told
    done = len(load_state(state)["history"])
    assert f"stopped after iteration {done}; the same line continues; the style is not ready: {done} of 100000" in told
    assert style_facts(tmp_path / "out.safetensors").metadata["iterations"] == str(done)
    assert len((tmp_path / "out.losses.csv").read_text().splitlines()) == done + 1
    assert not list(tmp_path.glob("out.*.png")) and not list(tmp_path.glob(".*"))


def test_a_finished_training_goes_on_only_with_its_own_options(words, tmp_path):
    assert call(*words, "--iterations", 2).exit_code == 0
    other = call(*words, "--iterations", 9, "--style-weight", 3)
    refused(other, "started with other options", "style-weight was 10.0, not 3.0")
    cv = tmp_path / "photos of 'mine'" / "23.png"
    kept = cv.read_bytes()
    cv.unlink()
    refused(call(*words, "--iterations", 9), "photos has another content")
    cv.write_bytes(kept)
    assert "done: " in call(*words, "--iterations", 2).output
    assert len(load_state(tmp_path / "out.safetensors.training")["history"]) == 2
    assert call(*words, "--iterations", 3, "--minutes", 50).exit_code == 0
    assert len(load_state(tmp_path / "out.safetensors.training")["history"]) == 3
    (tmp_path / "out.safetensors.training").write_bytes((tmp_path / "out.safetensors.training").read_bytes()[:5000])
    refused(call(*words, "--iterations", 4), "out.safetensors.training", "remove it to start again")
    (tmp_path / "out.safetensors.training").unlink()
    refused(call(*words, "--iterations", 4), "out.safetensors: expected a new name")


def test_minutes_end_a_training(words, tmp_path):
    result = call(*words, "--minutes", 0.001)
    assert result.exit_code == 0 and "done: " in result.output
    assert 1 <= len(load_state(tmp_path / "out.safetensors.training")["history"]) < 3000


def test_a_style_can_be_the_beginning_of_another(words, tmp_path):
    save_style(random_network(TINY), tmp_path / "before.safetensors", dtype=torch.float32)
    at = words.index("--arch")
    without = words[:at] + words[at + 2 :]
    barely = "--iterations", 1, "--learning-rate", 1e-6
    assert call(*without, "--init", tmp_path / "before.safetensors", *barely).exit_code == 0
    a, b = (
        load_style(tmp_path / "out.safetensors").state_dict(),
        load_style(tmp_path / "before.safetensors").state_dict(),
    )
    assert all((a[key] - value).abs().max() < 2e-3 for key, value in b.items())
    wide = [word.replace("out.safetensors", "wide.safetensors") for word in without]
    assert call(*wide, "--arch", WIDE, "--init", tmp_path / "before.safetensors", *barely).exit_code == 0
    assert load_style(tmp_path / "wide.safetensors").arch == WIDE
    other = [word.replace("out.safetensors", "other.safetensors") for word in without]
    refused(
        call(*other, "--arch", HALF_WIDTH, "--init", tmp_path / "before.safetensors"),
        "its layers with half",
        "leave --arch out",
    )


def test_a_new_style_has_the_architecture_of_new_styles_and_goes_on_with_the_one_that_it_has(words, tmp_path):
    at = words.index("--arch")
    without = words[:at] + words[at + 2 :]
    for words_of_arch, iterations, arch in ((["--arch", TINY], 1, TINY), ([], 2, TINY)):
        assert call(*without, *words_of_arch, "--iterations", iterations).exit_code == 0
        assert load_style(tmp_path / "out.safetensors").arch == arch
    new = [word.replace("out.safetensors", "new.safetensors") for word in without]
    assert call(*new, "--iterations", 1).exit_code == 0
    assert load_style(tmp_path / "new.safetensors").arch == WIDE_VIEW == PRESETS["wide-view"]
    assert call(*new, "--arch", "wide-view", "--iterations", 2).exit_code == 0
    refused(call(*new, "--arch", "half", "--iterations", 3), f"arch was {WIDE_VIEW}, not {HALF_WIDTH}")


def test_what_was_done_to_the_painting_is_said_and_recorded(words, tmp_path):
    rows, columns = np.mgrid[0:96, 0:96]
    grain = np.random.default_rng(0).normal(0, 30, (96, 96, 3))
    cv2.imwrite(words[1], (128 + 60 * np.sin((rows + columns) / 9)[..., None] + grain).clip(0, 255).astype(np.uint8))
    result = call(*words, "--iterations", 1, "--style-crop", "0,8,96,80", "--pooling", "average", "--zoom", 1)
    assert "painting: 96x80 pixels" in result.output and "this image is sharpened" in result.output
    command = style_facts(tmp_path / "out.safetensors").metadata["command"]
    assert "--style-crop 0,8,96,80" in command and "--pooling average" in command
    losses = style_facts(tmp_path / "out.safetensors").metadata["losses"]
    assert re.search(r"lattice [\d.e-]+, palette \d", losses)
    raw = [word.replace("out.safetensors", "raw.safetensors") for word in words]
    result = call(*raw, "--iterations", 1, "--no-clean-style")
    assert "used unchanged" in result.output
    assert "--no-clean-style" in style_facts(tmp_path / "raw.safetensors").metadata["command"]


def test_clips_are_learned_from(words, tmp_path, clip):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "one.mp4").write_bytes(clip.read_bytes())
    result = call(*words, "--clips", tmp_path / "clips", "--data-mix", "video:1", "--iterations", 2, "--detached")
    assert result.exit_code == 0, result.output
    assert len(load_state(tmp_path / "out.safetensors.training")["history"]) == 2


@pytest.mark.parametrize("options, told", [
    (("--arch", "c9s1-4,d6"), "expected an output of the size of the frame"),
    (("--arch", "c9s1-4,x6"), "got 'x6'"),
    (("--arch", "c9s1-4"), "expected 3 channels at the end"),
    (("--arch", "wideview"), "expected wide-view, wide-view-full, half, full or a string of layers, got 'wideview'"),
    (("--data-mix", "shift:1,video:2"), "expected video with --clips"),
    (("--data-mix", "shift:-1"), "--data-mix"),
    (("--num-frame-steps", "5:1"), "--num-frame-steps"),
    (("--style-crop", "0,0,10"), "--style-crop: expected X,Y,W,H"),
    (("--style-crop", "50,0,90,90"), "it ends at 140,90"),
    (("--style-scales", "1,1"), "--style-scales: expected"),
    (("--device", "cuda:77"), "device cuda:77"),
    (("--init", "none.safetensors"), "none.safetensors"),
    (("--loss-network", "none.pth"), "none.pth"),
    (("--clips", "none"), "expected a directory of clips"),
])  # fmt: skip
def test_bad_options_are_refused_in_one_line(words, tmp_path, options, told):
    before = sorted(tmp_path.iterdir())
    refused(call(*words, *options), told)
    assert sorted(tmp_path.iterdir()) == before


def test_bad_inputs_are_refused_in_one_line(words, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / "old.sheet.png").write_text("precious")
    for place, name, told in (
        (1, "none.jpg", "No such file"), (1, "text.jpg", "expected an image"), (2, "none", "expected a directory"),
        (2, "empty", "got 0"), (3, "out.pth", "ends in .safetensors"), (3, "no/out.safetensors", "existing directory"),
        (3, "old.safetensors", "old.sheet.png: expected a new name"),
    ):  # fmt: skip
        refused(call(*words[:place], str(tmp_path / name), *words[place + 1 :]), name.split("/")[0].split(".")[0], told)
    assert (tmp_path / "old.sheet.png").read_text() == "precious"


def test_mix_and_steps_are_read():
    assert parse_mix("video:3,shift:1,zoom_out:0,single_image:5.5") == {"video": 3, "shift": 1, "single_image": 5.5}
    assert [entry[:2] for entry in parse_steps("0:1,5000:2,8000:4")] == [(0, 1), (5000, 2), (8000, 4)]
    config = TrainingConfig("s", mix="shift:1", steps="0:0,50:2,80:4")
    schedule = Schedule(config)
    assert [schedule.steps_at(iteration) for iteration in (0, 49, 50, 79, 80, 9999)] == [0, 0, 2, 2, 4, 4]
    assert Schedule(TrainingConfig("s", mix="single_image:1")).steps_at(9999) == 0


@pytest.mark.parametrize(
    "text", ["", "shift", "shift:", "shift:x", "shift:1,shift:2", "jump:1", "shift:0", "shift:nan"]
)
def test_bad_mixes_are_refused(text):
    with pytest.raises(FavError, match="--data-mix: expected"):
        parse_mix(text)


@pytest.mark.parametrize("text", ["", "1", "1:1", "0:1,0:2", "0:1,5:2,3:4", "0:-1", "0:99", "0:1,",
                                  "0:0,50%:1,900:2", "0:0,100%:2", "10%:1"])  # fmt: skip
def test_bad_steps_are_refused(text):
    with pytest.raises(FavError, match="--num-frame-steps: expected"):
        parse_steps(text)


def test_kinds_come_as_often_as_they_are_asked_for():
    config = TrainingConfig("s", mix="shift:1,single_image:3")
    kinds = [config.kind(iteration) for iteration in range(400)]
    assert 0.7 < kinds.count("single_image") / 400 < 0.8 and set(kinds) == {"shift", "single_image"}
    assert kinds == [config.kind(iteration) for iteration in range(400)]
    assert kinds != [
        TrainingConfig("s", mix="shift:1,single_image:3", seed=1).kind(iteration) for iteration in range(400)
    ]


def test_arguments_in_another_order_are_told(words, tmp_path):
    train, painting, photos, out, *rest = words
    result = call(train, photos, painting, out, *rest)
    assert (
        result.exit_code == 2 and "expected STYLE_IMAGE PHOTOS_DIR OUT in this order, got a directory" in result.output
    )
    assert not list(tmp_path.glob("*out*"))


def test_time_that_ends_before_the_iterations_is_told(words):
    result = call(*words, "--minutes", 0.005)
    assert result.exit_code == 0 and "type the same line with a larger --minutes" in result.output
