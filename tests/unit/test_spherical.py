"""The marks of a 360° video: FFmpeg reads those that are written here, and a film keeps those of its video."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from fav.video import probe, spherical_matroska, write_film
from fav.video.codecs import encoder_settings
from fav.video.settings import SourceSettings
from fav.video.spherical import Sphere, mark
from tests.helpers.clips import taken
from tests.helpers.video_jobs import make_clip

TURNED = Sphere(yaw=90 << 16, pitch=-30 << 16, roll=0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture
def marked(clip, tmp_path):
    shutil.copy(clip, tmp_path / "marked.mp4")
    mark(tmp_path / "marked.mp4", TURNED)
    return tmp_path / "marked.mp4"


def told(film) -> dict:
    """What FFmpeg's prober says of the sphere of a film, and how many frames it decodes of it."""
    words = [
        "ffprobe",
        "-v",
        "error",
        "-count_frames",
        "-select_streams",
        "v:0",
        "-show_streams",
        "-of",
        "json",
        str(film),
    ]
    stream = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)["streams"][0]
    return {
        "frames": stream["nb_read_frames"],
        **{k: v for data in stream.get("side_data_list", []) for k, v in data.items()},
    }


def film_of(video, out, settings):
    index = taken(video)[1]
    write_film(out, video, index, (np.full((64, 96, 3), 90, np.uint8) for _ in range(len(index))), settings=settings)
    return out


def test_ffmpeg_reads_the_marks(clip, marked):
    assert told(clip).keys() == {"frames"}
    found = told(marked)
    assert found["frames"] == told(clip)["frames"]
    assert found["projection"] == "equirectangular" and (found["yaw"], found["pitch"], found["roll"]) == (90, -30, 0)


@pytest.mark.parametrize(("stereo", "name"), [(0, "2D"), (1, "top and bottom"), (2, "side by side")])
def test_the_marks_come_back_as_they_were(clip, tmp_path, stereo, name):
    shutil.copy(clip, tmp_path / "film.mp4")
    given = Sphere(7, -8, 9, stereo, (0, 1 << 30, 0, 5))
    mark(tmp_path / "film.mp4", given)
    assert probe(tmp_path / "film.mp4").sphere == given and told(tmp_path / "film.mp4")["type"] == name
    assert not given.is_whole and TURNED.is_whole


def test_a_film_keeps_the_marks_of_its_video(marked, tmp_path):
    film = film_of(marked, tmp_path / "film.mp4", SourceSettings())
    assert probe(film).sphere == TURNED and told(film)["frames"] == told(marked)["frames"]


def test_a_film_of_a_video_without_marks_has_those_that_are_asked_for(clip, tmp_path):
    assert probe(clip).sphere is None
    assert probe(film_of(clip, tmp_path / "flat.mp4", SourceSettings())).sphere is None
    assert probe(film_of(clip, tmp_path / "film.mp4", SourceSettings(sphere=True))).sphere == Sphere()


def test_a_film_without_a_header_at_its_end_is_not_touched(clip, tmp_path):
    early = tmp_path / "early.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-i", clip, "-c", "copy", "-movflags", "faststart", early], check=True)
    before = early.read_bytes()
    with pytest.raises(ValueError, match="header at its end"):
        mark(early, Sphere())
    assert early.read_bytes() == before


@pytest.mark.parametrize(("name", "codec"), [("film.mkv", "h264"), ("film.webm", "vp9")])
@pytest.mark.parametrize("turned", [False, True])
def test_matroska_is_marked_without_moving_its_data(name, codec, turned, clip, marked, tmp_path):
    plain, film = tmp_path / f"plain-{name}", tmp_path / name
    for out, video, sphere in ((plain, clip, False), (film, marked if turned else clip, True)):
        index = taken(video)[1]
        pictures = (np.full((64, 96, 3), 9 * number, np.uint8) for number in range(len(index)))
        settings, encoder = SourceSettings(sphere=sphere), encoder_settings(codec)
        write_film(out, video, index, pictures, settings=settings, encoder=encoder)
    assert probe(film).sphere == (TURNED if turned else Sphere()) and probe(plain).sphere is None
    found = told(film)
    assert found["projection"] == "equirectangular" and found["yaw"] == (90 if turned else 0)
    assert found["frames"] == told(plain)["frames"] and film.stat().st_size == plain.stat().st_size
    seek = ["ffmpeg", "-v", "error", "-ss", "0.2", "-i", film, "-f", "framemd5", "-"]
    sought = subprocess.run(seek, check=True, capture_output=True)
    assert (
        not sought.stderr
        and sought.stdout
        == subprocess.run([plain if word is film else word for word in seek], check=True, capture_output=True).stdout
    )


@pytest.mark.parametrize(("stereo", "name"), [(1, "top and bottom"), (2, "side by side")])
def test_matroska_keeps_views_and_bounds(clip, tmp_path, stereo, name):
    film = film_of(clip, tmp_path / "film.mkv", SourceSettings())
    given = Sphere(90 << 16, -(45 << 16), 0, stereo, (0, 1 << 30, 0, 5))
    for _ in range(2):  # marking again replaces the marks
        spherical_matroska.mark(film, given)
        assert probe(film).sphere == given and told(film)["type"] == name


def test_matroska_of_another_program_is_not_touched(clip, tmp_path):
    for content in (b"", b"\x1a\x45\xdf\xa3\x80", clip.read_bytes()):
        (tmp_path / "film.mkv").write_bytes(content)
        with pytest.raises(ValueError, match="expected a Matroska file"):
            spherical_matroska.mark(tmp_path / "film.mkv", Sphere())
        assert (tmp_path / "film.mkv").read_bytes() == content
