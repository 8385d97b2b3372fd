"""What a film says of itself: how it is made again; the same on any machine and at any time, beside what its source says."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import coordinator
from fav.cli.tools import main as fav
from fav.pipeline.film_comment import film_comment
from fav.pipeline.spec import JobSpec
from fav.util.fingerprint import fingerprint
from fav.util.images import encode_png, read_image
from fav.video import write_film
from fav.video.codecs import CONTAINERS, film_settings
from fav.video.image_comment import with_comment
from fav.video.image_output import image_bytes
from shared.jobs import all_jobs
from shared.shared_dir import open_share
from tests.helpers.cases import usual
from tests.helpers.clips import X264, asked, comment_of, make, raw, taken, tone
from tests.helpers.commands import call
from tests.helpers.video_jobs import film_of, make_style, work

WORDS = ("--frames", "3", "--strength", "0.5")


def commented(path: Path, comment: str | None, *options) -> Path:
    return make(path, *X264, "-c:a", "aac", *options, *(["-metadata", f"comment={comment}"] if comment else []),
                seconds=0.4, inputs=tone(seconds=0.4))  # fmt: skip


def film(root: Path, clip: Path, style: Path, *words) -> Path:
    root.mkdir(exist_ok=True)
    share = open_share(root)
    assert call(coordinator.main, "submit", root, clip, style, *words).exit_code == 0
    (job,) = all_jobs(share)
    assert work(job)
    return film_of(job)


def test_a_film_says_how_it_is_made_again_and_its_bytes_are_the_same_anywhere(tmp_path, style, monkeypatch):
    clip = commented(tmp_path / "my clip.mp4", "from the archive")
    first = film(tmp_path / "a", clip, style, *WORDS, "--name", "one")
    (tmp_path / "elsewhere").mkdir()
    copies = [tmp_path / "elsewhere" / path.name for path in (clip, style)]
    for copy, path in zip(copies, (clip, style)):
        copy.write_bytes(path.read_bytes())
    monkeypatch.setenv("LOGNAME", "another-user")
    monkeypatch.setattr("socket.gethostname", lambda: "another-host")
    monkeypatch.setattr("time.gmtime", lambda *now: (1999, 1, 1, 0, 0, 0, 0, 1, 0))
    again = film(tmp_path / "b", *copies, *WORDS, "--name", "two")
    assert first.read_bytes() == again.read_bytes()
    source, told = comment_of(first).split("\n")
    assert source == "from the archive" and told.startswith("made by fav 0.1.0: fav run SHARED 'my clip.mp4' ")
    assert f"my clip.mp4 {fingerprint(clip)}, {style.name} {fingerprint(style)}" in told
    assert "tmp" not in told and "another" not in told and "1999" not in told and "--threads" not in told
    line = told.split(": ")[1].split("; ")[0]
    words = [word.replace(clip.name, str(clip)).replace(style.name, str(style)) for word in shlex.split(line)]
    options = words[words.index(str(style)) + 1 :]
    assert film(tmp_path / "c", clip, style, *options).read_bytes() == first.read_bytes()
    alone = tmp_path / "alone.mp4"
    made = CliRunner().invoke(fav, ["stylize", str(clip), str(style), str(alone), *WORDS])
    assert made.exit_code == 0, made.output
    assert alone.read_bytes() == first.read_bytes()


def test_lines_with_curves_masks_two_styles_and_a_range_repeat_the_film(tmp_path, style, monkeypatch):
    clip = commented(tmp_path / "my clip.mp4", None)
    own = tmp_path / style.name
    own.write_bytes(style.read_bytes())
    make_style(tmp_path / "other.safetensors", seed=2)
    gray = np.repeat(np.arange(0, 192, 2, dtype=np.uint8)[None, :, None], 64, 0)
    (tmp_path / "my mask.png").write_bytes(encode_png(np.repeat(gray, 3, 2)))
    monkeypatch.chdir(tmp_path)
    words = ("--width", 48, "--range", "2:6", "--strength", "0:0.2,0.3:1:ease", "--mix", "other.safetensors@0f:1,5f:0",
             "--mask", "my mask.png", "--mask-strength", "2f:0.25,5f:1:hold", "--outside", "other.safetensors")  # fmt: skip
    first = film(tmp_path / "a", clip, own, *words)
    line = comment_of(first).split(": ")[1].split("; ")[0]
    told = shlex.split(line)
    assert told[:3] == ["fav", "run", "SHARED"]
    assert film(tmp_path / "b", *told[3:]).read_bytes() == first.read_bytes()
    (job,) = all_jobs(open_share(tmp_path / "a"))
    monkeypatch.chdir("/")
    typed = shlex.split(job.manifest.spec["provenance"]["command"])
    assert film(tmp_path / "c", *typed[3:]).read_bytes() == first.read_bytes()


def test_every_option_that_changes_the_film_is_said_and_no_other(share, root, style, tmp_path):
    clip = commented(tmp_path / "clip.mp4", None)
    mask, other = tmp_path / "mask.png", make_style(tmp_path / "other.safetensors", seed=2)
    mask.write_bytes(encode_png(np.full((64, 96, 3), 255, np.uint8)))
    (tmp_path / "cuts.csv").write_text("3\n6\n")
    words = ("--width", "48", "--range", "1:9", "--mix", f"{other}:0.25", "--mask", mask, "--read-cuts", tmp_path / "cuts.csv",
             "--crf", "20", "--preserve-colors", "--precision", "float32", "--threads", "1")  # fmt: skip
    usual = ("--codec", "h264", "--strength", "1", "--name", "long", "--lease", "60", "--keep-flow", "--out", "o.mp4")
    assert call(coordinator.main, "submit", root, clip, style, *words, *usual).exit_code == 0
    (job,) = all_jobs(share)
    told = film_comment(JobSpec.from_json(job.manifest.spec))
    line, files, cuts = told.removeprefix("made by fav 0.1.0: fav run SHARED clip.mp4 tiny.safetensors ").split("; ")
    typed = {word for word in shlex.split(line) if word.startswith("--")}
    assert typed == {str(word) for word in words if str(word).startswith("--")}, line
    assert "--mask mask.png" in line and "--mix other.safetensors:0.25" in line and "--read-cuts cuts.csv" in line
    assert (
        cuts == "cuts: 3 6"
        and f"mask.png {fingerprint(mask)}" in files
        and f"other.safetensors {fingerprint(other)}" in files
    )
    older = {name: value for name, value in job.manifest.spec.items() if name != "origin"}
    assert film_comment(JobSpec.from_json(older)) is None


def test_a_film_that_is_stitched_again_says_what_it_is(share, root, style, tmp_path):
    clip = commented(tmp_path / "clip.mp4", None)
    first = film(root, clip, style, "--frames", 3)
    (job,) = all_jobs(share)
    again = call(coordinator.main, "stitch", root, job.name)
    assert Path(again.output.strip().removeprefix("done: ")).read_bytes() == first.read_bytes()
    made = call(coordinator.main, "stitch", root, job.name, "--codec", "hevc", "--strength", "0.25", "--out", "b.mkv")
    assert made.exit_code == 0, made.output
    assert "--strength 0.25 --codec hevc" in comment_of(root / "b.mkv") and "--strength" not in comment_of(first)


@pytest.mark.parametrize("suffix", usual(sorted(CONTAINERS), ".mp4", ".mkv"))
def test_every_container_has_the_comment_after_its_sources(tmp_path, suffix):
    source = commented(tmp_path / "source.mkv", "grüße, “日本”\nzweite Zeile", "-metadata", "title=The wave")
    images, index, _ = taken(source)
    codec = {".webm": "vp9"}.get(suffix, "h264")
    for out, words in (("a", {}), ("b", {"made_by": "made by fav"}), ("c", {"comment": "mine"})):
        write_film(
            tmp_path / f"{out}{suffix}", source, index, images, encoder=film_settings(f"x{suffix}", codec), **words
        )
    said = [comment_of(tmp_path / f"{name}{suffix}") for name in "abc"]
    own = "grüße, “日本”\nzweite Zeile"
    assert said == [own, f"{own}\nmade by fav", "mine"]
    tags = asked(tmp_path / f"b{suffix}", "format_tags")["format"]["tags"]
    assert {key.lower(): value for key, value in tags.items()}["title"] == "The wave"


@pytest.mark.parametrize("name, pixels, kind", [
    ("f_%d.png", "rgb48", "rgb48le"), ("f_%d.tif", "rgb24", "rgb24"), ("f_%d.tif", "rgb48", "rgb48le"),
    ("f_%d.exr", "gbrpf16", "gbrpf32le"), ("f_%d.exr", "gbrpf32", "gbrpf32le"),
])  # fmt: skip
def test_images_have_the_comment_and_the_same_pixels(tmp_path, name, pixels, kind):
    encoder, said = film_settings(f"x/{name}", pixel_format=pixels), "made by fav of “日本”"
    deep = encoder.bits > 8
    picture = np.random.default_rng(1).integers(0, 65536 if deep else 256, (37, 63, 3), np.uint16 if deep else np.uint8)
    plain, with_it = tmp_path / (name % 1), tmp_path / (name % 2)
    plain.write_bytes(image_bytes(picture, encoder))
    with_it.write_bytes(with_comment(plain.read_bytes(), said))
    assert raw(plain, kind) == raw(with_it, kind) and len(raw(with_it, kind)) > 0
    if name.endswith("exr"):
        assert b"comments\0string\0" in with_it.read_bytes() and said.encode() in with_it.read_bytes()
        return
    assert np.array_equal(read_image(plain), read_image(with_it))
    assert text_of(with_it) == said


def text_of(image: Path) -> str:
    """As Pillow reads it; of TIFF as FFmpeg does, since Pillow takes no 16 bits."""
    if image.suffix == ".png":
        with Image.open(image) as opened:
            return opened.text["Comment"]
    return asked(image, "frame_tags")["frames"][0]["tags"]["description"]


def test_images_of_a_job_say_how_they_are_made(share, root, style, tmp_path):
    clip = commented(tmp_path / "clip.mp4", "from the archive")
    directory = film(root, clip, style, "--frames", 2, "--out", "i/f_%02d.png")
    assert text_of(directory / "f_01.png").startswith("from the archive\nmade by fav 0.1.0: fav run SHARED clip.mp4 ")
