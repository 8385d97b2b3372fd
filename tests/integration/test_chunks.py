"""Long shots in chunks: which there are, how one passes over into the next, and that the film is one, whoever makes it."""

import signal
import time
from dataclasses import replace

import click
import numpy as np
import pytest

from fav import flow as flows
from fav.cli.options import ChunkType
from fav.cli.tools import main as fav_main
from fav.errors import FavError
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.option import AUTO_CHUNK
from fav.pipeline.plan import make_plan
from fav.pipeline.progress import blocked, progress
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import flow_task, frame_task, warmup_task
from fav.stylize.blend import blend
from fav.stylize.chain import chunk_starts
from fav.stylize.engine import FrameStylizer
from fav.stylize.settings import CROSSFADE
from fav.stylize.timeline import Timeline
from shared import attempts, results
from shared.claims import Claims, claimed
from shared.heartbeat import temporary_member
from shared.shared_dir import open_share
from tests.helpers.commands import call
from tests.helpers.timelines import piece
from tests.helpers.video_jobs import FRAMES, create, film_of, frames_of, same, start_node, studio_of, work

CHUNK = 8  # of the clip's 24 frames


@pytest.fixture(scope="module")
def chunked(tmp_path_factory, clip, style):
    """The film of three chunks, made once by one worker."""
    job = create(open_share(tmp_path_factory.mktemp("chunked")), clip, style, chunk=CHUNK, no_cuts=True)
    assert work(job)
    return job


@pytest.fixture(scope="module")
def plain(tmp_path_factory, clip, style):
    """The film without chunks."""
    job = create(open_share(tmp_path_factory.mktemp("plain")), clip, style, no_cuts=True)
    assert work(job)
    return job


def shape(timeline: Timeline) -> list[tuple]:
    return [(run.start, run.stop, run.warmup, run.crossfade) for run in timeline.chains]


# ---- which chunks there are
def test_chunks_are_of_one_length_and_the_last_has_half_of_it_or_more():
    assert list(chunk_starts(35, 10)) == [10, 20, 30] and list(chunk_starts(34, 10)) == [10, 20]
    assert list(chunk_starts(29, 10)) == []  # too short to gain
    assert list(chunk_starts(10**9, 10, after=10**9 - 21)) == [10**9 - 20, 10**9 - 10]


@pytest.mark.parametrize("backward, expected", [
    (False, [(0, 10, 0, CROSSFADE), (10, 20, CROSSFADE, CROSSFADE), (20, 34, CROSSFADE, 0), (34, 40, 0, 0)]),
    (True, [(0, 14, CROSSFADE, 0), (14, 24, CROSSFADE, CROSSFADE), (24, 34, 0, CROSSFADE), (34, 40, 0, 0)]),
])  # fmt: skip
def test_each_chunk_but_a_shots_first_has_a_lead_in_and_each_but_its_last_a_passage(backward, expected):
    timeline = Timeline(chunk=10, reverse=backward)
    timeline.add(piece(0, 40, 34, last=True))
    assert shape(timeline) == expected
    for run in timeline.chains:
        following = timeline.next_chunk(run)
        assert (following is not None) == bool(run.crossfade)
        if following:
            lead_in = [following.frame(position) for position in range(CROSSFADE)]
            assert lead_in == [run.frame(len(run) - run.crossfade + place) for place in range(CROSSFADE)]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("step", [1, 7, 10, 23])
def test_shot_that_grows_gets_the_chunks_of_the_whole_and_paints_nothing_that_another_chunk_may_begin_with(
    step, backward
):
    whole, grown = Timeline(chunk=10, reverse=backward), Timeline(chunk=10, reverse=backward)
    cuts = (58, 80)
    whole.add(piece(0, 100, *cuts, last=True))
    painted = set()
    for start in range(0, 100, step):
        count = min(step, 100 - start)
        grown.add(
            piece(start, count, *(cut for cut in cuts if start <= cut < start + count), last=start + count == 100)
        )
        for run in grown.chains:
            while run.remaining and (run.is_final or not backward):
                painted.add((run.is_warmup(run.done), run.frame(run.done)))
                run.done += 1
    assert shape(grown) == shape(whole) and all(run.is_final and not run.remaining for run in grown.chains)
    assert painted == {(run.is_warmup(at), run.frame(at)) for run in whole.chains for at in range(len(run))}


def test_share_of_the_next_chunk_grows_evenly_over_the_passage():
    timeline = Timeline(chunk=10)
    timeline.add(piece(0, 30, last=True))
    shares = [timeline.chain_of(frame).crossfade_weight(frame) for frame in range(30)]
    crossfade = [place / (CROSSFADE + 1) for place in range(1, CROSSFADE + 1)]
    assert shares == [0, 0, 0, *crossfade, 0, 0, 0, *crossfade, *[0] * 10]


def test_independent_frames_need_no_chunks():
    timeline = Timeline(independent=True, chunk=10)
    timeline.add(piece(0, 100, last=True))
    assert shape(timeline) == [(0, 100, 0, 0)]


# ---- what a film in chunks is
def test_chunks_are_plain_chains_and_the_film_shows_mixtures_of_two_in_the_passage(chunked, plain):
    (stylizer, index), artifacts = studio_of(chunked), JobArtifacts(chunked)
    artifacts.load_new_segments()
    prior = None
    for number in range(CHUNK - CROSSFADE, 2 * CHUNK):
        task = (warmup_task if number < CHUNK else frame_task)(number)
        geometry = stylizer.flow_field(number, number - 1, index)
        prior = stylizer.first(number, index, False) if prior is None else stylizer.next(number, index, prior, geometry)
        assert np.array_equal(artifacts.stylized_frame(task), prior)
    shown, whole = frames_of(chunked), frames_of(plain)
    assert np.array_equal(shown[0], whole[0])
    assert same(
        shown[-CHUNK:], [artifacts.stylized_frame(frame_task(number)) for number in range(FRAMES - CHUNK, FRAMES)]
    )
    for place in range(1, CROSSFADE + 1):
        number = CHUNK - CROSSFADE - 1 + place
        assert np.array_equal(
            artifacts.stylized_frame(frame_task(number)), whole[number]
        )  # the first chunk begins as the whole does
        assert np.array_equal(
            shown[number], blend(whole[number], artifacts.stylized_frame(warmup_task(number)), place / (CROSSFADE + 1))
        )


def test_short_shots_stay_whole(clip, style, share):
    ones, others = create(share, clip, style, chunk=CHUNK, name="cut"), create(share, clip, style, name="off")
    assert work(ones) and work(others)
    assert same(frames_of(ones), frames_of(others)) and not (ones.layout.results / "warmup").exists()


def test_status_counts_chunks(chunked, plain):
    assert progress(JobArtifacts(chunked)) == {**progress(JobArtifacts(plain)), "chunk": (3, 3)}


@pytest.mark.parametrize("backward", [pytest.param(False, marks=pytest.mark.slow), True])
def test_one_process_makes_the_same_film_byte_for_byte(chunked, clip, style, share, tmp_path, backward):
    job = create(share, clip, style, chunk=CHUNK, no_cuts=True, reverse=True) if backward else chunked
    assert work(job)
    out = tmp_path / "film.mp4"
    words = (clip, style, out, "--chunk", CHUNK, "--no-cuts", *(["--reverse"] if backward else []))
    assert call(fav_main, "stylize", *words).exit_code == 0
    assert out.read_bytes() == film_of(job).read_bytes()


@pytest.mark.slow
def test_three_nodes_make_the_same_film(chunked, clip, style, share):
    nodes = [start_node(share, str(clip), str(style), "--chunk", str(CHUNK), "--no-cuts") for _ in range(3)]
    outputs = [node.communicate(timeout=120)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0, 0], outputs
    (film,) = share.layout.root.glob("*.mp4")
    assert film.read_bytes() == film_of(chunked).read_bytes()


@pytest.mark.slow
def test_killed_nodes_resume_to_the_same_film_byte_for_byte(chunked, clip, style, share):
    job = create(share, clip, style, chunk=CHUNK, no_cuts=True)
    for pictures in (4, 27):
        node = start_node(share, "--job", job.name)
        while len([*job.layout.results.glob("frame/*/*.png"), *job.layout.results.glob("warmup/*/*.png")]) < pictures:
            assert node.poll() is None
            time.sleep(0.005)
        node.send_signal(signal.SIGKILL)
        node.communicate()
    assert start_node(share, "--job", job.name).wait(120) == 0
    assert film_of(job).read_bytes() == film_of(chunked).read_bytes()
    assert claimed(job) == {}


@pytest.mark.parametrize("spoiled, before", [
    (warmup_task(3), warmup_task(4)), (frame_task(8), frame_task(9)), (frame_task(5), None), (warmup_task(5), None),
])  # fmt: skip
def test_damaged_picture_is_made_again_and_the_film_is_the_same(chunked, clip, style, share, spoiled, before):
    job = create(share, clip, style, chunk=CHUNK, no_cuts=True)
    with temporary_member(share) as node:
        plan = make_plan(job, node)  # until the task `before`, or until all is painted
        while (task := next(plan.candidates())) != before and task.kind != "encode":
            results.publish_bytes(node, job, task, plan.run(task, lambda: None))
            plan.published(task, True)
    damaged = job.layout.result(spoiled)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert work(job)
    assert film_of(job).read_bytes() == film_of(chunked).read_bytes()
    assert [attempt.why for attempt in attempts.attempts_of_task(job, spoiled)] == ["damaged"]


def test_chunks_wait_for_nothing_but_the_index(clip, style, share):
    job = create(share, clip, style, chunk=CHUNK, no_cuts=True)
    with temporary_member(share) as ours, temporary_member(share) as theirs:
        plan = make_plan(job, ours)
        index = next(plan.candidates())
        results.publish_bytes(ours, job, index, plan.run(index, lambda: None))
        plan.published(index, True)
        longest_first = ["warmup.0000001", "warmup.0000009", "frame.0000000"]
        assert [str(task) for task in plan.candidates()] == longest_first
        Claims(theirs, job).claim(warmup_task(1))
        assert [str(task) for task in plan.candidates()] == longest_first[1:]


def test_flow_that_travelled_serves_lead_in_and_passage_alike(chunked, clip, style, share, monkeypatch):
    monkeypatch.setitem(flows.METHODS, "dis", replace(flows.METHODS["dis"], is_expensive=True))
    job = create(share, clip, style, chunk=CHUNK, no_cuts=True, keep_flow=True)
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        index = next(plan.candidates())
        results.publish_bytes(node, job, index, plan.run(index, lambda: None))
        plan.published(index, True)
        for frame in range(1, FRAMES):
            results.publish_bytes(node, job, flow_task(frame), plan.run(flow_task(frame), lambda: None))
    monkeypatch.setattr(FrameStylizer, "flow_field", None)  # whoever calls it now fails
    assert work(job)
    assert same(frames_of(job), frames_of(chunked))


def test_failed_lead_in_says_who_waits(clip, style, share):
    job = create(share, clip, style, chunk=CHUNK, no_cuts=True)
    with temporary_member(share) as node:
        plan = make_plan(job, node)
        index = next(plan.candidates())
        results.publish_bytes(node, job, index, plan.run(index, lambda: None))
    waiting = f"{CROSSFADE - 1 + CHUNK} frames wait for warmup 1, which failed"
    assert blocked(JobArtifacts(job), [str(warmup_task(CHUNK - CROSSFADE))]) == [waiting]


# ---- what is recorded
def test_chunk_is_recorded_in_the_job_and_another_is_refused(chunked, clip, style):
    assert JobSpec.from_json(chunked.manifest.spec).chunk == CHUNK
    with pytest.raises(FavError, match="--chunk 8, not --chunk off"):
        create(chunked.share, clip, style, chunk=None, no_cuts=True, name=chunked.name)


@pytest.mark.parametrize("words, chunk", [("auto", AUTO_CHUNK), ("off", None), ("30", 30)])
def test_chunk_is_typed_in_words_or_frames(words, chunk):
    assert ChunkType().convert(words, None, None) == chunk


@pytest.mark.parametrize("words", ["7", "-8", "many", "1e3"])
def test_chunk_too_short_for_a_lead_in_is_refused(words):
    with pytest.raises(click.BadParameter, match="from 8 on"):
        ChunkType().convert(words, None, None)
