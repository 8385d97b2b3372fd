"""Files that are written for people: whole or not at all, under names that nobody guesses, and never over what is not ours."""

import os
import re
import signal
import tempfile
import threading
from pathlib import Path

import av
import click
import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import coordinator
from fav.cli.common import one_line_errors
from fav.cli.outputs import own_output, place_for
from fav.cli.tools import main
from fav.errors import FavError
from fav.model.checkpoints import save_style
from fav.model.network import StyleNetwork
from fav.pipeline.delivery import link_or_copy
from fav.pipeline.spec import JobSpec
from fav.training.outputs import OutputPaths
from fav.util.atomic import (
    CannotWriteError,
    PathTakenError,
    check_own,
    exclusive,
    has_mark,
    new_directory,
    new_file,
    own_file,
)
from shared.heartbeat import temporary_member
from shared.shared_dir import open_share
from shared.terminal import Ended, ended_by_signals
from tests.helpers.job_system import make_share
from tests.helpers.odd_files import bind, dangling, link, look
from tests.helpers.video_jobs import TINY, create, work

MARK = "fav report of 0123"


THINGS = {"file": lambda path: path.write_text("precious"), "empty": Path.touch, "directory": Path.mkdir, "link": link,
          "dangling link": dangling, "FIFO": os.mkfifo, "socket": bind}  # fmt: skip
things = pytest.mark.parametrize("make", THINGS.values(), ids=THINGS)


@pytest.fixture
def share(root):
    """An empty share, by the clock of the world."""
    return make_share(root)


@pytest.fixture
def room(tmp_path) -> Path:
    """A directory for files, with room beside it."""
    (place := tmp_path / "room").mkdir()
    return place


# ---- private names
def test_link_that_is_put_under_the_private_name_leads_no_writer_astray(room):
    (victim := room / "thesis.txt").write_text("precious")
    with pytest.raises(FavError, match="expected the file that is being written"), new_file(room / "film.mp4") as draft:
        draft.private.unlink()
        draft.private.symlink_to(victim)
        draft.file.write_bytes(b"film")
    assert victim.read_text() == "precious" and not (room / "film.mp4").exists()


def test_link_that_is_put_in_the_place_of_a_draft_leads_no_writer_astray(room):
    (victim := room / "thesis.txt").write_text("precious")
    with exclusive(room / "draft") as file:
        (room / "draft").unlink()
        (room / "draft").symlink_to(victim)
        file.write_bytes(b"film")
    with pytest.raises(FileExistsError), exclusive(room / "draft"):
        pass
    assert victim.read_text() == "precious"


def test_directory_that_is_put_in_the_place_of_a_private_one_gets_no_files(room):
    (theirs := room / "theirs").mkdir()
    with pytest.raises(FavError), new_directory(room / "scene") as place:
        (private,) = room.glob(".*")
        private.rename(room / "away")
        private.symlink_to(theirs)
        (place / "frame.png").write_bytes(b"frame")
    assert list(theirs.iterdir()) == [] and not (room / "scene").exists()


@pytest.fixture(scope="module")
def job(tmp_path_factory, clip, style):
    """A finished job of four frames."""
    made = create(open_share(tmp_path_factory.mktemp("share")), clip, style, name="film", frames=4)
    assert work(made)
    return made


def call(*words, main=coordinator.main):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize("command, name", [("report", "film.report.html"), ("preview", "film.preview.mp4")])
def test_link_under_a_name_that_can_be_guessed_is_not_followed(job, command, name, tmp_path):
    root, victim = job.share.layout.root, tmp_path / "bashrc"
    victim.write_text("export PATH=mine")
    (guessed := root / f".{os.getpid()}.{name}").symlink_to(victim)
    made = call(command, root)
    assert made.exit_code == 0, made.output
    assert victim.read_text() == "export PATH=mine" and guessed.is_symlink() and (root / name).stat().st_size > 1000
    guessed.unlink()
    (root / name).unlink()


def test_link_under_the_name_of_a_copy_is_not_followed(share, tmp_path, monkeypatch):
    def no_links(old, new, **words):
        raise OSError(18, "Invalid cross-device link")

    (victim := tmp_path / "bashrc").write_text("export PATH=mine")
    (film := tmp_path / "result.mp4").write_bytes(b"film")
    out = share.layout.root / "film.mp4"
    with temporary_member(share) as node, monkeypatch.context() as patched:
        patched.setattr(share.system, "link", no_links)
        patched.setattr(os, "link", no_links)
        out.with_name(f".{node.identity.incarnation}.film.mp4").symlink_to(victim)
        assert link_or_copy(node, film, out)
        assert link_or_copy(node, film, out) and out.read_bytes() == b"film"
        film.write_bytes(b"other")
        assert not link_or_copy(node, film, out)
    assert victim.read_text() == "export PATH=mine" and out.read_bytes() == b"film"


# ---- whole or not at all
class Broken(BaseException):
    pass


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt, SystemExit, OSError])
@pytest.mark.parametrize("kind", [new_file, lambda out: own_file(out, MARK), new_directory, lambda out: exclusive(out)],
                         ids=["new", "own", "directory", "exclusive"])  # fmt: skip
def test_what_is_broken_off_leaves_nothing(room, kind, error):
    with pytest.raises(error), kind(room / "out.png") as made:
        place = getattr(made, "file", made)
        (place / "part" if place.is_dir() else place).write_bytes(b"part")
        assert len(list(room.iterdir())) == 1
        raise error
    assert list(room.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_that_ends_the_process_leaves_nothing(room, number):
    if signal.getsignal(number) is not signal.SIG_DFL:
        pytest.skip("somebody handles it here, or it is ignored")
    with pytest.raises(Ended) as ended, ended_by_signals(), new_file(room / "out.png") as draft:
        draft.file.write_bytes(b"part")
        os.kill(os.getpid(), number)
        threading.Event().wait(5)
    assert ended.value.number == number and list(room.iterdir()) == [] and signal.getsignal(number) is signal.SIG_DFL


def test_earlier_file_stays_whole_until_the_next_one_is(room):
    out = room / "page.html"
    for text in (MARK, f"{MARK} and more"):
        with own_file(out, MARK) as draft:
            draft.file.write_text(text)
            assert not out.exists() or out.read_text() == MARK
        assert [path.name for path in room.iterdir()] == ["page.html"] and out.read_text() == text


def test_long_name_has_a_private_one_too(room):
    out = room / f"{'x' * 250}.mp4"
    with new_file(out) as draft:
        draft.file.write_bytes(b"film")
    assert out.read_bytes() == b"film"


# ---- nothing of others is replaced
@things
@pytest.mark.parametrize(
    "kind", [new_file, lambda out: own_file(out, MARK), new_directory], ids=["new", "own", "directory"]
)
def test_what_has_the_name_stays_and_is_named_before_any_work(tmp_path, room, kind, make):
    make(out := room / "out.png")
    before = look(tmp_path)
    with pytest.raises(FavError, match="out.png: expected a "), kind(out):
        raise AssertionError("it was begun")
    assert look(tmp_path) == before


@things
@pytest.mark.parametrize("links", [True, False])
def test_name_that_is_taken_meanwhile_gets_a_number(tmp_path, room, make, links, monkeypatch):
    if not links:
        monkeypatch.setattr(os, "link", lambda *words, **more: os.symlink("", ""))  # an error of another kind
    with new_file(out := room / "out.png") as draft:
        draft.file.write_bytes(b"film")
        make(out)
        before = [thing for thing in look(tmp_path) if not thing[0].startswith(".")]
    assert draft.out == room / "out-2.png" and draft.out.read_bytes() == b"film"
    draft.out.unlink()
    assert look(tmp_path) == before


@things
def test_name_of_a_directory_that_is_taken_meanwhile_stays(tmp_path, room, make):
    with pytest.raises(FavError, match="expected a new name"), new_directory(out := room / "scene") as place:
        (place / "frame.png").write_bytes(b"frame")
        make(out)
        before = [thing for thing in look(tmp_path) if thing[0] in (out.name, "victim")]
    assert [thing for thing in look(tmp_path) if thing[0] in (out.name, "victim")] == before
    assert [path.name for path in room.iterdir()] == [out.name]


@things
def test_what_takes_the_name_of_one_that_is_replaced_stays(tmp_path, room, make):
    with (
        pytest.raises(PathTakenError, match="out.png: expected a free name"),
        own_file(out := room / "out.png", MARK) as draft,
    ):
        draft.file.write_text(MARK)
        make(out)
        before = [thing for thing in look(tmp_path) if not thing[0].startswith(".")]
    assert look(tmp_path) == before


def test_mark_is_looked_for_in_regular_files_at_both_ends_alone(room):
    (room / "begin").write_bytes(MARK.encode() + bytes(1 << 20))
    (room / "end").write_bytes(bytes(1 << 20) + MARK.encode())
    (room / "middle").write_bytes(bytes(1 << 20) + MARK.encode() + bytes(1 << 20))
    (room / "link").symlink_to(room / "begin")
    os.mkfifo(room / "fifo")
    assert [has_mark(room / name, MARK) for name in ("begin", "end", "middle", "link", "fifo", "none")] == [
        True,
        True,
    ] + 4 * [False]


# ---- report and preview
SHOWN = {"report": "film.report.html", "preview": "film.preview.mp4"}


@pytest.mark.parametrize("command, name", SHOWN.items())
def test_report_and_preview_replace_only_their_own(job, command, name, tmp_path):
    root, out = job.share.layout.root, job.share.layout.root / name
    for _ in range(2):
        assert call(command, root).exit_code == 0
        assert has_mark(out, f"fav {command} of {job.manifest.id}")
    mine = out.read_bytes()
    foreign = {
        "of another job": mine.replace(job.manifest.id.encode(), b"0" * len(job.manifest.id)),
        "of nobody": b"precious",
    }
    for content in foreign.values():
        out.write_bytes(content)
        made = call(command, root)
        assert (
            made.exit_code == 2
            and made.output.count("\n") == 1
            and f"{out}: expected a free name for a file" in made.output
        )
        assert out.read_bytes() == content
    out.unlink()
    out.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(mine)
    assert call(command, root).exit_code == 2 and out.is_symlink() and (tmp_path / "elsewhere").read_bytes() == mine
    assert not list(root.glob(".*"))
    made = call(command, root, "--out", tmp_path / f"other{out.suffix}")
    assert made.exit_code == 0 and has_mark(tmp_path / f"other{out.suffix}", f"fav {command} of {job.manifest.id}")
    out.unlink()


@pytest.mark.parametrize("command, name", SHOWN.items())
def test_report_and_preview_have_the_mode_and_group_of_the_shared_directory(job, command, name, tmp_path):
    """A colleague with another umask is to read them, and to replace them."""
    root, out = job.share.layout.root, job.share.layout.root / name
    mode, umask = root.stat().st_mode, os.umask(0o077)
    try:
        root.chmod(0o2775)
        assert call(command, root).exit_code == 0 and out.stat().st_mode & 0o777 == 0o664
        assert out.stat().st_gid == root.stat().st_gid
        elsewhere = tmp_path / f"mine{out.suffix}"
        assert call(command, root, "--out", elsewhere).exit_code == 0 and elsewhere.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(umask)
        root.chmod(mode)
        out.unlink(missing_ok=True)


def test_error_of_the_video_library_names_the_file_and_is_one_line(tmp_path):
    """As on a disk that is full: the name in an error of PyAV cannot be set."""
    out = tmp_path / "film.mp4"

    @click.command()
    @one_line_errors
    def command() -> None:
        with new_file(out) as draft:
            av.open(f"{draft.file}/part.mp4")

    result = CliRunner().invoke(command)
    assert result.exit_code == 2 and result.output.count("\n") == 1, result
    assert result.output.startswith(f"error: {out}: ") and not list(tmp_path.iterdir())


def as_nobody(what) -> str:
    """What a function says that another user runs, who may write to little."""
    if os.getuid() != 0:
        return str(what())
    ours, theirs = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            os.write(theirs, str(what()).encode())
        except BaseException as error:
            os.write(theirs, repr(error).encode())
        os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    with open(ours) as said:
        return said.read()


@pytest.fixture
def open_place():
    """A directory that every user may enter."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        yield Path(place)


def test_page_that_this_user_may_not_read_is_not_called_a_strangers(open_place):
    page = open_place / "film.report.html"
    page.write_text("fav report of 1")
    page.chmod(0)
    said = as_nobody(lambda: check_own(page, "fav report of 1"))
    assert "a file that this user may read, got one without permission" in said
    page.chmod(0o444)
    assert as_nobody(lambda: check_own(page, "fav report of 1")) == "None"
    assert "that this program did not write" in as_nobody(lambda: check_own(page, "fav report of 2"))


def test_page_goes_into_the_current_directory_where_the_share_is_closed(open_place, monkeypatch):
    (share := open_place / "share").mkdir()
    (here := open_place / "here").mkdir()
    share.chmod(0o555)
    here.chmod(0o777)
    monkeypatch.chdir(here)
    assert as_nobody(lambda: place_for(share / "film.report.html")) == str(here / "film.report.html")
    assert as_nobody(lambda: place_for(share / "films" / "film.report.html")) == str(here / "film.report.html")
    assert as_nobody(lambda: place_for(here / "film.report.html")) == str(here / "film.report.html")
    assert place_for(here / "film.report.html") == here / "film.report.html"

    def write():
        try:
            with own_file(share / "film.report.html", MARK):
                pass
        except CannotWriteError as error:
            return error

    assert "expected a directory that this user may write to" in as_nobody(write) and list(share.iterdir()) == []


ROOMS = ["jobs", "tmp", "by-name", "control", "JOBS", "a/jobs", "elsewhere"]  # the last two: by a link


@pytest.mark.parametrize("command, place", [
    *((command, place) for command in ("report", "preview") for place in ROOMS),
    *((command, place) for command in ("stitch", "submit") for place in ROOMS[:-1]),  # of films in the share alone
])  # fmt: skip
def test_nothing_is_written_for_people_where_nodes_write_and_remove(job, clip, style, tmp_path, command, place):
    root = job.share.layout.root
    (root / "a").mkdir(exist_ok=True)
    for path, to in ((root / "a" / "jobs", root / "jobs"), (tmp_path / "elsewhere", root / "jobs")):
        path.is_symlink() or path.symlink_to(to)
    name = f"{place}/x{'.html' if command == 'report' else '.mp4'}"
    out = (tmp_path if place == "elsewhere" else root) / name
    films = {"submit": (root, clip, style, "--name", "other", "--out", name), "stitch": (root, "--out", name)}
    before = look(root)
    made = call(command, *films.get(command, (root, "--out", out)))
    assert made.exit_code == 2 and made.output.count("\n") == 1, made.output
    assert re.search("expected a (place|name) outside of|expected a directory, got a symbolic link", made.output)
    assert look(root) == before
    (root / "a" / "jobs").unlink()


@pytest.mark.parametrize(
    "step", ["stylize", "flow", "flows", "cuts", "try", "convert", "sample", "scene", "evaluate", "train"]
)
def test_single_steps_write_nothing_where_nodes_write_and_remove(job, tmp_path, clip, style, step):
    jobs, a = job.share.layout.jobs, tmp_path / "a.png"
    cv2.imwrite(str(a), np.zeros((16, 16, 3), np.uint8))
    words = {
        "stylize": (clip, style, jobs / "out.mp4"), "flow": (a, a, jobs / "out.flo"), "sample": (jobs / "out.mp4",),
        "convert": (style, jobs / "out.safetensors"), "scene": ("--truth", "--frames", "1", jobs / "out"),
        "flows": (clip, jobs / "out"), "cuts": (clip, jobs / "out.csv"),
        "try": (clip, style, "--out", jobs / "out"), "evaluate": (clip, clip, "--out", jobs / "out"), "train": (a, tmp_path, jobs / "out.safetensors"),
    }[step]  # fmt: skip
    before = look(jobs)
    made = call({"scene": "sample", "flows": "flow"}.get(step, step), *words, main=main)
    assert made.exit_code == 2 and "expected a place outside of" in made.output, made.output
    assert look(jobs) == before


def test_file_beside_a_share_that_is_called_as_our_directories_is_written(tmp_path, job):
    (tmp_path / "jobs").mkdir()
    made = call("report", job.share.layout.root, "--out", tmp_path / "jobs" / "x.html")
    assert made.exit_code == 0 and (tmp_path / "jobs" / "x.html").is_file()


@pytest.mark.parametrize("error", [Broken, OSError])
def test_directory_of_a_file_that_is_not_written_is_not_made(room, error):
    out = room / "films" / "of mine" / "film.report.html"
    with pytest.raises(error), own_output(place_for(out), MARK) as draft:
        draft.file.write_text(MARK)
        raise error
    assert list(room.iterdir()) == []
    (room / "films").mkdir()
    with pytest.raises(error), own_output(place_for(out), MARK):
        (room / "films" / "notes").touch()
        raise error
    assert [path.name for path in (room / "films").iterdir()] == ["notes"]
    with own_output(place_for(out), MARK) as draft:
        draft.file.write_text(MARK)
    assert out.read_text() == MARK


def test_command_that_fails_makes_no_directory_for_its_file(job, monkeypatch):
    def fails(*_):
        raise FavError("no page today")

    monkeypatch.setattr("fav.report.html.page", fails)
    monkeypatch.setattr(JobSpec, "film", lambda self, root: root / "films" / "film.mp4")
    assert call("report", job.share.layout.root).exit_code == 2
    assert not (job.share.layout.root / "films").exists()


# ---- every output of the single steps
@things
@pytest.mark.parametrize(
    "step", ["stylize", "flow", "picture of flow", "convert", "sample", "scene", "evaluate", "train"]
)
def test_single_steps_leave_what_has_the_name(tmp_path, room, clip, style, step, make):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((16, 16, 3), np.uint8))
    a = tmp_path / "a.png"
    words, name = {
        "stylize": (("stylize", clip, style, room / "out.mp4"), "out.mp4"), "flow": (("flow", a, a, room / "out.flo"), "out.flo"),
        "picture of flow": (("flow", a, a, room / "out.flo"), "out.png"), "sample": (("sample", room / "out.mp4"), "out.mp4"),
        "convert": (("convert", style, room / "out.safetensors"), "out.safetensors"),
        "scene": (("sample", "--truth", "--frames", "1", room / "out"), "out"),
        "evaluate": (("evaluate", clip, clip, "--out", room / "out"), "out.json"),
        "train": (("train", a, room, room / "out.safetensors"), "out.sheet.png"),
    }[step]  # fmt: skip
    make(room / name)
    before = look(tmp_path)
    made = call(*words, main=main)
    assert (
        made.exit_code == 2 and made.output.count("\n") == 1 and f"{room / name}: expected a new name" in made.output
    ), made.output
    assert look(tmp_path) == before


@pytest.mark.parametrize("make", [os.mkfifo, dangling, Path.mkdir])
def test_state_of_a_training_that_is_no_file_is_named_before_any_work(room, make):
    make(room / "out.safetensors.training")
    made = call("train", room / "a.png", room, room / "out.safetensors", main=main)
    assert made.exit_code == 2 and "out.safetensors.training: expected the state of a training, got a" in made.output


def test_training_that_goes_on_replaces_only_files_of_its_own(room):
    names, mark, table = OutputPaths(room / "out.safetensors"), "fav training 1", "iteration,content\n1,0.5\n"
    network = StyleNetwork(TINY, 7)
    for _ in range(2):
        save_style(network, names.out, {"style": "x"}, torch.float16, mark)
    names.table.write_text(f"{table}2,0.25\n")
    names.check_own(mark, table)
    for path, content in (
        (names.sheet, b"a photograph"),
        (names.table, b"iteration,content\n1,0.75\n"),
        (names.plot, b""),
    ):
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(content)
        with pytest.raises(PathTakenError, match=path.name):
            names.check_own(mark, table)
        path.unlink() if before is None else path.write_bytes(before)
    with pytest.raises(PathTakenError):
        save_style(network, names.out, {"style": "x"}, torch.float16, "fav training 2")
    with pytest.raises(FavError, match="expected a new name"):
        save_style(network, names.out)
