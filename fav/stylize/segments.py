"""Divide a film into segments that are encoded independently; pure.

A segment begins with a keyframe, and its frames refer to no other segment. If possible, it begins at a cut, because
encoders put a keyframe there anyway. Boundaries depend only on the frames and cuts. Known boundaries do not change when
more of the film is indexed. So all nodes find the same ones.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from fav.stylize.settings import SEGMENT_LENGTH

MIN_DIVISOR = 3  # a segment has at least a third of `length`: each one costs a keyframe and encoder lookahead


def segment_starts(start: int, end: int, cuts: Sequence[int], length: int = SEGMENT_LENGTH) -> list[int]:
    """The first frames of the segments after one that begins at `start`.

    A segment ends at the first cut after a third of `length` frames, or after `length` frames. The last segment of a
    film has between one and four thirds of `length` frames.

    Args:
        start: the first frame of a segment.
        end: one past the last known frame.
        cuts: first frames of shots, ascending; all known ones before `end`.
        length: in frames.

    Returns:
        Frames after `start`, ascending. The end of the last segment is known only if the film ends at `end`.
    """
    min_length, starts = max(length // MIN_DIVISOR, 1), []
    while True:
        following = bisect_left(cuts, start + min_length)
        cut = cuts[following] if following < len(cuts) else start + length
        start = min(cut, start + length)
        if start + min_length > end:  # the rest is too short, or not known yet
            return starts
        starts.append(start)


def segments_of(start: int, stop: int, cuts: Sequence[int] = (), length: int = SEGMENT_LENGTH) -> list[range]:
    """All segments of a complete film with frames `[start, stop)`."""
    boundaries = [start, *segment_starts(start, stop, cuts, length), stop]
    return [range(begin, end) for begin, end in pairwise(boundaries)]
