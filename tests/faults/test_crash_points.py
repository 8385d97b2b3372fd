"""A node that ends or stands still anywhere in its life: the next ones make the same film, and nothing is left."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared import results
from shared.claims import Claims, Outcome, claimed
from shared.errors import EvictedError
from shared.failure_detector import FailureDetector
from shared.filesystem import process_start
from shared.identity import Identity
from shared.membership import Node
from shared.notify import ChangeNotifier
from shared.recovery import Recovery
from shared.settings import POLL_S
from shared.shared_dir import SharedDir
from shared.worker import WAIT_S, WAIT_STEPS, Worker
from tests.helpers import toy_plan as toy
from tests.helpers import video_jobs as films
from tests.helpers.checkout import ROOT
from tests.helpers.failing_filesystem import Patience
from tests.helpers.job_system import Clock, join
from tests.helpers.toy_plan import RecordingEvents


# ---- at every file-system operation, as real processes
@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return films.make_clip(tmp_path_factory.mktemp("small") / "clip.mp4", size="64x36")


def sweep(directory: Path, clip: Path, style: Path, how: str, which: str, step: int, limit_s: int) -> None:
    """Live through it in a process of its own: threads that other tests have left would not survive its forks."""
    words = [str(directory), str(clip), str(style), how, which, str(step)]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.helpers.crashes", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=limit_s,
    )
    print(ended.stdout.strip().splitlines()[-1:])
    assert ended.returncode == 0 and "faults at 0" in ended.stdout, ended.stdout + ended.stderr


def test_node_killed_at_any_change_that_it_makes_costs_nothing_but_its_claims(tmp_path, small, style):
    """Each sixtieth point; `long` takes all."""
    sweep(tmp_path, small, style, "killed", "changes", 60, limit_s=600)


def test_node_that_stood_still_at_a_change_for_longer_than_a_lease_changes_nothing_any_more(tmp_path, small, style):
    sweep(tmp_path, small, style, "frozen", "changes", 60, limit_s=600)


@pytest.mark.long
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_node_that_ends_or_stands_still_before_in_or_after_any_operation_at_all(tmp_path, small, style, how):
    """pytest -m long tests/faults/test_crash_points.py -k any_operation   (6 minutes on 2 cores)"""
    sweep(tmp_path, small, style, how, "every", 1, limit_s=7200)


# ---- between claiming and starting
class Slumber(Clock):
    """A clock that jumps ahead, and lets something happen meanwhile, when a name of that beginning has been unlinked."""

    beginning, meanwhile = "", staticmethod(lambda: None)

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        if self.beginning and path.name.startswith(self.beginning):
            self.beginning = ""
            self.now += 100 * toy.LEASE_S
            self.meanwhile()


@pytest.fixture
def clock(monkeypatch) -> Slumber:
    monkeypatch.setattr(ChangeNotifier, "wait", lambda notifier, seconds: notifier.node.share.system.sleep(seconds))
    return Slumber()


def worker_of(node: Node, report: RecordingEvents) -> Worker:
    return Worker(node, toy.ToyPlan, report, Patience(node.share.system), "toy")


def test_node_that_slept_after_claiming_and_was_taken_for_dead_starts_nothing(share, clock, job, node):
    """It slept between the release of the first link and the start of the second, which it had claimed before."""
    other = join(share, host="elsewhere")

    def recovered() -> None:
        Recovery(other, FailureDetector(share, other.identity)).run({job: set()}, frozenset({node.identity.host}))
        assert claimed(job) == {} and not node.heartbeat_file.exists()

    clock.beginning, clock.meanwhile = str(toy.link_task(0)), recovered
    report = RecordingEvents()
    with pytest.raises(EvictedError):
        worker_of(node, report).run()
    assert report.tasks == [str(toy.link_task(0))]


def test_node_that_slept_after_claiming_and_has_no_heartbeat_file_any_more_starts_nothing(share, clock, job, node):
    clock.beginning, clock.meanwhile = str(toy.link_task(0)), lambda: share.system.unlink(node.heartbeat_file)
    report = RecordingEvents()
    with pytest.raises(EvictedError):
        worker_of(node, report).run()
    assert report.tasks == [str(toy.link_task(0))]


def test_node_that_slept_after_claiming_leaves_a_task_to_who_claimed_it_meanwhile(share, clock, job, node):
    other = join(share, host="elsewhere")
    second = toy.link_task(1)

    def passed_on() -> None:
        share.system.unlink(job.layout.placeholder(second))
        claims = Claims(other, job)
        assert claims.claim(second) is Outcome.WON
        results.publish_bytes(other, job, second, toy.expected(1, 3).splitlines(True)[1])
        claims.release(second)

    clock.beginning, clock.meanwhile = str(toy.link_task(0)), passed_on
    report = RecordingEvents()
    assert worker_of(node, report).run()
    assert report.tasks == [str(toy.link_task(0)), str(toy.link_task(2)), str(toy.SUM)]
    assert results.read(job, toy.SUM) == toy.expected(1, 3)


def test_claim_that_is_fresh_is_not_looked_at_again(share, clock, job, node, monkeypatch):
    monkeypatch.setattr(Claims, "is_ours", lambda claims, placeholder: pytest.fail("it looked again"))
    assert worker_of(node, RecordingEvents()).run()


# ---- the dead of one's own machine, and silence
def neighbour(share: SharedDir) -> tuple[Node, subprocess.Popen]:
    """A node of this machine that claims and beats, as far as others can see: a process that can be ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    node = Node(share, Identity(**{**vars(Identity.here()), "pid": process.pid, "start": process_start(process.pid)}))
    node.join()
    return node, process


def test_waiting_node_has_the_task_of_a_dead_neighbour_before_its_next_pass_is_due(
    share, clock, job, node, monkeypatch
):
    owner, process = neighbour(share)
    Claims(owner, job).claim(toy.link_task(0))
    worker = worker_of(node, RecordingEvents())
    worker.context.retry(worker._refresh_jobs)
    worker._wait()
    assert claimed(job)
    process.kill()
    process.wait()
    began = clock.now
    worker._wait()
    assert claimed(job) == {} and clock.now - began <= WAIT_S / WAIT_STEPS


def test_silent_owner_is_recovered_within_a_lease_and_a_poll_by_a_node_that_waits(share, clock, job, node):
    owner, worker = join(share, host="elsewhere"), worker_of(node, RecordingEvents())
    Claims(owner, job).claim(toy.link_task(0))
    worker.context.retry(worker._refresh_jobs)
    owner.renew()  # right after a pass, so that the next one learns of it last
    began = clock.now
    while claimed(job) and clock.now < began + 10 * toy.LEASE_S:
        worker.context.retry(worker._refresh_jobs)
        worker._wait()
    assert toy.LEASE_S <= clock.now - began <= toy.LEASE_S + POLL_S
