"""Pieces of an index, and the options of a job, that are made up."""

from fractions import Fraction

import numpy as np

from fav.pipeline.spec import JobSpec
from fav.stylize.timeline import IndexSegment
from fav.video import FrameIndex


def piece(start: int, count: int, *cuts: int, last: bool = False) -> IndexSegment:
    numbers = np.arange(start, start + count)
    return IndexSegment(
        start, FrameIndex(numbers, np.ones(count, int), numbers == 0, numbers, Fraction(1, 25)), cuts, last
    )


SPEC = JobSpec(
    video="a.mp4",
    video_hash="1",
    style="jobs/x/inputs/style.pth",
    style_hash="2",
    width=64,
    height=48,
    out="a.mp4",
    cuts=(3, 9),
)
