"""Numbered images in the place of a film, as FFmpeg reads them."""

import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fav.errors import FavError
from fav.util.atomic import new_directory
from fav.util.images import read_image
from fav.video import FrameReader, check_film, check_film_name, write_film
from fav.video.codecs import check_no_codec, film_settings
from fav.video.image_output import images_in
from tests.helpers.clips import X264, ffmpeg, make, taken, tone


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("images") / "clip.mkv"
    return make(path, *X264, "-s", "64x36", "-frames:v", "4", "-c:a", "aac", inputs=tone())


def frames(deep: bool) -> list[np.ndarray]:
    kind, top = (np.uint16, 65536) if deep else (np.uint8, 256)
    return [np.random.default_rng(number).integers(0, top, (36, 64, 3), kind) for number in range(4)]


@pytest.mark.parametrize(
    "name, pixels", [("f_%04d.png", None), ("f_%04d.png", "rgb48"), ("f_%d.tif", None), ("f_%03d.tiff", "rgb48")]
)
def test_images_are_the_frames_and_the_same_twice(tmp_path, clip, name, pixels):
    index, encoder = taken(clip)[1], film_settings(f"x/{name}", pixel_format=pixels)
    given = frames(encoder.bits == 16)
    notes = check_film(clip, f"x/{name}", encoder=encoder, size=(64, 36))
    assert notes == ["images have no times; left out: sound"]
    made = []
    for place in ("a", "b"):
        with new_directory(tmp_path / place) as room:
            assert write_film(room, clip, index, given, encoder=encoder, name=tmp_path / place / name) == notes
        made.append({path.name: path.read_bytes() for path in (tmp_path / place).iterdir()})
    assert made[0] == made[1] and sorted(made[0]) == [name % number for number in range(4)]
    kind, raw = ("rgb48le", "<u2") if encoder.bits == 16 else ("rgb24", "u1")
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a" / (name % 2), "-f", "rawvideo", "-pix_fmt", kind, "-"]
    shown = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, raw).reshape(36, 64, 3)
    assert np.array_equal(shown[..., ::-1], given[2])


@pytest.mark.parametrize("pixels, wrong", [("gbrpf16", 0.4), ("gbrpf32", 0.01)])
def test_exr_has_linear_light_that_reads_back_as_it_was(tmp_path, clip, pixels, wrong):
    encoder = film_settings("x/f_%02d.exr", pixel_format=pixels)
    gray = [np.full((36, 64, 3), level, np.uint16) for level in (0, 32768, 50000, 65535)]
    with new_directory(tmp_path / "x") as room:
        write_film(room, clip, taken(clip)[1], gray, encoder=encoder, name=tmp_path / "x" / "f_%02d.exr")
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        tmp_path / "x" / "f_01.exr",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "gbrpf32le",
        "-",
    ]
    light = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, "<f4")
    assert np.allclose(light, 0.21404, atol=2e-4)  # sRGB's half
    pattern = str(tmp_path / "x" / "f_%02d.exr")
    with FrameReader(pattern, sixteen_bit=True) as reader:
        back = [reader.read(number, taken(pattern)[1])[0, 0, 0] / 257 for number in range(4)]
    assert np.abs(np.array(back) - np.array([0, 32768, 50000, 65535]) / 257).max() < wrong


def test_tar_has_whole_images_alone(tmp_path, clip):
    encoder, tar = film_settings("x/f_%02d.png"), tmp_path / "images.tar"
    write_film(
        tar, clip, taken(clip)[1], frames(False)[:2], encoder=encoder, name=Path("x/f_%02d.png"), start=1, stop=3
    )
    assert [name for name, _ in images_in(tar)] == ["f_01.png", "f_02.png"]
    (tmp_path / "one.png").write_bytes([content.read() for _, content in images_in(tar)][0])
    assert np.array_equal(read_image(tmp_path / "one.png"), frames(False)[0])
    for hostile in ("../out.png", "a/b.png", ".hidden"):
        with tarfile.open(tmp_path / "hostile.tar", "w") as made:
            made.addfile(tarfile.TarInfo(hostile))
        with pytest.raises(FavError, match="expected images, got"):
            list(images_in(tmp_path / "hostile.tar"))
    tar.write_bytes(tar.read_bytes()[:700])
    with pytest.raises(FavError, match="expected a complete archive"):
        list(images_in(tar))


def test_images_of_numbered_images_have_their_numbers(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x36:duration=0.12", "-start_number", "1001", tmp_path / "s_%04d.png")
    source = str(tmp_path / "s_%04d.png")
    with new_directory(tmp_path / "out") as room:
        name = tmp_path / "out" / "f_%06d.png"
        write_film(room, source, taken(source)[1], frames(False)[:3], encoder=film_settings(name), name=name)
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[0] == "f_001001.png"


@pytest.mark.parametrize("name, complaint", [
    ("f_%d.png", "in a directory of their own, such as dir/f_%d.png"), ("x/f_%d_%d.png", "a pattern with one number"),
    ("x/f_%s.png", "a pattern with one number"), ("x/.f_%d.png", "does not begin with a dot"), ("x/f_1.png", "or numbered images such as"),
])  # fmt: skip
def test_names_of_images_that_make_no_sense_are_refused(name, complaint):
    with pytest.raises(FavError, match=complaint):
        check_film_name(name)
    with pytest.raises(FavError, match="--crf: expected a film, got numbered images"):
        check_no_codec({"crf", "strength"})


def test_empty_directory_is_filled_and_any_other_is_left_alone(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with new_directory(out, empty=True) as room:
        (room / "a").touch()
    assert [path.name for path in out.iterdir()] == ["a"]
    with pytest.raises(FavError, match="expected a new name"), new_directory(out, empty=True):
        pass
    late = tmp_path / "late"
    late.mkdir()
    with pytest.raises(FavError, match="expected a new name"), new_directory(late, empty=True) as room:
        (room / "a").touch()
        (late / "theirs").touch()
    assert [path.name for path in late.iterdir()] == ["theirs"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["late", "out"]
    with pytest.raises(RuntimeError), new_directory(late.with_name("empty"), empty=True) as room:
        raise RuntimeError
    kept = tmp_path / "kept"
    kept.mkdir()
    with pytest.raises(RuntimeError), new_directory(kept, empty=True):
        raise RuntimeError
    assert kept.is_dir()
