"""Estimate the time left of a film; pure functions. Frames of one shot depend on each other, so a rate is not enough."""

import heapq
from collections import deque
from collections.abc import Sequence

WINDOW_S = 120.0  # the rate is measured over this much of the past
MIN_FRAMES = 8  # minimum of frames in the window; it is longer if they take longer
MAX_SHOTS = 10_000  # for more shots, their sum is accurate enough
STITCH_S = 0.008, 0.06  # per frame, and per million pixels of it, on one machine


class ThroughputEstimator:
    """Estimates the seconds that one node needs per frame, from recent observations."""

    def __init__(self):
        self._seen: deque[tuple[float, int, int]] = deque()

    def observe(self, now: float, frames: int, active_workers: int) -> None:
        """Note that `frames` were done at time `now`, and that `active_workers` nodes were at work.

        `now` is in seconds of a monotonic clock.
        """
        self._seen.append((now, frames, active_workers))
        while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW_S and frames - self._seen[1][1] >= MIN_FRAMES:
            self._seen.popleft()

    @property
    def rate(self) -> float | None:
        """Frames per second, of all nodes together; None before one was done."""
        seconds, frames = self._seen[-1][0] - self._seen[0][0] if self._seen else 0, self._frames
        return frames / seconds if frames and seconds > 0 else None

    @property
    def active_workers(self) -> float:
        """The average number of nodes at work, at least 1: a single observation may find some between two frames."""
        seen = list(self._seen)
        worked = sum((after[0] - before[0]) * before[2] for before, after in zip(seen, seen[1:]))
        seconds = seen[-1][0] - seen[0][0] if seen else 0
        return max(worked / seconds, 1.0) if seconds > 0 else 1.0

    @property
    def seconds_per_frame(self) -> float | None:
        """Seconds that one node needs for a frame; None before one was done."""
        return self.active_workers / self.rate if self.rate else None

    @property
    def _frames(self) -> int:
        return self._seen[-1][1] - self._seen[0][1] if self._seen else 0


def estimate_seconds_left(shots: Sequence[int], pace: ThroughputEstimator, stitch_s: float = 0.0) -> float | None:
    """Estimate the seconds until the film is complete, with as many nodes as recently.

    Assumes what nodes do: a free node takes the longest shot that is left.

    Args:
        shots: the number of frames left in each shot.
        pace: the recent throughput.
        stitch_s: seconds of the stitch after the last frame.

    Returns:
        None before a frame was done.
    """
    if pace.seconds_per_frame is None:
        return None
    active_workers = round(pace.active_workers)
    if len(shots) > MAX_SHOTS:
        return max(max(shots), sum(shots) / active_workers) * pace.seconds_per_frame + stitch_s
    free = [0] * min(active_workers, max(len(shots), 1))
    for frames in sorted(shots, reverse=True):
        heapq.heapreplace(free, free[0] + frames)
    return max(free) * pace.seconds_per_frame + stitch_s


def encode_seconds(frames: int, size: tuple[int, int]) -> float:
    """Estimate the seconds to encode a film with that many frames of `size` (width, height)."""
    each, area = STITCH_S
    return frames * (each + area * size[0] * size[1] / 1e6)
