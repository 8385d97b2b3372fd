"""Running a job by Dask: a node on each worker, as workers come and go."""

import re
import secrets
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

from fav.launch.dask_cluster import DaskWorkerPool
from fav.launch.preflight import HostChecker, told
from fav.launch.program import NODE_THERE, PATH_THERE, python_in
from fav.monitor.console import tell
from shared.errors import ResultVanishedError
from shared.jobs import Job, over
from shared.logs import LOG_HEAD
from shared.shared_dir import SharedDir
from shared.terminal import stopped_code

if TYPE_CHECKING:
    from distributed import Client

PATH = PATH_THERE  # on the workers, too
PYTHON = python_in(PATH)


def follow_dask(job: Job, client: "Client", device: str, backend: str) -> list[Path]:
    """Run a node on each worker, follow them until none runs any more or the job is over; their logs."""
    from fav.monitor.progress import LogTail, follow
    from fav.pipeline.artifacts import JobArtifacts

    layout, shelf, talk, logs = job.share.layout, JobArtifacts(job), LogTail([]), set()
    scout, (sign, word) = HostChecker(job, backend), sign_of(job.share)
    script = scout.script(PATH, PYTHON, str(layout.root), sign, word, (device,))

    def words(address: str, threads: int) -> tuple:
        """What the worker gets."""
        log = layout.logs / f"{job.name}.dask.{re.sub('[^A-Za-z0-9.-]', '_', address.rpartition('://')[2])}.log"
        if log not in logs:
            logs.add(log)
            talk.hear(log)
        command = [PYTHON, *NODE_THERE, str(layout.root), "--job", job.name, "--cores", str(threads)]
        return script, PATH, [*command, "--device", device, "--backend", backend], str(log), LOG_HEAD

    def unfit(said: CompletedProcess) -> str:
        return "; ".join(told(said, PATH).wrong) or f"the look failed with exit code {said.returncode}"

    def wanted() -> int:
        """One node for each shot or chunk that is known by now."""
        try:
            shelf.refresh()
        except (OSError, ResultVanishedError):
            pass  # the share's weather
        return max(len(shelf.timeline.runs), 1)

    try:
        with DaskWorkerPool(client, job.manifest.id, words, unfit, wanted, talk.tell) as crew:
            follow(job, lambda: crew.counts and not over(job), talk)
    except KeyboardInterrupt as asked:
        tell(f"not following any more; the nodes go on. The same line again follows them; to end them: coordinator.py "
                   f"drain {layout.root}")
        sys.exit(stopped_code(asked))
    return sorted(log for log in logs if log.exists())


def sign_of(share: SharedDir) -> tuple[str, str]:
    """A file by which workers tell our shared directory from another: its path below the root, and what is in it.

    It stays, since a look waits on a worker that is busy.
    """
    path = share.layout.logs / "dask.sign"
    try:
        share.system.write_new(path, secrets.token_hex(16).encode())
    except FileExistsError:
        pass
    return path.relative_to(share.layout.root).as_posix(), share.system.read(path).decode(errors="replace")
