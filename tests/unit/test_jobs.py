"""Jobs: one name, one job, whoever comes first; manifests of strangers are refused."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from shared.errors import JobQueueError, JobRemovedError
from shared.heartbeat import temporary_member
from shared.jobs import Manifest, all_jobs, create_job, find_job, job_name, remove_job
from shared.membership import remove_node
from shared.shared_dir import open_share
from tests.helpers import toy_plan as toy


def test_second_creator_joins_the_job_of_the_first(any_share):
    first = toy.create(any_share, chains=1, length=3)
    with temporary_member(any_share) as node:
        second, created = create_job(node, "toy", toy.LEASE_S, lambda layout: {"chains": 9, "length": 9})
    assert not created and second.manifest == first.manifest
    assert [path.name for path in any_share.layout.jobs.iterdir()] == [first.manifest.id]


def _create(root: str, barrier, queue) -> None:
    share = open_share(Path(root))
    barrier.wait()
    with temporary_member(share) as node:
        job, created = create_job(node, "toy", toy.LEASE_S, lambda layout: {"chains": 1, "length": 1})
    queue.put((job.manifest.id, created))


def test_eight_simultaneous_creators_make_one_job(root):
    root.mkdir(exist_ok=True)
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(8), context.Queue()
    racers = [context.Process(target=_create, args=(str(root), barrier, queue)) for _ in range(8)]
    for racer in racers:
        racer.start()
    answers = [queue.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    assert len({job_id for job_id, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1


def test_creator_whose_inputs_fail_leaves_nothing(share, node):
    def fill(layout):
        raise RuntimeError("no such style")

    with pytest.raises(RuntimeError):
        create_job(node, "toy", toy.LEASE_S, fill)
    assert list(share.layout.jobs.iterdir()) == [] and find_job(share, "toy") is None


def test_removed_job_is_gone_for_those_who_work_on_it(share, node, job):
    remove_job(node, job)
    assert not job.layout.root.exists() and list(node.tmp_dir.iterdir()) == []
    assert all_jobs(share) == []
    with pytest.raises(JobRemovedError):
        job.flags()


def test_resubmitted_job_never_shares_a_directory_with_its_predecessor(share, node, job):
    remove_job(node, job)
    assert toy.create(share, chains=1, length=3).layout.root != job.layout.root


@pytest.mark.parametrize("content", [
    b"{", b"[]", b"null", b'{"version": 1}', b"\xff\xfe\x00", b"[" * 100_000,
    json.dumps({"version": 99}).encode(),
    json.dumps({"version": 1, "id": "../../etc", "name": "toy", "spec": {}, "lease": 60}).encode(),
    json.dumps({"version": 1, "id": "a", "name": "toy", "spec": {}, "lease": float("nan")}).encode(),
])  # fmt: skip
def test_malformed_manifest_is_refused_and_the_other_jobs_are_served(share, job, content):
    share.layout.name("strange").mkdir()
    share.layout.named_manifest("strange").write_bytes(content)
    complaints = []
    assert [other.name for other in all_jobs(share, complaints.append)] == ["toy"]
    assert len(complaints) == 1 and "strange" in complaints[0]


@pytest.mark.parametrize("make", [
    lambda path: path.symlink_to("/etc/passwd"), os.mkfifo, lambda path: path.write_bytes(b" " * (1 << 21)), Path.mkdir,
])  # fmt: skip
def test_manifest_that_is_no_ordinary_file_is_refused(share, job, make):
    share.layout.name("strange").mkdir()
    make(share.layout.named_manifest("strange"))
    complaints = []
    assert [other.name for other in all_jobs(share, complaints.append)] == ["toy"]
    assert len(complaints) == 1


def test_name_that_is_no_directory_is_refused_with_what_to_do(share, node, job):
    share.layout.name("strange").touch()
    complaints = []
    assert [other.name for other in all_jobs(share, complaints.append)] == ["toy"]
    assert len(complaints) == 1 and "move it away" in complaints[0]
    with pytest.raises(JobQueueError, match="move it away"):
        create_job(node, "strange", toy.LEASE_S, lambda layout: {})
    assert [path.name for path in share.layout.jobs.iterdir()] == [job.manifest.id]


def test_empty_name_is_free(share, node):
    share.layout.name("toy").mkdir()  # who removed a job died before the last step
    assert all_jobs(share) == []
    job, ours = create_job(node, "toy", toy.LEASE_S, lambda layout: {})
    assert ours and find_job(share, "toy").manifest == job.manifest


def test_manifest_reads_back():
    manifest = Manifest("toy.0123456789ab", "toy", {"a": [1, None]}, 60.0)
    assert Manifest.from_bytes(manifest.to_bytes(), Path("x")) == manifest


@pytest.mark.parametrize(
    "stem", ["film", "my film (1)", "../../etc/passwd", "-rf", ".hidden", "日本", "a" * 500, "'; rm -rf /"]
)
def test_job_names_are_tame_whatever_a_video_is_called(share, stem):
    assert find_job(share, job_name(stem, "style")) is None  # a valid name, of a job that is not there


def test_hostile_job_name_is_refused(share):
    with pytest.raises(JobQueueError):
        find_job(share, "../names/x")


def test_creator_that_was_taken_for_dead_is_told_so_and_leaves_no_job(share, node):
    def fill(layout):
        remove_node(share, node.identity.incarnation)  # as others do after a lease of silence
        return {"chains": 1, "length": 1}

    with pytest.raises(
        JobQueueError,
        match="toy: this machine was suspended or disconnected for longer than a lease .* run the same command again",
    ):
        create_job(node, "toy", toy.LEASE_S, fill)
    assert find_job(share, "toy") is None and list(share.layout.jobs.iterdir()) == []
