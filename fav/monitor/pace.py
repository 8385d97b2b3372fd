"""How fast a job goes and how long it still takes: one estimate, which every view of the job shows."""

from collections.abc import Iterable
from contextlib import suppress

from fav.monitor.eta import ThroughputEstimator, seconds_left, stitching
from fav.pipeline.artifacts import DamagedFileError, JobArtifacts
from fav.pipeline.task_names import PAINTED, painting_task
from fav.stylize.chain import FrameChain
from shared.errors import JobQueueError, ResultVanishedError
from shared.paths import Task
from shared.results import read_head

LATEST = 8  # frames of a chain whose times tell, at the first look, how fast it goes
MOST_CHAINS = 10  # that are asked for these times


class JobPace:
    """The pace of one job, from look to look.

    The first look has no earlier one to compare with. It takes the pace from the times at which the latest frames of the
    chains at work were published; these times are all of one clock, that of the server.
    """

    def __init__(self, artifacts: JobArtifacts):
        self.artifacts = artifacts
        self._seen = ThroughputEstimator()
        self._looked = False

    def look(self, now: float, claimed: Iterable[str]) -> None:
        """Learn what is done by now. `now` is in seconds of any clock that does not stand still, `claimed` names tasks."""
        with suppress(DamagedFileError):  # nodes will see to it, or the job's `lacks` tells of it
            self.artifacts.refresh()
        self.artifacts.survey()
        chains = self._at_work(claimed)
        done = sum(run.done for run in self.artifacts.timeline.runs)
        if not self._looked and chains:
            frames, seconds = self._lately(chains)
            if frames:
                self._seen.see(now - seconds / len(chains), done - frames, len(chains))
        self._looked = True
        self._seen.see(now, done, len(chains))

    @property
    def rate(self) -> float | None:
        """Frames a second, of all nodes together; None before one was done."""
        return self._seen.rate

    def left(self) -> float | None:
        """Seconds until the film is there; None where its length is not known yet, or no frame was done lately."""
        timeline, spec = self.artifacts.timeline, self.artifacts.spec
        if not timeline.complete:
            return None
        stitch_s = stitching(timeline.end - spec.start, (spec.width, spec.height))
        return seconds_left([run.left for run in timeline.runs if run.left], self._seen, stitch_s)

    def _at_work(self, claimed: Iterable[str]) -> list[FrameChain]:
        """The chains of which a frame is claimed. A node may hold two frames of its chain."""
        tasks = [task for task in map(Task.parse, claimed) if task and task.kind in PAINTED]
        chains = [run for task in tasks if (run := self.artifacts.run_of(task))]
        return list({run.start: run for run in chains}.values())

    def _lately(self, chains: list[FrameChain]) -> tuple[int, float]:
        """How many frames of these chains were made lately, and in how many seconds of a node."""
        frames, seconds = 0, 0.0
        for run in chains[:MOST_CHAINS]:
            first, last = max(run.done - LATEST, 0), run.done - 1
            if last > first:
                with suppress(ResultVanishedError, JobQueueError):
                    took = self._published(run, last) - self._published(run, first)
                    if took > 0:
                        frames, seconds = frames + last - first, seconds + took
        return frames, seconds

    def _published(self, run: FrameChain, position: int) -> float:
        return read_head(self.artifacts.job, painting_task(run, position), 0)[1]
