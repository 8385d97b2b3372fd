"""What a worker needs to know of a job's tasks, and to whom it tells its progress: the job system's two doors to the outside."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from shared.jobs import Job
from shared.node_health import NodeHealth
from shared.paths import Task


class TaskPlan(Protocol):
    """The tasks of one job, as one node sees them. Tasks of `optional` kinds may fail without harm to the job."""

    optional: frozenset[str]

    def candidates(self) -> Iterator[Task]:
        """Tasks that can run now and seem unclaimed, the best first; reads the state of the share."""
        ...

    def run(self, task: Task, report_progress: Callable[[], None]) -> bytes | Path:
        """Do a task: its result in memory, or a private file. `report_progress` in long tasks: still at it.

        ResultVanishedError where something published is gone; any other exception is a failed attempt.
        """
        ...

    def published(self, task: Task, ours: bool) -> None:
        """The task is done; not `ours` where another node's result was there first (or before we began)."""
        ...

    def next_in_chain(self, task: Task) -> Task | None:
        """The task to claim before this one is released, so that a chain stays where its state is warm."""
        ...

    def self_test_task(self, task: Task) -> Task | None:
        """A task like this one that is done, on which a node can prove itself; None where there is none."""
        ...

    def finalize(self) -> str | None:
        """Take the job's last steps if all is published; a word for the user then, else None. Safe to do twice."""
        ...

    def invalidate_cache(self) -> None:
        """Drop what was remembered of the share's state: something of it was not true."""
        ...


class WorkerEvents(Protocol):
    """Where a worker tells its progress. What people are to read is logged."""

    def begin(self, job: Job, task: Task) -> None: ...
    def report_progress(self) -> None: ...
    def end(self) -> None: ...
    def waiting(self) -> None: ...
    def store_health(self, health: NodeHealth) -> None: ...  # for the next worker, should this one go down
