"""Film jobs of any length without a video: the index is made up, and nothing is painted. For what scale costs."""

import json
import os
from collections.abc import Iterable
from concurrent.futures import Future
from fractions import Fraction
from threading import Lock
from unittest import mock

import numpy as np

from fav.pipeline.plan import VideoPlan
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import frame_task, index_task
from fav.stylize.timeline import SEGMENT_FRAMES, IndexSegment
from fav.util.images import encode_png
from fav.video import FrameIndex
from shared.errors import StopRequested
from shared.identity import Identity
from shared.jobs import Job, create_job
from shared.membership import Node
from shared.paths import SHARD
from shared.settings import LEASE_S
from shared.shared_dir import SharedDir

PICTURE = np.zeros((2, 2, 3), np.uint8)


def make_film(share: SharedDir, frames: int, shot: int, name: str = "film", indexed: bool = True, **options) -> Job:
    """A job of that many frames in shots of `shot` frames; its index is there unless not `indexed`."""
    spec = JobSpec(
        video="none.mp4",
        video_hash="",
        style="none.safetensors",
        style_hash="",
        width=2,
        height=2,
        out=f"{name}.mp4",
        **options,
    )
    node = Node(share, Identity.here())  # without a heart, whose beats would be counted
    node.join()
    job, _ = create_job(node, name, LEASE_S, lambda layout: spec.to_json())
    node.leave()
    if indexed:
        put_index(job, range(frames), frames, shot)
    return job


def put_index(job: Job, part: range, frames: int, shot: int) -> None:
    """Publish the pieces of the index that describe a part of the frames."""
    for start in range(part.start, part.stop, SEGMENT_FRAMES):
        put(job, index_task(start // SEGMENT_FRAMES), json.dumps(piece(start, frames, shot).to_json()).encode())


def piece(start: int, frames: int, shot: int) -> IndexSegment:
    numbers = np.arange(start, min(start + SEGMENT_FRAMES, frames))
    index = FrameIndex(
        numbers * 512, np.full(len(numbers), 512), numbers % 12 == 0, numbers * 2654435761 % 2**32, Fraction(1, 12800)
    )
    return IndexSegment(
        start,
        index,
        tuple(int(number) for number in numbers if number and number % shot == 0),
        start + SEGMENT_FRAMES >= frames,
    )


def put(job: Job, task, data: bytes) -> None:
    """A result, as if it had been published."""
    path = job.layout.result(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def paint(job: Job, numbers: Iterable[int]) -> None:
    """Let these frames be done: links to one picture a directory, since a file has at most 65000 names."""
    data, shard, first = encode_png(PICTURE), None, None
    for number in numbers:
        if number // SHARD != shard:
            shard, first = number // SHARD, job.layout.result(frame_task(number))
            put(job, frame_task(number), data)
        else:
            os.link(first, job.layout.result(frame_task(number)))


class FakeStylizer:
    """A studio that paints at once, always the same."""

    numeric_class = "none"
    cube = None  # no 360° video

    def __init__(self, *arguments): ...

    def flow_is_given(self, backward: bool) -> bool:
        return False

    def submit_frame(self, *words):
        done = Future()
        done.set_result((PICTURE, 0.0))
        return done


PATCHING = Lock()  # two threads that patch at the same time would leave the fakes in place for all other tests


class LimitedPlan(VideoPlan):
    """The plan of such a film, which is stopped when it has painted `most` frames. `frames` are those that it has."""

    def __init__(self, job: Job, node: Node, most: int):
        with (
            PATCHING,
            mock.patch("fav.pipeline.plan.FrameStylizer", FakeStylizer),
            mock.patch("fav.pipeline.plan.changed_inputs", lambda *words: []),
        ):
            super().__init__(job, node)
        self.most, self.frames = most, []

    def run(self, task, report_progress):
        if len(self.frames) == self.most:
            raise StopRequested("enough")
        if task.kind == "frame":
            self.frames.append(task.number)
        return super().run(task, report_progress)
