"""Run a job by Slurm: queue nodes, and follow them."""

import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fav.launch import slurm
from shared.jobs import Job, is_ended
from shared.source_hash import ROOT

if TYPE_CHECKING:
    from fav.monitor.progress import LogTail


logger = logging.getLogger(__name__)


class SlurmExecutor:
    """An `Executor`: nodes that Slurm queues and supervises.

    Args:
        nodes: their number.
        device: of the nodes.
        backend: of the nodes.
        options: of sbatch.
        log: log options of the nodes.
    """

    def __init__(self, nodes: int, device: str, backend: str, options: Sequence[str], log: Sequence[str] = ()):
        self.nodes, self.options = nodes, options
        self.words = ["--device", device, "--backend", backend, *log]
        self.logs: list[Path] = []

    @contextmanager
    def ready(self) -> Iterator[None]:
        slurm.check()
        yield

    def start(self, job: Job, log_tail: "LogTail") -> AbstractContextManager[None]:
        layout, random = job.share.layout, secrets.token_hex(4)  # Slurm would follow a link with a known name
        words = [str(layout.root), "--job", job.name, *self.words]
        log = layout.logs / f"{job.name}.slurm.{random}.log"
        self._job, self._array = job, slurm.submit(ROOT, self.nodes, words, log, self.options)
        self.logs = self._array.logs
        logger.info(
            "Slurm job %s: %d nodes, started when resources are free; to end them: scancel %s",
            self._array.number,
            self.nodes,
            self._array.number,
        )
        for log in self.logs:
            log_tail.add(log)
        return nullcontext()

    def running(self) -> bool:
        return not is_ended(self._job) and self._array.there

    def interrupted(self) -> None:
        logger.info("not following any more; the nodes continue. To end them: scancel %s", self._array.number)
