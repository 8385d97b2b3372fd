"""Which directory becomes a shared one: the marker, names that are taken, and shares of older versions."""

import json
import os
import re
import shutil
import subprocess
import threading

import pytest

import coordinator
import node as node_command
from shared.errors import JobQueueError
from shared.jobs import find_job
from shared.shared_dir import open_share
from tests.helpers import toy_plan as toy
from tests.helpers.share_safety import IN_THE_WAY, LOOKS, MINE, hours, old_share, refused, typed, watch
from tests.helpers.strangers import (
    FIFO,
    GONE,
    HEX12,
    MARKER,
    NAMES,
    NEWER,
    ROOMS,
    Thing,
    differences,
    directory,
    file,
    holding,
    lay,
    link,
    look,
    manifest,
)
from tests.helpers.strangers_world import Ticking, World, call, quietly

pytestmark = pytest.mark.usefixtures("all_at_once")


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
