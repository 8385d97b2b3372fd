"""The two interfaces of the job system: the tasks of a job (`TaskPlan`), and the progress of a worker (`WorkerEvents`)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from shared.jobs import Job
from shared.node_health import NodeHealth
from shared.paths import Task


class TaskPlan(Protocol):
    """The tasks of one job, for one node. The job can finish without the tasks of `optional` kinds."""

    optional: frozenset[str]

    def candidates(self) -> Iterator[Task]:
        """Tasks that can run now and seem unclaimed, the best first. Reads the state of the share."""
        ...

    def run(self, task: Task, report_progress: Callable[[], None]) -> bytes | Path:
        """Run a task.

        Args:
            task: the task.
            report_progress: long tasks call it now and then.

        Returns:
            The result in memory, or a temporary file with it.

        Raises:
            ResultVanishedError: a published input is gone. Any other exception is a failed attempt.
        """
        ...

    def published(self, task: Task, ours: bool) -> None:
        """Note that a task is done. `ours` is False if another node's result was published first."""
        ...

    def next_in_chain(self, task: Task) -> Task | None:
        """The task to claim before this one is released, so that a chain stays on the node that has its state cached."""
        ...

    def self_test_task(self, task: Task) -> Task | None:
        """A task of the same kind that is done, for a node's self-test; None if there is none."""
        ...

    def finalize(self) -> str | None:
        """Finish the job if all tasks are published: a text for the user, else None. A repeat does no harm."""
        ...

    def invalidate_cache(self) -> None:
        """Drop the cached state of the share, because a part of it was wrong."""
        ...


class WorkerEvents(Protocol):
    """Receives the progress of a worker. Messages for people are logged instead."""

    def begin(self, job: Job, task: Task) -> None: ...
    def report_progress(self) -> None: ...
    def end(self) -> None: ...
    def waiting(self) -> None: ...
    def store_health(self, health: NodeHealth) -> None: ...  # for the next worker, if this one crashes
