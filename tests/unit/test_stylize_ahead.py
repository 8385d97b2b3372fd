"""A frame is painted while the one before it is published: sooner, and never another picture."""

import errno
import threading

import numpy as np
import pytest

from fav.pipeline.plan import VideoPlan, make_plan
from fav.pipeline.task_names import frame_task
from fav.stylize.engine import FrameStylizer, stylized
from fav.util.images import encode_png
from shared import results
from shared.heartbeat import temporary_member
from tests.helpers.job_system import make_share
from tests.helpers.video_jobs import CUT, create, work


@pytest.fixture
def share(root):
    """An empty share, by the clock of the world."""
    return make_share(root)


@pytest.fixture
def job(share, clip, style):
    return create(share, clip, style, frames=CUT + 2)


@pytest.fixture
def node(share):
    with temporary_member(share) as node:
        yield node


@pytest.fixture
def plan(job, node) -> VideoPlan:
    """At the first frame of the film."""
    plan = make_plan(job, node)
    while next(plan.candidates()).kind == "index":
        publish(plan, next(plan.candidates()))
    yield plan
    plan.stylizer.close()


def publish(plan: VideoPlan, task) -> None:
    ours = results.publish_bytes(plan.node, plan.job, task, plan.run(task, lambda: None))
    plan.published(task, ours)


def painted(monkeypatch) -> list[int]:
    """The numbers of the frames that are painted from now on."""
    numbers = []
    for name in ("first", "next"):
        paint = getattr(FrameStylizer, name)
        monkeypatch.setattr(
            FrameStylizer,
            name,
            lambda stylizer, frame, *words, paint=paint: (numbers.append(frame), paint(stylizer, frame, *words))[1],
        )
    return numbers


def test_next_frame_is_painted_before_this_one_is_published(job, monkeypatch):
    begun = threading.Event()
    paint, publish_bytes = FrameStylizer.next, results.publish_bytes
    monkeypatch.setattr(
        FrameStylizer,
        "next",
        lambda stylizer, frame, *words: (frame == 2 and begun.set(), paint(stylizer, frame, *words))[1],
    )

    def published(node, job, task, data):
        assert task != frame_task(1) or begun.wait(60)
        return publish_bytes(node, job, task, data)

    monkeypatch.setattr(results, "publish_bytes", published)
    assert work(job)


def test_each_frame_is_painted_once(job, monkeypatch):
    numbers = painted(monkeypatch)
    assert work(job)
    assert numbers == [*range(CUT + 2)]


def test_who_finds_another_picture_published_goes_on_from_that(plan, job, node):
    publish(plan, frame_task(0))
    data = plan.run(frame_task(1), lambda: None)
    other = np.full((64, 96, 3), (30, 200, 90), np.uint8)
    assert results.publish_bytes(node, job, frame_task(1), encode_png(other, {}))  # by one that took this node for dead
    plan.published(frame_task(1), results.publish_bytes(node, job, frame_task(1), data))
    publish(plan, frame_task(2))
    index = plan.timeline.index
    assert np.array_equal(
        plan.artifacts.stylized_frame(frame_task(2)),
        plan.stylizer.next(2, index, other, plan.stylizer.flow_field(2, 1, index)),
    )


def test_what_fails_ahead_fails_as_its_own_frame_and_not_twice(plan, job, monkeypatch):
    paint, failed = FrameStylizer.next, []

    def once(stylizer, frame, *words):
        if frame == 2 and not failed:
            failed.append(frame)
            raise OSError(errno.ENOSPC, "no space left")
        return paint(stylizer, frame, *words)

    monkeypatch.setattr(FrameStylizer, "next", once)
    publish(plan, frame_task(0))
    publish(plan, frame_task(1))
    with pytest.raises(OSError, match="no space left"):
        plan.run(frame_task(2), lambda: None)
    publish(plan, frame_task(2))
    plan.stylizer._frames.submit(lambda: None).result()  # the next frame, which is painted ahead by the same network
    index = plan.timeline.index
    expected = plan.stylizer.next(
        2, index, plan.artifacts.stylized_frame(frame_task(1)), plan.stylizer.flow_field(2, 1, index)
    )
    assert np.array_equal(plan.artifacts.stylized_frame(frame_task(2)), expected)


def test_nothing_is_painted_ahead_across_a_cut_or_beyond_the_last_frame(plan, monkeypatch):
    numbers = painted(monkeypatch)
    for frame in range(CUT + 2):
        publish(plan, frame_task(frame))
    plan.stylizer.close()
    assert numbers == [*range(CUT + 2)]


def test_film_in_one_process_paints_a_frame_while_the_one_before_it_is_used(plan, monkeypatch):
    numbers, begun = painted(monkeypatch), threading.Event()
    paint = FrameStylizer.next
    monkeypatch.setattr(
        FrameStylizer, "next", lambda stylizer, frame, *words: (begun.set(), paint(stylizer, frame, *words))[1]
    )
    film = stylized(plan.stylizer, plan.timeline)
    first = next(film)
    assert begun.wait(60)
    assert len([first, *film]) == CUT + 2 and numbers == [*range(CUT + 2)]
