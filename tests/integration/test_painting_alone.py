"""`fav train painting.jpg` with nothing else: the nearest style, pictures of its own or of a video, minutes, and a stop at once."""

import csv
import os
import re
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fav.cli.tools import main
from fav.model.architecture import DEFAULT_ARCH, HALF_WIDTH, WIDE_VIEW, WIDE_VIEW_FULL
from fav.model.checkpoints import load_style, save_style, style_facts
from fav.perceptual.loss import PerceptualLoss, as_tensor
from fav.training.checkpoint import load_state
from fav.training.config import StopCriteria, TrainingConfig, TrainingInputs
from fav.training.dataloader import Batches
from fav.training.image_folder import BUILT_IN_HELD_OUT, built_in_photos, video_stills
from fav.training.loop import FIRST_SHEET, Outcome, TrainingLoop, _Timer
from fav.training.nearest import COSTLY, multiplications, ranked
from fav.training.outputs import OutputPaths
from fav.training.setup import prepare
from fav.video.sampling import frames_spread_over
from tests.helpers.clips import ffmpeg
from tests.helpers.commands import refused
from tests.helpers.networks import random_network
from tests.helpers.training_material import TINY, WIDE, make_loss_network, make_painting, picture, random_loss_network

FEW = ("--crop", 32, "--style-size", 96, "--workers", 0, "--threads", 1, "--precision", "float32")


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """A video of 40 frames that brighten, 96x64."""
    directory = tmp_path_factory.mktemp("film")
    for number in range(40):
        frame = (0.4 * picture(number, 64, 96) + 3.5 * number).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(directory / f"{number:02d}.png"), frame)
    ffmpeg("-i", directory / "%02d.png", "-crf", "8", directory / "film.mp4")
    return directory / "film.mp4"


@pytest.fixture
def own_styles(tmp_path, monkeypatch) -> Path:
    """Where the user's own styles lie; those that ship are there, too."""
    directory = tmp_path / "data" / "fav" / "styles"
    directory.mkdir(parents=True)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return directory


def call(*words):
    return CliRunner().invoke(main, ["train", *map(str, words)])


def test_a_painting_and_a_video_are_enough(painting, film, loss_network, own_styles, tmp_path):
    save_style(random_network(TINY), own_styles / "mine.safetensors", dtype=torch.float32)
    words = (painting, "--video", film, "--loss-network", loss_network, "--arch", TINY, *FEW)
    result = call(*words, "--minutes", 0.02)
    assert result.exit_code == 0, result.output
    assert "begins with the style mine, which paints most like it" in result.output
    assert "--init none: with random weights" in result.output
    assert "learned from: all of the painting, 96x96 pixels" in result.output
    assert re.search(r"learning stripes.png from 34 frames of film.mp4 on cpu in float32, 0.02 min", result.output)
    out = tmp_path / "stripes.safetensors"
    facts = style_facts(out)
    assert facts.metadata["began_with"] == "mine.safetensors" and facts.arch == TINY
    recipe = load_state(tmp_path / "stripes.safetensors.training")["recipe"]
    assert (recipe["end_factor"], recipe["steadiness_end_factor"]) == (0.1, 5)
    rows = [*csv.DictReader((tmp_path / "stripes.losses.csv").open())]
    steps = [float(row["steps"]) for row in rows]
    assert sum(step >= 1 for step in steps) > len(steps) / 2, "memory is learned from the beginning"
    (own_styles / "mine.safetensors").unlink()  # the same line goes on all the same
    again = call(*words, "--minutes", 0.03)
    assert again.exit_code == 0 and f"continuing after iteration {len(rows)}" in again.output, again.output
    assert "begins with" not in again.output and style_facts(out).metadata["began_with"] == "mine.safetensors"


def test_first_sheet_comes_after_a_minute_and_the_others_when_they_are_due(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("fav.training.loop.time.monotonic", lambda: now[0])
    for minutes, seconds in ((15, [60, 960, 1860]), (0.5, [30, 60, 90]), (0, [1, 2, 3])):
        now[0], due = 1000.0, []
        timer = _Timer(minutes, FIRST_SHEET)
        while len(due) < 3:
            now[0] += 1
            if timer.due():
                due.append(now[0] - 1000)
        assert due == seconds
    now[0] = 1000.0
    later = _Timer(15)
    now[0] += 899
    assert not later.due()


def test_where_no_style_fits_random_weights_begin(painting, film, loss_network, own_styles, tmp_path):
    words = (painting, tmp_path / "new.safetensors", "--video", film, "--loss-network", loss_network, *FEW)
    result = call(*words, "--arch", WIDE, "--iterations", 1)
    assert result.exit_code == 0 and f"random weights: no style of the architecture {WIDE} is at hand" in result.output
    none = call(painting, "--video", film, "--loss-network", loss_network, *FEW, "--init", "none", "--iterations", 1)
    assert none.exit_code == 0 and "begins with" not in none.output, none.output
    assert load_style(tmp_path / "stripes.safetensors").arch == WIDE_VIEW


def test_the_nearest_is_the_one_that_paints_most_like_the_painting(tmp_path):
    """Of two styles, one paints red and yellow whatever it sees, as the painting; the other blue."""
    perception = PerceptualLoss(
        random_loss_network(), as_tensor(cv2.imread(str(make_painting(tmp_path / "stripes.png")))),
        [as_tensor(picture(number)) for number in range(4)])  # fmt: skip
    styles = {}
    for name, color in (("red", (0.0, 1.0, 1.0)), ("blue", (1.0, -0.5, -1.0))):
        network = random_network(TINY)
        last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
        with torch.no_grad():
            last.bias.copy_(torch.tensor(color))
        save_style(network, tmp_path / f"{name}.safetensors", dtype=torch.float32)
        styles[name] = tmp_path / f"{name}.safetensors"
    save_style(random_network(TINY, 3), tmp_path / "image.safetensors")
    (tmp_path / "text.safetensors").write_text("no style")
    others = {name: tmp_path / f"{name}.safetensors" for name in ("image", "text", "gone")}
    photos = [picture(number, 64, 64) for number in range(6)]
    found = ranked({"blue": styles["blue"], **others, "red": styles["red"]}, perception, photos, torch.device("cpu"))
    assert [candidate.name for candidate in found] == ["red", "blue"]
    assert found[0].palette < found[1].palette and found[0].distance == found[0].style + found[0].palette
    wide = ranked(styles, perception, photos, torch.device("cpu"), arch=WIDE)
    assert [candidate.network.arch for candidate in wide] == [WIDE, WIDE]
    assert not ranked(styles, perception, photos, torch.device("cpu"), arch=HALF_WIDTH)


def test_networks_too_slow_for_half_an_hour_are_not_begun_with():
    half = multiplications(HALF_WIDTH)
    assert (
        multiplications(WIDE_VIEW)
        < COSTLY * half
        < multiplications(WIDE_VIEW_FULL)
        < half
        < multiplications(DEFAULT_ARCH)
    )
    assert multiplications("c3s1-4,U2,d3") == 256**2 * (7 * 4 * 9 + 4 * 3 * 9)


def test_built_in_pictures_and_those_held_out_are_apart():
    album = built_in_photos()
    assert len(album.photos) == 58 and [photo.number for photo in album.held_out] == [*BUILT_IN_HELD_OUT]
    assert not set(album.photos) & set(album.held_out)
    assert album.photos[7].read(40).shape[0] == 40 or album.photos[7].read(40).shape[1] == 40


def test_frames_of_a_video_are_spread_over_all_of_it(film, tmp_path):
    spread = frames_spread_over(film, 8)
    levels = [frame.mean() for frame in spread]
    assert len(spread) == 8 and levels == sorted(levels) and np.ptp(levels) > 100
    every = frames_spread_over(film, 64)
    assert len(every) == 40, "each frame once"
    numbered = tmp_path / "%02d.png"
    for number, frame in enumerate(every):
        cv2.imwrite(str(tmp_path / f"{number:02d}.png"), frame)
    album = video_stills(numbered, 32)
    assert len(album.photos) + len(album.held_out) == 40 and len(album.held_out) == 6
    assert album.photos[0].read(32).shape == (32, 48, 3)
    few = tmp_path / "few"
    few.mkdir()
    for number in range(9):
        cv2.imwrite(str(few / f"{number:02d}.png"), every[number])
    with pytest.raises(Exception, match="expected at least 20 frames to learn from, got 9; leave it out"):
        video_stills(few / "%02d.png", 32)


def test_what_cannot_be_is_one_line_before_any_work(painting, photos, film, loss_network, own_styles, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    refused(
        call(painting, photos, tmp_path / "out.safetensors", "--video", film), "--video: expected without PHOTOS_DIR"
    )
    refused(call(painting, "--video", tmp_path / "gone.mp4", "--loss-network", loss_network), "gone.mp4")
    refused(call(painting, "--loss-network", "gone.pth"), "gone.pth")
    refused(call(painting, "out.pth"), "ends in .safetensors")
    refused(
        call("--steady", painting, photos, "out.safetensors", "--init", "nearest"),
        "--init nearest: expected with a pain",
    )
    assert "Missing argument 'OUT'" in call(painting, photos).output
    assert "Missing argument 'STYLE_IMAGE'" in call().output
    assert sorted(tmp_path.rglob("*")) == before


class Ringing(list):
    """Photographs at the sight of which a signal comes."""

    def __iter__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal did not end what the sheet is made of")


class RingingBatches(Batches):
    """Batches of which the one for iteration 2 never comes, but a signal does."""

    def __getitem__(self, order):
        if order.iteration == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the signal did not end the wait for samples")
        return super().__getitem__(order)


@pytest.fixture
def begun(painting, film, loss_network, tmp_path) -> tuple[TrainingLoop, Batches, OutputPaths]:
    """A training of three iterations that is about to begin."""
    names = OutputPaths(tmp_path / "out.safetensors")
    inputs = TrainingInputs(painting, None, str(loss_network), video=film, device="cpu", threads=1)
    config = TrainingConfig("stripes.png", arch=TINY, crop=32, style_size=96, steps="0:0", precision="float32")
    return *prepare(names, inputs, config, StopCriteria(3), "")[:2], names


@pytest.mark.parametrize("during, done, verdict", [
    ("samples", 2, "not ready: 2 of 3 iterations"), ("the last sheet", 3, "not measured")])  # fmt: skip
def test_a_signal_ends_what_takes_long_and_state_style_and_table_are_there(begun, tmp_path, during, done, verdict):
    loop, batches, names = begun
    if during == "samples":
        batches = RingingBatches(batches.config, batches.photos, [])
    else:
        object.__setattr__(loop.samples, "photos", Ringing(loop.samples.photos))
    outcome = loop.run(batches, 0)
    assert outcome == Outcome(signal.SIGTERM, verdict)
    assert len(load_state(names.state)["history"]) == done
    assert style_facts(names.out).metadata["iterations"] == str(done)
    assert len(names.table.read_text().splitlines()) == done + 1
    assert not names.sheet.exists() and not names.plot.exists() and not list(tmp_path.glob(".*"))


def test_a_part_of_the_painting_is_shown_in_all_of_it(painting, film, loss_network, tmp_path):
    words = (
        painting,
        tmp_path / "out.safetensors",
        "--video",
        film,
        "--loss-network",
        loss_network,
        "--arch",
        TINY,
        *FEW,
    )
    result = call(*words, "--iterations", 1, "--init", "none", "--style-crop", "0,8,80,80")
    assert result.exit_code == 0 and "learned from: the part 0,8,80,80 of 96x96 pixels" in result.output, result.output


@pytest.mark.slow
def test_a_painting_alone_learns_from_built_in_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    painting, network = make_painting(tmp_path / "stripes.png"), make_loss_network(tmp_path / "random.pth")
    result = call(painting, "--loss-network", network, *FEW, "--iterations", 2)
    assert result.exit_code == 0 and "from 58 built-in pictures" in result.output, result.output
    assert re.search(r"begins with the style \w+, which paints most like it \(strokes \d", result.output)
    assert load_style(tmp_path / "stripes.safetensors").arch == WIDE_VIEW
