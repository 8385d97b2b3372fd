"""The job system under errors of the file system: a step that fails once, a lost reply, a full disk, a worker that crashes."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared import results
from shared.claims import claimed
from shared.heartbeat import HeartbeatThread
from shared.identity import Identity
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task
from shared.retry import MAX_RETRIES, retry_transient
from shared.shared_dir import SharedDir, open_share
from tests.helpers import toy_plan as toy
from tests.helpers.checkout import ROOT
from tests.helpers.failing_filesystem import READING, WRITING, FailingFileSystem, work
from tests.helpers.job_system import is_clean, join
from tests.helpers.toy_plan import RecordingEvents
from tests.helpers.waiting import runs, wait_for

pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
def clock() -> FailingFileSystem:
    return FailingFileSystem()


def records(job: Job) -> list[Path]:
    return [path for path in job.layout.attempts.rglob("*") if path.is_file()]


def assert_finished(job: Job) -> None:
    assert "finished" in job.flags() and results.read(job, toy.SUM) == toy.expected(1, 2)
    assert claimed(job) == {} and records(job) == []


# ---- one step fails once
def run_under(root: Path, links: bool, method: str, number: int, code: int, after: bool) -> bool:
    """A whole small job of one worker, in which one call fails; whether there was a call of that number."""
    system = FailingFileSystem()
    root.mkdir(parents=True)
    share = open_share(root, system)
    share.hard_links = links
    job, node = toy.create(share, chains=1, length=2), join(share)
    system.nth(method, number, code, after)
    assert work(node)
    struck = bool(system.struck)
    system.calm()
    node.leave()
    assert_finished(job)
    assert is_clean(share)
    return struck


def sweep_calls(root: Path, links: bool, method: str, codes: tuple[int, ...], after: bool = False) -> None:
    """Fail the first call of a method, then the second in a new job, and so on to the last; each with one code in turn."""
    number = 0
    while run_under(root / f"{method} {number}", links, method, number, codes[number % len(codes)], after):
        number += 1
    assert number or method in ("same_file", "touch", "link" if not links else "rename")


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("method", [*READING, *WRITING])
def test_any_one_step_that_fails_once_costs_no_attempt(root, method, links):
    sweep_calls(root, links, method, (errno.EIO, errno.ESTALE))


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("method", WRITING)
def test_disk_that_is_full_at_any_one_step_costs_no_attempt(root, method, links):
    sweep_calls(root, links, method, (errno.ENOSPC, errno.EDQUOT))


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("method", ["write_new", "link", "rename", "unlink", "make_dirs"])
def test_any_one_lost_reply_costs_no_attempt(root, method, links):
    sweep_calls(root, links, method, (errno.EIO, errno.ETIMEDOUT), after=True)


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("method", ["make_dirs", "write_new", "link", "rename", "unlink"])
def test_node_joins_though_one_step_of_it_fails_once(share, clock, method, after, links):
    share.hard_links = links
    node = Node(share, Identity.here())
    clock.nth(method, 0, errno.EIO, after)
    retry_transient(node.join, share, clock.sleep)
    clock.calm()
    node.renew()
    node.leave()
    assert is_clean(share)


class Stumbling:
    """A step that fails so many times with an error that usually passes, and then succeeds."""

    def __init__(self, times: int):
        self.left = times

    def __call__(self) -> str:
        if not self.left:
            return "done"
        self.left -= 1
        raise OSError(errno.EIO, "stumbled")


def test_step_that_fails_again_and_again_though_the_share_answers_is_given_up(share, clock):
    assert retry_transient(Stumbling(MAX_RETRIES), share, clock.sleep) == "done"
    with pytest.raises(OSError, match="stumbled"):
        retry_transient(Stumbling(MAX_RETRIES + 1), share, clock.sleep)


def test_step_that_stumbles_once_more_after_a_long_outage_is_tried_again(share, clock):
    step = Stumbling(2 * MAX_RETRIES)
    clock.where(
        "list", lambda path: step.left > 0, errno.EIO
    )  # the last failure is the first at which the share answers
    assert retry_transient(step, share, clock.sleep) == "done"
    assert clock.calls > clock.struck > MAX_RETRIES


def test_claim_that_was_won_before_the_server_stumbled_is_carried_out(share, clock, job, node):
    clock.where("exists", lambda path: "results/link" in str(path) and not clock.struck, errno.EIO)
    report = RecordingEvents()
    assert work(node, report=report) and clock.struck
    assert report.tasks == [str(toy.link_task(0)), str(toy.link_task(1)), str(toy.link_task(2)), str(toy.SUM)]


@pytest.mark.parametrize("only", ["toy", None])
def test_stale_handle_at_the_very_first_look_is_not_the_lack_of_jobs(share, clock, job, node, only, caplog):
    clock.where("read", lambda path: path.name == "job.json" and not clock.struck, errno.ESTALE)
    report = RecordingEvents()
    assert work(node, only=only, report=report) and clock.struck
    assert results.is_done(job, toy.SUM) and not any("no jobs" in line for line in caplog.messages)


def test_heart_beats_on_after_the_server_has_stumbled(node, clock, monkeypatch):
    monkeypatch.setattr("shared.heartbeat.HEARTBEAT_S", 0.005)
    clock.where("touch", lambda path: clock.struck < 3, errno.ESTALE)
    heart = HeartbeatThread(node)
    began = heart.last_renewal
    heart.start()
    wait_for(lambda: heart.last_renewal > began)
    heart.stop_event.set()
    heart.join()
    assert clock.struck == 3 and not heart.evicted.is_set()


def test_film_that_finds_no_room_at_publishing_waits_and_is_not_made_again(share, clock, job, node, caplog):
    clock.where("make_dirs", lambda path: path.parent.name == "sum" and clock.struck < 12, errno.ENOSPC)
    report = RecordingEvents()
    assert work(node, report=report) and clock.struck == 12
    assert report.tasks.count(str(toy.SUM)) == 1 and results.read(job, toy.SUM) == toy.expected(1, 3)
    assert records(job) == [] and sum("no space" in line for line in caplog.messages) == 1
    assert list(node.tmp_dir.iterdir()) == []


def test_attempt_whose_record_stumbles_counts_once(share, clock, node):
    job = toy.create(share, chains=1, length=2, poison=0)
    clock.where("read", lambda path: "attempts" in path.parts and not clock.struck, errno.EIO)
    report = RecordingEvents()
    assert not work(node, report=report) and clock.struck
    assert report.tasks == [str(toy.link_task(0))] * 3 and len(records(job)) == 3


# ---- others are faster
def test_worker_ends_where_another_node_published_the_last_task_a_moment_ago(share, job, node):
    other = join(share)

    class Overtaken(toy.ToyPlan):
        looks = 0

        def candidates(self):
            self.looks += 1
            if self.looks > 50:
                pytest.fail("it goes round and round")
            tasks = list(super().candidates())
            if tasks == [toy.SUM]:
                results.publish_bytes(other, self.job, toy.SUM, self.run(toy.SUM, None))
            return tasks

    assert work(node, Overtaken)
    assert "finished" in job.flags() and claimed(job) == {}


def test_job_whose_directory_is_gone_does_not_keep_a_node_from_the_others(share, node, caplog):
    import shutil

    gone, good = toy.create(share, "a", chains=1, length=2), toy.create(share, "b", chains=1, length=2)
    shutil.rmtree(gone.layout.root)
    report = RecordingEvents()
    work(node, only=None, report=report)
    assert_finished(good)
    assert any("a: its files are gone" in line and "clean" in line for line in caplog.messages)


# ---- workers that go down, as real processes
class Broken(toy.ToyPlan):
    def candidates(self):
        raise RuntimeError("nobody thought of this")


class Outside(toy.ToyPlan):
    """Each task is a program of its own, which writes down its process and sleeps."""

    def run(self, task: Task, report_progress) -> bytes:
        program = "import os, sys, time; open(sys.argv[1], 'w').write(f'{os.getpid()} '); time.sleep(60)"
        subprocess.run([sys.executable, "-c", program, str(self.job.layout.inputs / "pid")])
        return b""


NODE = """
import sys
from pathlib import Path
from shared.shared_dir import open_share
from shared.supervisor import Supervisor
from tests.helpers.toy_plan import log_to_stdout
log_to_stdout()
sys.exit(Supervisor(open_share(Path(sys.argv[1])), sys.argv[2], "toy").run())
"""


def start(share: SharedDir, plan: type) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", NODE, str(share.layout.root), f"tests.faults.test_retry:{plan.__name__}"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_error_outside_of_a_task_restarts_the_worker_and_three_of_them_end_the_node(share, job):
    output, _ = (node := start(share, Broken)).communicate(timeout=60)
    assert node.returncode == 1 and output.count("the worker ends: RuntimeError: nobody thought of this") == 3, output
    assert "ended 3 times" in output and "exit code 70" in output
    assert records(job) == [] and is_clean(share)


@pytest.mark.parametrize("end", ["second Ctrl-C", "supervisor killed"])
def test_program_that_a_task_has_started_ends_with_its_worker(share, job, end):
    node, written = start(share, Outside), job.layout.inputs / "pid"
    wait_for(lambda: written.exists() and written.read_text().endswith(" "))
    pid = int(written.read_text())
    if end == "supervisor killed":
        node.kill()
    else:
        node.send_signal(signal.SIGINT)
        assert "repeat the request" in node.stdout.readline()
        node.send_signal(signal.SIGINT)
    try:
        wait_for(lambda: not runs(pid), 5)
        node.communicate(timeout=10)
        assert end == "supervisor killed" or node.returncode == 130 and claimed(job) == {} and records(job) == []
    finally:
        if runs(pid):
            os.kill(pid, signal.SIGKILL)
        node.kill()
        node.communicate()
