"""Where a film is divided into segments, each of which is encoded by itself; pure.

A segment begins with a keyframe, and no frame of it refers to another one. Segments begin at cuts where that is possible: an
encoder puts a keyframe there anyway. The borders follow from the frames and the cuts alone, and those that are known stay when
more of the film is known, so every node finds the same ones.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from fav.stylize.settings import SEGMENT_LENGTH

LEAST_PART = 3  # of that length, a third is the least: each segment costs a keyframe and what encoders see ahead


def segment_starts(start: int, end: int, cuts: Sequence[int], length: int = SEGMENT_LENGTH) -> list[int]:
    """The first frames of the segments that follow on one which begins at frame `start`, as far as they are settled.

    A segment ends at the first cut after a third of `length` frames, and after `length` frames at the latest. The last one has
    a third of `length` frames or more, and up to four thirds.

    Args:
        start: The first frame of a segment.
        end: One past the last frame that is known.
        cuts: First frames of shots, ascending; all that are known before `end`.
        length: Frames.

    Returns:
        Frames after `start`, ascending. The segment that begins at the last of them is settled only where the film ends at
        `end`.
    """
    least, found = max(length // LEAST_PART, 1), []
    while True:
        following = bisect_left(cuts, start + least)
        cut = cuts[following] if following < len(cuts) else start + length
        start = min(cut, start + length)
        if start + least > end:  # too little is left for another one, or it is not known yet
            return found
        found.append(start)


def segments_of(start: int, stop: int, cuts: Sequence[int] = (), length: int = SEGMENT_LENGTH) -> list[range]:
    """The segments of all frames `[start, stop)` of a film with these cuts."""
    borders = [start, *segment_starts(start, stop, cuts, length), stop]
    return [range(begin, end) for begin, end in pairwise(borders)]
