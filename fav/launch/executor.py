"""The interface of all ways to run a job: start nodes somewhere, and follow them until they end."""

import logging
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fav.monitor.text import count_words
from shared.command_names import command
from shared.errors import UserError
from shared.jobs import Job
from shared.terminal import stopped_code

if TYPE_CHECKING:
    from fav.monitor.progress import LogTail


logger = logging.getLogger(__name__)


class Executor(Protocol):
    """Runs nodes of one job: on this machine, on hosts by ssh, by Slurm or by Dask."""

    @property
    def logs(self) -> list[Path]:
        """The log files of the nodes."""
        ...

    def ready(self) -> AbstractContextManager[object]:
        """Check, and hold, what must exist before the job is created. Raises LaunchError if it is missing."""
        ...

    def start(self, job: Job, log_tail: "LogTail") -> AbstractContextManager[object]:
        """Start nodes of this job; they run at the latest inside the context.

        Adds their logs to `log_tail`. Outside of the context, nodes are not restarted any more.

        Raises:
            LaunchError: no node can be started; then none was.
        """
        ...

    def running(self) -> bool:
        """Whether a node of this executor works on the job, or will."""
        ...

    def interrupted(self) -> None:
        """React to Ctrl-C: stop the nodes if they run on this machine, else leave them. Logs which."""
        ...


def run_job(job: Job, executor: Executor) -> list[Path]:
    """Start nodes for a job, and follow them until all have ended or the job is done. Returns their logs.

    Ctrl-C, or a signal that ends the command, exits with its exit code.
    """
    from fav.monitor.progress import LogTail, follow

    log_tail = LogTail([])
    nodes = executor.start(job, log_tail)
    try:
        with nodes:
            follow(job, executor.running, log_tail)
    except KeyboardInterrupt as asked:
        executor.interrupted()
        tell_what_is_done(job)
        sys.exit(stopped_code(asked))
    return executor.logs


def tell_what_is_done(job: Job) -> None:
    """Log how many frames are done, and how a film of them is made."""
    from fav.monitor.progress import ProgressTracker

    with suppress(OSError, UserError):
        tracker = ProgressTracker(job)
        done, total, *_ = tracker.poll(at_once=True)
        if done and not tracker.artifacts.spec.is_flow:
            logger.info(
                "%s frames are done; a film of them: %s %s %s",
                count_words(done, total),
                command("preview"),
                job.share.layout.root,
                job.name,
            )


def log_that_nodes_continue(job: Job) -> None:
    """Log that nodes on other machines continue, and how to end them."""
    logger.info(
        "not following any more; the nodes continue. The same command follows them again. To end them: %s %s",
        command("drain"),
        job.share.layout.root,
    )
