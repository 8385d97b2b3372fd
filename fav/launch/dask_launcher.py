"""Run a job by Dask: a node on each worker, while workers come and go."""

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

from fav.launch.dask_client import connected
from fav.launch.dask_cluster import DaskWorkerPool
from fav.launch.executor import log_that_nodes_continue
from fav.launch.preflight import HostChecker, parse_report
from fav.launch.program import REMOTE_NODE, REMOTE_PATH, python_in
from shared.errors import ResultVanishedError
from shared.jobs import Job, is_ended
from shared.logs import LOG_HEAD
from shared.shared_dir import SharedDir

if TYPE_CHECKING:
    from fav.monitor.progress import LogTail

PATH = REMOTE_PATH  # on the workers, too
PYTHON = python_in(PATH)


class DaskExecutor:
    """An `Executor`: a node on each worker of a Dask cluster.

    Args:
        cluster: the scheduler's address, or a scheduler file.
        device: of the nodes.
        backend: of the nodes.
        log: log options of the nodes.
    """

    def __init__(self, cluster: str, device: str, backend: str, log: Sequence[str] = ()):
        self.cluster, self.device, self.backend, self.log = cluster, device, backend, log
        self._logs: set[Path] = set()

    @property
    def logs(self) -> list[Path]:
        return sorted(log for log in self._logs if log.exists())

    @contextmanager
    def ready(self) -> Iterator[None]:
        with connected(self.cluster) as self._client:
            yield

    def start(self, job: Job, log_tail: "LogTail") -> DaskWorkerPool:
        from fav.pipeline.artifacts import JobArtifacts

        self._job, layout, artifacts = job, job.share.layout, JobArtifacts(job)
        nonce_file, nonce = nonce_file_of(job.share)
        script = HostChecker(job, self.backend).script(
            PATH, PYTHON, str(layout.root), nonce_file, nonce, (self.device,)
        )

        def node_arguments(address: str, threads: int) -> tuple:
            """The arguments of `run_node_on_worker`."""
            log = layout.logs / f"{job.name}.dask.{re.sub('[^A-Za-z0-9.-]', '_', address.rpartition('://')[2])}.log"
            if log not in self._logs:
                self._logs.add(log)
                log_tail.add(log)
            command = [PYTHON, *REMOTE_NODE, str(layout.root), "--job", job.name, "--cores", str(threads)]
            return (
                script,
                PATH,
                [*command, "--device", self.device, "--backend", self.backend, *self.log],
                str(log),
                LOG_HEAD,
            )

        def target_nodes() -> int:
            """One node per known chain."""
            try:
                artifacts.load_new_segments()
            except (OSError, ResultVanishedError):
                pass  # a temporary error of the share
            return max(len(artifacts.timeline.chains), 1)

        self._pool = DaskWorkerPool(self._client, job.manifest.id, node_arguments, _rejection, target_nodes)
        return self._pool

    def running(self) -> bool:
        return self._pool.has_active_nodes and not is_ended(self._job)

    def interrupted(self) -> None:
        log_that_nodes_continue(self._job)


def _rejection(completed: CompletedProcess) -> str:
    return "; ".join(parse_report(completed, PATH).wrong) or f"the check failed with exit code {completed.returncode}"


def nonce_file_of(share: SharedDir) -> tuple[str, str]:
    """Write a file by which workers recognize the operator's shared directory.

    Returns its path below the root, and its content. It is not removed, because a busy worker may run the check late.
    """
    path = share.layout.logs / "dask.sign"
    try:
        share.system.write_new(path, secrets.token_hex(16).encode())
    except FileExistsError:
        pass
    return path.relative_to(share.layout.root).as_posix(), share.system.read(path).decode(errors="replace")
