"""The index of a film by several nodes: the same pieces as one node makes, whoever makes them."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fav.pipeline import index_tasks
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.plan import make_plan
from fav.pipeline.task_names import decode_task, index_task, survey_task
from fav.video import ranges
from shared import attempts, results
from shared.claims import Claims, Outcome, claimed
from shared.errors import ResultVanishedError
from shared.heartbeat import temporary_member
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task
from tests.helpers.checkout import ROOT
from tests.helpers.clips import make
from tests.helpers.video_jobs import create

FRAMES, LEAST = 250, 24
SMALL = {"LEAST_FRAMES": 100, "LEAST_RANGE": LEAST}
NODE = """import sys
from pathlib import Path
from fav.pipeline import index_tasks
from fav.video import ranges
from shared.jobs import find_job
from shared.shared_dir import open_share
from tests.helpers.video_jobs import work
index_tasks.LEAST_FRAMES, ranges.LEAST_RANGE = {LEAST_FRAMES}, {LEAST_RANGE}
sys.exit(not work(find_job(open_share(Path(sys.argv[1])), sys.argv[2])))
"""  # a node in one process, which finds short videos worth while


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory) -> Path:
    """250 frames with two cuts, in closed GOPs of 12."""
    effects = "negate=enable='between(n,60,149)'"
    options = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12", "-preset", "ultrafast", "-vf", effects)
    place = tmp_path_factory.mktemp("long") / "long.mp4"
    return make(place, *options, picture="testsrc2=size=48x32", seconds=FRAMES // 25)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(index_tasks, "LEAST_FRAMES", SMALL["LEAST_FRAMES"])
    monkeypatch.setattr(ranges, "LEAST_RANGE", SMALL["LEAST_RANGE"])


class Actor:
    """A node that works on the index step by step."""

    def __init__(self, job: Job, node: Node):
        self.job, self.plan, self.claims, self.done = job, make_plan(job, node), Claims(node, job), []
        self.node = node

    def claim(self) -> Task | None:
        """Claim the first task of the index that is open."""
        for task in self.plan.candidates():
            if task.kind in ("index", "survey", "decode") and self.claims.claim(task) is Outcome.WON:
                return task
        return None

    def finish(self, task: Task) -> Task | None:
        """Do a task, and claim the one that follows it."""
        results.publish_bytes(self.node, self.job, task, self.plan.run(task, lambda: None))
        self.done.append(str(task))
        self.plan.published(task, True)
        following = self.plan.next_in_chain(task)
        won = following and self.claims.claim(following) is Outcome.WON
        self.claims.release(task)
        return following if won else None

    def step(self, task: Task | None = None) -> Task | None:
        task = task or self.claim()
        return self.finish(task) if task else None


@contextmanager
def two_at_work(job: Job) -> Iterator[tuple[Actor, Actor, Task]]:
    """Two nodes, of which the first one has claimed a piece of the index; and that piece."""
    with temporary_member(job.share) as one, temporary_member(job.share) as other:
        first = Actor(job, one)
        piece = first.claim()
        assert piece
        yield first, Actor(job, other), piece


def index_of(job: Job) -> dict[str, bytes]:
    shard = job.layout.shard("index", 0)
    return {path.name: path.read_bytes() for path in sorted(shard.iterdir())}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, long_clip, style) -> dict[str, bytes]:
    """The index that one node makes, in one pass."""
    from shared.shared_dir import open_share

    job = create(open_share(tmp_path_factory.mktemp("alone")), long_clip, style)
    with temporary_member(job.share) as node:
        actor, task = Actor(job, node), None
        while not actor.plan.timeline.is_complete:
            task = actor.step(task)
    assert set(actor.done) == {"index.0000000", "index.0000001", "index.0000002"}
    return index_of(job)


def test_node_that_is_alone_makes_no_survey(small, long_clip, style, share, alone):
    job = create(share, long_clip, style)
    with temporary_member(share) as node:
        actor, task = Actor(job, node), None
        while not actor.plan.timeline.is_complete:
            task = actor.step(task)
    assert {name.split(".")[0] for name in actor.done} == {"index"} and index_of(job) == alone


def test_several_nodes_make_the_index_that_one_makes(small, long_clip, style, share, alone):
    job = create(share, long_clip, style)
    with temporary_member(share) as one, temporary_member(share) as other, temporary_member(share) as third:
        first, *helpers = actors = [Actor(job, node) for node in (one, other, third)]
        piece = first.claim()
        assert piece == index_task(0) and helpers[0].claim() == survey_task()
        helpers[0].finish(survey_task())
        assert helpers[1].claim() == decode_task(0)
        assert first.finish(piece) is None  # the next piece waits for ranges
        tasks = {helpers[1]: decode_task(0)}
        while not all(actor.plan.timeline.is_complete for actor in actors):
            for actor in actors:
                tasks[actor] = actor.step(tasks.get(actor))
                actor.plan._refresh()
    kinds = [{name.split(".")[0] for name in actor.done} for actor in actors]
    assert all("decode" in kind for kind in kinds) and sum(len(actor.done) for actor in actors) > 10
    assert index_of(job) == alone


def test_range_that_is_of_no_use_is_left_to_one_pass(small, long_clip, style, share, alone, caplog):
    job = create(share, long_clip, style)
    with two_at_work(job) as (first, helper, piece):
        helper.step()
        known = JobArtifacts(job).survey()
        for number in range(len(known.ranges)):
            task = decode_task(number)
            record = json.loads(helper.plan.run(task, lambda: None))
            if number == len(known.ranges) - 2:
                record = ranges.DecodedRange(ranges.FrameIndex.of((), 1), 0, why="of no use").to_json()
            record.pop("checksum", None)
            results.publish_bytes(helper.node, job, task, json.dumps(record).encode())
        caplog.set_level("INFO")
        task = first.finish(piece)
        while task:
            task = first.finish(task)
    assert "one node alone makes the index of the video: of no use" in caplog.text and index_of(job) == alone


def test_range_that_fails_for_good_is_left_to_one_pass(small, long_clip, style, share, alone):
    job = create(share, long_clip, style)
    with two_at_work(job) as (first, helper, piece):
        helper.step()
        (job.layout.failed / str(decode_task(1))).parent.mkdir(exist_ok=True)
        (job.layout.failed / str(decode_task(1))).write_bytes(b"")
        task = first.finish(piece)
        assert task == index_task(1) and helper.claim() is None
        while task:
            task = first.finish(task)
    assert index_of(job) == alone


def test_damaged_record_of_a_range_is_made_again(small, long_clip, style, share, alone):
    job = create(share, long_clip, style)
    with two_at_work(job) as (first, helper, piece):
        for _ in range(3):
            helper.step()
        assert helper.done == [str(survey_task()), str(decode_task(0)), str(decode_task(1))]
        first.finish(piece)
        path = job.layout.result(decode_task(0))
        path.write_bytes(path.read_bytes()[:-20])
        actors, tasks = (first, helper), {}
        for _ in range(100):
            for actor in actors:
                try:
                    tasks[actor] = actor.step(tasks.get(actor))
                except ResultVanishedError:
                    actor.claims.release(actor.claims.held.copy().pop())
                    actor.plan.invalidate_cache()
                    tasks[actor] = None
                actor.plan._refresh()
    assert [name for actor in actors for name in actor.done].count(str(decode_task(0))) == 2
    assert index_of(job) == alone


@pytest.mark.slow
def test_killed_nodes_leave_an_index_that_others_complete(small, long_clip, style, share, alone):
    job = create(share, long_clip, style)
    with two_at_work(job) as (first, helper, piece):
        helper.step()
        first.finish(piece)
    line, quiet = [sys.executable, "-c", NODE.format(**SMALL), str(share.layout.root), job.name], subprocess.DEVNULL
    nodes = [subprocess.Popen(line, cwd=ROOT, stdout=quiet, stderr=quiet) for _ in range(3)]
    deadline = time.monotonic() + 60
    while not any(name.startswith("decode") for name in claimed(job)) and time.monotonic() < deadline:
        time.sleep(0.001)
    for node in nodes[:2]:
        node.kill()
    assert nodes[2].wait(120) == 0
    for node in nodes[:2]:
        node.wait()
    assert index_of(job) == alone and not attempts.failed(job)
    assert len(JobArtifacts(job).published_in_shard("decode", 0)) == len(JobArtifacts(job).survey().ranges)
