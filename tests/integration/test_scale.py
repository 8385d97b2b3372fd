"""What a task costs does not depend on how many there are: counted in file operations and steps, never in time."""

import os
import sys
import threading
import tracemalloc
from collections import Counter
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.claims import EmptyPlan, create
from benchmarks.meter import Counting
from fav.monitor.progress import ProgressTracker
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.repair import missing
from fav.pipeline.task_names import frame_task, stitch_task
from fav.stylize.timeline import Timeline
from shared.claims import Claims, claimed
from shared.errors import StopRequested
from shared.filesystem import FileSystem
from shared.jobs import Job
from shared.membership import Node
from shared.paths import SHARD, Task
from shared.scheduling import MAX_CANDIDATES
from shared.shared_dir import open_share
from shared.worker import Worker
from tests.helpers.fake_video_job import LimitedPlan, make_film, paint, piece, put_index
from tests.helpers.job_system import join
from tests.helpers.toy_plan import RecordingEvents


class Uncommitted(Counting):
    """Nothing here need survive a power cut."""

    def fsync(self, fd: int) -> None:
        self.calls["fsync"] += 1


class Timeless(FileSystem):
    """Nothing is done now and then: what is counted is done for the tasks."""

    def monotonic(self) -> float:
        return 1000.0

    def wait(self, event: threading.Event, seconds: float) -> bool:
        pytest.fail("a node waits")


@pytest.fixture
def share(root: Path):
    root.mkdir(exist_ok=True)
    return open_share(root, Timeless(Uncommitted()))


def counted(node: Node) -> Counter:
    return node.share.system.os.calls


@contextmanager
def steps():
    """Counts the calls of functions in this thread, Python's and C's."""
    count = [0]

    def note(frame, event, argument):
        count[0] += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        yield count
    finally:
        sys.setprofile(None)


def work(node: Node, make, only: str) -> RecordingEvents:
    """A worker in this process, until it has done all or its plan has had enough."""
    report = RecordingEvents()
    try:
        Worker(node, make, report, threading.Event(), only).run()
    except StopRequested:
        pass
    return report


# ---- a task
def operations_per_task(share, tasks: int) -> Counter:
    """Of a whole job of empty tasks; its beginning and its end are left out."""
    name, seen = f"of-{tasks}", []

    class Watched(EmptyPlan):
        def run(self, task, report_progress):
            seen.append(Counter(counted(self.node)))
            return super().run(task, report_progress)

    node = join(share)
    create(node, name, tasks, chain=50)
    work(node, Watched, name)
    node.leave()  # who is not alone notifies the others, too
    assert len(seen) == tasks + 1  # and the one that tells of the end
    return Counter({name: number / (tasks - 1) for name, number in (seen[tasks - 1] - seen[0]).items()})


def test_task_of_a_large_job_costs_as_many_operations_as_one_of_a_small_job(share):
    few, many = operations_per_task(share, 200), operations_per_task(share, 1200)
    assert many.total() == pytest.approx(few.total(), rel=0.03) and many.total() < 15
    assert (few["fsync"], many["fsync"]) == pytest.approx((1, 1), abs=0.01)  # that of the result


def test_no_room_but_the_results_fills_up_with_the_tasks(share, root, node):
    fullest = Counter()

    class Watched(EmptyPlan):
        def run(self, task, report_progress):
            if task.number % 100 == 0:
                for room, _, files in os.walk(root):
                    kind = "results" if "results" in Path(room).parts else Path(room).name
                    fullest[kind] = max(fullest[kind], len(files))
            return super().run(task, report_progress)

    create(node, "job", 1200, chain=50)
    work(node, Watched, "job")
    assert fullest.pop("results") == SHARD <= 10_000
    assert max(fullest.values()) <= 4, fullest


def test_million_results_lie_in_a_thousand_directories(node):
    job = create(node, "job", 10**6, chain=100)
    rooms = Counter(job.layout.result(Task("frame", number, ".png")).parent for number in range(0, 10**6, 100))
    assert len(rooms) == 1000 and set(rooms.values()) == {SHARD // 100}
    assert len({room.parent for room in rooms}) == 1


def test_node_does_not_wait_while_more_is_open_than_it_has_looked_at(share, node):
    other = Claims(join(share, "elsewhere"), create(node, "wide", 40, chain=1))

    class Overtaken(EmptyPlan):
        def candidates(self):
            tasks = list(super().candidates())
            if not other.held:
                for task in tasks[:MAX_CANDIDATES]:
                    other.claim(task)
            return iter(tasks)

        def run(self, task, report_progress):
            raise StopRequested("enough")

    report = work(node, Overtaken, "wide")
    assert report.tasks == [f"empty.{MAX_CANDIDATES:07d}"]


# ---- a film
def cost_of_frames(share, name: str, frames: int, shot: int, most: int = 120) -> tuple[float, float]:
    """Operations and steps for a frame, in the midst of a film of which all shots are open."""
    seen = []

    class Watched(LimitedPlan):
        def run(self, task, report_progress):
            seen.append((counted(self.node).total(), count[0]))
            return super().run(task, report_progress)

    make_film(share, frames, shot, name)
    node = join(share)
    with steps() as count:
        work(node, lambda job, node: Watched(job, node, most), name)
    node.leave()  # who is not alone notifies the others, too
    assert len(seen) == most + 1
    (operations, before), (more_operations, after) = seen[0], seen[-1]
    return (more_operations - operations) / most, (after - before) / most


def test_frame_of_a_film_of_ten_thousand_shots_costs_as_much_as_one_of_a_film_of_twenty(share):
    few, many = cost_of_frames(share, "short", 200, 10), cost_of_frames(share, "long", 100_000, 10)
    assert many[0] == pytest.approx(few[0], rel=0.02)  # operations
    assert many[1] < 1.3 * few[1]  # steps; a search takes the logarithm


def test_shots_that_others_have_painted_are_learned_of_a_directory_at_a_time(share, node):
    job = make_film(share, 2000, 10)

    class Late(LimitedPlan):
        def candidates(self):
            first = not self._counted
            found = list(islice(super().candidates(), MAX_CANDIDATES))
            if first:
                paint(job, range(2000))  # by others, after this node has looked
            return iter(found)

    before = counted(node)["link"]
    report = work(node, lambda job, node: Late(job, node, 0), "film")
    assert counted(node)["link"] - before <= 5  # of 200 shots in two directories, and a segment
    assert report.tasks == ["encode.0000000"]


def test_shots_that_are_done_are_passed_once():
    timeline = Timeline()
    for start in range(0, 20_000, 100):
        timeline.add(piece(start, 20_000, 10))
    next(timeline.pending_chains())
    for run in timeline.chains[:-1]:
        run.done = len(run)
    assert list(timeline.pending_chains()) == timeline.chains[-1:]
    with steps() as count:
        assert list(islice(timeline.pending_chains(), 20)) == timeline.chains[-1:]
        list(timeline.pending_chains())
    assert count[0] > 1999  # the dead are dropped in the first of them
    with steps() as count:
        assert list(timeline.pending_chains()) == timeline.chains[-1:]
    assert count[0] < 20


@pytest.mark.parametrize("backward", [False, True])
def test_survey_counts_what_is_done_of_shots_that_go_over_from_one_directory_to_the_next(share, backward):
    job = make_film(share, 3000, 700, reverse=backward)
    paint(job, range(600, 2500))
    artifacts = JobArtifacts(job)
    artifacts.load_new_segments()
    artifacts.count_all()
    assert [run.done for run in artifacts.timeline.chains] == (
        [100, 700, 700, 0, 0] if backward else [0, 700, 700, 400, 0]
    )
    paint(job, range(2500, 3000)) if not backward else paint(job, range(0, 600))
    again = artifacts.timeline.chains[0 if backward else 3]
    artifacts.count_from(again)
    assert again.remaining == 0


def most_memory(job: Job) -> int:
    """Bytes that a node's first look at a film takes while it is at it."""
    tracemalloc.start()
    try:
        artifacts = JobArtifacts(job)
        artifacts.load_new_segments()
        artifacts.count_all()
        assert len(artifacts.timeline.index) == artifacts.timeline.indexed_frames and next(
            artifacts.timeline.pending_chains()
        )
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_a_node_knows_of_a_film_takes_less_than_a_hundred_bytes_a_frame(share):
    frames = 20_000
    job = make_film(share, frames, 10)
    paint(job, (frame for frame in range(frames) if frame % 10 < 9))
    peak = min(most_memory(job) for _ in range(2))  # Python's table of names may grow in one of them
    assert peak / frames < 100, "100 MB for a million frames"


# ---- looking at it
def looks(share, frames: int) -> list[int]:
    """Operations of three looks at a film of which all but the last shot are painted."""
    job, found = make_film(share, frames, 100, f"of-{frames}"), []
    paint(job, range(frames - 100))
    follower = ProgressTracker(job)
    for _ in range(3):
        before = share.system.os.total
        assert follower.poll(at_once=True)[:2] == (frames - 100, frames)
        found.append(share.system.os.total - before)
    return found


def test_looking_again_at_a_film_costs_the_same_whatever_its_length(share):
    short, long = looks(share, 1000), looks(share, 8000)
    assert short[1:] == long[1:] == [short[1]] * 2 and short[1] < 10
    assert (
        long[0] - short[0] == 4 * 7
    )  # the first look checks, opens, lists and closes each directory; and reads no more of the index


def test_what_a_film_lacks_is_told_by_names_without_reading_its_index(share):
    costs = []
    for frames in (1000, 8000):
        job = make_film(share, frames, 100, f"of-{frames}")
        paint(job, range(frames))
        job.layout.result(frame_task(3)).unlink()
        before = share.system.os.total
        assert missing(JobArtifacts(job), by_names=True) == [frame_task(3), stitch_task(JobArtifacts(job).spec)]
        costs.append(share.system.os.total - before)
    assert costs[1] - costs[0] == 4 * 7  # each directory of frames is checked, opened, listed and closed


def test_film_is_counted_right_while_its_index_and_its_directories_fill_up(share):
    job = make_film(share, 2500, 100, indexed=False)
    follower = ProgressTracker(job)
    assert follower.poll(at_once=True)[:2] == (0, None)
    put_index(job, range(0, 1300), 2500, 100)
    paint(job, range(1250))
    assert follower.poll(at_once=True)[:2] == (1250, None)
    put_index(job, range(1300, 2500), 2500, 100)
    paint(job, range(2000, 2500))
    assert follower.poll(at_once=True)[:2] == (1750, 2500)
    paint(job, range(1250, 2000))
    assert follower.poll(at_once=True)[:2] == (2500, 2500)
    assert claimed(job) == {}
