"""Recovery: the dead are found by a stepped clock, the living are left alone, and every attempt counts once."""

import subprocess
import sys

import pytest

from shared import attempts, claims
from shared.claims import Claims, Outcome
from shared.errors import JobQueueError
from shared.failure_detector import FailureDetector
from shared.identity import Identity
from shared.membership import Node
from shared.paths import Task
from shared.recovery import Recovery
from shared.settings import POLL_S
from tests.helpers import toy_plan as toy
from tests.helpers.job_system import join, watch

TASK = toy.link_task(0)


def test_silent_owner_is_recovered_after_one_lease(any_share, clock):
    job, node = toy.create(any_share, chains=1, length=3), join(any_share)
    Claims(join(any_share, host="elsewhere"), job).claim(TASK)
    recovery = Recovery(node, FailureDetector(any_share, node.identity))
    assert watch(recovery, job, clock, toy.LEASE_S - POLL_S) == 0
    assert watch(recovery, job, clock, 2 * POLL_S) == 1
    assert Claims(node, job).claim(TASK) is Outcome.WON


def test_beating_owner_is_never_recovered(any_share, clock):
    job, node, owner = toy.create(any_share, chains=1, length=3), join(any_share), join(any_share, host="elsewhere")
    Claims(owner, job).claim(TASK)
    assert watch(Recovery(node, FailureDetector(any_share, node.identity)), job, clock, 10 * toy.LEASE_S, owner) == 0


def test_observer_that_slept_through_a_lease_judges_nobody(share, node, job, clock):
    Claims(join(share, host="elsewhere"), job).claim(TASK)
    recovery = Recovery(node, FailureDetector(share, node.identity))
    recovery.run({job: set()})
    clock.now += 100 * toy.LEASE_S
    assert recovery.run({job: set()}) == 0


def test_clocks_that_differ_by_hours_do_not_matter(share, node, job, clock, monkeypatch):
    import os

    owner = join(share, host="elsewhere")
    Claims(owner, job).claim(TASK)
    ticks = iter(range(1, 10**6))
    monkeypatch.setattr(share.system, "touch", lambda path: os.utime(path, (0, next(ticks))))  # in 1970
    assert watch(Recovery(node, FailureDetector(share, node.identity)), job, clock, 5 * toy.LEASE_S, owner) == 0


def test_owner_of_this_host_whose_process_is_gone_is_recovered_at_once(share, node, job):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    dead = Node(share, Identity(**{**vars(Identity.here()), "pid": int(gone.stdout), "start": 1}))
    dead.join()
    Claims(dead, job).claim(TASK)
    assert Recovery(node, FailureDetector(share, node.identity)).run({job: set()}) == 1
    assert not dead.heartbeat_file.exists() and not dead.tmp_dir.exists()


def test_operators_word_recovers_a_host_at_once(share, node, job):
    Claims(join(share, host="switched-off"), job).claim(TASK)
    assert Recovery(node, FailureDetector(share, node.identity)).run({job: set()}, frozenset({"switched-off"})) == 1


def test_owner_without_heartbeat_file_is_dead(share, node, job):
    owner = join(share, host="elsewhere")
    Claims(owner, job).claim(TASK)
    share.system.unlink(owner.heartbeat_file)
    assert Recovery(node, FailureDetector(share, node.identity)).run({job: set()}) == 1


def test_own_placeholder_that_is_not_held_is_removed_and_counts_for_nothing(share, node, job):
    Claims(node, job).claim(TASK)  # as after a link that failed and yet happened
    recovery = Recovery(node, FailureDetector(share, node.identity))
    assert recovery.run({job: {TASK}}) == 0 and claims.claimed(job)
    assert recovery.run({job: set()}) == 0 and not claims.claimed(job)
    assert attempts.attempts_of_task(job, TASK) == []


def test_empty_placeholder_gets_one_lease(share, node, job, clock):
    job.layout.placeholder(TASK).touch()  # without hard links: created, its writer dead before the first byte
    recovery = Recovery(node, FailureDetector(share, node.identity))
    watch(recovery, job, clock, toy.LEASE_S - POLL_S)
    assert claims.claimed(job)
    watch(recovery, job, clock, 2 * POLL_S)
    assert not claims.claimed(job)


def test_recovered_orphan_is_on_record_once_with_its_owner(share, node, job):
    owner = join(share, host="switched-off")
    Claims(owner, job).claim(TASK)
    for _ in range(3):
        Recovery(node, FailureDetector(share, node.identity)).run({job: set()}, frozenset({"switched-off"}))
    assert [(a.why, a.who) for a in attempts.attempts_of_task(job, TASK)] == [("vanished", owner.identity.incarnation)]


def test_task_whose_owners_vanish_ten_times_is_failed(share, node, job):
    for _round in range(attempts.MAX_VANISHED_OWNERS):
        assert attempts.failed(job) == []
        Claims(join(share, host="switched-off"), job).claim(TASK)
        Recovery(node, FailureDetector(share, node.identity)).run({job: set()}, frozenset({"switched-off"}))
    assert attempts.failed(job) == [str(TASK)]


def test_task_that_raises_three_times_is_failed_and_retry_opens_it(share, node, job):
    for _ in range(attempts.MAX_FAILURES):
        assert attempts.failed(job) == []
        attempts.record(node, job, TASK, "raised", "Traceback ...\nValueError: poison", attempts.nonce())
    assert attempts.failed(job) == [str(TASK)]
    assert attempts.reopen(job) == 1
    assert attempts.failed(job) == [] and attempts.attempts_of_task(job, TASK) == []


def test_names_of_tasks_are_read_back_and_strangers_files_are_not():
    assert Task.parse(str(TASK)) == Task("link", 0) and Task.parse("frame.1234567890") == Task("frame", 1234567890)
    strange = (
        "notes.txt",
        "link.1",
        ".0000001",
        "link.00000x1",
        "frame.000000²",
        "frame.00000001",
        "frame.0000001~",
        "a/b.0000001",
    )
    assert [Task.parse(name) for name in strange] == [None] * len(strange)


def test_name_of_no_task_is_refused_where_a_task_is_needed():
    assert Task.from_name(str(TASK)) == Task("link", 0)
    with pytest.raises(JobQueueError, match=r"notes\?txt: expected the name of a task"):
        Task.from_name("notes\ntxt")
