"""What recovery, delivery and cleaning remove, and what of other people's files they leave."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import coordinator
from benchmarks.meter import Counting
from fav.pipeline.delivery import deliver
from shared import results
from shared.failure_detector import FailureDetector
from shared.filesystem import FileSystem
from shared.heartbeat import temporary_member
from shared.jobs import Job, find_job
from shared.notify import ChangeNotifier
from shared.paths import Task
from shared.recovery import Recovery
from shared.shared_dir import open_share
from tests.helpers import toy_plan as toy
from tests.helpers import video_jobs as films
from tests.helpers.job_system import join
from tests.helpers.share_safety import JOB_ROOMS, MINE, die, hours, swap, typed, watch
from tests.helpers.strangers import (
    FIFO,
    GONE,
    HEX12,
    HEX16,
    IDENTITY,
    NEWER,
    ROOMS,
    Thing,
    Watched,
    directory,
    file,
    holding,
    lay,
    link,
    manifest,
)
from tests.helpers.strangers_world import Ticking, call
from tests.helpers.toy_films import SPEC

pytestmark = pytest.mark.usefixtures("all_at_once")


# ---- sweeping
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


# ---- delivery
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
