"""Whole nodes as real processes on a job without pictures: they finish, share, survive and give up."""

import os
import re
import signal
from pathlib import Path

import pytest

from shared import attempts, results
from shared.claims import claimed
from tests.helpers import toy_plan as toy
from tests.helpers.job_system import evict, is_clean, start
from tests.helpers.waiting import runs, wait_for


def test_three_nodes_finish_a_job_together_and_leave_nothing(share, root):
    job = toy.create(share, chains=6, length=10, slow=0.02)
    nodes = [start(root, "toy") for _ in range(3)]
    outputs = [node.communicate(timeout=60)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0, 0], outputs
    assert results.read(job, toy.SUM) == toy.expected(6, 10)
    assert claimed(job) == {} and is_clean(share)


def test_node_killed_at_any_moment_costs_nothing_and_the_next_one_goes_on(share, root):
    job = toy.create(share, chains=2, length=15, slow=0.02)
    for done in (1, 8, 20):
        node = start(root, "toy")
        wait_for(lambda: results.count(job, "link", range(30)) >= done)
        node.send_signal(signal.SIGKILL)
        node.communicate()
    assert start(root, "toy").wait(60) == 0
    assert results.read(job, toy.SUM) == toy.expected(2, 15)
    assert claimed(job) == {} and is_clean(share)


def test_worker_ends_when_its_supervisor_is_killed(share, root):
    toy.create(share, chains=1, length=100, slow=0.1)
    node = start(root, "toy")
    wait_for(lambda: list(share.layout.tmp.glob("*")))
    children = lambda: Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
    wait_for(lambda: len(children()) >= 1)
    pids = children()
    node.kill()
    wait_for(lambda: not any(runs(pid) for pid in pids), 5)
    node.communicate()


def test_poisoned_task_fails_after_three_attempts_and_other_chains_finish(share, root):
    job = toy.create(share, chains=2, length=5, poison=2)
    node = start(root, "toy")
    output, _ = node.communicate(timeout=60)
    assert node.returncode == 1 and "link.0000002" in output and "retry" in output
    assert [attempt.why for attempt in attempts.attempts_of_task(job, toy.link_task(2))] == ["raised"] * 3
    assert "this link is poison" in attempts.attempts_of_task(job, toy.link_task(2))[0].detail
    assert results.completed_in_shard(job, "link", 0) == {0, 1, 5, 6, 7, 8, 9}
    assert claimed(job) == {} and is_clean(share)


def test_task_that_kills_its_process_is_counted_and_the_node_lives_on(share, root):
    job = toy.create(share, chains=2, length=5, deadly=2)
    node = start(root, "toy")
    output, _ = node.communicate(timeout=60)
    assert node.returncode == 1 and "SIGKILL" in output
    assert [attempt.why for attempt in attempts.attempts_of_task(job, toy.link_task(2))] == ["crashed"] * 3
    assert results.completed_in_shard(job, "link", 0) == {0, 1, 5, 6, 7, 8, 9}


def test_process_list_shows_the_task_in_progress(share, root):
    toy.create(share, chains=1, length=1000, slow=0.2)
    node = start(root, "toy")
    try:
        children = Path(f"/proc/{node.pid}/task/{node.pid}/children")
        wait_for(lambda: any(re.match(r"fav node toy link \d+", title_of(pid)) for pid in children.read_text().split()))
    finally:
        node.kill()
        node.communicate()


def title_of(pid: str) -> str:
    """The command line of a process as `ps` shows it."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_a_node_soon_and_leaves_nothing_claimed(share, root, number):
    job = toy.create(share, chains=1, length=1000, slow=0.05)
    node = start(root, "toy")
    done = lambda: results.count(job, "link", range(1000))
    wait_for(lambda: done() > 2)
    node.send_signal(number)
    before = done()
    output, _ = node.communicate(timeout=20)
    assert node.returncode == 130 and done() < before + 20, output  # a second's work, however busy the machine is
    assert claimed(job) == {} and is_clean(share)


def test_signal_to_every_process_of_a_node_is_one_and_blames_nobody(share, root):
    job = toy.create(share, chains=1, length=1000, slow=0.2)
    node = start(root, "toy")
    wait_for(lambda: results.count(job, "link", range(1000)) > 2)
    for pid in [
        node.pid,
        *Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split(),
    ]:  # as Slurm and systemd do
        os.kill(int(pid), signal.SIGTERM)
    output, _ = node.communicate(timeout=20)
    assert node.returncode == 130 and "crashed its worker" not in output
    assert claimed(job) == {} and is_clean(share) and list(attempts.attempts_of_job(job)) == []


def test_second_signal_stops_a_node_in_the_middle_of_a_task(share, root):
    job = toy.create(share, chains=1, length=2, slow=60)
    node = start(root, "toy")
    wait_for(lambda: claimed(job))
    node.send_signal(signal.SIGINT)
    assert "repeat the request" in node.stdout.readline()  # two that wait to be heard would count as one
    node.send_signal(signal.SIGINT)
    node.communicate(timeout=20)
    assert node.returncode == 130
    assert claimed(job) == {} and is_clean(share) and attempts.attempts_of_task(job, toy.link_task(0)) == []


def test_node_that_was_taken_for_dead_joins_again_and_finishes(share, root):
    job = toy.create(share, chains=1, length=1000, slow=0.05)
    node = start(root, "toy")
    wait_for(lambda: results.count(job, "link", range(1000)) > 2)
    (first,) = share.layout.nodes.iterdir()
    evict(share, first.name)
    wait_for(lambda: any(path.name != first.name for path in share.layout.nodes.iterdir()))
    node.send_signal(signal.SIGINT)
    output, _ = node.communicate(timeout=20)
    assert node.returncode == 130 and "considered this node dead" in output
    assert attempts.attempts_of_task(job, toy.link_task(0)) == [] and attempts.failed(job) == []


def test_cancelled_job_ends_its_nodes(share, root):
    job = toy.create(share, chains=1, length=1000, slow=0.05)
    node = start(root, "toy")
    wait_for(lambda: results.count(job, "link", range(1000)) > 2)
    from shared.heartbeat import temporary_member

    with temporary_member(share) as operator:
        job.set_flag(operator, "cancelled")
    assert "cancelled" in node.communicate(timeout=20)[0]
    assert claimed(job) == {}


def test_job_that_cannot_be_served_here_does_not_keep_the_others_from_it(share, root):
    toy.create(share, name="broken", chains="many", length=1)
    job = toy.create(share, chains=1, length=3)
    node = start(root)
    output, _ = node.communicate(timeout=30)
    assert node.returncode == 1 and "broken: cannot be served here" in output, output
    assert results.read(job, toy.SUM) == toy.expected(1, 3)


def test_unknown_job_is_one_line(root, share):
    node = start(root, "nothing")
    output, _ = node.communicate(timeout=20)
    assert node.returncode == 2 and "there is no job with that name" in output and "Traceback" not in output


@pytest.mark.slow
def test_frozen_node_wakes_up_and_changes_nothing(share, root):
    job = toy.create(share, chains=1, length=20, slow=0.05)
    frozen = start(root, "toy")
    wait_for(lambda: results.count(job, "link", range(20)) >= 3)
    group = [frozen.pid, *map(int, Path(f"/proc/{frozen.pid}/task/{frozen.pid}/children").read_text().split())]
    for pid in group:
        os.kill(pid, signal.SIGSTOP)
    helper = start(root, "toy")
    helper_output = helper.communicate(timeout=90)[0]
    assert helper.returncode == 0, helper_output
    for pid in group:
        os.kill(pid, signal.SIGCONT)
    output, _ = frozen.communicate(timeout=60)
    assert frozen.returncode == 0, output
    assert results.read(job, toy.SUM) == toy.expected(1, 20)
    assert is_clean(share)
