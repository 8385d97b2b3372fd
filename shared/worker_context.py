"""What the parts of a worker share: its node, its events, and how a step on the shared directory is retried."""

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
    """The common state of one worker's parts.

    Args:
        node: the node of the worker; it has joined.
        events: receives the worker's progress.
        stop: set when the worker must stop.
        health: the node's record of its failures.
        updated: whether the program's sources were replaced; then a failure is no failed attempt.
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
        """This machine's monotonic clock in seconds."""
        return self.node.share.system.monotonic()

    def retry(self, step: Callable[[], T]) -> T:
        """Run a step; wait while the disk is full or the server does not answer, see `retry_transient`."""
        return retry_transient(step, self.node.share, self._pause)

    def on_job(self, state: JobState, step: Callable[[], T]) -> T:
        """Run a step on the files of a job, as `retry` does.

        Raises:
            JobRemovedError: the job's files are gone.
            EvictedError: other nodes considered this node dead.
            ResultVanishedError: a file is gone, but not the job.
        """
        try:
            return self.retry(step)
        except FileNotFoundError as error:
            self.retry(self.node.check)
            self.retry(state.job.flags)
            raise ResultVanishedError(str(error)) from error

    def report_progress(self) -> None:
        """Report that the task in progress continues. Raises StopRequested if the worker must stop."""
        self.check_stop()
        self.events.report_progress()

    def check_stop(self) -> None:
        """Raise StopRequested if the worker must stop."""
        if self.stop.is_set():
            raise StopRequested("asked to stop")

    def check_sources(self) -> None:
        """Raise SourcesReplaced if they were: modules imported later would not fit those imported before."""
        if self.updated():
            raise SourcesReplaced

    def _pause(self, seconds: float) -> None:
        self.events.waiting()
        self.node.share.system.wait(self.stop, seconds)
        self.check_stop()
