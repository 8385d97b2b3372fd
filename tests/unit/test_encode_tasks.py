"""Which segments can be encoded now: the same as if every segment was looked at each time, without doing so."""

import random
from pathlib import Path

import pytest

from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.encode_tasks import EncodeTasks
from fav.pipeline.task_names import encode_task
from fav.stylize.timeline import Timeline
from tests.helpers.fake_video_job import make_film, put, put_index

FRAMES = 6000


def is_stylized(timeline: Timeline, frame: int, reached: dict[int, int]) -> bool:
    """Whether a frame is painted, looked up in all chains."""
    number = next(one for one, chain in enumerate(timeline.chains) if chain.start <= frame < chain.stop)
    chain = timeline.chains[number]
    following = timeline.chains[number + 1 : number + 2] if chain.crossfade_weight(frame) else []
    return all(
        one.index_of(frame) < min(len(one) - one.undecided, max(one.done, reached.get(one.start, 0)))
        for one in [chain, *following]
    )


def open_segments(artifacts: JobArtifacts, reached: dict[int, int], unavailable: set[str]) -> list[str]:
    """The segments that can be encoded, if each one is looked at, and each frame of it."""
    done = artifacts.published_in_shard("encode", 0)
    names = [str(encode_task(number)) for number in range(len(artifacts.segments)) if number not in done]
    return [
        name
        for name in names
        if name not in unavailable
        and all(
            is_stylized(artifacts.timeline, frame, reached) for frame in artifacts.segments[int(name.split(".")[1])]
        )
    ]


@pytest.mark.parametrize("chunk", [None, 48, 200])
@pytest.mark.parametrize("seed", range(2))
def test_open_segments_are_those_of_a_look_at_every_frame(share, chunk, seed):
    random.seed(seed)
    job = make_film(share, FRAMES, 700, indexed=False, chunk=chunk)
    artifacts = JobArtifacts(job)
    tasks, indexed, found_some = EncodeTasks(artifacts, Path("none.mp4")), 0, 0
    for look in range(40):
        if indexed < FRAMES and random.random() < 0.5:
            put_index(job, range(indexed, indexed + 500), FRAMES, 700)
            indexed += 500
        artifacts.load_new_segments()
        chains = [chain for chain in artifacts.timeline.chains if chain.remaining > 0]
        for chain in random.sample(chains, len(chains) // 3):
            chain.done += random.randint(0, chain.remaining)
        active = random.sample(chains, len(chains) // 2)
        reached = {chain.start: random.randint(chain.done, chain.done + chain.remaining) for chain in active}
        unavailable = {str(encode_task(number)) for number in random.sample(range(43), 5)}
        expected = open_segments(artifacts, reached, unavailable)
        assert [str(task) for task in tasks.candidates(reached, unavailable)] == expected
        if expected:
            found_some += 1
            number = int(random.choice(expected).split(".")[1])
            put(job, encode_task(number), b"packets")
            if look % 2:
                tasks.published(encode_task(number))  # it is this node that has encoded it
    assert found_some > 10


def test_segments_that_wait_for_the_same_frame_still_are_not_looked_at_again(share, monkeypatch):
    job = make_film(share, FRAMES, 700)
    artifacts = JobArtifacts(job)
    artifacts.load_new_segments()
    tasks, looked = EncodeTasks(artifacts, Path("none.mp4")), []
    first_missing = Timeline.first_missing
    monkeypatch.setattr(Timeline, "first_missing", lambda *words: looked.append(words[1]) or first_missing(*words))
    assert list(tasks.candidates({}, set())) == [] and len(looked) == len(artifacts.segments) > 40
    looked.clear()
    artifacts.timeline.chains[0].done = 200
    assert list(tasks.candidates({}, set())) == [encode_task(0)] and looked == [range(144)]
    tasks.published(encode_task(0))
    looked.clear()
    assert list(tasks.candidates({}, set())) == [] and looked == []
