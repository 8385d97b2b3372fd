"""What the parts of a worker share: its node, its events, and how they do a step on the shared directory."""

import threading
from collections.abc import Callable
from typing import TypeVar

from shared.errors import ResultVanishedError, SourcesReplaced, StopRequested
from shared.job_state import JobState
from shared.membership import Node
from shared.node_health import NodeHealth
from shared.protocols import WorkerEvents
from shared.retry import retry_transient

T = TypeVar("T")


class WorkerContext:
    """One worker as its parts see it.

    Args:
        node: the node that the worker works for; it has joined.
        events: told what the worker does.
        stop: set when the worker is to stop.
        health: what the node remembers of its failures.
        updated: whether the program's sources were replaced; then a failure is nobody's.
    """

    def __init__(
        self, node: Node, events: WorkerEvents, stop: threading.Event, health: NodeHealth, updated: Callable[[], bool]
    ):
        self.node = node
        self.events = events
        self.stop = stop
        self.health = health
        self.updated = updated

    def clock(self) -> float:
        """Seconds of this machine's monotonic clock."""
        return self.node.share.system.monotonic()

    def retry(self, step: Callable[[], T]) -> T:
        """Do a step; wait while the disk is full or the server does not answer, see `retry_transient`."""
        return retry_transient(step, self.node.share, self._pause)

    def on_job(self, state: JobState, step: Callable[[], T]) -> T:
        """Do a step on the files of a job, as `retry` does.

        Raises:
            JobRemovedError: the job's files are gone.
            EvictedError: the other nodes took this node for dead.
            ResultVanishedError: a file is gone, and the job is not.
        """
        try:
            return self.retry(step)
        except FileNotFoundError as error:
            self.retry(self.node.check)
            self.retry(state.job.flags)
            raise ResultVanishedError(str(error)) from error

    def report_progress(self) -> None:
        """Tell that the task in progress goes on. Raises StopRequested when the worker is to stop."""
        self.check_stop()
        self.events.report_progress()

    def check_stop(self) -> None:
        """Raises StopRequested when the worker is to stop."""
        if self.stop.is_set():
            raise StopRequested("asked to stop")

    def check_sources(self) -> None:
        """Raises SourcesReplaced when they were: a module that is imported later does not fit those imported before."""
        if self.updated():
            raise SourcesReplaced

    def _pause(self, seconds: float) -> None:
        self.events.waiting()
        self.node.share.system.wait(self.stop, seconds)
        self.check_stop()
