"""The film is encoded segment by segment, by any node; it is the same film however many nodes there are and whoever dies."""

import json
import signal
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

import coordinator
from fav.monitor.progress import ProgressTracker
from fav.pipeline import stitching
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.encode_tasks import EncodeTasks
from fav.pipeline.plan import VideoPlan, make_plan
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import FRAME_KINDS, encode_task, frame_task, index_task, stitch_task
from fav.stylize.segments import segments_of
from fav.video import EncodedSegment, encode_segment, write_film
from shared import attempts, results
from shared.claims import Claims, claimed
from shared.heartbeat import temporary_member
from shared.jobs import Job
from shared.shared_dir import SharedDir, open_share
from tests.helpers.clips import comment_of
from tests.helpers.commands import call
from tests.helpers.fake_video_job import make_film, paint, put
from tests.helpers.full_disk import Disk
from tests.helpers.video_jobs import CUT, FRAMES, create, film_of, frames_of, index_of, short_segments, start_node, work
from tests.helpers.waiting import wait_for

LENGTH = 6
SEGMENTS = segments_of(0, FRAMES, (CUT,), LENGTH)


def segmented(share: SharedDir, clip: Path, style: Path, **options) -> Job:
    with short_segments(LENGTH):
        return create(share, clip, style, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, clip, style) -> Job:
    """A job that one worker has made."""
    job = segmented(open_share(tmp_path_factory.mktemp("whole")), clip, style, name="film")
    assert work(job)
    return job


def published(job: Job) -> list[int]:
    return sorted(results.completed_in_shard(job, "encode", 0))


def test_film_is_that_of_its_segments_encoded_one_after_the_other(whole, clip, tmp_path):
    assert len(SEGMENTS) == 5 and published(whole) == list(range(5))
    said = comment_of(film_of(whole))
    write_film(tmp_path / "film.mp4", clip, index_of(whole), frames_of(whole), segments=SEGMENTS, comment=said)
    assert film_of(whole).read_bytes() == (tmp_path / "film.mp4").read_bytes()


def test_nodes_that_are_killed_while_segments_are_encoded_make_the_same_film(whole, clip, style, share):
    job = segmented(share, clip, style)
    for count in (1, 3):
        node = start_node(share, "--job", job.name)
        while len(published(job)) < count and "encode.0000003" not in claimed(job):
            assert node.poll() is None
            time.sleep(0.002)
        node.send_signal(signal.SIGKILL)
        node.communicate()
    assert work(job)
    assert film_of(job).read_bytes() == film_of(whole).read_bytes() and claimed(job) == {}


@pytest.mark.slow
def test_two_nodes_make_the_same_film(whole, clip, style, share):
    job = segmented(share, clip, style)
    nodes = [start_node(share, "--job", job.name) for _ in range(2)]
    assert [node.wait(120) for node in nodes] == [0, 0]
    assert film_of(job).read_bytes() == film_of(whole).read_bytes()


# ---- what is open when
def until(plan: VideoPlan, job: Job, kinds: tuple[str, ...]) -> None:
    """Do what is open, as long as it is of these kinds."""
    while (task := next(plan.candidates(), None)) and task.kind in kinds:
        results.publish_bytes(plan.node, job, task, plan.run(task, lambda: None))
        plan.published(task, True)


def test_segments_are_open_as_soon_as_their_frames_are_there_while_the_rest_is_painted(clip, style, share):
    job = segmented(share, clip, style)
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(temporary_member(share)) for _ in range(2))
        plan = make_plan(job, ours)
        until(plan, job, ("index",))
        other = Claims(theirs, job)
        other.claim(frame_task(CUT))  # another node begins the second shot
        until(plan, job, FRAME_KINDS)
        assert [str(task) for task in plan.candidates()] == [f"encode.000000{number}" for number in range(3)]
        until(plan, job, ("encode",))
        assert list(plan.candidates()) == []
        other.release(frame_task(CUT))
        until(plan, job, (*FRAME_KINDS, "encode"))
        assert [str(task) for task in plan.candidates()] == ["stitch.0000000"]
        assert plan.self_test_task(encode_task(2)) == encode_task(0)


def test_chunks_that_pass_into_each_other_are_both_needed(clip, style, share):
    job = segmented(share, clip, style, chunk=8, no_cuts=True)
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        until(plan, job, ("index", *FRAME_KINDS))
        plan.artifacts.timeline.chains[1].done = 3  # as if the lead-in of the second one were not whole
        open_now = [task.number for task in plan._encoding.candidates({}, set())]
        assert open_now == [2, 3] or open_now == [3]  # of 0 to 8 frames 1 to 7 are mixed


def test_who_looks_after_the_last_frame_is_told_how_many_segments_there_are(share):
    job = make_film(share, 600, 600)
    paint(job, range(600))
    assert ProgressTracker(job).closing() == "encoding, segment 0 of 4"
    put(job, encode_task(0), b"packets")
    assert ProgressTracker(job).closing() == "encoding, segment 1 of 4"


# ---- what is not as it should be
def damaged(segment: bytes) -> bytes:
    return segment[:-40] + bytes(8) + segment[-32:]


@pytest.mark.parametrize("spoil", [damaged, lambda segment: segment[:-100], lambda segment: b""])
def test_segment_that_does_not_read_back_is_made_again(whole, clip, style, share, spoil):
    job = segmented(share, clip, style)
    with temporary_member(share) as node:
        until(make_plan(job, node), job, ("index", *FRAME_KINDS, "encode"))
    path = job.layout.result(encode_task(2))
    path.write_bytes(spoil(path.read_bytes()))
    assert work(job)
    assert film_of(job).read_bytes() == film_of(whole).read_bytes()
    assert [attempt.why for attempt in attempts.attempts_of_task(job, encode_task(2))] == ["damaged"]


def test_segment_that_configures_decoders_otherwise_is_encoded_again_for_the_film(whole, clip, style, share):
    job = segmented(share, clip, style)
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        until(plan, job, ("index", *FRAME_KINDS))
        settings = replace(plan.spec.encoder, options={"crf": "18", "preset": "ultrafast"})
        frames = [plan.artifacts.frame(number) for number in SEGMENTS[1]]
        other = encode_segment(frames, SEGMENTS[1], clip, plan.timeline.index, settings)
        results.publish_bytes(node, job, encode_task(1), other.to_bytes())
    assert work(job)
    assert film_of(job).read_bytes() == film_of(whole).read_bytes()


def test_job_of_a_version_without_segments_reads(whole):
    record = json.loads(json.dumps(whole.manifest.spec))
    assert record.pop("segment_frames") == LENGTH
    assert JobSpec.from_json(record).segment_frames == 144


# ---- the commands
def another(job: Job, *words) -> bytes:
    told = call(coordinator.main, "stitch", job.share.layout.root, job.name, *words)
    assert told.exit_code == 0, told.output
    film = Path(told.output.splitlines()[-1].removeprefix("done: "))
    data = film.read_bytes()
    film.unlink()
    return data


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_stitch_encodes_segments_side_by_side_and_the_film_does_not_depend_on_how_many(
    whole, clip, style, share, cores, monkeypatch
):
    job = segmented(share, clip, style, crf=40)
    assert work(job)
    monkeypatch.setattr(stitching.os, "sched_getaffinity", lambda pid: range(cores * stitching.CORES_EACH))
    assert another(whole, "--crf", 40) == film_of(job).read_bytes()


def test_stitch_like_the_job_takes_its_segments(whole, monkeypatch):
    monkeypatch.setattr(stitching, "encode", None)  # whoever calls it now fails
    assert another(whole) == film_of(whole).read_bytes()


def test_preview_that_run_makes_publishes_whole_segments_and_encodes_none_twice(
    clip, style, share, monkeypatch, tmp_path
):
    job = segmented(share, clip, style, name="film")
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        until(plan, job, ("index",))
        for number in range(15):
            results.publish_bytes(node, job, frame_task(number), plan.run(frame_task(number), lambda: None))
            plan.published(frame_task(number), True)
    encoded = []
    monkeypatch.setattr(
        stitching,
        "encode_segment",
        lambda frames, part, *words: encoded.append(part) or encode_segment(frames, part, *words),
    )
    assert call(coordinator.main, "preview", share.layout.root, "--out", tmp_path / "look.mp4").exit_code == 0
    assert sorted(encoded, key=lambda part: part.start) == SEGMENTS and published(job) == []  # it only looks
    encoded.clear()
    for number in range(2):
        (into := tmp_path / f"{number}.mp4").touch()
        assert call(coordinator.main, "preview", share.layout.root, "--into", into).exit_code == 0
    assert published(job) == [0, 1, 2] and len(encoded) == 5 + 2
    segment = EncodedSegment.from_bytes(job.layout.result(encode_task(0)).read_bytes(), SEGMENTS[0])
    assert len(segment.packets) == LENGTH
    assert work(job) and len(encoded) == 5 + 2 + 2
    assert results.is_done(job, stitch_task(JobArtifacts(job).spec)) and results.is_done(job, index_task(0))


# ---- a full disk
@pytest.fixture
def disk(tmp_path):
    disk = Disk("tmpfs", tmp_path / "disk")
    yield disk
    disk.end()


@pytest.mark.slow
def test_disk_that_is_full_between_two_segments_leaves_whole_ones_and_the_film_is_the_same(
    whole, clip, style, disk, monkeypatch, caplog
):
    share = open_share(disk.seen / "share")
    job, run, filled = segmented(share, clip, style), EncodeTasks.run, []

    def fills(tasks, task, *words):
        data = run(tasks, task, *words)
        if task.number == 2 and not filled:
            filled.append(disk.leave_blocks(0))
        return data

    monkeypatch.setattr(EncodeTasks, "run", fills)
    caplog.set_level("INFO")
    worker = threading.Thread(target=work, args=(job,), daemon=True)
    worker.start()
    wait_for(lambda: "waiting for free space" in caplog.text, 60)
    assert published(job) == [0, 1] and list(claimed(job)) == ["encode.0000002"]
    assert all(path.stat().st_size == 0 for path in share.layout.tmp.rglob("*") if path.is_file())
    assert not film_of(job).exists()
    disk.make_room()
    worker.join(60)
    assert not worker.is_alive() and film_of(job).read_bytes() == film_of(whole).read_bytes()
    assert claimed(job) == {} and not list(job.layout.attempts.rglob("*.*"))
