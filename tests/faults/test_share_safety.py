"""What others have in and beside a shared directory stays as it is.

Which directory becomes a shared one, what sweeping and cleaning leave, and that who looks changes nothing. All in one
process, by a clock that is moved on by hours.
"""

import ctypes
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

import coordinator
import node as node_command
from benchmarks.meter import Counting
from fav.pipeline.delivery import deliver
from shared import results
from shared.control import ControlCommand, send
from shared.errors import JobQueueError
from shared.failure_detector import FailureDetector
from shared.filesystem import FileSystem
from shared.heartbeat import temporary_member
from shared.jobs import Job, find_job
from shared.membership import Node
from shared.notify import ChangeNotifier
from shared.paths import Task
from shared.recovery import Recovery
from shared.shared_dir import SharedDir, open_share
from tests.helpers import toy_plan as toy
from tests.helpers import video_jobs as films
from tests.helpers.failing_filesystem import work
from tests.helpers.job_system import join
from tests.helpers.logs import without_start
from tests.helpers.strangers import (
    FIFO,
    GONE,
    HEX12,
    HEX16,
    IDENTITY,
    MARKER,
    NAMES,
    NEWER,
    OTHER,
    ROOMS,
    Thing,
    Watched,
    differences,
    directory,
    file,
    holding,
    lay,
    link,
    look,
    make_home,
    manifest,
)
from tests.helpers.strangers_world import HANGS_S, Films, Ticking, World, call, in_time, quietly, scratch
from tests.helpers.toy_films import SPEC, Premiere

pytestmark = pytest.mark.usefixtures("all_at_once")

JOB_ROOMS = ("inputs", "claims", "results", "attempts", "failed")
LOOKS = ("status", "status --json", "nodes", "nodes --json", "report", "preview")
FEW = ("status", "nodes", "preview")
MINE = directory(0o700, mine=file(mode=0o600))
IN_THE_WAY = {"directory": MINE, "empty directory": directory(0o700), "file": file(mode=0o600),
              "empty file": file(b""), "FIFO": FIFO,
              "link": link("HOME/secrets"), "link that leads nowhere": link("HOME/nowhere"),
              "link to ..": link("..")}  # fmt: skip
LINKS = {
    "directory": "HOME/results",
    "empty": "HOME/void",
    "above": "..",
    "itself": "ITSELF",
    "nowhere": "HOME/nowhere",
    "file": "HOME/thesis.tex",
}


@pytest.fixture
def base(above: Path) -> Iterator[Path]:
    """A directory with the world outside in `home`; the share is to be beside it."""
    with scratch(above) as directory, in_time(HANGS_S):
        yield directory


@pytest.fixture
def root(base: Path) -> Path:
    (path := base / "share").mkdir(mode=0o775)
    return path


@pytest.fixture
def home(base: Path) -> Path:
    return base / "home"


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> tuple[str, str]:
    place = tmp_path_factory.mktemp("inputs")
    return str(films.make_clip(place / "clip.mp4", "32x32")), str(films.make_style(place / "tiny.safetensors"))


@pytest.fixture
def film(root: Path, inputs) -> Job:
    """A job of three frames in a share of its own."""
    return films.create(open_share(root), *map(Path, inputs), frames=3, name="film", no_space_check=True)


def watch(root: Path, *paths: Path) -> Watched:
    return Watched(root.parent, root, list(paths))


def typed(command, *words) -> tuple[int, str]:
    """Exit code and output of a command; a traceback is a failure."""
    result = CliRunner().invoke(command, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{words} ended in a traceback") from result.exception
    return result.exit_code, without_start(result.output)


def refused(outcome: tuple[int, str], *words: str) -> None:
    code, said = outcome
    assert code == 2 and len(said.strip().splitlines()) == 1 and said.startswith("error: "), said
    for word in words:
        assert word in said, said


def hours(root: Path, clock: Ticking) -> World:
    """Let a node make passes for hours; a refusal is none."""
    world = World(root)
    world.clock = clock
    world.hours()
    return world


def swap(path: Path, thing: Thing, home: Path) -> Path:
    """Move a directory out of the share, as somebody does whose disk is full, and put something else in its place."""
    if path.exists():
        shutil.move(path, home / "moved")
    path.parent.mkdir(parents=True, exist_ok=True)
    return lay(link(path.name) if thing.to == "ITSELF" else thing, path, home)


# ---- which directory becomes a share
@pytest.mark.parametrize("name", NAMES)
def test_directory_that_has_one_of_our_names_is_no_new_share_and_stays_as_it_is(base, home, name):
    for kind, thing in IN_THE_WAY.items():
        (root := base / kind).mkdir()
        lay(thing, root / name, home)
        lay(file(), root / "photo.jpg", home)
        before, watched = look(root), watch(root)
        with pytest.raises(JobQueueError) as error:
            open_share(root)
        said = str(error.value)
        assert name in said and str(root) in said and "\n" not in said, f"{kind}: {said}"
        assert differences(before, look(root)) == [], kind
        watched.unharmed()


@pytest.mark.parametrize("command", ["submit", "run", "node"])
@pytest.mark.parametrize("tree", [{"tmp": holding(("taxes", holding(("2025.txt", file()))), ("diary.txt", file()),
                                                      mode=0o700)},
                                  {"jobs": holding(("train.sbatch", file()), ("exp1", directory(results=file())))},
                                  {"notify": directory(notes=file())},
                                  {"logs": directory(0o700)},
                                  {"nodes": link("HOME/secrets"), "logs": link("HOME/secrets")}, {MARKER: file(b"")}],
                         ids=lambda tree: "+".join(tree))  # fmt: skip
def test_commands_that_make_a_share_refuse_a_directory_with_our_names_in_one_line(root, home, inputs, command, tree):
    for name, thing in tree.items():
        lay(thing, root / name, home)
    before, watched = look(root), watch(root)
    words = (node_command.main, root) if command == "node" else (coordinator.main, command, root)
    refused(typed(*words, *inputs, "--frames", "2"), str(root), next(iter(tree)), "director")
    assert differences(before, look(root)) == []
    watched.unharmed()


def test_directory_with_other_things_becomes_a_share_and_they_stay_as_they_are(root, home, clock):
    others = {"photos": MINE, "taxes": directory(0o700, **{"2025.txt": file()}), ".hidden": file(mode=0),
              "Private": MINE, "jobs.bak": MINE,
              "tmp ": FIFO, "fav-share.json~": file(b"{}"), "nowhere": link("HOME/nowhere"),
              "secrets": link("HOME/secrets"), "above": link(".."),
              "thesis": Thing("hard", to="thesis.tex"), ".nfs00000001": file()}  # fmt: skip
    watched = watch(root, *(lay(thing, root / name, home) for name, thing in others.items()))
    toy.create(open_share(root, clock), chains=1, length=2)
    marker = root / MARKER
    assert marker.is_file() and not marker.is_symlink()
    world = hours(root, clock)
    world.work()
    call(root, "clean", "toy", "--force")
    hours(root, clock)
    watched.unharmed()


def test_marker_says_format_id_time_and_version_and_no_two_are_alike(base):
    fields = []
    for name in ("one", "two"):
        (base / name).mkdir()
        open_share(base / name)
        fields.append(json.loads((base / name / MARKER).read_bytes()))
    assert all(isinstance(one, dict) and len(one) >= 4 for one in fields)
    assert set(fields[0]) == set(fields[1]) and fields[0] != fields[1]


def test_marker_is_written_once(root, clock):
    open_share(root, clock)
    before = look(root / MARKER)
    toy.create(open_share(root, clock), chains=1, length=1)
    hours(root, clock)
    open_share(root)
    assert look(root / MARKER) == before


def test_subdirectory_of_a_directory_that_was_refused_becomes_a_share(root, home, clock):
    mine = lay(MINE, root / "tmp", home)
    (root / "films").mkdir()
    watched = watch(root, mine)
    toy.create(open_share(root / "films", clock), chains=1, length=1)
    hours(root / "films", clock)
    assert (root / "films" / MARKER).is_file() and sorted(os.listdir(root)) == ["films", "tmp"]
    watched.unharmed()


@pytest.mark.parametrize("place", ["inner", "jobs/inner", "tmp/inner", f"jobs/toy.{HEX12}", f"tmp/{GONE}"])
def test_share_that_somebody_moves_into_a_share_is_a_strangers_directory_there(root, base, clock, place):
    toy.create(open_share(root, clock), chains=1, length=1)
    (base / "other").mkdir()
    toy.create(open_share(base / "other", clock), "inner", chains=1, length=2)
    shutil.move(base / "other", inner := root / place)
    watched = watch(root, inner)
    hours(root, clock).work()
    call(root, "clean", "toy", "--force")
    hours(root, clock)
    watched.unharmed()
    World(inner).work()
    assert "finished" in find_job(open_share(inner), "inner").flags()


@pytest.mark.parametrize("room", [*ROOMS, "control"])
def test_room_of_a_share_becomes_no_share_itself(root, clock, room):
    open_share(root, clock)
    (root / room).mkdir(exist_ok=True)
    before = look(root)
    with pytest.raises(JobQueueError, match=room):
        open_share(root / room, clock)
    assert differences(before, look(root)) == []


def test_nodes_that_make_one_share_at_the_same_time_are_all_let_in(root):
    errors, start = [], threading.Barrier(8)

    def enter() -> None:
        start.wait()
        try:
            open_share(root, Ticking())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and json.loads((root / MARKER).read_bytes())


# ---- the marker
def newer(marker: bytes) -> bytes:
    return json.dumps(
        {name: value + 1000 if type(value) is int else value for name, value in json.loads(marker).items()}
    ).encode()


MARKERS = {"empty": file(b""), "no JSON": file(b"\xff\0{"), "no object": file(b"[]"), "no fields": file(b"{}"),
           "deep": file(b"[" * 100_000),
           "huge": file(b"{" + b" " * (2 << 20) + b"}"), "large": file(b" " * 4097), "directory": directory(), "link to one": link("HOME/marker"),
           "link to itself": link(MARKER),
           "FIFO": FIFO}  # fmt: skip


MARKERS_TOLD = {
    "newer": "newer version of this program; update",
    "empty": "got b'';",
    "huge": f"expected the marker of a shared directory, which is a small file, got {(2 << 20) + 2} bytes; ",
    "large": "got 4097 bytes",
    "directory": "expected the marker of a shared directory, which is a small file, got a directory; use another",
    "link to one": "got a symbolic link; use another directory",
    "link to itself": "got a symbolic link",
    "FIFO": "got a pipe",
}


@pytest.mark.parametrize("kind", [*MARKERS, "newer"])
@pytest.mark.parametrize("where", ["empty directory", "share with a job"])
def test_marker_that_does_not_read_is_a_refusal_that_names_it(root, home, base, clock, kind, where):
    (base / "other").mkdir()
    open_share(base / "other")
    marker = (base / "other" / MARKER).read_bytes()
    (home / "marker").write_bytes(marker)
    if where == "share with a job":
        toy.create(open_share(root, clock), chains=1, length=2)
        (root / MARKER).unlink(missing_ok=True)
    lay(file(newer(marker)) if kind == "newer" else MARKERS[kind], root / MARKER, home)
    before, watched = look(root), watch(root)
    with pytest.raises(JobQueueError, match=MARKER) as error:
        open_share(root, clock)
    wanted = MARKERS_TOLD.get(kind, "expected the marker of a shared directory, .*; use another directory; or, where")
    assert re.search(wanted, str(error.value)), error.value
    for words in LOOKS:
        call(root, *words.split())
    assert differences(before, look(root)) == []
    watched.unharmed()


def test_copy_of_a_share_with_its_marker_is_a_share(root, base, clock):
    toy.create(open_share(root, clock), chains=1, length=2)
    subprocess.run(["cp", "-a", root, base / "copy"], check=True)
    assert (base / "copy" / MARKER).read_bytes() == (root / MARKER).read_bytes()
    before = look(root)
    World(base / "copy").work()
    hours(base / "copy", clock)
    assert "finished" in find_job(open_share(base / "copy"), "toy").flags()
    assert differences(before, look(root)) == []


# ---- shares of the version before
def old_share(root: Path, jobs: tuple[str, ...] = ("film",), without: tuple[str, ...] = ()) -> None:
    """The rooms as they were made when nobody marked them."""
    for room in ROOMS:
        if room not in without:
            (root / room).mkdir(mode=0o775)
    for name in jobs:
        (root / "by-name" / name).mkdir()
        (place := root / "jobs" / f"{name}.{HEX12}").mkdir()
        for room in JOB_ROOMS:
            (place / room).mkdir()
        for path in (root / "by-name" / name / "job.json", place / "job.json"):
            path.write_bytes(manifest(name))
    for path in (root, *root.rglob("*")):
        os.utime(path, ns=(10**18, 10**18))


@pytest.mark.parametrize("jobs", [("toy",), ("toy", "b", "c"), ()], ids=len)
def test_old_share_is_marked_by_who_writes_and_not_by_who_looks(root, clock, jobs):
    old_share(root, jobs)
    for words in LOOKS:
        quietly(root, *words.split())
    assert not (root / MARKER).exists()
    open_share(root, clock)
    before = look(root / MARKER)
    assert json.loads((root / MARKER).read_bytes())
    if jobs:
        call(root, "prioritize", "toy", "3")
        World(root).work()
        assert "finished" in find_job(open_share(root), "toy").flags()
    assert look(root / MARKER) == before


@pytest.mark.parametrize(
    "words", ["prioritize toy 3", "pause toy", "recover", "retry toy", "cancel toy", "clean toy --force"]
)
def test_old_share_is_marked_by_any_command_that_writes(root, words):
    old_share(root, ("toy",))
    code, said = typed(coordinator.main, words.split()[0], root, *words.split()[1:])
    assert code == 0, said
    assert (root / MARKER).is_file()


def test_old_share_whose_only_manifests_are_of_one_job_of_many_is_recognized(root, clock, home):
    old_share(root, ("toy",))
    watched = watch(root, *(lay(thing, root / "by-name" / name, home) for name, thing in (
        ("photos", MINE), ("b", directory(**{"job.json": file(NEWER)})), ("c", directory(**{"job.json": FIFO})),
        ("d", FIFO))))  # fmt: skip
    open_share(root, clock)
    hours(root, clock).work()
    assert (root / MARKER).is_file() and "finished" in find_job(open_share(root), "toy").flags()
    watched.unharmed()


@pytest.mark.parametrize("change", [
    lambda root, home: (root / "logs").rmdir(), lambda root, home: lay(file(), root / "tmp" / "diary.txt", home),
    lambda root, home: lay(file(b""), root / "notify" / "notes.txt", home),
    lambda root, home: lay(file(b""), root / "notify" / "notes.000000001", home),
    lambda root, home: lay(holding(("notes.txt", file())), root / "control", home),
    lambda root, home: lay(directory(), root / "jobs" / "exp1", home), lambda root,
    home: lay(MINE, root / "by-name" / "me", home),
    lambda root, home: lay(directory(**{"job.json": file(b"{}")}), root / "by-name" / "film", home),
    lambda root, home: lay(directory(**{"job.json": link("HOME/job.json")}), root / "by-name" / "toy", home),
    lambda root, home: lay(link("HOME/toy"), root / "by-name" / "toy", home),
    lambda root, home: lay(directory(**{"job.json": file(manifest("other"))}), root / "by-name" / "film", home),
    lambda root, home: lay(FIFO, root / "by-name" / "film", home),
], ids=["five rooms", "a diary", "a note", "a numbered note", "an order of its own", "an experiment", "a directory", "no manifest", "a linked manifest",
        "a linked directory", "another's manifest", "a FIFO"])  # fmt: skip
def test_rooms_without_a_job_that_hold_anything_are_a_strangers(root, home, change):
    old_share(root, ())
    change(root, home)
    before = look(root)
    with pytest.raises(JobQueueError):
        open_share(root)
    assert differences(before, look(root)) == []


def test_what_users_have_in_the_rooms_of_an_old_share_stays(root, home, clock):
    old_share(root, ("toy",))
    mine = {"tmp/taxes": MINE, "tmp/diary.txt": file(), "jobs/train.sbatch": file(),
            "jobs/exp1": directory(results=file()), "notify/notes.txt": file(),
            "nodes/notes.txt": file(), "logs/mine.log": file(), f"jobs/exp.{HEX12}": 
            directory(notes=file())}  # fmt: skip
    watched = watch(root, *(lay(thing, root / name, home) for name, thing in mine.items()))
    hours(root, clock).work()
    call(root, "clean", "toy", "--force")
    hours(root, clock)
    watched.unharmed()


# ---- sweeping
def die(share: SharedDir) -> tuple[Node, list[Path]]:
    """A node of another machine dies in the midst of making a job; what it leaves."""
    world = World(share.layout.root)
    world.die()
    dead = world.dead[0]
    send(share, dead.identity.incarnation, ControlCommand.DRAIN)
    grave = share.layout.tmp / f"{dead.identity.incarnation}.{HEX16}"
    (grave / "claims").mkdir(parents=True)
    (grave / "job.json").write_bytes(manifest("buried"))
    probe = share.layout.tmp / f"probe.{HEX16}"
    probe.write_bytes(b"Does this directory know hard links?\n")
    (share.layout.notify / f"{OTHER}.000000003").touch()
    rooms = share.layout.tmp, share.layout.nodes, share.layout.notify, share.layout.control, share.layout.jobs
    return dead, [path for room in rooms for path in room.iterdir()]


def test_sweep_removes_what_the_dead_have_left_and_nothing_beside_it(root, home, clock):
    share = open_share(root, clock)
    dead, left = die(share)
    assert len(left) >= 8
    strangers = [lay(thing, root / room / name, home) for room in (*ROOMS, "control") for name, thing in (
        ("taxes", MINE), ("diary.txt", file()), ("empty", file(b"")), ("void", directory(0o700)), ("FIFO", FIFO),
        ("secrets", link("HOME/secrets")),
        ("thesis", Thing("hard", to="thesis.tex")), ("..hidden", file()), ("a b\n", file()),
        (os.fsdecode(b"caf\xe9"), MINE))]  # fmt: skip
    watched = watch(root, *strangers)
    hours(root, clock)
    call(root, "drain")
    assert [path for path in left if path.exists()] == []
    watched.unharmed()


def lay_trash(job: Path, proof: str) -> Path:
    """A job that an early version was removing when its node died."""
    for place in ("claims", "failed", "results/frame/0000", "attempts/frame/0000/0000001", "inputs"):
        (job / place).mkdir(parents=True, exist_ok=True)
    for name in ("results/frame/0000/0000000.png", "inputs/video.mp4", "inputs/style.pth", "failed/frame.0000001"):
        (job / name).write_bytes(b"ours")
    (job / "finished").touch()
    (job / proof).write_bytes(manifest("film") if proof == "job.json" else GONE.encode())
    return job


@pytest.mark.parametrize("proof", ["job.json", "creator"])
@pytest.mark.parametrize("place", [f"tmp/{GONE}/{HEX16}", f"tmp/{GONE}.{HEX16}"])
def test_job_that_a_dead_node_was_making_or_removing_is_swept(root, home, clock, place, proof):
    open_share(root, clock)
    job = lay_trash(root / place, proof)
    strangers = [lay(thing, job / name, home) for name, thing in (
        ("notes", file()), ("results/frame/0000/mine.png", file()), ("claims/void", directory(0o700)))]  # fmt: skip
    watched = watch(root, *strangers)
    hours(root, clock)
    watched.unharmed()
    left = {path.relative_to(job).as_posix() for path in job.rglob("*") if not path.is_dir()}
    assert left == {"notes", "results/frame/0000/mine.png"}
    for path in strangers:
        path.rmdir() if path.is_dir() else path.unlink()
    shutil.rmtree(job)
    lay_trash(root / place, proof)
    hours(root, clock)
    assert list((root / "tmp").iterdir()) == []


LOOK_ALIKES = {
    f"tmp/jobs.film.{HEX12}": [file(), FIFO, link(f"HOME/toy.{HEX12}"), directory(0o700), directory(
        0o700, photos=file()), directory(claims=directory(), finished=file()),
        directory(creator=file(b"Michelangelo"), finished=file()), directory(**{"job.json": file(b"{}")}),
        directory(**{"job.json": link("HOME/job.json")})],
    "tmp/jobs.film": [directory(**{"job.json": file(manifest("film"))})],
    f"tmp/{GONE}": [file(), FIFO, link("HOME/draft"), directory(0o700, taxes=file()),
                        holding((HEX16, link("HOME/thesis.tex")))],
    f"tmp/{GONE}.{HEX16}": [file(), FIFO, link("HOME/draft"), directory(0o700, taxes=file())],
    f"tmp/probe.{HEX16}": [file(b"my probe"), FIFO, link("HOME/thesis.tex"), MINE, directory()],
    f"tmp/{HEX16}": [file(), MINE], "tmp/probe.mine": [file(b"Does this directory know hard links?\n")],
    f"notify/{GONE}.000000007": [file(), FIFO, link("HOME/empty"), MINE, directory()],
    "notify/notes.000000007": [file(b"")], f"notify/{GONE}.7": [file(b"")], f"notify/{GONE}": [file(b""), MINE],
    f"nodes/{GONE}": [file(), file(b""), file(IDENTITY), FIFO, link(f"HOME/{GONE}"), MINE,
                      file(IDENTITY.replace(b'"version": 1', b'"version": 99'))],
    "nodes/copy": [file(IDENTITY)],
    f"control/{GONE}.drain": [file(), FIFO, link("HOME/empty"), MINE], f"control/{GONE}.go": [file(b"")],
    "control/notes.stop": [file(b""), file(), MINE],
    f"logs/{GONE}.log": [file(b""), MINE],
    f"jobs/toy.{HEX12}": [
        file(), FIFO, link(f"HOME/toy.{HEX12}"), directory(0o700, photos=file()),
        directory(**{"job.json": file(NEWER), "creator": file(GONE.encode())}),
        directory(**{"job.json": file(b"{"), "creator": file(GONE.encode())}),
        directory(**{"job.json": FIFO, "creator": file(GONE.encode())}),
        directory(creator=link("HOME/creator"), photo=file()), directory(creator=file(b"Michelangelo"), photo=file()),
        directory(creator=MINE),
        directory(**{"job.json": file(manifest("toy"))}), directory(results=directory(frame=holding(("0000",
            holding(("0000000.png", file()))))))],
    "jobs/exp1": [directory(creator=file(GONE.encode()))],
    f"jobs/toy.{HEX12}.bak": [directory(creator=file(GONE.encode()))],
}  # fmt: skip


@pytest.mark.parametrize("path", LOOK_ALIKES)
def test_name_of_our_form_is_no_proof_without_our_content_and_neither_is_content_without_the_name(
    root, home, clock, path
):
    for thing in LOOK_ALIKES[path]:
        toy.create(open_share(root, clock), chains=1, length=1)
        (root / path).parent.mkdir(exist_ok=True)
        watched = watch(root, lay(thing, root / path, home))
        hours(root, clock).work()
        for words in ("recover", "drain", "clean toy --force"):
            call(root, *words.split())
        hours(root, clock)
        watched.unharmed()
        shutil.rmtree(root)
        root.mkdir(mode=0o775)


STRANGE = {
    "taxes": MINE,
    "diary.txt": file(),
    "Void": directory(0o700),
    "FIFO": FIFO,
    "secrets": link("HOME/secrets"),
    "up": link(".."),
}


def test_what_strangers_have_in_directories_of_the_dead_stays_and_the_rest_goes(root, home, clock):
    share = open_share(root, clock)
    dead, left = die(share)
    unborn = next(share.layout.jobs.glob("unborn.*"))
    (unborn / "results" / "frame" / "0000").mkdir(parents=True)
    grave = share.layout.tmp / f"{dead.identity.incarnation}.{HEX16}"
    places = (dead.tmp_dir, grave, unborn, unborn / "results", unborn / "inputs", unborn / "results" / "frame" / "0000")
    watched = watch(root, *(lay(thing, place / name, home) for place in places for name, thing in STRANGE.items()))
    hours(root, clock)
    hours(root, clock)
    watched.unharmed()
    assert {path.name for path in dead.tmp_dir.iterdir()} == {*STRANGE}, "what was the dead node's own is gone"
    assert not list(unborn.rglob("creator"))
    call(root, "drain")
    assert not [path for path in left if path.exists() and path.is_file()]


def test_node_that_leaves_keeps_what_strangers_have_in_its_directory(root, home, clock):
    share = open_share(root, clock)
    node = join(share)
    ChangeNotifier(node).notify()
    share.system.write_new(node.temp_path(), b"a frame")
    watched = watch(root, *(lay(thing, node.tmp_dir / name, home) for name, thing in STRANGE.items()))
    node.leave()
    watched.unharmed()
    assert {path.name for path in node.tmp_dir.iterdir()} == {*STRANGE}


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("room", [*ROOMS, "control"])
def test_room_that_is_a_link_is_refused_by_name_and_nothing_is_touched_through_it(root, home, clock, room, kind):
    toy.create(open_share(root, clock), chains=1, length=1)
    die(open_share(root, clock))
    watched = watch(root, swap(root / room, link(LINKS[kind]), home))
    with pytest.raises(JobQueueError, match=f"\\b{room}\\b"):
        open_share(root, clock)
    hours(root, clock).work()
    for words in (*FEW, "prioritize toy 3", "recover", "drain", "clean toy --force"):
        call(root, *words.split())
    watched.unharmed()


@pytest.mark.parametrize("thing", [file(), FIFO], ids=["file", "FIFO"])
@pytest.mark.parametrize("room", [*ROOMS, "control"])
def test_room_that_is_no_directory_is_refused_by_name(root, home, clock, room, thing):
    toy.create(open_share(root, clock), chains=1, length=1)
    watched = watch(root, swap(root / room, thing, home))
    with pytest.raises(JobQueueError, match=f"\\b{room}\\b"):
        open_share(root, clock)
    for words in (*FEW, "recover", "drain"):
        call(root, *words.split())
    watched.unharmed()


@pytest.mark.parametrize("room", ["tmp", "jobs", "notify", "nodes", "by-name"])
def test_room_that_becomes_a_link_while_a_node_runs_leads_no_sweep_outside(root, home, clock, room):
    share = open_share(root, clock)
    node = join(share)
    recovery = Recovery(node, FailureDetector(share, node.identity))
    recovery.run({})
    watched = watch(root, swap(root / room, link("HOME"), home))
    for _ in range(100):
        clock.now += 4
        with suppress(OSError, JobQueueError):
            node.renew()
        with suppress(OSError, JobQueueError):
            recovery.run({})
    with suppress(OSError, JobQueueError):
        node.leave()
    watched.unharmed()


def test_share_that_is_itself_reached_by_a_link_works(root, base, clock):
    (base / "mnt").symlink_to(root)
    toy.create(open_share(base / "mnt", clock), chains=1, length=2)
    world = World(base / "mnt")
    world.work()
    world.hours()
    assert (root / MARKER).is_file() and "finished" in find_job(open_share(root, clock), "toy").flags()
    assert typed(coordinator.main, "nodes", base / "mnt")[0] == 0
    code, said = typed(coordinator.main, "status", base / "mnt")
    assert code == 2 and said.startswith("error: toy: ") and said.count("\n") == 1  # it is no film


@pytest.mark.parametrize("to", ["share", "nowhere", "home/thesis.tex"], ids=["itself", "nowhere", "a file"])
def test_shared_directory_that_is_a_link_to_none_is_refused_in_one_line(base, to):
    (base / "share").symlink_to(base / to)
    refused(typed(coordinator.main, "status", base / "share"), "share")
    with pytest.raises(JobQueueError):
        open_share(base / "share")


def test_hard_links_of_a_users_files_in_the_rooms_change_nothing_of_the_files(root, home, clock):
    toy.create(open_share(root, clock), chains=1, length=1)
    job = find_job(open_share(root, clock), "toy").layout
    (root / "control").mkdir()
    places = [root / room for room in (*ROOMS, "control")] + [job.root / room for room in JOB_ROOMS]
    watched = watch(root, *(lay(Thing("hard", to="thesis.tex"), place / "thesis.tex", home) for place in places))
    hours(root, clock).work()
    call(root, "clean", "toy", "--force")
    hours(root, clock)
    watched.unharmed()


# ---- modes, owners and times
@pytest.mark.parametrize(
    "kind", ["share with a film", "share that is empty", "old share", "no share", "rooms of a stranger"]
)
def test_who_looks_changes_nothing(root, home, film, kind):
    if kind == "share with a film":
        films.work(film)
    else:
        shutil.rmtree(root)
        root.mkdir(mode=0o777)
        if kind == "share that is empty":
            open_share(root)
        elif kind == "old share":
            old_share(root)
        elif kind == "rooms of a stranger":
            for room in ROOMS:
                lay(MINE if room == "tmp" else directory(0o700), root / room, home)
    for path in (root, *root.iterdir()):
        if path.is_dir():
            path.chmod(0o711)
            os.utime(path, (10**9, 10**9))
    for words in LOOKS:
        quietly(root, *words.split(), writes={"report": "film.report.html", "preview": "film.preview.mp4"}.get(words))


@pytest.mark.parametrize("room", [*ROOMS, "control"])
def test_link_for_a_room_changes_no_mode_of_a_users_directory(root, home, film, room):
    root.chmod(0o777)
    watched = watch(root, swap(root / room, link("HOME/secrets"), home))
    for words in (*LOOKS, "prioritize film 2", "pause film", "recover", "drain", "retry film", "clean film --force"):
        command, *others = words.split()
        code, said = typed(coordinator.main, command, root, *others)
        watched.unharmed()
        assert code == 2 and room in said, f"{words}: {said}"


def modes(*paths: Path) -> dict[str, tuple]:
    return {str(path): (oct(path.lstat().st_mode), path.lstat().st_uid, path.lstat().st_gid) for path in paths}


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o2770])
def test_mode_and_group_of_rooms_that_were_there_are_left_as_their_owner_has_set_them(root, film, clock, mode):
    root.chmod(0o777)
    (root / "control").mkdir()
    rooms = [root / room for room in (*ROOMS, "control")]
    rooms += [film.layout.root, *(film.layout.root / room for room in JOB_ROOMS), root / "by-name" / "film"]
    for path in rooms:
        path.chmod(mode)
        if os.getuid() == 0:
            os.chown(path, -1, 4321)
        path.chmod(mode)
    before = modes(root, *rooms)
    for words in (*FEW, "prioritize film 2", "pause", "resume", "recover", "drain", "retry"):
        call(root, *words.split())
    films.work(film)
    hours(root, clock)
    assert modes(root, *rooms) == before


def test_mode_of_a_users_directory_in_which_a_film_is_shown_stays(root, home, clock):
    root.chmod(0o777)
    share = open_share(root, clock)
    toy.create(share, chains=1, length=1)
    mine = lay(directory(0o700, mine=file()), root / "films", home)
    before = modes(mine)
    with temporary_member(share) as node:
        assert work(node, Premiere)
    assert modes(mine) == before and (mine / "my film.mp4").is_file()


# ---- links in a job
@pytest.mark.parametrize("to", ["HOME/results", ".."])
@pytest.mark.parametrize(
    "room", [*JOB_ROOMS, "results/frame", "results/index", "results/frame/0000", "results/flow", "."]
)
def test_directory_of_a_film_job_that_is_a_link_leads_nothing_outside(root, home, film, clock, room, to):
    watched = watch(root, swap(film.layout.root / room, link(to), home))
    Films(root).work()
    call(root, "clean", "film", "--force")
    hours(root, clock)
    watched.unharmed()


@pytest.mark.parametrize(
    "room",
    [*JOB_ROOMS, "results/frame", "results/index", "results/frame/0000", "results/stitch", "results/stitch/0000", "."],
)
def test_finished_job_in_which_a_directory_was_moved_and_linked_is_one_line_or_works(root, home, film, clock, room):
    assert films.work(film)
    watched = watch(root, swap(film.layout.root / room, link("HOME/moved"), home))
    for words in (*FEW, "report", "stitch film", "retry film", "recover", "clean film"):
        call(root, *words.split())
    hours(root, clock)
    watched.unharmed()


@pytest.mark.parametrize("to", ["HOME/void", "..", "HOME/nowhere"])
def test_film_is_shown_in_no_directory_that_a_link_leads_to(root, home, inputs, clock, to):
    job = films.create(
        open_share(root), *map(Path, inputs), frames=2, name="film", out="films/film.mp4", no_space_check=True
    )
    watched = watch(root, lay(link(to), root / "films", home))
    Films(root).work()
    watched.unharmed()
    assert list(job.layout.root.glob("results/stitch/*/*.mp4"))
    call(root, "stitch", "film", "--out", "films/other.mp4")
    watched.unharmed()


@pytest.mark.parametrize("words", ["preview film", "report film"])
def test_what_is_written_beside_a_film_is_written_through_no_link_in_the_share(root, home, inputs, clock, words):
    films.create(open_share(root), *map(Path, inputs), frames=2, name="film", out="films/film.mp4", no_space_check=True)
    Films(root).work()
    watched = watch(root, swap(root / "films", link("HOME/void"), home))
    call(root, *words.split())
    watched.unharmed()


@pytest.mark.parametrize("room", ["claims", "results", "results/link", "results/link/0000", "results/sum", "attempts",
                                  "attempts/link", "attempts/link/0000",
                                  "attempts/link/0000/0000001", "failed", "inputs"])  # fmt: skip
def test_directory_of_a_job_that_is_a_link_leads_nothing_outside(root, home, clock, room):
    job = toy.create(open_share(root, clock), chains=1, length=3, poison=1)
    watched = watch(root, swap(job.layout.root / room, link("HOME/results"), home))
    world = hours(root, clock)
    for step in (world.work, world.die, world.hours):
        step()
    for words in ("retry toy", "recover toy --assume-dead elsewhere", "cancel toy", "clean toy --force"):
        call(root, *words.split())
    world.hours()
    watched.unharmed()


def shown(root: Path, clock: Ticking, lay_down: Callable[[Job], list[Path]]) -> tuple[Job, Watched]:
    """A job whose film is delivered, with flow of ours, and what `lay_down` has put there before."""
    share = open_share(root, clock)
    job = toy.create(share, chains=1, length=1)
    with temporary_member(share) as node:
        for number in (0, 1, 1000):
            results.publish_bytes(node, job, Task("flow", number, ".png"), b"flow of ours")
        results.publish_bytes(node, job, Task("stitch", 0, ".mp4"), b"the film")
        watched = watch(root, *lay_down(job))
        deliver(node, job, SPEC)
    return job, watched


def test_delivery_removes_our_flow_and_leaves_what_strangers_have_among_it(root, home, clock):
    def strangers(job: Job) -> list[Path]:
        flow = job.layout.results / "flow"
        return [lay(thing, flow / place / name, home) for place in (".", "0000") for name, thing in (
            ("run1.dat", file()), ("mine", MINE), ("notes", link("HOME/secrets")), ("FIFO", FIFO),
            ("0000000.png~", file()))]  # fmt: skip

    job, watched = shown(root, clock, strangers)
    watched.unharmed()
    flow = [path for path in (job.layout.results / "flow").rglob("*.png") if path.is_file()]
    assert not [path for path in flow if path.read_bytes() == b"flow of ours"]
    assert (root / SPEC.out).read_bytes() == b"the film"


def test_delivery_removes_our_flow_whole_where_nobody_has_put_anything_into_it(root, clock):
    job, _ = shown(root, clock, lambda job: [])
    assert not list((job.layout.results).glob("flow/*/*"))


@pytest.mark.parametrize("place", ["flow", "flow/0000"])
def test_delivery_follows_no_link_to_a_flow_of_a_stranger(root, home, clock, place):
    job, watched = shown(
        root, clock, lambda job: [swap(job.layout.results / place, link(f"HOME/results/{place}"), home)]
    )
    watched.unharmed()


# ---- cleaning
def test_clean_leaves_what_strangers_have_in_a_job_and_says_so_in_one_line(root, home, film, clock):
    films.work(film)
    job = film.layout.root
    places = [job, *(job / room for room in JOB_ROOMS), job / "results" / "frame", job / "results" / "frame" / "0000"]
    watched = watch(root, *(lay(thing, place / name, home) for place in places for name, thing in STRANGE.items()))
    code, said = typed(coordinator.main, "clean", root, "film")
    assert code == 0 and f"jobs/{job.name}" in said and len(said.strip().splitlines()) <= 2, said
    watched.unharmed()
    left = {path.name for path in job.rglob("*") if not path.is_dir()}
    assert left <= {*STRANGE, "mine"} and not (root / "by-name" / "film").exists()
    hours(root, clock)
    watched.unharmed()
    assert find_job(open_share(root, clock), "film") is None


@pytest.mark.parametrize("path", ["results/photos/2024/20240101.jpg", "results/link/0001/0000001.txt",
                                  "attempts/link/0001/0000001/notes.txt",
                                  "results/link/0000/0000000.txt/notes", "claims/link.0000000/notes",
                                  "failed/link.0000000/notes", "paused/notes",
                                  "creator.txt", "inputs/photos/2024/20240101.jpg"])  # fmt: skip
def test_clean_takes_no_strangers_file_for_a_result_that_no_task_can_have(root, home, clock, path):
    job = toy.create(open_share(root, clock), chains=1, length=1).layout.root
    (job / path).parent.mkdir(parents=True, exist_ok=True)
    watched = watch(root, lay(file(), job / path, home))
    call(root, "clean", "toy", "--force")
    hours(root, clock)
    watched.unharmed()


@pytest.mark.parametrize("name", [".nfs of mine", ".nfs000000000000000100000001", ".fav-share.mine"])
@pytest.mark.parametrize("place", ["jobs/ID", "jobs/ID/claims", "by-name/toy", "tmp"])
def test_clean_moves_and_removes_no_directory_of_a_strangers_that_is_hidden(root, home, clock, place, name):
    job = toy.create(open_share(root, clock), chains=1, length=2).layout.root
    watched = watch(root, lay(directory(0o700, photos=file()), root / place.replace("ID", job.name) / name, home))
    call(root, "clean", "toy", "--force")
    hours(root, clock)
    watched.unharmed()


MADE_OF_OURS = ["results/frame/0000/0000001.jpg", "results/flow/0000/0000001.flo", "results/stitch/0000/0000000.gif",
                "results/index/0000/0000000.csv", "inputs/video.srt"]  # fmt: skip


@pytest.mark.parametrize("how", ["clean", "sweep"])
def test_what_people_have_made_of_our_results_beside_them_stays(root, home, film, clock, how):
    films.work(film)
    job = film.layout.root
    for path in MADE_OF_OURS:
        (job / path).parent.mkdir(exist_ok=True, parents=True)
    watched = watch(root, *(lay(file(), job / path, home) for path in MADE_OF_OURS))
    if how == "clean":
        call(root, "clean", "film")
    else:  # who cleaned it died when it had the name
        shutil.rmtree(root / "by-name" / "film")
        (job / "creator").write_text(GONE)
        hours(root, clock)
    watched.unharmed()
    left = {path.relative_to(job).as_posix() for path in job.rglob("*") if path.is_file()}
    assert left == set(MADE_OF_OURS)


def test_job_system_itself_knows_no_kind_of_a_task_and_no_input():
    sources = "".join(path.read_text() for path in (Path(toy.__file__).parents[2] / "shared").glob("*.py"))
    for word in ("png", "mp4", "stitch", "index/", "flow_weights", "loss_network"):
        assert word not in sources, word


def test_clean_removes_all_of_a_job_where_nobody_has_put_anything_into_it(root, film, clock):
    films.work(film)
    code, said = typed(coordinator.main, "clean", root, "film")
    assert code == 0 and "film: removed" in said
    assert not film.layout.root.exists() and not list((root / "tmp").iterdir()) and (root / "film.mp4").is_file()


def test_job_of_the_same_name_can_be_made_after_one_was_cleaned_with_strangers_files_in_it(root, home, clock):
    job = toy.create(open_share(root, clock), chains=1, length=2)
    mine = [lay(file(), job.layout.root / "notes", home), lay(file(), root / "by-name" / "toy" / "notes", home)]
    watched = watch(root, mine[0])
    call(root, "clean", "toy", "--force")
    watched.unharmed()
    assert find_job(open_share(root, clock), "toy") is None


@pytest.mark.parametrize("make", [lambda path: path.write_bytes(b"my notes"),
                                  lambda path: (path.mkdir(), (path / "mine").write_bytes(b"my notes"))],
                         ids=["file", "directory"])  # fmt: skip
@pytest.mark.parametrize("name", ["claims/link.0000001", "results/link/0000/0000001.txt", "failed/link.0000001"])
def test_strangers_file_of_a_protocols_name_is_moved_within_the_job_at_most(root, clock, name, make):
    job = toy.create(open_share(root, clock), chains=1, length=3)
    (path := job.layout.root / name).parent.mkdir(parents=True, exist_ok=True)
    make(path)
    world = hours(root, clock)
    world.work()
    world.hours()
    found = [one for one in job.layout.root.rglob("*") if one.is_file() and one.read_bytes() == b"my notes"]
    assert len(found) == 1 and (found[0].is_relative_to(path) or found[0].is_relative_to(job.layout.attempts)), found


# ---- other users and mounts
@contextmanager
def public() -> Iterator[Path]:
    """A directory that other users may enter, with the world outside in it."""
    if os.getuid() != 0:
        pytest.skip("needs root to be another user")
    before = os.umask(0o022)
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)
        make_home(Path(above) / "home")
        (Path(above) / "share").mkdir(mode=0o755)
        yield Path(above) / "share"
    os.umask(before)


def in_child(prepare: Callable[[], None], *commands: tuple) -> list[tuple[int, str]]:
    """Exit codes and outputs of commands in a process that `prepare` was called in. A traceback is code -1."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        told = None
        with suppress(OSError, subprocess.CalledProcessError):
            prepare()
            told = [_told(words) for words in commands]
        with os.fdopen(writer, "w") as pipe:
            json.dump(told, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = json.load(pipe)
    os.waitpid(child, 0)
    if told is None:
        pytest.skip("this machine lets nobody mount, or be another user")
    return [tuple(one) for one in told]


def _told(words: tuple) -> tuple[int, str]:
    try:
        return typed(*words)
    except BaseException as error:
        return -1, f"{error!r} {error.__cause__!r}"


def become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def mounted(*words: object) -> Callable[[], None]:
    def mount() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(0x00020000):  # CLONE_NEWNS
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        for line in words:
            subprocess.run(["mount", *map(str, line)], check=True)

    return mount


def made_film(root: Path, inputs) -> Job:
    job = films.create(open_share(root), *map(Path, inputs), frames=2, name="film", no_space_check=True)
    assert films.work(job)
    return job


def looking(root: Path, out: Path) -> list[tuple]:
    words = [
        ("status",),
        ("status", "--json"),
        ("nodes",),
        ("report", "--out", out / "page.html"),
        ("preview", "--out", out / "some.mp4"),
    ]
    return [(coordinator.main, one[0], root, *one[1:]) for one in words]


def test_share_of_another_user_can_be_looked_at(inputs):
    with public() as root:
        made_film(root, inputs)
        (out := root.parent / "out").mkdir()
        out.chmod(0o777)
        before = look(root)
        told = in_child(lambda: become(2001), *looking(root, out))
        assert [code for code, _ in told] == [0] * 5, told
        assert "film: finished" in told[0][1] and sorted(os.listdir(out)) == ["page.html", "some.mp4"]
        assert differences(before, look(root)) == []


@pytest.mark.parametrize("room", ["tmp", "jobs", "by-name"])
def test_share_with_a_room_that_another_user_may_not_enter_is_one_line(inputs, room):
    with public() as root:
        made_film(root, inputs)
        root.chmod(0o777)
        (root / room).chmod(0o700)
        before = look(root)
        told = in_child(lambda: become(2001), (coordinator.main, "status", root), (coordinator.main, "nodes", root))
        assert all(code == 0 or code == 2 and len(said.splitlines()) == 1 for code, said in told), told
        told = in_child(lambda: become(2001), (coordinator.main, "pause", root), (coordinator.main, "recover", root))
        assert all(code == 2 and len(said.splitlines()) == 1 for code, said in told), told
        assert differences(before, look(root)) == []


def test_directory_of_another_user_becomes_no_share(inputs):
    with public() as root:
        before = look(root)
        for name in ("clip.mp4", "tiny.safetensors"):
            shutil.copy(Path(inputs[0]).with_name(name), root.parent)
        (told,) = in_child(
            lambda: become(2001),
            (coordinator.main, "submit", root, root.parent / "clip.mp4", root.parent / "tiny.safetensors"),
        )
        refused(told, str(root))
        assert differences(before, look(root)) == []


def test_share_that_is_mounted_read_only_can_be_looked_at(root, base, inputs):
    if os.getuid() != 0:
        pytest.skip("needs root to mount")
    made_film(root, inputs)
    (base / "out").mkdir()
    before = look(root)
    told = in_child(
        mounted(("--bind", root, root), ("-o", "remount,ro,bind", root)),
        *looking(root, base / "out"),
        (coordinator.main, "clean", root, "--force"),
    )
    assert [code for code, _ in told] == [0] * 5 + [2], told
    assert "read-only" in told[-1][1].lower() or "writ" in told[-1][1]
    assert differences(before, look(root)) == []


def test_old_share_that_is_mounted_read_only_can_be_looked_at(root, base):
    if os.getuid() != 0:
        pytest.skip("needs root to mount")
    old_share(root)
    told = in_child(
        mounted(("--bind", root, root), ("-o", "remount,ro,bind", root)),
        (coordinator.main, "nodes", root),
        (coordinator.main, "pause", root),
    )
    assert [code for code, _ in told] == [0, 2], told
    assert not (root / MARKER).exists()


def test_share_that_is_a_mount_point_works(root, inputs):
    if os.getuid() != 0:
        pytest.skip("needs root to mount")
    told = in_child(mounted(("-t", "tmpfs", "-o", "mode=775", "tmpfs", root)),
                    (coordinator.main, "submit", root, *inputs, "--frames", "2", "--name", "film"),
                    (coordinator.main, "status", root), (coordinator.main, "clean", root, "--force"))  # fmt: skip
    assert [code for code, _ in told] == [0, 0, 0], told
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("room", ["jobs", "tmp", "by-name"])
def test_room_that_is_a_mount_point_works_or_is_refused_in_one_line_and_keeps_what_lies_in_it(
    root, home, clock, inputs, room
):
    """A disk of its own for `jobs`, as is made where the first is full: a directory, and no link."""
    if os.getuid() != 0:
        pytest.skip("needs root to mount")
    toy.create(open_share(root, clock), chains=1, length=2)
    lay(directory(0o700, **{"p.jpg": file()}), home / "void" / "photos", home)
    before = look(home / "void" / "photos")
    words = (
        ("submit", *inputs, "--frames", "2", "--name", "film"),
        ("status",),
        ("prioritize", "film", "2"),
        ("recover",),
        ("clean", "film", "--force"),
    )
    told = in_child(
        mounted(("--bind", home / "void", root / room)), *((coordinator.main, one[0], root, *one[1:]) for one in words)
    )
    assert all(code == 0 or code == 2 and len(said.splitlines()) == 1 for code, said in told), told
    assert differences(before, look(home / "void" / "photos")) == []


# ---- what many strangers cost
class Uncommitted(Counting):
    def fsync(self, fd: int) -> None: ...


class CountingClock(FileSystem):
    """A clock that a test moves, over file operations that are counted."""

    def __init__(self):
        super().__init__(Uncommitted())
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("room", ["jobs", "tmp", "notify", "nodes", "control", "logs"])
def test_pass_of_a_node_costs_no_operation_more_where_hundreds_of_strangers_directories_lie(root, room):
    share = open_share(root, system := CountingClock())
    toy.create(share, chains=1, length=1)
    node = join(share)
    recovery, counts = Recovery(node, FailureDetector(share, node.identity)), []
    for number in (0, 300):
        (root / room).mkdir(exist_ok=True)
        for one in range(number):
            (root / room / f"photos of {one}").mkdir()
        recovery.run({})
        system.now += 4
        before = system.os.calls.total()
        recovery.run({})
        counts.append(system.os.calls.total() - before)
    assert counts[1] <= counts[0] + 10, counts
