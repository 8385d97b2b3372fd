"""Pictures in a style: one, or a folder of them; and a stream, without a window."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fav.cli.tools import main
from fav.flow import make
from fav.model.checkpoints import load_style
from fav.model.runner import StyleRunner
from fav.stylize import live
from fav.stylize.live import LiveStylizer, _newest_frames, open_source
from fav.util.images import read_image
from tests.helpers.commands import refused
from tests.helpers.networks import random_network
from tests.helpers.training_material import picture


def fav(*words):
    return CliRunner().invoke(main, [*map(str, words)])


def stylize(*words):
    result = fav("stylize", *words, "--threads", 1, "--backend", "torch", "--precision", "float32")
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def photo(tmp_path) -> Path:
    cv2.imwrite(str(tmp_path / "photo.png"), picture(1, 40, 56))
    return tmp_path / "photo.png"


def expected(style: Path, frame: np.ndarray) -> np.ndarray:
    return StyleRunner(load_style(style)).stylize(frame)


def test_a_picture_is_stylized_as_the_first_frame_of_a_shot(photo, style, tmp_path):
    assert f"done: {tmp_path / 'out.png'}" in stylize(photo, style, tmp_path / "out.png")
    assert np.array_equal(read_image(tmp_path / "out.png"), expected(style, read_image(photo)))
    stylize(photo, style, tmp_path / "out.jpg", "--width", 28)
    assert read_image(tmp_path / "out.jpg").shape == (20, 28, 3) and Image.open(tmp_path / "out.jpg").format == "JPEG"


def test_a_picture_that_lies_on_its_side_comes_out_upright(style, tmp_path):
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(picture(2, 40, 56)).save(buffer, "JPEG", exif=exif)
    (tmp_path / "turned.jpg").write_bytes(buffer.getvalue())
    stylize(tmp_path / "turned.jpg", style, tmp_path / "out.png")
    assert read_image(tmp_path / "out.png").shape == (56, 40, 3)
    assert np.array_equal(read_image(tmp_path / "out.png"), expected(style, read_image(tmp_path / "turned.jpg")))


def test_alpha_is_kept_in_a_png_and_noted_where_it_cannot_be(style, tmp_path):
    alpha = np.tile(np.arange(56, dtype=np.uint8) * 4, (40, 1))
    cv2.imwrite(str(tmp_path / "cut.png"), np.dstack([picture(3, 40, 56), alpha]))
    stylize(tmp_path / "cut.png", style, tmp_path / "out.png")
    kept = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(kept[..., 3], alpha) and np.array_equal(kept[..., :3], expected(style, picture(3, 40, 56)))
    assert "cut.png: its alpha channel is not kept, because JPEG has none" in stylize(
        tmp_path / "cut.png", style, tmp_path / "out.jpg"
    )


def test_a_folder_keeps_its_names_and_what_cannot_be_read_is_said(photo, style, tmp_path):
    folder = tmp_path / "some photos"
    folder.mkdir()
    for name in ("a.png", "b.JPG"):
        cv2.imwrite(str(folder / name), picture(4, 40, 56))
    cv2.imwrite(str(folder / "c.webp"), picture(5, 24, 32))
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("hello")
    told = stylize(folder, style, tmp_path / "painted", "--strength", 0.5)
    assert "left out: image" in told and "broken.png" in told and "3 pictures" in told
    assert sorted(path.name for path in (tmp_path / "painted").iterdir()) == ["a.png", "b.JPG", "c.png"]
    half = read_image(tmp_path / "painted" / "a.png").astype(float)
    both = picture(4, 40, 56).astype(float) / 2 + expected(style, picture(4, 40, 56)) / 2
    assert np.abs(half - both).max() <= 1
    refused(fav("stylize", folder, style, tmp_path / "painted"), "a.png: expected a new name")
    assert len(list((tmp_path / "painted").iterdir())) == 3


def test_what_makes_no_sense_for_pictures_is_refused(photo, style, tmp_path):
    out = tmp_path / "out.png"
    refused(fav("stylize", photo, style, out, "--fps", 5), "--fps: expected with a video")
    refused(fav("stylize", photo, style, tmp_path / "out.gif"), "expected an image to write, .png or .jpg, got .gif")
    refused(fav("stylize", photo, style, photo), "photo.png")
    (tmp_path / "empty").mkdir()
    refused(fav("stylize", tmp_path / "empty", style, tmp_path / "to"), "expected images (.bmp")
    refused(fav("stylize", tmp_path, style, tmp_path), "expected another directory")
    cv2.imwrite(str(tmp_path / "photo.webp"), picture(5, 24, 32))
    refused(
        fav("stylize", tmp_path, style, tmp_path / "to"), "got photo.png and photo.webp, which both become photo.png"
    )
    assert not out.exists() and not (tmp_path / "to").exists()


def test_a_stream_is_stylized_and_its_pictures_are_counted(clip, style):
    result = fav("live", clip, style, style, "--no-window", "--frames", 4, "--width", 48, "--threads", 1)
    assert result.exit_code == 0 and "done: 4 frames, " in result.output and "a second" in result.output
    result = fav("live", clip, style, "--no-window", "--no-temporal", "--width", 48, "--threads", 1)
    assert "done: 24 frames" in result.output


def test_a_source_that_is_not_there_is_refused(style, tmp_path, capfd):
    refused(fav("live", tmp_path / "none.mp4", style, "--no-window"), "expected the number of a camera")
    refused(fav("live", 99, style, "--no-window"), "camera 99: cannot be opened")
    assert "WARN" not in capfd.readouterr().err  # of OpenCV
    refused(fav("live", 0, *[style] * 10), "expected at most 9 styles")


def test_without_a_window_system_the_message_says_what_to_do(clip, style, monkeypatch):
    if "GUI:                           NONE" not in cv2.getBuildInformation():
        monkeypatch.delenv("DISPLAY", raising=False)
        pytest.skip("this OpenCV has windows")
    refused(fav("live", clip, style, "--width", 48), "no window can be shown", "or use --no-window")


def test_keys_choose_styles_and_a_new_style_begins_anew():
    runners = [StyleRunner(random_network()), StyleRunner(random_network(in_channels=3))]
    stylizer = LiveStylizer(runners, None, make("dis", None))
    frames = [picture(seed, 40, 56) for seed in (1, 2)]
    first = stylizer.stylize(frames[0])
    assert np.array_equal(first, runners[0].stylize(frames[0]))
    assert not np.array_equal(stylizer.stylize(frames[0]), first)  # it remembers
    assert stylizer.key(ord("2")) and stylizer.chosen == 1
    assert np.array_equal(stylizer.stylize(frames[1]), runners[1].stylize(frames[1]))
    assert stylizer.key(ord("n")) and stylizer.chosen == 0
    assert np.array_equal(stylizer.stylize(frames[0]), first)
    assert stylizer.key(ord("7")) and stylizer.chosen == 0
    assert not stylizer.key(ord("q")) and not stylizer.key(27) and stylizer.rate > 0


def test_of_a_camera_the_newest_frame_comes(clip, monkeypatch):
    with open_source(str(clip)) as coming:
        assert len(list(coming)) == 24
    capture = cv2.VideoCapture(str(clip))
    frames = list(_newest_frames(capture))
    assert 1 <= len(frames) <= 24  # a file comes faster than it is taken
    whole = live._all_frames(cv2.VideoCapture(str(clip)))
    assert any(np.array_equal(frames[-1], frame) for frame in whole)
