"""What people type and do by mistake: one clear line, and nothing is made where they did not mean it."""

import errno
import os
from pathlib import Path

import av
import click
import cv2
import numpy as np
import pytest
from av.stream import Disposition

import coordinator
import node as node_command
from fav.cli.tools import main as fav_main
from fav.errors import FavError
from fav.model.bundled_styles import style_file
from fav.util.atomic import new_directory, new_file
from fav.video import decode, probe
from shared.filesystem import FileSystem
from shared.identity import Identity
from shared.jobs import create_job, find_job
from shared.membership import Node
from shared.ownership import record_inputs
from shared.shared_dir import open_share
from tests.helpers.commands import call, refused

EMPTY = "is a variable of the shell empty?"


def _commands(main: click.Group, context: click.Context):
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if command is not None:
            yield name, [one for one in command.params if isinstance(one, click.Argument)]


def test_empty_name_of_a_directory_is_not_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAV_SHARE", raising=False)
    tried = 0
    for name, arguments in _commands(fav_main, click.Context(fav_main)):
        if not arguments or arguments[0].name in ("job", "words", "model", "out", "inputs"):
            continue
        answer = call(fav_main, name, *[""] * max(sum(one.required for one in arguments), 1))
        assert answer.exit_code == 2 and "Traceback" not in answer.output, (name, answer.output)
        assert EMPTY in answer.output or name == "check-fs", (name, answer.output)
        tried += 1
    assert tried > 20
    assert EMPTY in call(node_command.main, "").output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--mask", "--init-frame", "--read-cuts", "--evaluate", "--flow-from"])
def test_empty_name_of_an_input_is_refused(share, clip, style, option):
    answer = call(coordinator.main, "submit", share.layout.root, clip, style, option, "")
    assert answer.exit_code == 2 and EMPTY in answer.output
    assert list(share.layout.jobs.iterdir()) == []


def test_current_directory_that_was_removed_is_one_line(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    os.rmdir(gone)
    try:
        refused(call(coordinator.main, "status", "share"), "the current directory was removed")
    finally:
        os.chdir(tmp_path)


def test_file_without_a_moving_picture_is_named_as_what_it_is(tmp_path):
    song, empty = tmp_path / "song.m4a", tmp_path / "empty.mp4"
    empty.touch()
    with av.open(song, "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=48000)
        cover = container.add_stream("mjpeg", rate=25)
        cover.width = cover.height = 16
        cover.pix_fmt, cover.disposition = "yuvj420p", Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 48000
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
    with pytest.raises(FavError, match="got only a cover image, audio"):
        probe(song)
    with pytest.raises(FavError, match="got an empty file"):
        probe(empty)


def test_second_job_of_the_same_film_is_told_so(share, clip, style):
    submit = lambda name, *words: call(
        coordinator.main, "submit", share.layout.root, clip, style, "--name", name, *words
    )
    assert "too" not in submit("one", "--out", "films/a.mp4").output
    assert "job one makes films/a.mp4, too" in submit("two", "--out", "films/a.mp4").output
    assert "too" not in submit("three", "--out", "films/A.mp4").output
    assert call(coordinator.main, "cancel", share.layout.root, "one").exit_code == 0
    assert call(coordinator.main, "cancel", share.layout.root, "two").exit_code == 0
    assert "too" not in submit("four", "--out", "films/a.mp4").output
    assert "too" not in submit("five", "--out", "images/f_%04d.png").output
    assert "job five makes images/f_%04d.png, too" in submit("six", "--out", "images/g_%d.png").output


class NoModes:
    """The `os` module of a file system like vfat: all files have the modes of the mount, and there are no hard links."""

    def __getattr__(self, name):
        return getattr(os, name)

    def stat(self, path, **options):
        found = os.stat(path, **options)
        return os.stat_result((found.st_mode | 0o755, *found[1:]), {"st_mtime_ns": found.st_mtime_ns})

    def refuse(self, *path, **options):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    chmod = chown = link = refuse


def test_file_system_without_modes_and_links_is_worked_on(tmp_path):
    tmp_path.chmod(0o700)
    for _ in range(2):
        share = open_share(tmp_path, FileSystem(NoModes()))
        assert not share.hard_links
        node = Node(share, Identity.here())
        node.join()
        draft = node.temp_path()
        share.system.write_new(draft, b"whole")
        share.publish_no_replace(draft, tmp_path / "film")
        with pytest.raises(FileExistsError):
            share.publish_no_replace(draft, tmp_path / "film")
        assert (tmp_path / "film").read_bytes() == b"whole"
        node.leave()
        (tmp_path / "film").unlink()


def test_images_are_delivered_where_modes_cannot_be_set(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fchmod", NoModes().refuse)
    with new_directory(tmp_path / "images") as directory:
        (directory / "0.png").write_bytes(b"painted")
    assert (tmp_path / "images" / "0.png").read_bytes() == b"painted"


def test_names_that_differ_in_case_alone_are_two_jobs_or_refused(share, clip, style):
    """Where the file system does not distinguish them, the other job's manifest is not called misplaced."""
    assert call(coordinator.main, "submit", share.layout.root, clip, style, "--name", "Film").exit_code == 0
    assert find_job(share, "film") is None
    share.layout.name("film").mkdir()
    os.link(share.layout.named_manifest("Film"), share.layout.named_manifest("film"))  # what such a file system shows
    wanted = call(coordinator.main, "submit", share.layout.root, clip, style, "--name", "film")
    refused(wanted, "does not distinguish upper and lower case", "another --name")


TOO_LONG = "n" * 300


@pytest.mark.parametrize("words", [
    ("submit", "SHARE", f"{TOO_LONG}.mp4", "STYLE"),
    ("submit", "SHARE", "CLIP", TOO_LONG),
    ("submit", TOO_LONG, "CLIP", "STYLE"),
    ("submit", "SHARE", "CLIP", "STYLE", "--mask", f"{TOO_LONG}.png"),
    ("submit", "SHARE", "CLIP", "STYLE", "--mix", f"{TOO_LONG}:0.5"),
    ("submit", "SHARE", "/".join(["d" * 200] * 25), "STYLE"),
    ("status", TOO_LONG),
    ("stylize", "CLIP", "STYLE", f"{TOO_LONG}.mp4"),
    ("stylize", "CLIP", "STYLE", f"{TOO_LONG}/f_%d.png"),
    ("cuts", "CLIP", f"{TOO_LONG}.csv"),
    ("try", "CLIP", "STYLE", "--out", TOO_LONG),
    ("sample", f"{TOO_LONG}.mp4"),
    ("evaluate", "CLIP", "CLIP", "--out", TOO_LONG),
    ("convert", "STYLE", f"{TOO_LONG}.safetensors"),
], ids=lambda words: "-".join(word[:9] for word in words))  # fmt: skip
def test_name_that_no_file_can_have_is_refused_before_any_work(share, clip, style, tmp_path, monkeypatch, words):
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    known = {"SHARE": share.layout.root, "CLIP": clip, "STYLE": style}
    monkeypatch.setattr("fav.stylize.engine.FrameStylizer.__init__", lambda *words, **options: pytest.fail("it works"))
    answer = call(fav_main, *(known.get(word, word) for word in words))
    assert answer.exit_code == 2 and "Traceback" not in answer.output, answer.output
    assert answer.output.strip().splitlines()[-1].startswith("error: "), answer.output
    assert list(place.iterdir()) == []


def test_number_of_a_long_name_that_is_taken_meanwhile_fits(tmp_path):
    out = tmp_path / f"{'é' * 125}.mp4"
    with new_file(out) as draft:
        draft.file.write_bytes(b"painted")
        out.write_bytes(b"theirs")
    assert draft.out.read_bytes() == b"painted" and out.read_bytes() == b"theirs"


def test_links_in_a_circle_are_one_line(share, style, tmp_path):
    circle = tmp_path / "circle.mp4"
    circle.symlink_to(circle)
    refused(call(fav_main, "submit", share.layout.root, circle, style), "circle.mp4")
    refused(call(fav_main, "status", circle), "circle.mp4")


def _images(directory, *names):
    directory.mkdir()
    for name in names:
        cv2.imwrite(str(directory / name), np.full((16, 16, 3), 99, np.uint8))
    return directory


def test_images_that_are_numbered_in_another_way_are_told(share, style, tmp_path):
    _images(tmp_path / "few", *(f"f_{number}.png" for number in (8, 9, 10, 11)), "f_-1.png", "g_1.png")
    one = str(tmp_path / "few" / "f_%02d.png")
    with decode(one) as decoding:
        assert len(list(decoding)) == 2
        assert ["left out: 3 images whose number is written in another way than f_%02d.png does, such as f_-1.png"] == (
            decoding.warnings
        )
    assert "left out: 3 images" in call(coordinator.main, "submit", share.layout.root, one, style).output
    (tmp_path / "few" / "f_-1.png").unlink()
    assert probe(str(tmp_path / "few" / "f_%d.png")).notes == ()


def test_directory_of_pictures_is_no_film(style, tmp_path):
    pictures = _images(tmp_path / "few", "f_01.png", "f_02.png")
    for suffix in (".mp4", ".webm"):
        out = tmp_path / f"film{suffix}"
        refused(call(fav_main, "stylize", pictures, style, out), "a directory for the images", "f_%02d.png")
        assert not out.exists()


def test_job_that_is_interrupted_while_it_is_made_leaves_nothing(share):
    node = Node(share, Identity.here())
    node.join()

    def fill(layout):
        record_inputs(share, layout, [layout.inputs / "video.mp4"])
        (layout.inputs / "video.mp4").write_bytes(b"half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_job(node, "clip", 180.0, fill)
    assert list(share.layout.jobs.iterdir()) == [] and find_job(share, "clip") is None


def test_user_without_a_home_has_the_styles_that_ship(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 3_999_999_999)  # of nobody who is in passwd
    with pytest.raises(RuntimeError):
        Path.home()
    assert style_file(Path("wave")).is_file()
    assert "wave" in call(fav_main, "styles").output


def test_shared_directory_of_the_environment_is_named_as_such(clip, style, tmp_path, monkeypatch):
    monkeypatch.setenv("FAV_SHARE", str(tmp_path / "missing"))
    for main, words in ((fav_main, ["status"]), (coordinator.main, ["submit", clip, style]), (node_command.main, [])):
        refused(call(main, *words), "missing", "(FAV_SHARE has this name)")
    assert "FAV_SHARE" not in call(fav_main, "status", tmp_path / "other").output


def test_copy_that_does_not_fit_is_named_and_not_its_source(share, clip, style, monkeypatch):
    def full(source, target):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(source), None, str(target))

    monkeypatch.setattr("shutil.copyfile", full)
    refused(call(coordinator.main, "submit", share.layout.root, clip, style), str(share.layout.jobs), "File too large")
    assert list(share.layout.jobs.iterdir()) == []
