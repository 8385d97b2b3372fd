"""How long a film still takes: pure. Frames of one shot wait for each other, so it is not frames left by frames a second."""

import heapq
from collections import deque
from collections.abc import Sequence

WINDOW_S = 120.0  # of the past that tells how fast frames are made
MIN_FRAMES = 8  # frames in it, however long that takes
MANY = 10_000  # shots; of more, their sum tells all
STITCH_S = 0.008, 0.06  # for a frame, and for its million pixels, on one machine; small beside the rest


class ThroughputEstimator:
    """How many seconds of one node a frame takes, from what was seen lately."""

    def __init__(self):
        self._seen: deque[tuple[float, int, int]] = deque()

    def observe(self, now: float, frames: int, active_workers: int) -> None:
        """At `now`, seconds of any clock that does not stand still, `frames` were done and `active_workers` nodes painted."""
        self._seen.append((now, frames, active_workers))
        while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW_S and frames - self._seen[1][1] >= MIN_FRAMES:
            self._seen.popleft()

    @property
    def rate(self) -> float | None:
        """Frames a second, of all nodes together; None before one was done."""
        seconds, frames = self._seen[-1][0] - self._seen[0][0] if self._seen else 0, self._frames
        return frames / seconds if frames and seconds > 0 else None

    @property
    def active_workers(self) -> float:
        """How many nodes painted on average, at least 1: single looks find some between two frames."""
        looks = list(self._seen)
        worked = sum((after[0] - before[0]) * before[2] for before, after in zip(looks, looks[1:]))
        seconds = looks[-1][0] - looks[0][0] if looks else 0
        return max(worked / seconds, 1.0) if seconds > 0 else 1.0

    @property
    def seconds_per_frame(self) -> float | None:
        """Seconds that one node paints at a frame; None before one was done."""
        return self.active_workers / self.rate if self.rate else None

    @property
    def _frames(self) -> int:
        return self._seen[-1][1] - self._seen[0][1] if self._seen else 0


def estimate_seconds_left(shots: Sequence[int], pace: ThroughputEstimator, stitch_s: float = 0.0) -> float | None:
    """Seconds until the film is there, with `shots` frames left in each shot and as many nodes as lately; None before a
    frame was done. stitch_s is what is left when all frames are there.

    As nodes do it: whoever is free takes the longest shot that nobody has.
    """
    if pace.seconds_per_frame is None:
        return None
    active_workers = round(pace.active_workers)
    if len(shots) > MANY:
        return max(max(shots), sum(shots) / active_workers) * pace.seconds_per_frame + stitch_s
    free = [0] * min(active_workers, max(len(shots), 1))
    for frames in sorted(shots, reverse=True):
        heapq.heapreplace(free, free[0] + frames)
    return max(free) * pace.seconds_per_frame + stitch_s


def encode_seconds(frames: int, size: tuple[int, int]) -> float:
    """Seconds to make a film of so many frames of `size` (width, height)."""
    each, area = STITCH_S
    return frames * (each + area * size[0] * size[1] / 1e6)
