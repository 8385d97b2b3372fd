"""Several jobs in one directory: who is served first, and what is laid down for it. Real nodes, toy jobs."""

import signal
import subprocess
import time

import pytest
from click.testing import CliRunner

import coordinator
from shared import results
from shared.claims import claimed
from shared.heartbeat import temporary_member
from shared.jobs import all_jobs, find_job
from shared.notify import ChangeNotifier
from shared.shared_dir import SharedDir, open_share
from tests.helpers import toy_plan as toy
from tests.helpers.job_system import start
from tests.helpers.waiting import wait_for

MANY = 2000


@pytest.fixture
def share(root, clock) -> SharedDir:
    """An empty share, by a clock that stands still in this process."""
    root.mkdir(exist_ok=True)
    return open_share(root, clock)


def done(job) -> int:
    return results.count(job, "link", range(MANY))


def call(share: SharedDir, *words: str) -> str:
    made = CliRunner().invoke(coordinator.main, [words[0], str(share.layout.root), *words[1:]])
    assert made.exit_code == 0, made.output
    return made.output


def leave(*nodes: subprocess.Popen) -> list[str]:
    for node in nodes:
        node.send_signal(signal.SIGTERM)
    return [node.communicate(timeout=20)[0] for node in nodes]


@pytest.mark.slow
def test_the_most_urgent_job_is_served_first_and_the_node_goes_back_to_the_other(share, root):
    early = toy.create(share, "early", chains=1, length=MANY, slow=0.05)
    node = start(root)
    wait_for(lambda: done(early) > 3)
    late = toy.create(share, "late", chains=1, length=40, slow=0.05)
    with temporary_member(share) as operator:
        late.prioritize(operator, 5)
    wait_for(lambda: done(late) > 3)
    assert claimed(early) == {}  # nobody keeps others from it
    before = done(early)
    wait_for(lambda: results.is_done(late, toy.SUM))
    assert done(early) <= before + 1
    wait_for(lambda: done(early) > before + 3)
    leave(node)


def test_a_less_urgent_job_gets_the_nodes_that_find_nothing_in_the_other(share, root):
    urgent, other = (toy.create(share, name, chains=1, length=MANY, slow=0.05) for name in ("urgent", "other"))
    call(share, "prioritize", "urgent", "9")
    nodes = [start(root) for _ in range(2)]
    wait_for(lambda: done(urgent) > 10 and done(other) > 0)  # one chain has work for one node
    assert not results.is_done(urgent, toy.SUM)
    leave(*nodes)


def test_equally_urgent_jobs_share_the_nodes(share, root):
    jobs = [toy.create(share, name, chains=4, length=500, slow=0.05) for name in ("a", "b")]
    nodes = [start(root) for _ in range(2)]
    wait_for(lambda: all(done(job) > 10 for job in jobs))
    leave(*nodes)


def test_paused_jobs_are_laid_down_and_resumed(share, root):
    job = toy.create(share, "toy", chains=1, length=MANY, slow=0.05)
    node = start(root, "toy")
    wait_for(lambda: done(job) > 3)
    assert "paused" in call(share, "pause")
    wait_for(lambda: claimed(job) == {})
    before = done(job)
    time.sleep(1)
    assert done(job) == before and node.poll() is None
    call(share, "resume")
    wait_for(lambda: done(job) > before)
    (output,) = leave(node)
    assert "paused; coordinator.py resume continues it" in output and "resumed" in output


def test_a_job_added_while_nodes_wait_is_begun_soon(share, root):
    node = start(root, "--forever")
    wait_for(lambda: list(share.layout.nodes.iterdir()))
    time.sleep(1.5)  # imports and all: the node waits
    job = toy.create(share, "toy", chains=1, length=3)
    with temporary_member(share) as operator:
        ChangeNotifier(operator).notify()
    began = time.monotonic()
    wait_for(lambda: done(job) > 0, 20)
    print(f"begun after {time.monotonic() - began:.2f} s")
    leave(node)


@pytest.mark.parametrize("word", ["", "x", "1e3", "9999", "٣"])
def test_a_priority_that_is_none_counts_as_ordinary(share, word):
    job = toy.create(share, "toy", chains=1, length=1)
    with temporary_member(share) as node:
        job.set_flag(node, "priority", word)
    assert job.priority(job.flags()) == 0


def test_the_last_word_on_priority_counts_and_finished_jobs_are_not_paused(share):
    toy.create(share, "toy", chains=1, length=1)
    job = find_job(share, "toy")
    call(share, "prioritize", "toy", "7")
    call(share, "prioritize", "toy", "--", "-3")
    assert job.priority(job.flags()) == -3 and [one.name for one in all_jobs(share)] == ["toy"]
    call(share, "cancel", "toy")
    made = CliRunner().invoke(coordinator.main, ["pause", str(share.layout.root), "toy"])
    assert made.exit_code == 2 and "the job is over" in made.output
