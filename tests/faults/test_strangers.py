"""What others leave on the share: taken names, damaged results, strangers' files, and the remains of the dead."""

import ast
import dataclasses
import errno
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from fav import flow as flows
from fav.errors import FavError
from fav.launch.local_launcher import HEAD, log_at
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.delivery import deliver
from fav.pipeline.plan import VideoPlan, make_plan
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import encode_task, frame_task, index_task, stitch_task
from fav.stylize.engine import FrameStylizer
from fav.util.images import decode_png, encode_png
from shared import attempts, results
from shared.claims import Claims, claimed
from shared.errors import JobQueueError, ResultVanishedError
from shared.failure_detector import FailureDetector
from shared.filesystem import FileSystem
from shared.heartbeat import temporary_member
from shared.identity import Identity
from shared.jobs import Job, all_jobs, create_job, find_job, remove_job
from shared.membership import Node
from shared.paths import Task
from shared.recovery import Recovery
from shared.settings import LEASE_S, POLL_S
from shared.shared_dir import SharedDir, open_share
from tests.helpers import toy_plan as toy
from tests.helpers import video_jobs as films
from tests.helpers.checkout import ROOT, SOURCES
from tests.helpers.failing_filesystem import work
from tests.helpers.job_system import Clock, join
from tests.helpers.toy_films import SPEC, Premiere
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.usefixtures("at_once")

TASK = toy.link_task(0)
HUGE = "1" + "0" * 400


def watch(recovery: Recovery, jobs: list[Job], clock: Clock, seconds: float) -> None:
    """Let time pass in polls."""
    recovery.run({job: set() for job in jobs})
    while seconds > 0:
        clock.now += POLL_S
        seconds -= POLL_S
        recovery.run({job: set() for job in jobs})


def recovery_of(node: Node) -> Recovery:
    return Recovery(node, FailureDetector(node.share, node.identity))


# ---- the film's name


def test_film_whose_name_another_file_has_taken_gets_a_number_and_the_job_says_which(share, node, job):
    other = share.layout.root / SPEC.out
    other.parent.mkdir()
    other.write_bytes(b"somebody's film")
    assert work(node, Premiere)
    assert job.flag_text("finished") == "films/my film-2.mp4"
    assert (share.layout.root / "films/my film-2.mp4").read_bytes() == toy.expected(1, 3)
    assert other.read_bytes() == b"somebody's film"


def test_film_stays_where_it_is_published_when_all_its_names_are_taken(share, node, job):
    film = share.layout.root / SPEC.out
    film.parent.mkdir()
    for name in (film, *(film.with_stem(f"{film.stem}-{number}") for number in range(2, 1000))):
        name.touch()
    assert work(node, Premiere)
    told = job.flag_text("finished")
    assert told == job.layout.result(stitch_task(SPEC)).relative_to(share.layout.root).as_posix()
    assert (share.layout.root / told).read_bytes() == toy.expected(1, 3)


def test_film_that_is_delivered_twice_keeps_its_name(any_share):
    job, node = toy.create(any_share, chains=1, length=3), join(any_share)
    assert work(node, Premiere) and job.flag_text("finished") == SPEC.out
    assert deliver(node, job, SPEC) == SPEC.out
    assert [path.name for path in SPEC.film(any_share.layout.root).parent.iterdir()] == ["my film.mp4"]


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM])
def test_film_is_copied_to_where_no_link_leads(share, node, job, monkeypatch, code):
    link = share.system.link

    def links_within(old, new):
        if new.parent.name == "films":
            raise OSError(code, os.strerror(code), str(new))
        link(old, new)

    monkeypatch.setattr(share.system, "link", links_within)
    other = share.layout.root / SPEC.out
    other.parent.mkdir()
    other.write_bytes(b"somebody's film")
    assert work(node, Premiere) and job.flag_text("finished") == "films/my film-2.mp4"
    assert (share.layout.root / "films/my film-2.mp4").read_bytes() == toy.expected(1, 3)
    assert sorted(path.name for path in other.parent.iterdir()) == ["my film-2.mp4", "my film.mp4"]


# ---- films
@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return films.make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", "32x32")


@pytest.fixture(scope="module")
def style(tmp_path_factory) -> Path:
    return films.make_style(tmp_path_factory.mktemp("style") / "tiny.safetensors")


def do(plan: VideoPlan, task: Task) -> None:
    results.publish_bytes(plan.node, plan.job, task, plan.run(task, lambda: None))
    plan.published(task, True)


def do_kind(plan: VideoPlan, kind: str) -> None:
    """Do the tasks of one kind as long as they are the first to do."""
    while (task := next(plan.candidates())).kind == kind:
        do(plan, task)


def test_failed_chain_gets_no_flows_ahead(share, clip, style, monkeypatch):
    monkeypatch.setitem(flows.METHODS, "dis", dataclasses.replace(flows.METHODS["dis"], is_expensive=True))
    job = films.create(share, clip, style, no_cuts=True)
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        do_kind(plan, "index")
        Claims(node, job).claim(frame_task(0))
        assert [task.kind for task in plan.candidates()] == ["flow"]
        Claims(node, job).abandon(frame_task(0))
        for _ in range(attempts.MAX_FAILURES):
            attempts.record(node, job, frame_task(0), "raised", "poison", attempts.nonce())
        assert list(plan.candidates()) == []


def test_disk_that_is_full_in_mid_stitch_leaves_no_draft(share, clip, style):
    job = films.create(share, clip, style)
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        do_kind(plan, "index")
        gray = encode_png(
            FrameStylizer(plan.video, plan.spec.style_settings(share.layout.root)).reader.read(0, plan.timeline.index),
            {},
        )
        for number in range(films.FRAMES):
            results.publish_bytes(node, job, frame_task(number), gray)
        for task, step in ((encode_task(0), 10), (stitch_task(plan.spec), 0)):
            calls = iter(range(films.FRAMES))

            def full(calls=calls, step=step):
                if next(calls) == step:
                    raise OSError(errno.ENOSPC, "No space left on device")

            with pytest.raises(OSError, match="No space"):
                plan.run(task, full)
            assert list(node.tmp_dir.iterdir()) == []
            if task == encode_task(0):
                results.publish_bytes(node, job, task, plan.run(task, lambda: None))
        assert plan.run(stitch_task(plan.spec), lambda: None).stat().st_size > 1000  # and it can be made afterwards


def test_seed_of_an_independent_backward_film_opens_its_last_frame_whoever_knows_how_much(
    share, clip, style, tmp_path, monkeypatch
):
    monkeypatch.setattr("fav.stylize.indexing.SEGMENT_FRAMES", 8)
    (tmp_path / "seed.png").write_bytes(encode_png(np.full((32, 32, 3), 200, np.uint8), {}))
    opened, first = [], FrameStylizer.first

    def watched(stylizer, frame, index, opening):
        opened.append((frame, opening))
        return first(stylizer, frame, index, opening)

    monkeypatch.setattr(FrameStylizer, "first", watched)
    job = films.create(share, clip, style, reverse=True, no_temporal=True, init_frame=tmp_path / "seed.png")
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        do(plan, next(plan.candidates()))
        early = decode_png(plan.run(frame_task(7), lambda: None))
        do_kind(plan, "index")
        assert np.array_equal(decode_png(plan.run(frame_task(7), lambda: None)), early)
        plan.run(frame_task(23), lambda: None)
    assert opened == [(7, False), (7, False), (23, True)]


# ---- tasks that a job can do without
class Helped(toy.ToyPlan):
    optional = frozenset({"flow"})


def test_failed_tasks_that_a_job_can_do_without_do_not_fail_it(share, node, job):
    for number in range(attempts.MAX_FAILED_TASKS + 1):
        for _ in range(attempts.MAX_FAILURES):
            attempts.record(node, job, Task("flow", number), "raised", "MemoryError", attempts.nonce())
    assert len(attempts.failed(job)) == attempts.MAX_FAILED_TASKS + 1
    assert work(node, Helped) and results.read(job, toy.SUM) == toy.expected(1, 3)
    assert VideoPlan.optional == {"flow", "measure", "report", "survey", "decode", "face", "sheet"}


# ---- damaged results
def reader(job: Job, node: Node) -> JobArtifacts:
    artifacts = JobArtifacts.__new__(JobArtifacts)
    artifacts.job, artifacts.node = job, node
    return artifacts


def refuse(data: bytes):
    raise ValueError("not a picture")


def test_result_that_is_damaged_three_times_is_a_failed_task(share, node, job):
    for _ in range(attempts.MAX_FAILURES):
        assert attempts.failed(job) == []
        results.publish_bytes(node, job, TASK, b"damaged")
        with pytest.raises(ResultVanishedError):
            reader(job, node)._decoded(TASK, refuse)
    assert attempts.failed(job) == [str(TASK)]


def test_good_result_that_replaced_the_damaged_one_meanwhile_stays(any_share):
    job, node, other = toy.create(any_share, chains=1, length=3), join(any_share), join(any_share)
    results.publish_bytes(node, job, TASK, b"damaged")

    def slow(data: bytes):
        with pytest.raises(ResultVanishedError):
            reader(job, other)._decoded(TASK, refuse)
        results.publish_bytes(other, job, TASK, b"good")
        return refuse(data)

    with pytest.raises(ResultVanishedError):
        reader(job, node)._decoded(TASK, slow)
    assert results.read(job, TASK) == b"good"
    assert [attempt.why for attempt in attempts.attempts_of_task(job, TASK)] == ["damaged"]


def test_result_that_is_no_file_is_set_aside(share, node, job):
    results.publish_bytes(node, job, toy.link_task(1), b"makes the directory")
    job.layout.result(TASK).symlink_to("/etc/passwd")
    with pytest.raises(ResultVanishedError):
        reader(job, node)._decoded(TASK, bytes)
    assert not results.is_done(job, TASK) and len(attempts.attempts_of_task(job, TASK)) == 1


# ---- who is dead
def no_process() -> int:
    return int(
        subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True).stdout
    )


def test_process_that_proc_hides_is_not_taken_for_gone(monkeypatch):
    def hidden(pid):
        raise FileNotFoundError(2, "No such file or directory", f"/proc/{pid}/stat")

    monkeypatch.setattr("shared.filesystem.process_start", hidden)
    assert not FileSystem().process_gone(os.getpid(), 1) and not FileSystem().process_gone(1, 1)
    assert FileSystem().process_gone(no_process(), 1)


@pytest.mark.parametrize("pid", [10**400, 10**20, 0, -1], ids=["10^400", "10^20", "0", "-1"])
def test_owner_with_an_impossible_pid_is_judged_by_its_silence_alone(pid):
    assert not FileSystem().process_gone(pid, 1)


def test_silent_owner_on_a_job_of_long_leases_is_not_swept_by_those_of_short_leases(share, node, clock):
    fast, slow = toy.create(share, "fast", chains=1, length=1), toy.create(share, "slow", lease=600, chains=1, length=1)
    owner = join(share, host="elsewhere")
    Claims(owner, slow).claim(TASK)
    recovery = recovery_of(node)
    watch(recovery, [fast], clock, 600 - 2 * POLL_S)
    assert owner.heartbeat_file.exists() and owner.tmp_dir.exists()
    watch(recovery, [fast, slow], clock, 4 * POLL_S)
    assert not owner.heartbeat_file.exists() and claimed(slow) == {}


def test_owners_that_die_before_they_have_said_their_name_count_as_vanished(share, node, job, clock):
    recovery = recovery_of(node)
    for _round in range(attempts.MAX_VANISHED_OWNERS):
        assert attempts.failed(job) == []
        job.layout.placeholder(TASK).touch()
        watch(recovery, [job], clock, toy.LEASE_S + POLL_S)
    assert {attempt.why for attempt in attempts.attempts_of_task(job, TASK)} == {"vanished"}
    assert attempts.failed(job) == [str(TASK)]


def test_glimpses_of_several_fresh_placeholders_are_not_added_up(share, node, job, clock):
    recovery, placeholder = recovery_of(node), job.layout.placeholder(TASK)
    placeholder.touch()
    watch(recovery, [job], clock, toy.LEASE_S - POLL_S)
    placeholder.unlink()
    watch(recovery, [job], clock, POLL_S)
    placeholder.touch()
    watch(recovery, [job], clock, toy.LEASE_S - POLL_S)
    assert claimed(job)


# ---- strangers' files
def identity(**fields) -> bytes:
    """A heartbeat file as we write it, some of its values replaced by raw JSON."""
    text = json.dumps({**vars(Identity.here()), **{name: f"<{name}>" for name in fields}})
    for name, value in fields.items():
        text = text.replace(f'"<{name}>"', value)
    return text.encode()


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


BYTES = {
    "no text": b"\xff\xfe\0", "deep": b"[" * 100_000, "long number": b"1" * 5000,
    "infinite pid": identity(pid="1e999"), "huge pid": identity(pid=HUGE), "negative start": identity(start="-1"),
    "path": identity(incarnation='"../../x"'), "newer": identity(version=HUGE), "list": identity(host="[]"),
}  # fmt: skip
STRANGERS = {
    "empty": Path.touch,
    "directory": Path.mkdir,
    "link": link,
    "fifo": os.mkfifo,
    **{name: lambda path, data=data: path.write_bytes(data) for name, data in BYTES.items()},
}


@pytest.mark.parametrize("make", STRANGERS.values(), ids=STRANGERS)
def test_strangers_file_stops_neither_work_nor_recovery(share, node, clock, make):
    job = toy.create(share, chains=2, length=2)
    dead = join(share, host="elsewhere")
    Claims(dead, job).claim(toy.link_task(2))
    for room, name in ((share.layout.nodes, "x"), (share.layout.by_name, "x"), (share.layout.notify, "x"), (share.layout.tmp, "x"),
                       (share.layout.jobs, "x"), (job.layout.root, "x"), (job.layout.claims, "frame.²"),
                       (job.layout.claims, "frame.bak"), (job.layout.claims, str(TASK)), (job.layout.failed, "link.bak"),
                       (job.layout.failed, "link.000000²"), (job.layout.results, "link.bak")):  # fmt: skip
        make(room / name)
    assert work(node, toy.ToyPlan) and results.read(job, toy.SUM) == toy.expected(2, 2)
    assert claimed(job) == {} and not dead.heartbeat_file.exists()


@pytest.mark.parametrize("name", ["0000000.txt~", "0000000.txt.bak", "000000².txt", "0000000"])
def test_strangers_file_among_the_results_is_no_result(share, node, job, name):
    (directory := job.layout.shard("link", 0)).mkdir(parents=True)
    (directory / name).touch()
    assert work(node, toy.ToyPlan) and results.read(job, toy.SUM) == toy.expected(1, 3)


@pytest.mark.parametrize("field, value", [("lease", HUGE), ("lease", "1e999"), ("lease", '"x"'), ("version", HUGE), ("spec", "[1]"),
                                          ("name", "{}")], ids=lambda text: text[:12])  # fmt: skip
def test_strangers_manifest_stops_nobody(share, node, job, field, value):
    fields = {"version": 1, "id": "x", "name": "x", "spec": {}, "lease": 60, field: "<>"}
    share.layout.name("x").mkdir()
    share.layout.named_manifest("x").write_text(json.dumps(fields).replace('"<>"', value))
    work(node, toy.ToyPlan, only=None)
    assert results.is_done(job, toy.SUM)


@pytest.mark.parametrize(
    "fields",
    [{"cuts": [float("inf")]}, {"cuts": 5}, {"cuts": [[]]}, {"video": 5}, {"width": 10**400}, {"fps": float("inf")}],
    ids=["infinite cut", "cuts no list", "nested cuts", "video no name", "huge width", "infinite fps"],
)
def test_strange_options_of_a_film_job_are_refused_and_the_others_are_served(share, node, job, fields):
    with temporary_member(share) as creator:
        create_job(creator, "a-film", toy.LEASE_S, lambda layout: {**SPEC.to_json(), **fields})
    plan = lambda job, node: make_plan(job, node) if job.name == "a-film" else toy.ToyPlan(job, node)
    assert not work(node, plan, only=None)
    assert results.is_done(job, toy.SUM)


# ---- what the dead leave behind
class Dead(BaseException):
    pass


class Mortal(Clock):
    """A system that dies at a step that changes something, and does no more from then on."""

    def __init__(self, clock: Clock, lives: int):
        super().__init__()
        self.clock, self.left = clock, lives

    def monotonic(self) -> float:
        return self.clock.now


def _mortal(name: str):
    alive = getattr(Clock, name)

    def step(self: Mortal, *arguments):
        self.left -= 1
        if self.left < 0:
            raise Dead
        return alive(self, *arguments)

    return step


for _name in ("write_new", "sync", "link", "rename", "unlink", "touch", "make_dirs", "append", "remove"):
    setattr(Mortal, _name, _mortal(_name))


def join_and_leave(share: SharedDir) -> None:
    node = Node(share, Identity(**{**vars(Identity.here()), "host": "elsewhere"}))
    node.join()
    node.leave()


def create(share: SharedDir) -> None:
    node = Node(share, Identity(**{**vars(Identity.here()), "host": "elsewhere"}))
    node.join()
    create_job(node, "toy", toy.LEASE_S, lambda layout: {"chains": 1, "length": 2})
    node.leave()


def create_and_remove(share: SharedDir) -> None:
    create(share)
    node = Node(share, Identity(**{**vars(Identity.here()), "host": "elsewhere"}))
    node.join()
    remove_job(node, find_job(share, "toy"))
    node.leave()


def traces(share: SharedDir) -> list[str]:
    """What lies in the rooms of the share, except jobs that have a name."""
    named = {job.layout.root for job in all_jobs(share)}
    rooms = (share.layout.nodes, share.layout.tmp, share.layout.notify, share.layout.jobs)
    return [str(path.relative_to(share.layout.root)) for room in rooms for path in room.iterdir() if path not in named]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("life", [join_and_leave, create, create_and_remove])
def test_node_killed_at_any_step_leaves_nothing_that_is_not_swept(root, clock, life, links, monkeypatch):
    monkeypatch.setattr("shared.recovery.LEASE_S", toy.LEASE_S)
    lives, died = 0, True
    while died:
        (here := root / str(lives)).mkdir(parents=True)
        share = open_share(here, clock)
        share.hard_links = links
        try:
            life(SharedDir(share.layout, Mortal(clock, lives), links))
            died = False
        except Dead:
            pass
        node = join(share)
        recovery = recovery_of(node)
        watch(recovery, all_jobs(share), clock, 2 * toy.LEASE_S + 2 * POLL_S)  # the node's own, then what had its name
        node.leave()
        assert traces(share) == [], f"killed at step {lives}"
        lives += 1


def test_what_a_living_creator_has_not_finished_is_left_alone(share, node, clock):
    maker, recovery = join(share, host="elsewhere"), recovery_of(node)

    def fill(layout):
        for _ in range(3 * int(LEASE_S / POLL_S)):
            clock.now += POLL_S
            maker.renew()
            recovery.run({})
        (layout.inputs / "style").write_bytes(b"it took long to copy")
        return {"chains": 1, "length": 2}

    job, _ = create_job(maker, "toy", toy.LEASE_S, fill)
    assert (job.layout.inputs / "style").exists() and not job.layout.creator.exists()


def test_temporary_files_and_notifications_without_a_node_get_one_lease(share, node, clock):
    gone = "gone-1-0123abcd"
    (share.layout.tmp / gone).mkdir()
    (share.layout.tmp / gone / ("a" * 16)).touch()
    (share.layout.notify / f"{gone}.000000007").touch()
    (unfinished := share.layout.job("toy." + "1" * 12)).root.mkdir()
    unfinished.creator.write_text(gone)
    recovery = recovery_of(node)
    watch(recovery, [], clock, LEASE_S - POLL_S)
    assert len(traces(share)) == 5  # ours, and those three
    watch(recovery, [], clock, 2 * POLL_S)
    node.leave()
    assert traces(share) == []


# ---- what lies there in the place of a file
def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        directory = os.open(path.parent, os.O_PATH)  # the address of a socket may have no more than 100 bytes
        one.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)


@pytest.mark.parametrize(
    "make, word",
    [(bind, "a socket"), (link, "a symbolic link"), (os.mkfifo, "a pipe"), (Path.mkdir, "a directory")],
)
def test_what_is_no_file_is_refused_with_the_word_what_it_is(share, tmp_path, make, word):
    make(tmp_path / "x")
    with pytest.raises(JobQueueError, match=f"x: expected a regular file, got {word}; move it away"):
        share.system.read(tmp_path / "x")


def test_device_is_refused(share, tmp_path):
    try:
        os.mknod(tmp_path / "x", stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("needs root to make a device")
    with pytest.raises(JobQueueError, match="x: expected"):
        share.system.read(tmp_path / "x")


@pytest.mark.parametrize("make", [bind, Path.mkdir, os.mkfifo])
def test_placeholder_that_is_no_file_keeps_nobody_from_the_dead(share, node, job, clock, make):
    dead, task = join(share, host="elsewhere"), toy.link_task(2)
    Claims(dead, job).claim(task)
    make(job.layout.placeholder(TASK))  # judged before the dead one's
    recovery = recovery_of(node)
    watch(recovery, [job], clock, toy.LEASE_S + POLL_S)
    assert claimed(job) == {} and [attempt.why for attempt in attempts.attempts_of_task(job, task)] == ["vanished"]
    assert [attempt.why for attempt in attempts.attempts_of_task(job, TASK)] == ["unreadable"]


def test_placeholder_of_a_newer_version_is_left_alone_as_long_as_it_is_renewed(share, node, job, clock):
    heart = share.layout.nodes / "newer-1-0123abcd"
    heart.write_bytes(identity(version="99"))
    share.system.link(heart, job.layout.placeholder(TASK))
    recovery = recovery_of(node)
    for renewals in range(3 * int(toy.LEASE_S / POLL_S)):
        os.utime(heart, ns=(0, renewals))
        watch(recovery, [job], clock, POLL_S)
    assert list(claimed(job)) == [str(TASK)]
    watch(recovery, [job], clock, toy.LEASE_S + POLL_S)
    assert claimed(job) == {}


def test_jobs_whose_rooms_are_no_directories_are_left_and_the_others_served(share, node, job, caplog):
    for number, room in enumerate(("claims", "results", "attempts", "failed")):
        broken = toy.create(share, f"a{number}", chains=1, length=2)
        shutil.rmtree(broken.layout.root / room)
        (broken.layout.root / room).touch()
    assert not work(node, toy.ToyPlan, only=None)
    assert results.read(job, toy.SUM) == toy.expected(1, 3) and "finished" in job.flags()
    assert any("a0: cannot be served here: " in line for line in caplog.messages)


def test_node_of_a_job_whose_rooms_are_no_directories_ends_in_one_line(share, node, job):
    shutil.rmtree(job.layout.claims)
    job.layout.claims.touch()
    with pytest.raises(JobQueueError, match="claims: expected a directory, got a file"):
        work(node, toy.ToyPlan)


def test_copy_of_a_manifest_under_another_name_is_refused_and_the_job_itself_is_served(share, node, job):
    shutil.copytree(share.layout.name(job.name), share.layout.name("copy"))
    with pytest.raises(JobQueueError, match="expected the manifest of job copy, got that of toy"):
        find_job(share, "copy")
    assert [one.name for one in all_jobs(share)] == ["toy"]


def test_manifest_that_names_a_directory_of_another_job_is_refused(share, job):
    other = share.layout.name("b")
    shutil.copytree(share.layout.name(job.name), other)
    (other / "job.json").write_text((other / "job.json").read_text().replace('"name": "toy"', '"name": "b"'))
    with pytest.raises(JobQueueError, match=f"expected the manifest of job b, got that of b .{job.manifest.id}"):
        find_job(share, "b")


def test_words_of_strangers_do_not_reach_the_terminal_as_they_are(share, node, job):
    place = job.layout.attempts_of(TASK)
    place.mkdir(parents=True)
    (place / "x.y").write_text(
        json.dumps({"why": "raised", "who": "\x1b[2J", "detail": "first\n\x1b]0;title\x07\ud800"})
    )
    (attempt,) = attempts.attempts_of_task(job, TASK)
    assert attempt.who == "?[2J" and attempt.detail == "first\n?]0;title??"


# ---- pictures that are whole, and not ours
@pytest.mark.parametrize(
    "picture", [np.zeros((32, 16, 3), np.uint8), np.zeros((32, 32, 3), np.uint16)], ids=["size", "depth"]
)
def test_frame_of_another_size_or_depth_is_set_aside_and_made_again(share, clip, style, picture):
    job = films.create(share, clip, style)
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        do_kind(plan, "index")
        results.publish_bytes(node, job, frame_task(0), encode_png(picture, {}))
        with pytest.raises(ResultVanishedError):
            plan.artifacts.frame(0)
        assert not results.is_done(job, frame_task(0))
        assert [attempt.why for attempt in attempts.attempts_of_task(job, frame_task(0))] == ["damaged"]


@pytest.mark.parametrize(
    "change", [{"keyframe": [99]}, {"crc": [1]}, {"time_base": "1e999999999"}, {"pts": [[1], [2]]}], ids=str
)
def test_piece_of_the_index_that_is_none_is_set_aside_at_once(share, clip, style, change):
    job = films.create(share, clip, style)
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        piece = json.loads(plan.run(index_task(0), lambda: None))
        piece["index"] |= change
        results.publish_bytes(node, job, index_task(0), json.dumps(piece).encode())
        with pytest.raises(ResultVanishedError):
            plan.artifacts.load_new_segments()
        assert not results.is_done(job, index_task(0))


@pytest.mark.parametrize("make", [Path.mkdir, link, os.mkfifo])
def test_film_that_is_no_file_is_set_aside_and_made(share, clip, style, make):
    job = films.create(share, clip, style)
    film = job.layout.result(stitch_task(JobSpec.from_json(job.manifest.spec)))
    film.parent.mkdir(parents=True)
    make(film)
    with temporary_member(share) as node:
        assert work(node, make_plan, only=job.name)
    assert films.film_of(job).stat().st_size > 1000 and film.samefile(films.film_of(job))


# ---- inputs that are not where they should be
@pytest.mark.parametrize("make, word", [(lambda path: path.symlink_to("/etc/passwd"), "a link to /etc/passwd"),
                                        (os.mkfifo, "a pipe")], ids=["link", "fifo"])  # fmt: skip
@pytest.mark.parametrize("name", ["style", "video"])
def test_input_that_leads_out_of_the_share_or_would_block_is_refused(share, node, clip, style, name, make, word):
    job = films.create(share, clip, style)
    path = share.layout.root / job.manifest.spec[name]
    path.unlink()
    make(path)
    with pytest.raises(FavError, match=word):
        make_plan(job, node)


@pytest.mark.parametrize("make", [os.mkfifo, link, bind, Path.mkdir])
def test_log_that_is_no_file_is_left_alone_and_another_taken(tmp_path, make):
    make(tmp_path / "a.log")
    own, fd = log_at(tmp_path / "a.log")
    os.close(fd)
    assert own.parent != tmp_path and own.read_bytes() == HEAD and own.name.startswith("a.")
    own.unlink()


# ---- code
RUNS_CODE = {"eval", "exec", "compile", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "marshal.load", "shelve.open",
             "yaml.load", "yaml.unsafe_load", "joblib.load", "dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads",
             "torch.jit.load", "torch.hub.load", "runpy.run_path"}  # fmt: skip


def test_nothing_in_the_program_reads_pickles_or_runs_what_it_reads():
    for path in SOURCES:
        for part in ast.walk(ast.parse(path.read_text())):
            if not isinstance(part, ast.Call):
                continue
            called, words = ast.unparse(part.func), {word.arg: ast.unparse(word.value) for word in part.keywords}
            where = f"{path.name}:{part.lineno} calls {called}"
            assert called not in RUNS_CODE, where
            assert called != "torch.load" or words.get("weights_only") == "True", where
            assert not called.endswith("np.load") or words.get("allow_pickle", "False") == "False", where


# ---- colleagues
TWO_USERS = """
import os, sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from shared.shared_dir import open_share
from shared.supervisor import Supervisor
from tests.helpers.toy_plan import log_to_stdout
log_to_stdout()
os.umask(0o077)
sys.exit(Supervisor(open_share(Path(sys.argv[3])), "tests.helpers.toy_plan:ToyPlan", "toy").run())
"""


def as_user(uid: int, group: int, *command: str) -> list[str]:
    return [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={uid}",
        f"--groups={group}",
        "--inh-caps=-all",
        "--bounding-set=-all",
        *command,
    ]


@pytest.mark.slow
def test_two_users_of_a_group_work_on_one_job_and_recover_each_other():
    """The share is the group's; each user has another group first, and a umask that gives nobody anything."""
    if os.getuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv to become two users")
    group, users = 12345, (2001, 2002)
    packages = str(Path(pytest.__file__).resolve().parent.parent)
    python = next(
        (python for python in ("/usr/bin/python3", "/usr/local/bin/python3") if can_run(python, packages, group)), None
    )
    if python is None:
        pytest.skip("needs a Python of this version, and this checkout, that other users may read")
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)
        (root := Path(above) / "share").mkdir()
        os.chown(root, 2000, group)
        root.chmod(0o770)
        first = subprocess.run(
            as_user(users[0], group, python, "-c", MAKE_TOY, str(ROOT), packages, str(root)),
            capture_output=True,
            text=True,
        )
        assert first.returncode == 0, first.stderr
        (job,) = (root / "jobs").iterdir()
        nodes = []
        for user in users:
            command = as_user(user, group, python, "-c", TWO_USERS, str(ROOT), packages, str(root))
            nodes.append(
                subprocess.Popen(command, cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            )
            wait_for(lambda: user in {path.stat().st_uid for path in job.glob("results/link/*/*")}, 60)
        nodes[0].send_signal(signal.SIGKILL)  # its tasks and its files are the other's to take over
        (go := job / "inputs" / "go").touch()  # until then, each of them stays in its chain
        os.chown(go, users[1], group)
        go.chmod(0o660)
        outputs = [node.communicate(timeout=90)[0] for node in nodes]
        assert nodes[1].returncode == 0, outputs
        (total,) = job.glob("results/sum/*/*")
        assert total.read_bytes() == toy.expected(2, 15)
        for path in (root, *root.rglob("*")):
            info = path.lstat()
            assert info.st_gid == group and info.st_mode & 0o077 == (0o070 if path.is_dir() else 0o060), (
                path,
                oct(info.st_mode),
            )
        subprocess.run(
            as_user(users[1], group, python, "-c", SWEEP, str(ROOT), packages, str(root)), cwd="/", check=True
        )
        assert not any(any((root / room).iterdir()) for room in ("nodes", "tmp"))


SWEEP = """
import sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from shared.failure_detector import FailureDetector
from shared.heartbeat import temporary_member
from shared.recovery import Recovery
from shared.shared_dir import open_share
with temporary_member(open_share(Path(sys.argv[3]))) as node:
    Recovery(node, FailureDetector(node.share, node.identity)).run({})
"""
MAKE_TOY = """
import os, sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from shared.shared_dir import open_share
from tests.helpers import toy_plan as toy
os.umask(0o077)
toy.create(open_share(Path(sys.argv[3])), chains=2, length=15, gate=1)
"""


def can_run(python: str, packages: str, group: int) -> bool:
    """Whether another user can run our modules with that interpreter."""
    words = as_user(
        2001,
        group,
        python,
        "-c",
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {packages!r}]; import tests.helpers.toy_plan",
    )
    return Path(python).exists() and subprocess.run(words, cwd="/", capture_output=True).returncode == 0
