"""Claims: who wins, what a loser sees, and what a release must never do."""

import multiprocessing
import os
from pathlib import Path

import pytest

from shared import claims, results
from shared.claims import Claims, Outcome, claims_of
from shared.errors import EvictedError
from shared.identity import Identity
from shared.membership import Node, remove_node
from shared.shared_dir import open_share
from tests.helpers import toy_plan as toy
from tests.helpers.job_system import join

TASK = toy.link_task(0)


def test_first_wins_and_second_loses(any_share):
    job = toy.create(any_share, chains=1, length=3)
    assert Claims(join(any_share), job).claim(TASK) is Outcome.WON
    assert Claims(join(any_share), job).claim(TASK) is Outcome.LOST


def test_claim_of_a_published_task_says_done_and_leaves_no_placeholder(any_share):
    job, node = toy.create(any_share, chains=1, length=3), join(any_share)
    assert results.publish_bytes(node, job, TASK, b"result")
    assert Claims(node, job).claim(TASK) is Outcome.DONE
    assert claims.claimed(job) == {}


def test_released_task_can_be_claimed_again(any_share):
    job, node = toy.create(any_share, chains=1, length=3), join(any_share)
    mine = Claims(node, job)
    mine.claim(TASK)
    mine.abandon(TASK)
    assert Claims(join(any_share), job).claim(TASK) is Outcome.WON


def test_claim_whose_reply_was_lost_is_ours(share, node, job, monkeypatch):
    link = share.system.link

    def lossy(old, new):
        link(old, new)
        raise FileExistsError(17, "as a server reports it that crashed with the reply in flight")

    monkeypatch.setattr(share.system, "link", lossy)
    assert Claims(node, job).claim(TASK) is Outcome.WON


def test_withdrawing_late_gives_the_next_owner_its_placeholder_back(any_share):
    job, sleeper, second = toy.create(any_share, chains=1, length=3), join(any_share), join(any_share)
    slept = Claims(sleeper, job)
    slept.claim(TASK)
    job.share.system.unlink(job.layout.placeholder(TASK))  # recovered while it slept ...
    Claims(second, job).claim(TASK)  # ... and claimed by another
    slept.abandon(TASK)
    assert Claims(second, job).is_ours(job.layout.placeholder(TASK))


def test_evicted_node_cannot_claim(share, node, job):
    remove_node(share, node.identity.incarnation)
    with pytest.raises(EvictedError):
        Claims(node, job).claim(TASK)


def test_placeholder_is_whole_from_its_first_moment(share, node, job):
    Claims(node, job).claim(TASK)
    assert Identity.from_bytes(job.layout.placeholder(TASK).read_bytes(), Path("placeholder")) == node.identity


def _race(root: str, barrier, queue) -> None:
    share = open_share(Path(root))
    job, node = toy_job(share), Node(share, Identity.here())
    node.join()
    mine = Claims(node, job)
    for number in range(50):
        barrier.wait()
        if mine.claim(toy.link_task(number)) is Outcome.WON:
            queue.put(number)
    barrier.wait()
    node.leave()


def toy_job(share):
    from shared.jobs import find_job

    return find_job(share, "toy")


@pytest.mark.parametrize("links", [True, False])
def test_one_of_eight_processes_wins_each_of_fifty_tasks(root, links, monkeypatch):
    root.mkdir(exist_ok=True)
    share = open_share(root)
    toy.create(share, chains=1, length=50)
    context = multiprocessing.get_context("fork")
    if not links:
        monkeypatch.setattr("shared.shared_dir._hard_links", lambda layout, system: False)
    barrier, queue = context.Barrier(8), context.Queue()
    racers = [context.Process(target=_race, args=(str(root), barrier, queue)) for _ in range(8)]
    for racer in racers:
        racer.start()
    won = sorted(queue.get(timeout=60) for _ in range(50))
    for racer in racers:
        racer.join(60)
    assert won == list(range(50)) and queue.empty()
    assert [racer.exitcode for racer in racers] == [0] * 8


def test_renaming_a_placeholder_onto_its_own_inode_would_do_nothing(share, node, job):
    # The danger that private names which are never reused avoid: POSIX lets this rename succeed and move nothing.
    Claims(node, job).claim(TASK)
    placeholder, other = job.layout.placeholder(TASK), node.tmp_dir / "other link"
    os.link(placeholder, other)
    os.rename(placeholder, other)
    assert placeholder.exists()
    assert node.temp_path() != node.temp_path()


def test_claim_that_is_released_while_claims_are_read_is_left_out_for_the_next_of_its_node(
    share, node, job, monkeypatch
):
    really, mine = share.system.read, Claims(node, job)
    mine.claim(TASK)

    def late(path, limit):
        if path == job.layout.placeholder(TASK):
            mine.claim(toy.link_task(1))
            mine.release(TASK)
        return really(path, limit)

    monkeypatch.setattr(share.system, "read", late)
    assert [(claim.task, claim.owner) for claim in claims_of(job)] == [(str(toy.link_task(1)), node.identity)]


def test_node_that_writes_while_it_is_removed_is_removed_all_the_same(share, node, monkeypatch):
    late = []

    class Busy:
        """The os module; before the directory is removed the first time, its node writes a file in it."""

        def __getattr__(self, name):
            return getattr(os, name)

        def rmdir(self, name, **options):
            if not late:
                late.append(node.temp_path())
                late[0].touch()
            os.rmdir(name, **options)

    monkeypatch.setattr(share.system, "os", Busy())
    remove_node(share, node.identity.incarnation)
    assert late and not node.tmp_dir.exists() and not node.heartbeat_file.exists()


def test_node_joins_although_what_it_has_made_is_swept_before_it_has_a_heart(share, monkeypatch):
    node, make_dirs, swept = Node(share, Identity.here()), share.system.make_dirs, []

    def swept_once(path):
        make_dirs(path)
        if path == node.tmp_dir and not swept:
            swept.append(path)
            path.rmdir()

    monkeypatch.setattr(share.system, "make_dirs", swept_once)
    node.join()
    assert swept and node.heartbeat_file.exists() and not list(node.tmp_dir.iterdir())
