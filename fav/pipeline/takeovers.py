"""Takeovers: a node without any other task continues a chain that a much slower node stylizes.

Frames of a chain follow each other, so at the end of a film a slow node with a long chain would keep all others
waiting. A faster node then claims the frame LEAD frames after the one that the slow node has claimed, and waits until
the frame before it is published. The slow node reaches that frame, finds it claimed, and takes another task. No node
tells another to stop, and the film is the same: each frame depends on published frames only.

Speeds are measured: published frames have the seconds that they took.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from fav.pipeline.task_names import stylize_task
from fav.stylize.chain import FrameChain
from fav.util.images import HEAD_BYTES, png_text
from shared import results
from shared.claims import claimed_names
from shared.errors import ResultVanishedError, UserError
from shared.jobs import Job
from shared.paths import Task

LEAD = 2  # frames: the slow node may claim the next one before this node does
SLOWER = 1.5  # times the seconds of a frame here; below, times vary too much to tell
LEAST_GAIN_S = 1.0  # seconds by which a chain must be finished sooner
LATEST = 2  # published frames whose shorter time counts: the first one of a process takes longer
RECENT = 16  # frames of a chain for which a time that was read counts
MAX_READS = 20  # frames whose times are read at one look for tasks
WAIT_S = 0.1  # between two looks for the frame before
PATIENCE = 3  # times that the frames before should take: it waits no longer, and MARGIN_S more
MARGIN_S = 5.0


@dataclass
class _Speed:
    """Seconds of a frame of a chain, as they were read at a position of it."""

    position: int
    seconds: float | None


class Takeovers:
    """The takeovers of one job by this node."""

    def __init__(self, job: Job):
        self.job = job
        self._own: list[float] = []  # seconds of the latest frames that this node stylized
        self._speeds: dict[int, _Speed] = {}  # by the first frame of a chain
        self._given_up: dict[int, int] = {}  # by the first frame of a chain, the position that was awaited in vain

    def measured(self, seconds: float) -> None:
        """Note how long a frame took here."""
        self._own = [*self._own, seconds][-LATEST:]

    def candidates(self, active: Sequence[tuple[FrameChain, int]], claims: set[str]) -> Iterator[Task]:
        """Yield frames to claim in chains of slower nodes, those first whose chain would be finished last.

        Args:
            active: chains that other nodes stylize, with their claimed positions.
            claims: names of claimed tasks.
        """
        if not self._own:
            return  # the speed of this node is not known
        mine, reads, late = min(self._own), 0, []
        for chain, position in active:
            left = len(chain) - chain.undecided - position - LEAD
            ahead = {str(stylize_task(chain, position + step)) for step in range(1, LEAD + 1)} if left > 0 else set()
            if position < LATEST or left <= 0 or ahead & claims or position < self._given_up.get(chain.start, 0):
                continue
            known = self._speeds.get(chain.start)
            if known is None or self._is_old(known, position, mine):
                if reads == MAX_READS:
                    continue
                reads += 1
                known = self._speeds[chain.start] = _Speed(position, self._seconds(chain, position))
            theirs = known.seconds
            # The first frame here is slower, because nothing of it was computed in advance.
            if theirs is None or theirs < SLOWER * mine:
                continue
            if left * theirs - (left + 1) * mine - theirs > LEAST_GAIN_S:
                late.append((left * theirs, stylize_task(chain, position + LEAD)))
        for _, task in sorted(late, key=lambda one: -one[0]):
            if not results.is_done(self.job, task):  # a later frame may be done if a damaged one is made again
                yield task

    def wait_for(self, chain: FrameChain, position: int, report_progress: Callable[[], None]) -> None:
        """Wait until another node has published the frame before a position of a chain.

        It does not wait long: the other node may be dead, and a node in the midst of a task recovers nothing.

        Raises:
            ResultVanishedError: no node has claimed that frame, or one of those shortly before it, or it takes too long.
        """
        before, looks = stylize_task(chain, position - 1), 0
        names = {str(stylize_task(chain, one)) for one in range(max(position - 1 - LEAD, 0), position)}
        known = self._speeds.get(chain.start)
        expected_s = LEAD * (known.seconds or 0.0 if known else 0.0)
        until = time.monotonic() + PATIENCE * expected_s + MARGIN_S
        while not results.is_done(self.job, before):
            looks = 0 if names & set(claimed_names(self.job)) else looks + 1
            if looks > 1 or time.monotonic() > until:  # one look is not enough: it may have been published since
                self._given_up[chain.start] = position
                why = "no node stylizes it any more" if looks > 1 else "its node takes too long"
                raise ResultVanishedError(f"{before}: {why}")
            report_progress()
            time.sleep(WAIT_S)

    def _is_old(self, known: _Speed, position: int, mine: float) -> bool:
        """Whether a time must be read again: always before a takeover, because another node may have the chain now."""
        slow = known.seconds is not None and known.seconds >= SLOWER * mine
        return position != known.position and (slow or not known.position <= position < known.position + RECENT)

    def _seconds(self, chain: FrameChain, position: int) -> float | None:
        """The seconds of the latest frames before a position of a chain; None if they are not known."""
        times = []
        for one in range(position - LATEST, position):
            with suppress(ResultVanishedError, UserError, OSError, ValueError, TypeError):
                head, _ = results.read_head(self.job, stylize_task(chain, one), HEAD_BYTES)
                times.append(float(png_text(head).get("seconds", "")))
        return min((seconds for seconds in times if math.isfinite(seconds) and seconds >= 0), default=None)
