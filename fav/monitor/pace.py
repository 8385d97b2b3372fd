"""How fast a job goes and how long it still takes: one estimate, which every view of the job shows."""

from collections.abc import Iterable
from contextlib import suppress

from fav.monitor.eta import ThroughputEstimator, encode_seconds, estimate_seconds_left
from fav.pipeline.artifacts import DamagedFileError, JobArtifacts
from fav.pipeline.task_names import FRAME_KINDS, stylize_task
from fav.stylize.chain import FrameChain
from shared.errors import JobQueueError, ResultVanishedError
from shared.paths import Task
from shared.results import read_head

LATEST = 8  # frames of a chain whose times tell, at the first look, how fast it goes
MAX_CHAINS = 10  # that are asked for these times


class JobPace:
    """The pace of one job, from look to look.

    The first look has no earlier one to compare with. It takes the pace from the times at which the latest frames of the
    chains at work were published; these times are all of one clock, that of the server.
    """

    def __init__(self, artifacts: JobArtifacts):
        self.artifacts = artifacts
        self._seen = ThroughputEstimator()
        self._looked = False

    def poll(self, now: float, claimed: Iterable[str]) -> None:
        """Learn what is done by now. `now` is in seconds of any clock that does not stand still, `claimed` names tasks."""
        with suppress(DamagedFileError):  # nodes will see to it, or the job's `lacks` tells of it
            self.artifacts.load_new_segments()
        self.artifacts.count_all()
        chains = self._at_work(claimed)
        done = sum(chain.done for chain in self.artifacts.timeline.chains)
        if not self._looked and chains:
            frames, seconds = self._lately(chains)
            if frames:
                self._seen.observe(now - seconds / len(chains), done - frames, len(chains))
        self._looked = True
        self._seen.observe(now, done, len(chains))

    @property
    def rate(self) -> float | None:
        """Frames a second, of all nodes together; None before one was done."""
        return self._seen.rate

    def left(self) -> float | None:
        """Seconds until the film is there; None where its length is not known yet, or no frame was done lately."""
        timeline, spec = self.artifacts.timeline, self.artifacts.spec
        if not timeline.is_complete:
            return None
        each_s = encode_seconds(1, (spec.width, spec.height))
        segments = [len(frames) for frames in self.artifacts.segments]
        left = sum(segments) * (1 - self.artifacts.encoded()[0] / len(segments))  # frames
        encode_s = each_s * max(min(max(segments), left), left / round(self._seen.active_workers))
        return estimate_seconds_left(
            [chain.remaining for chain in timeline.chains if chain.remaining], self._seen, encode_s
        )

    def _at_work(self, claimed: Iterable[str]) -> list[FrameChain]:
        """The chains of which a frame is claimed. A node may hold two frames of its chain."""
        tasks = [task for task in map(Task.parse, claimed) if task and task.kind in FRAME_KINDS]
        chains = [chain for task in tasks if (chain := self.artifacts.chain_of(task))]
        return list({chain.start: chain for chain in chains}.values())

    def _lately(self, chains: list[FrameChain]) -> tuple[int, float]:
        """How many frames of these chains were made lately, and in how many seconds of a node."""
        frames, seconds = 0, 0.0
        for chain in chains[:MAX_CHAINS]:
            first, last = max(chain.done - LATEST, 0), chain.done - 1
            if last > first:
                with suppress(ResultVanishedError, JobQueueError):
                    took = self._published(chain, last) - self._published(chain, first)
                    if took > 0:
                        frames, seconds = frames + last - first, seconds + took
        return frames, seconds

    def _published(self, chain: FrameChain, position: int) -> float:
        return read_head(self.artifacts.job, stylize_task(chain, position), 0)[1]
