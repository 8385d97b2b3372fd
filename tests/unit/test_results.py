"""Publishing: whole or not at all, never over another; and a full disk leaves nothing behind."""

import errno
import os

import pytest

from shared import attempts, results
from shared.errors import JobRemovedError, ResultVanishedError
from shared.jobs import remove_job
from tests.helpers import toy_plan as toy
from tests.helpers.job_system import join

TASK = toy.link_task(7)


def test_published_result_reads_back(any_share):
    job, node = toy.create(any_share, chains=1, length=3), join(any_share)
    assert results.publish_bytes(node, job, TASK, b"whole")
    assert results.read(job, TASK) == b"whole"
    assert list(node.tmp_dir.iterdir()) == []


def test_second_publisher_loses_and_the_first_result_stays(any_share):
    job, node = toy.create(any_share, chains=1, length=3), join(any_share)
    assert results.publish_bytes(node, job, TASK, b"first")
    assert not results.publish_bytes(join(any_share), job, TASK, b"second")
    assert results.read(job, TASK) == b"first"


def test_publication_whose_reply_was_lost_is_ours(share, node, job, monkeypatch):
    results.publish_bytes(node, job, toy.link_task(8), b"makes the directory")
    link = share.system.link

    def lossy(old, new):
        link(old, new)
        raise FileExistsError(17, "lost reply")

    monkeypatch.setattr(share.system, "link", lossy)
    assert results.publish_bytes(node, job, TASK, b"whole")


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_full_disk_leaves_no_partial_result(share, node, job, monkeypatch, call):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError) as error:
            results.publish_bytes(node, job, TASK, b"whole")
    assert error.value.errno == errno.ENOSPC
    assert not results.is_done(job, TASK) and list(node.tmp_dir.iterdir()) == []


def test_missing_result_is_a_vanished_input(job):
    with pytest.raises(ResultVanishedError):
        results.read(job, TASK)


def test_damaged_result_is_set_aside_its_task_open_and_the_attempt_counted(share, node, job):
    results.publish_bytes(node, job, TASK, b"dam")
    results.quarantine_result(node, job, TASK, b"dam")
    results.quarantine_result(node, job, TASK, b"dam")  # as by a second reader
    assert not results.is_done(job, TASK)
    assert [attempt.why for attempt in attempts.attempts_of_task(job, TASK)] == ["damaged"]


def test_late_publication_into_a_cleaned_job_says_so(share, node, job):
    remove_job(node, job)
    with pytest.raises(JobRemovedError):
        results.publish_bytes(node, job, TASK, b"late")


def test_a_shard_holds_a_thousand_results_and_counts_are_exact(share, node, job):
    for number in (0, 999, 1000, 2500):
        results.publish_bytes(node, job, toy.link_task(number), b"x")
    assert results.completed_in_shard(job, "link", 0) == {0, 999}
    assert results.count(job, "link", range(0, 3000)) == 4
    assert results.count(job, "link", range(999, 1001)) == 2
