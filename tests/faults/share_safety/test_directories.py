"""Links, files and mounts in the place of our directories; modes, other users, and commands that only read."""

import ctypes
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import coordinator
from shared.errors import JobQueueError
from shared.failure_detector import FailureDetector
from shared.heartbeat import temporary_member
from shared.jobs import Job, find_job
from shared.recovery import Recovery
from shared.shared_dir import open_share
from tests.helpers import toy_plan as toy
from tests.helpers import video_jobs as films
from tests.helpers.failing_filesystem import work
from tests.helpers.job_system import join
from tests.helpers.share_safety import (
    FEW,
    JOB_ROOMS,
    LINKS,
    LOOKS,
    MINE,
    die,
    hours,
    old_share,
    refused,
    swap,
    typed,
    watch,
)
from tests.helpers.strangers import (
    FIFO,
    MARKER,
    ROOMS,
    Thing,
    differences,
    directory,
    file,
    lay,
    link,
    look,
    make_home,
)
from tests.helpers.strangers_world import Films, World, call, quietly
from tests.helpers.toy_films import Premiere

pytestmark = pytest.mark.usefixtures("all_at_once")


# ---- links and files in the place of a directory
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
