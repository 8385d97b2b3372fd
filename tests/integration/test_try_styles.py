"""`fav try` and `fav styles`: moments of a video in several styles on one sheet, and styles by their names."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from fav.cli.tools import main
from fav.model.bundled_styles import style_file
from fav.video.moment import frames_at
from tests.helpers.commands import call, refused
from tests.helpers.video_jobs import CUT, FRAMES


@pytest.fixture
def trial(clip, style, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        return call(main, "try", clip, style, "--threads", 1, "--backend", "torch", *words)

    return run


def test_sheet_has_each_moment_in_each_variant(trial, tmp_path, clip):
    result = trial("--at", "0.5,1.5", "--strength", 1, "--strength", 0.25, "--style-scale", 1, "--style-scale", 0.5)
    assert result.exit_code == 0, result.output
    out = tmp_path / "clip.try"
    assert f"done: {'clip.try'}/index.html" in result.output
    page = (out / "index.html").read_text()
    pictures = re.findall(r'src="([^"]+)"', page)
    assert len(pictures) == len(set(pictures)) == 2 * 5 == len(list(out.glob("*.jpg"))) and "refresh" not in page
    assert all(cv2.imread(str(out / name)).shape == (64, 96, 3) for name in pictures)
    assert "--style-scale 0.5 --strength 0.25" in page and "on 8 machines" in result.output
    assert cv2.imread(str(out / "sheet.png")).shape[1] > 2 * 480
    video, full, quarter = (cv2.imread(str(out / name)).astype(int) for name in pictures[0:5:2])
    assert np.abs(full - video).mean() > 1.5 * np.abs(quarter - video).mean() > 0


def test_nothing_is_replaced(trial, tmp_path):
    (tmp_path / "clip.try").mkdir()
    (tmp_path / "clip.try" / "index.html").write_text("mine")
    assert "clip.try-2" in trial("--at", "1").output
    assert (tmp_path / "clip.try" / "index.html").read_text() == "mine"
    refused(trial("--at", "1", "--out", tmp_path / "clip.try"), "a directory of that name is there")


@pytest.mark.parametrize(
    "words", [("--at", "nan"), ("--at", "-1"), ("--at", "soon"), ("--strength", "2"), ("--at", "")]
)
def test_nonsense_is_refused(trial, tmp_path, words):
    result = trial(*words)
    assert result.exit_code == 2 and not list(tmp_path.glob("clip.try*")), result.output


def test_too_many_pictures_are_refused(trial):
    refused(trial("--at", ",".join(map(str, range(101)))), "at most 100 pictures")


def test_a_moment_is_found_by_its_time(clip):
    capture = cv2.VideoCapture(str(clip))
    shown = np.array([capture.read()[1] for _ in range(FRAMES)], int)
    nearest = lambda frame: int(np.abs(shown - frame).mean(axis=(1, 2, 3)).argmin())
    for number in range(FRAMES):
        assert nearest(frames_at(clip, (number + 0.5) / 12)[0]) == number
    assert [nearest(frame) for frame in frames_at(clip, (CUT - 0.5) / 12, 2)] == [CUT - 1, CUT]
    assert nearest(frames_at(clip, 1000, 2)[-1]) == FRAMES - 1


def test_own_styles_are_listed_and_named(style, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    own = tmp_path / "fav" / "styles"
    own.mkdir(parents=True)
    shutil.copyfile(style, own / "mine.safetensors")
    (own / "broken.safetensors").write_bytes(b"no style")
    listed = call(main, "styles").output
    assert "mine" in listed and "wave" in listed and "broken" in listed
    told = call(main, "styles", "mine")
    assert told.exit_code == 0 and str(own / "mine.safetensors") in told.output and "arch:" in told.output
    assert style_file(Path("mine")) == own / "mine.safetensors"
    refused(call(main, "styles", own / "broken.safetensors"), "broken.safetensors")


def test_styles_of_a_shared_directory_are_listed_and_one_is_shown_on_a_sheet(share, style, tmp_path):
    root = share.layout.root
    (root / "mine").mkdir()
    (root / "mine/tiny.safetensors").write_bytes(style.read_bytes())
    listed = call(main, "styles", root).output
    assert "wave" in listed and "tiny" in "".join(
        line.replace("│", "").replace(" ", "") for line in listed.splitlines()
    )
    shown = call(main, "styles", root / "mine/tiny.safetensors", "--sheet", tmp_path / "sheet.png")
    assert shown.exit_code == 0 and f"done: {tmp_path / 'sheet.png'}" in shown.output, shown.output
    rows = cv2.imread(str(tmp_path / "sheet.png"))
    assert rows.shape[1] > 480 and rows.shape[0] > 2 * 270  # the frame itself, and the style
    refused(call(main, "styles", style, "--sheet", tmp_path / "sheet.png"), "sheet.png")
    refused(call(main, "styles", style, "--sheet", tmp_path / "sheet.gif"), "expected a name that ends in .png or .jpg")
