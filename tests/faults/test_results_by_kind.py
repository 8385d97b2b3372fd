"""Results that are larger than their kind can be: not read, set aside, and made again."""

import os
import time
import tracemalloc

import numpy as np
import pytest
from click.testing import CliRunner

import coordinator
from fav.errors import FavError
from fav.flow.io import encode_flow
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.plan import make_plan
from fav.pipeline.task_names import flow_task, frame_task, index_task, measure_task
from fav.util.images import HEAD_BYTES, encode_png, png_limit, read_image
from shared import attempts, results
from shared.attempts import MAX_FAILURES
from shared.errors import JobQueueError, ResultVanishedError
from shared.filesystem import RECORD_LIMIT
from shared.heartbeat import temporary_member
from shared.shared_dir import open_share
from tests.helpers import toy_plan as toy
from tests.helpers.job_system import make_share
from tests.helpers.video_jobs import create, work

HUGE = 210 << 20


@pytest.fixture
def share(root):
    """An empty share, by the clock of the world."""
    return make_share(root)


def lay(job, task, head: bytes = b"", size: int = HUGE) -> None:
    """A result of this size that begins so; on the disk it takes no room."""
    path = job.layout.result(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(head)
    os.truncate(path, size)


@pytest.fixture
def little_memory():
    """Whatever the test does, it takes less than a hundredth of what lies there."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < HUGE / 10


@pytest.fixture(scope="module")
def made(tmp_path_factory, clip, style):
    """A finished job of four frames."""
    job = create(
        open_share(tmp_path_factory.mktemp("share")),
        clip,
        style,
        name="film",
        frames=4,
        evaluate=picture(tmp_path_factory),
    )
    assert work(job)
    return job


def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("painting") / "painting.png"
    path.write_bytes(encode_png(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)))
    return path


def readers(artifacts: JobArtifacts) -> dict:
    artifacts.load_new_segments()
    return {
        frame_task(1): lambda: artifacts.frame(1),
        flow_task(1): lambda: artifacts.flow_field(1),
        measure_task(0): lambda: artifacts.rows(0),
    }


@pytest.mark.parametrize(
    "task, head", [(frame_task(1), b"\x89PNG"), (flow_task(1), b"\x89PNG"), (measure_task(0), b'{"rows": [')], ids=str
)
def test_result_beyond_its_kind_is_set_aside_unread(made, little_memory, task, head):
    result = made.layout.result(task)
    before = result.read_bytes() if result.exists() else None
    lay(made, task, head)
    with pytest.raises(ResultVanishedError, match="expected at most"):
        readers(JobArtifacts(made))[task]()
    assert result.stat().st_size == HUGE  # who only looks leaves it
    with temporary_member(made.share) as node:
        with pytest.raises(ResultVanishedError, match="expected at most"):
            readers(JobArtifacts(made, node))[task]()
    assert not result.exists() and [one.why for one in attempts.attempts_of_task(made, task)] == ["damaged"]
    if before is not None:
        result.write_bytes(before)


def test_huge_piece_of_the_index_takes_neither_time_nor_memory_and_is_made_again(share, clip, style, little_memory):
    job = create(share, clip, style, name="film", frames=4)
    lay(job, index_task(0), b"[" + b"[]," * 1000)
    began = time.monotonic()
    status = CliRunner().invoke(coordinator.main, ["status", str(share.layout.root)])
    assert time.monotonic() - began < 5 and "index    0 of ?" in status.output, (
        status.output
    )  # the next node makes it again
    with temporary_member(share) as node:
        artifacts = make_plan(job, node).artifacts
        with pytest.raises(ResultVanishedError):
            artifacts.load_new_segments()
    assert [one.why for one in attempts.attempts_of_task(job, index_task(0))] == ["damaged"] and not results.is_done(
        job, index_task(0)
    )
    assert work(job) and (share.layout.root / "film.mp4").exists()


def test_result_that_is_too_large_again_and_again_is_a_failed_task(share):
    job = toy.create(share, chains=1, length=3)
    with temporary_member(share) as node:
        for _ in range(MAX_FAILURES):
            assert attempts.failed(job) == []
            lay(job, toy.link_task(0))
            results.quarantine_result(node, job, toy.link_task(0), None)
    assert attempts.failed(job) == [str(toy.link_task(0))]


def test_good_result_that_came_in_the_place_of_one_too_large_stays(share):
    job = toy.create(share, chains=1, length=3)
    with temporary_member(share) as node:
        results.publish_bytes(node, job, toy.link_task(0), b"good")  # by another node, after ours had looked
        results.quarantine_result(node, job, toy.link_task(0), None)
        results.quarantine_result(node, job, toy.link_task(0), b"go")
    assert results.read(job, toy.link_task(0)) == b"good" and attempts.attempts_of_task(job, toy.link_task(0)) == []


def test_limits_are_those_of_what_is_asked_for(share):
    job = toy.create(share, chains=1, length=3)
    lay(job, toy.link_task(0), size=RECORD_LIMIT)
    assert len(results.read(job, toy.link_task(0))) == RECORD_LIMIT
    lay(job, toy.link_task(0), size=RECORD_LIMIT + 1)
    with pytest.raises(JobQueueError, match="expected at most"):
        results.read(job, toy.link_task(0))
    assert len(results.read(job, toy.link_task(0), RECORD_LIMIT + 1)) == RECORD_LIMIT + 1


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 300), (640, 360), (2000, 3), (1280, 720)])
def test_no_picture_of_ours_is_too_large_for_its_kind(size):
    rng, (width, height) = np.random.default_rng(1), size
    text = {"node": "x" * (HEAD_BYTES - 500)}
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    assert len(encode_png(noise, text)) <= png_limit(size, 1)
    flow = rng.uniform(-100, 100, (height, width, 2)).astype(np.float32)
    assert len(encode_flow(flow, rng.integers(0, 2, (height, width)).astype(np.uint8), text)) <= png_limit(size, 2)


def test_picture_of_the_user_without_end_is_refused(tmp_path, little_memory):
    (path := tmp_path / "seed.png").write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    os.truncate(path, 1 << 40)
    with pytest.raises(FavError, match="seed.png: expected at most"):
        read_image(path)
    os.mkfifo(tmp_path / "mask.png")
    with pytest.raises(FavError, match="mask.png: expected a file"):
        read_image(tmp_path / "mask.png")
