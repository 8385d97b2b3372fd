"""`fav try` and `fav styles`: moments of a video in several styles on one sheet, and styles by their names."""

import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from fav.cli.tools import main
from fav.cli.try_styles import TAKEN
from fav.errors import FavError
from fav.model.bundled_styles import style_file
from fav.pipeline.option import FRAMES as CHANGES_FRAMES
from fav.pipeline.request import Request
from fav.pipeline.spec import OPTIONS
from fav.pipeline.spec_fields import settings_from_request
from fav.stylize.trial import Variant, trials
from fav.util.images import encode_png
from fav.video import probe
from fav.video.sampling import frames_at, moment_at
from fav.web import pictures
from tests.helpers.commands import call, refused
from tests.helpers.video_jobs import CUT, FRAMES, make_clip, make_style


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


# ---- as the film has it
@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Another style, and a mask: black on the left, gray in the middle, white on the right."""
    place = tmp_path_factory.mktemp("others")
    mask = np.repeat(np.repeat(np.array([[0, 128, 255]], np.uint8), 32, 1), 64, 0)
    (place / "mask.png").write_bytes(encode_png(cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR)))
    return {"OTHER": make_style(place / "other.safetensors", seed=2), "MASK": place / "mask.png"}


@pytest.mark.parametrize(
    "options",
    [
        {"strength": "0:0,1:1", "mix": (("OTHER", "0:1,2:0"),), "preserve_colors": True},
        {"strength": "0f:1,8f:0.25:ease,20f:1", "mask": "MASK", "mask_strength": "0:0,1:1", "style_scale": 0.5},
        {"outside": "OTHER", "mask": "MASK", "mask_strength": "0:0.5,1:1", "width": 48, "style_scale": 0.5},
        {"no_temporal": True, "occlusion_fill": "uniform-random", "scale": 0.75},
    ],
    ids=["curves", "mask", "outside", "fill"],
)
def test_a_moment_looks_as_in_the_film(clip, style, others, tmp_path, options):
    options = {name: others.get(value, value) if isinstance(value, str) else value for name, value in options.items()}
    options |= {"mix": tuple((others[mixed], weight) for mixed, weight in options["mix"])} if "mix" in options else {}
    assert np.array_equal(tried(clip, style, 7, **options), filmed(tmp_path, clip, style, 7, **options))


def test_a_sphere_is_tried_as_it_will_be_made(style, tmp_path):
    sphere = make_clip(tmp_path / "sphere.mp4", "128x64")
    picture = tried(sphere, style, 7, projection="equirectangular")
    assert np.array_equal(picture, filmed(tmp_path, sphere, style, 7, projection="equirectangular"))
    assert not np.array_equal(picture, tried(sphere, style, 7))
    refused(
        call(main, "try", sphere, style, "--width", 100, "--projection", "equirectangular", "--style-scale", 4),
        "a video twice as wide as high",
    )


def tried(clip, style, number: int, **options) -> np.ndarray:
    """The picture of the frame of this number, which `fav try` shows."""
    request = Request(video=str(clip), style=style, precision="float32", **options)
    settings, finish, *_ = settings_from_request(request, probe(clip), Path("film.mkv"))
    moment = moment_at(clip, (number + 0.5) / 12, 2, request.source, exact_number=True)
    assert (moment.number, round(moment.seconds, 6)) == (number, round(number / 12, 6))
    variant = Variant("any", settings, finish, not request.no_temporal)
    (trial,) = trials([variant], [moment], "cpu", "torch", 1)
    assert trial.seconds
    return trial.image


def filmed(place, clip, style, number: int, **options) -> np.ndarray:
    """The only frame of a film without loss that begins at this frame."""
    options |= {"codec": "ffv1", "pixel_format": "bgr0", "precision": "float32", "range": (number, number + 1)}
    words = [word for name, value in options.items() for word in words_of(name, value)]
    result = call(main, "stylize", clip, style, place / "film.mkv", "--threads", 1, "--backend", "torch", *words)
    assert result.exit_code == 0, result.output
    return cv2.VideoCapture(str(place / "film.mkv")).read()[1]


def words_of(name: str, value) -> list[str]:
    if name == "mix":
        return ["--mix", f"{value[0][0]}@{value[0][1]}"]
    flag = OPTIONS[name].flag
    if value is True:
        return [flag]
    return [flag, f"{value[0]}:{value[1]}" if name == "range" else str(value)]


def test_a_style_that_does_not_fit_is_left_out_and_told(trial, style, tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"no style")
    picture = make_style(tmp_path / "picture.safetensors", in_channels=3)
    result = trial(tmp_path / "broken.safetensors", picture, "--at", 1)
    assert result.exit_code == 0 and "broken: left out: " in result.output and "picture: left out: " in result.output
    assert len(list((tmp_path / "clip.try").glob("0*.jpg"))) == 1
    refused(call(main, "try", tmp_path / "clip.try/sheet.png", tmp_path / "broken.safetensors"), "broken.safetensors")
    alone = trial(picture, "--no-temporal", "--at", 1, "--out", tmp_path / "each")
    assert "picture: " in alone.output and "left out" not in alone.output


def test_the_page_tries_a_sphere_as_it_will_be_made_and_measures_once(style, tmp_path):
    sphere = make_clip(tmp_path / "sphere.mp4", "128x64")
    found = [
        pictures.trial(sphere, 0.6, style, (), 1.0, None, projection) for projection in ("flat", "equirectangular")
    ]
    assert found[0][0] != found[1][0] and all(seconds > 0 for _, seconds in found)
    other = make_style(tmp_path / "other.safetensors", seed=2)
    assert pictures.trial(sphere, 0.6, other, (), 1.0, None)[1] == found[0][1]  # of the same network
    with pytest.raises(FavError, match="twice as wide as high"):
        pictures.trial(make_clip(tmp_path / "flat.mp4"), 0.6, style, (), 1.0, None, "equirectangular")


def test_a_picture_is_tried_once(trial, tmp_path, style):
    (tmp_path / "photo.png").write_bytes(encode_png(np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)))
    result = call(main, "try", tmp_path / "photo.png", style, "--threads", 1, "--backend", "torch")
    assert result.exit_code == 0, result.output
    assert [path.name for path in sorted((tmp_path / "photo.try").glob("*.jpg"))] == ["01-tiny-0.jpg", "video-0.jpg"]


def test_a_style_in_the_place_of_the_video_is_told(clip, style, tmp_path):
    refused(call(main, "try", style, clip), "got the name of a style", "VIDEO comes before STYLE")
    refused(call(main, "stylize", style, clip, tmp_path / "out.mp4"), "VIDEO comes before STYLE")
    refused(call(main, "styles", "wavee"), "did you mean wave?")


def test_frames_of_a_video_of_variable_rate_are_counted(tmp_path):
    video = tmp_path / "variable.mkv"
    slower = "setpts=if(lt(N\\,8)\\,N/12\\,8/12+(N-8)/4)/TB"
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=12:duration=2", "-vf", slower, "-fps_mode", "passthrough"]
    subprocess.run(["ffmpeg", "-v", "error", *source, "-pix_fmt", "yuv420p", str(video)], check=True)
    for number, seconds in ((0, 0), (5, 5 / 12), (8, 8 / 12), (15, 8 / 12 + 7 / 4), (20, 8 / 12 + 3)):
        moment = moment_at(video, seconds + 0.01, exact_number=True)
        assert (moment.number, round(moment.seconds, 2)) == (number, round(seconds, 2))


def test_curves_are_typed_named_and_printed(trial, tmp_path, style):
    result = trial("--at", "0.2,1.4", "--strength", "0:0,1:1", "--strength", 1, "--mix", f"{style}@0:1,2:0")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "clip.try" / "index.html").read_text()
    assert "strength 0:0,1:1" in page and "tiny@0:1,2:0" in page.replace(str(style), "tiny")
    early, late = (cv2.imread(str(tmp_path / "clip.try" / f"01-tiny-{number}.jpg")).astype(int) for number in (0, 1))
    sources = [cv2.imread(str(tmp_path / "clip.try" / f"video-{number}.jpg")).astype(int) for number in (0, 1)]
    assert 3 * np.abs(early - sources[0]).mean() < np.abs(late - sources[1]).mean()
    refused(trial("--at", 1, "--strength", "0:0,90:1", "--out", tmp_path / "new"), "--strength", "up to 2 s")
    refused(trial("--at", 1, "--mix", f"{style}@0:0,90:1", "--out", tmp_path / "new"), "--mix", "up to 2 s")
    assert not (tmp_path / "new").exists()


def test_every_option_of_a_film_is_taken_or_refused_by_name(trial):
    own = {"strength", "style_scale", "mix", "threads", "out"}
    for name, option in OPTIONS.items():
        if name in {*TAKEN, *own}:
            continue
        result = trial(option.flag)
        assert result.exit_code == 2 and f"Error: {option.flag} " in result.output, (name, result.output)
        assert "leave it out here" in result.output
    decide = {name for name, option in OPTIONS.items() if option.changes == CHANGES_FRAMES and not option.job_only}
    not_seen = {"range", "frames", "no_cuts", "read_cuts", "cut_threshold", "chunk", "reverse"}
    assert decide - not_seen - own == set(TAKEN) - {"preserve_colors", "mask", "mask_strength"}
