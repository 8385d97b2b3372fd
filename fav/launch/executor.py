"""What all ways of running a job have in common: nodes are started somewhere, and followed until they end."""

import logging
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from shared.command_names import command
from shared.jobs import Job
from shared.terminal import stopped_code

if TYPE_CHECKING:
    from fav.monitor.progress import LogTail


logger = logging.getLogger(__name__)


class Executor(Protocol):
    """Runs nodes of one job: on this machine, on hosts by ssh, by Slurm or by Dask."""

    @property
    def logs(self) -> list[Path]:
        """Where the nodes write what they say."""
        ...

    def ready(self) -> AbstractContextManager[object]:
        """Hold what has to be there before a job is made, as long as nodes are followed; LaunchError where it is not."""
        ...

    def start(self, job: Job, talk: "LogTail") -> AbstractContextManager[object]:
        """Prepare for nodes of this job, which run at the latest when the context is entered.

        `talk` gets their logs. On leaving the context, nodes are not looked after any
        more. LaunchError where none can be started; then none is.
        """
        ...

    def running(self) -> bool:
        """Whether it is worth while to follow: a node of ours works on the job, or will."""
        ...

    def interrupted(self) -> None:
        """After Ctrl-C: let the nodes end if they are this machine's, else leave them; tell the operator which."""
        ...


def run_job(job: Job, executor: Executor) -> list[Path]:
    """Start nodes for a job, and follow them until none runs any more or the job is over; their logs.

    Ctrl-C, or a signal that ends the command, exits with its code.
    """
    from fav.monitor.progress import LogTail, follow

    talk = LogTail([])
    nodes = executor.start(job, talk)
    try:
        with nodes:
            follow(job, executor.running, talk)
    except KeyboardInterrupt as asked:
        executor.interrupted()
        sys.exit(stopped_code(asked))
    return executor.logs


def tell_nodes_go_on(job: Job) -> None:
    """Tell the operator that nodes elsewhere are not followed any more, and how to end them."""
    logger.info(
        "not following any more; the nodes continue. The same line follows them again. To end them: %s %s",
        command("drain"),
        job.share.layout.root,
    )
