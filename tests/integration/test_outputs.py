"""A job whose film is numbered images, other films of its frames, and animations."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import coordinator
from fav.cli.tools import main as fav
from fav.pipeline import delivery
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.delivery import link_or_copy, publish_images
from fav.pipeline.task_names import frame_task, stitch_task
from fav.stylize.blend import blend, to_uint16
from fav.util.images import decode_png
from fav.video import FrameReader
from shared.filesystem import FileSystem
from shared.heartbeat import temporary_member
from shared.shared_dir import open_share
from tests.helpers.job_system import join
from tests.helpers.video_jobs import create, film_of, index_of, probe, short_segments, work

COUNT = 6


@pytest.fixture(scope="module")
def job(tmp_path_factory, clip, style):
    """A finished job of 16-bit images at half the strength."""
    share = open_share(tmp_path_factory.mktemp("images"))
    with short_segments(3):
        made = create(
            share, clip, style, name="film", frames=COUNT, out="images/f_%04d.png", pixel_format="rgb48", strength=0.5
        )
    assert work(made)
    return made


def call(*words) -> str:
    made = CliRunner().invoke(coordinator.main, [str(word) for word in words])
    assert made.exit_code == 0, made.output
    return made.output.strip().splitlines()[-1].removeprefix("done: ")


def refusal(*words) -> str:
    made = CliRunner().invoke(coordinator.main, [str(word) for word in words])
    assert made.exit_code != 0
    return made.output


def test_images_are_mixed_in_sixteen_bits(job, clip):
    directory = film_of(job)
    assert sorted(path.name for path in directory.iterdir()) == [f"f_{number:04}.png" for number in range(COUNT)]
    assert job.flag_text("finished") == "images" and not list(directory.parent.glob(".*"))
    artifacts = JobArtifacts(job)
    with FrameReader(clip, sixteen_bit=True) as reader:
        for number in range(COUNT):
            source = reader.read(number, index_of(job))
            expected = blend(source, to_uint16(artifacts.stylized_frame(frame_task(number))), 0.5)
            shown = decode_png((directory / f"f_{number:04}.png").read_bytes())
            assert np.array_equal(shown, expected)
    assert len(np.unique(shown)) > 1000


def test_images_that_were_removed_are_shown_again_and_others_are_left_alone(job):
    directory = film_of(job)
    (directory / "f_0002.png").write_bytes(b"mine")
    with temporary_member(job.share) as node:
        task = stitch_task(JobArtifacts(job).spec)
        out = publish_images(node, job, task, directory, "film")
    assert out.name == "images-2" and (directory / "f_0002.png").read_bytes() == b"mine"
    (directory / "f_0002.png").write_bytes((out / "f_0002.png").read_bytes())
    with temporary_member(job.share) as node:
        assert publish_images(node, job, task, directory, "film") == directory
    for path in out.iterdir():
        path.unlink()
    out.rmdir()


def test_a_deleted_image_is_put_back_where_it_was(job):
    root, directory = job.share.layout.root, film_of(job)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    (directory / "my notes.txt").write_text("mine")
    for name in ("f_0001.png", "f_0004.png"):
        (directory / name).unlink()
    told = CliRunner().invoke(coordinator.main, ["retry", str(root), "film"]).output
    assert f"its film was delivered again: {directory}" in told, told
    assert (directory / "my notes.txt").read_text() == "mine"
    (directory / "my notes.txt").unlink()
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    assert not (root / "images-2").exists() and job.flag_text("finished") == "images"


def test_an_image_that_somebody_changed_stays_and_is_told(job):
    root, directory = job.share.layout.root, film_of(job)
    before = (directory / "f_0003.png").read_bytes()
    (directory / "f_0003.png").write_bytes(before[:-1] + b"X")  # of the same size
    told = CliRunner().invoke(coordinator.main, ["retry", str(root), "film"]).output
    assert "got other files by their names (f_0003.png)" in told and "retry" in told, told
    assert (directory / "f_0003.png").read_bytes()[-1:] == b"X" and not (root / "images-2").exists()
    (directory / "f_0003.png").unlink()
    CliRunner().invoke(coordinator.main, ["retry", str(root), "film"])
    assert (directory / "f_0003.png").read_bytes() == before


def test_no_name_of_others_is_taken_while_an_image_is_put_back(job, monkeypatch):
    directory, task = film_of(job), stitch_task(JobArtifacts(job).spec)
    image = directory / "f_0001.png"
    before = image.read_bytes()
    image.unlink()

    def taken_meanwhile(*words):
        image.write_bytes(b"mine")
        return link_or_copy(*words)

    monkeypatch.setattr(delivery, "link_or_copy", taken_meanwhile)
    with temporary_member(job.share) as node:
        out = publish_images(node, job, task, directory, "film")
    assert image.read_bytes() == b"mine" and out.name == "images-2"
    shutil.rmtree(out)
    image.write_bytes(before)


def test_what_a_node_leaves_that_dies_while_it_delivers_is_swept_and_nothing_else(job):
    root, task = job.share.layout.root, stitch_task(JobArtifacts(job).spec)
    wanted = root / "again"
    pid = os.fork()
    if pid == 0:  # this process dies when all images are drafted
        delivery._take_directory = lambda *words: os._exit(9)
        node = join(job.share)
        publish_images(node, job, task, wanted, "film")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    (dead,) = job.share.layout.tmp.iterdir()
    (draft,) = dead.iterdir()
    assert len(list(draft.rglob("*.png"))) == COUNT and not wanted.exists() and not list(root.glob(".*"))
    (draft / "inputs" / "mine.txt").write_text("mine")
    assert CliRunner().invoke(coordinator.main, ["recover", str(root)]).exit_code == 0
    assert [path for path in dead.rglob("*") if path.is_file()] == [draft / "inputs" / "mine.txt"]
    shutil.rmtree(dead)
    with temporary_member(job.share) as node:
        assert publish_images(node, job, task, wanted, "film") == wanted
    assert {path.name: path.read_bytes() for path in wanted.iterdir()} == {
        path.name: path.read_bytes() for path in film_of(job).iterdir()
    }
    shutil.rmtree(wanted)


def test_drafts_that_were_swept_meanwhile_are_made_again(job, monkeypatch):
    task, wanted = stitch_task(JobArtifacts(job).spec), job.share.layout.root / "woken"
    unpack = delivery._unpack

    def suspended(node, result, directory):
        unpack(node, result, directory)
        (directory / "f_0002.png").unlink()

    monkeypatch.setattr(delivery, "_unpack", suspended)
    with temporary_member(job.share) as node:
        assert publish_images(node, job, task, wanted, "film") == wanted
    assert len(list(wanted.iterdir())) == COUNT
    shutil.rmtree(wanted)


@pytest.fixture
def elsewhere(job, monkeypatch) -> Path:
    """A name for images on another file system than the nodes' temporary files."""
    rename = FileSystem.rename

    def refused(system, old, new):
        if old.is_relative_to(job.share.layout.tmp):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(system, old, new)

    monkeypatch.setattr(FileSystem, "rename", refused)
    return job.share.layout.root / "elsewhere"


def test_a_draft_on_another_file_system_is_removed_after_its_node_has_died(job, elsewhere, monkeypatch):
    root, task = job.share.layout.root, stitch_task(JobArtifacts(job).spec)
    take = delivery._take_directory

    def dies(node, result, draft, directory):
        if draft.parent == directory.parent:
            raise KeyboardInterrupt
        return take(node, result, draft, directory)

    with temporary_member(job.share) as other, monkeypatch.context() as patch:
        patch.setattr(delivery, "_take_directory", dies)
        patch.setattr(delivery.shutil, "rmtree", lambda *words, **options: None)
        with pytest.raises(KeyboardInterrupt):
            publish_images(other, job, task, elsewhere, "film")
        (draft,) = root.glob(".*.draft")
        patch.setattr(delivery, "_take_directory", take)
        with temporary_member(job.share) as node:
            delivery._sweep_beside(node, root, [path.name for path in draft.iterdir()])
        assert len(list(draft.iterdir())) == COUNT  # its node lives
    (draft / "mine.txt").write_text("mine")
    with temporary_member(job.share) as node:
        assert publish_images(node, job, task, elsewhere, "film") == elsewhere
    assert len(list(elsewhere.iterdir())) == COUNT and [path.name for path in draft.iterdir()] == ["mine.txt"]
    shutil.rmtree(draft)
    shutil.rmtree(elsewhere)


def test_images_on_another_file_system_are_delivered(job, elsewhere):
    task, wanted = stitch_task(JobArtifacts(job).spec), elsewhere
    with temporary_member(job.share) as node:
        assert publish_images(node, job, task, wanted, "film") == wanted
    assert len(list(wanted.iterdir())) == COUNT and not list(wanted.parent.glob(".*"))
    shutil.rmtree(wanted)


def test_other_films_of_the_same_frames_are_stitched(job):
    root = job.share.layout.root
    film = Path(call("stitch", root, "film", "--codec", "hevc"))
    assert (
        film == root / "images.mp4"
        and probe(film, "stream=codec_name,pix_fmt,nb_read_frames") == f"hevc,yuv420p10le,{COUNT}"
    )
    film = Path(call("stitch", root, "film", "--out", "b.mov", "--codec", "prores", "--strength", "1"))
    assert probe(film, "stream=codec_name,pix_fmt,nb_read_frames") == f"prores,yuv422p10le,{COUNT}"
    images = Path(call("stitch", root, "film", "--out", "more/f_%02d.tif"))
    assert len(list(images.iterdir())) == COUNT and images == root / "more"
    assert ".mp4 supports --codec h264, hevc, av1 or vp9" in refusal(
        "stitch", root, "film", "--out", "c.mp4", "--codec", "prores"
    )
    assert "expected a new name" in refusal("stitch", root, "film", "--out", "more/g_%02d.tif")
    assert "expected a film, got numbered images" in refusal(
        "stitch", root, "film", "--out", "n/g_%02d.tif", "--crf", "3"
    )
    assert not (root / "n").exists() and not (root / "c.mp4").exists()


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_preview_may_be_an_animation(job, tmp_path, suffix):
    out = tmp_path / f"so far{suffix}"
    assert f"with {COUNT} stylized frames" in call("preview", job.share.layout.root, "film", "--out", out)
    with Image.open(out) as animation:
        assert animation.is_animated and animation.n_frames == COUNT and animation.size == (96, 64)
        lasts = 0
        for number in range(animation.n_frames):
            animation.seek(number)
            animation.load()  # which tells of WebP how long it lasts
            lasts += animation.info["duration"]
    assert abs(lasts - 1000 * COUNT / 12) <= 10


def test_preview_of_images_is_a_film(job):
    film = job.share.layout.root / "images.preview.mp4"
    call("preview", job.share.layout.root, "film")
    assert probe(film, "stream=codec_name,nb_read_frames") == f"h264,{COUNT}"
    assert "got numbered images" in refusal("preview", job.share.layout.root, "film", "--out", "x/f_%d.png")


@pytest.mark.parametrize("words, complaint", [
    (("--out", "film.mov", "--codec", "vp9"), "expected the suffix .webm, .mkv or .mp4 for VP9, got .mov"),
    (("--pixel-format", "yuv444p12"), "expected one of yuv420p, "),
    (("--out", "film.mkv", "--codec", "ffv1", "--crf", "3"), "--crf: expected no quality for --codec ffv1"),
    (("--out", "f_%d.png"), "in a directory of their own"),
    (("--out", "d/f_%d.png", "--codec", "av1"), "--codec: expected a film, got numbered images"),
])  # fmt: skip
def test_what_does_not_go_together_makes_no_job(tmp_path, clip, style, words, complaint):
    assert complaint in refusal("submit", tmp_path, clip, style, *words)
    assert not (tmp_path / "by-name").exists() or not list((tmp_path / "by-name").iterdir())


def test_stylize_makes_images_in_a_directory_that_is_new_or_empty(tmp_path, clip, style):
    out = tmp_path / "images" / "f_%03d.exr"
    out.parent.mkdir()
    words = ["stylize", str(clip), str(style), str(out), "--frames", "2", "--pixel-format", "gbrpf32"]
    made = CliRunner().invoke(fav, words)
    assert made.exit_code == 0, made.output
    assert sorted(path.name for path in out.parent.iterdir()) == ["f_000.exr", "f_001.exr"]
    again = CliRunner().invoke(fav, words)
    assert again.exit_code != 0 and "expected a new name" in again.output
