"""Recovery: the dead are found by a stepped clock, the living are left alone, and every attempt counts once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.meter import Counting
from shared import attempts, claims
from shared.claims import Claims, Outcome
from shared.errors import JobQueueError
from shared.failure_detector import FailureDetector
from shared.filesystem import FileSystem
from shared.identity import Identity
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task
from shared.recovery import NODES_PER_POLL, Recovery, pause_s
from shared.settings import POLL_S
from shared.shared_dir import SharedDir, open_share
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


# ---- many nodes
MANY, LEASE = 128, 180.0


@pytest.fixture
def many(share) -> list[Node]:
    return [join(share, host=f"machine-{number}") for number in range(MANY)]


@pytest.fixture
def long_job(share) -> Job:
    return toy.create(share, lease=LEASE, chains=1, length=MANY)


def counted_share(root: Path) -> SharedDir:
    root.mkdir(exist_ok=True)
    return open_share(root, FileSystem(Counting()))


def test_what_a_node_asks_of_the_file_server_in_a_second_does_not_grow_with_the_number_of_nodes(root):
    share, rates = counted_share(root), []
    node, job = join(share), toy.create(share, chains=1, length=300, lease=180)
    recovery, others = Recovery(node, FailureDetector(share, node.identity)), []
    for count in (NODES_PER_POLL - 1, MANY - 1):
        while len(others) < count:
            others.append(join(share, host=f"machine-{len(others)}"))
        recovery.run({job: set()})
        for number, other in enumerate(others):  # each has begun a task since the last pass
            Claims(other, job).claim(toy.link_task(number + len(rates) * MANY))
        before = share.system.os.total
        recovery.run({job: set()})
        rates.append((share.system.os.total - before) / recovery.due)
        for other in others:
            for name in claims.claimed(job):
                Claims(other, job).release(Task.from_name(name))
    assert rates[1] <= rates[0] < 50, "15 operations for each of 32 nodes and for its claim were 120 a second"


def test_one_dead_node_of_many_is_found_within_a_lease_and_a_pause_and_the_others_are_left_alone(
    share, long_job, clock, many
):
    for number, owner in enumerate(many):
        Claims(owner, long_job).claim(toy.link_task(number))
    recovery, dead = Recovery(many[0], FailureDetector(share, many[0].identity)), many[17]
    held = {long_job: {toy.link_task(0)}}
    recovery.run(held)
    pause, began = recovery.due, clock.now
    assert pause == pause_s(MANY, LEASE) == 4 * POLL_S
    while len(claims.claimed(long_job)) == MANY:
        assert clock.now - began <= LEASE + 2 * pause
        clock.now += min(recovery.due, pause)
        for owner in many:
            if owner is not dead:
                os.utime(owner.heartbeat_file, ns=(int(clock.now * 1e9),) * 2)
        recovery.run(held)
    assert clock.now - began >= LEASE and not dead.heartbeat_file.exists()
    assert str(toy.link_task(17)) not in claims.claimed(long_job) and len(claims.claimed(long_job)) == MANY - 1


def test_observer_of_many_nodes_that_slept_judges_nobody(share, long_job, clock, many):
    Claims(many[1], long_job).claim(TASK)
    recovery = Recovery(many[0], FailureDetector(share, many[0].identity))
    for _ in range(3):
        assert recovery.run({long_job: set()}) == 0
        clock.now += 100 * LEASE


@pytest.mark.parametrize(
    "nodes, lease, seconds", [(2, 180, 4), (32, 180, 4), (64, 180, 8), (512, 180, 45), (512, 15, 4)]
)
def test_pause_grows_with_the_nodes_up_to_a_part_of_the_lease(nodes, lease, seconds):
    assert pause_s(nodes, lease) == seconds


def test_claim_of_a_node_that_came_and_went_between_two_passes_is_recovered_by_the_second_one_after(share, node, job):
    recovery = Recovery(node, FailureDetector(share, node.identity))
    recovery.run({job: set()})
    owner = join(share, host="elsewhere")
    Claims(owner, job).claim(TASK)
    share.system.unlink(owner.heartbeat_file)
    assert sum(recovery.run({job: set()}) for _ in range(2)) == 1 and claims.claimed(job) == {}


def test_claim_that_a_known_node_made_before_it_left_is_recovered_at_the_next_pass(share, node, job):
    recovery, owner = Recovery(node, FailureDetector(share, node.identity)), join(share, host="elsewhere")
    recovery.run({job: set()})
    Claims(owner, job).claim(TASK)
    share.system.unlink(owner.heartbeat_file)
    assert recovery.run({job: set()}) == 1


def test_heartbeat_file_that_has_another_content_by_now_is_not_removed(share, node, job, clock):
    owner = join(share, host="elsewhere")
    recovery = Recovery(node, FailureDetector(share, node.identity))
    recovery.run({job: set()})
    owner.heartbeat_file.write_text("a diary")
    watch(recovery, job, clock, 2 * toy.LEASE_S)
    assert owner.heartbeat_file.read_text() == "a diary"


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
