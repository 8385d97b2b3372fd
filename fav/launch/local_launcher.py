"""Start nodes on this machine, and follow them until they end."""

import logging
import os
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fav.launch.errors import LaunchError
from fav.launch.program import NODE
from fav.model.backends import choose
from shared.jobs import Job
from shared.logs import LOG_HEAD
from shared.terminal import halt, is_ignored

if TYPE_CHECKING:
    from fav.monitor.progress import LogTail

logger = logging.getLogger(__name__)

HEAD = f"{LOG_HEAD}\n".encode()


class LocalExecutor:
    """An `Executor`: nodes on this machine, which share its cores. They end with the command.

    Args:
        nodes: their number.
        device: of the nodes.
        backend: of the nodes.
        log: log options of the nodes.

    Raises:
        FavError: this machine does not have the backend.
    """

    def __init__(self, nodes: int, device: str, backend: str, log: Sequence[str] = ()):
        if backend != "auto":
            choose(backend, device)
        self.nodes, self.words = nodes, ["--device", device, "--backend", backend, *log]
        self.logs: list[Path] = []
        self._processes: list[subprocess.Popen] = []

    def ready(self) -> AbstractContextManager[None]:
        return nullcontext()

    def start(self, job: Job, log_tail: "LogTail") -> AbstractContextManager[None]:
        host = os.uname().nodename.split(".")[0]
        found = [log_at(job.share.layout.logs / f"{job.name}.{host}.{number}.log") for number in range(self.nodes)]
        self.logs = [log for log, _ in found]
        for log in self.logs:
            log_tail.add(log)
        return self._started(job, [file for _, file in found])

    @contextmanager
    def _started(self, job: Job, files: list[int]) -> Iterator[None]:
        cores = max(1, len(os.sched_getaffinity(0)) // self.nodes)
        command = [*NODE, str(job.share.layout.root), "--job", job.name, "--cores", str(cores), *self.words]
        with _halting(self._processes):
            for file in files:
                self._processes.append(
                    subprocess.Popen(
                        command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=file, stderr=file
                    )
                )
                os.close(file)
            yield

    def running(self) -> bool:
        return any(process.poll() is None for process in self._processes)

    def interrupted(self) -> None:
        logger.info(
            "stopping after the current frame (repeat the request to stop at once); the same command continues the job"
        )
        _stop(self._processes)


@contextmanager
def _halting(processes: list[subprocess.Popen]) -> Iterator[None]:
    """Let Ctrl-Z stop and continue these nodes, too: they have their own sessions."""

    def on_halt(number: int, frame: object) -> None:
        for process in processes:
            process.send_signal(signal.SIGTSTP)
        halt(number)
        for process in processes:
            process.send_signal(signal.SIGCONT)

    before = None if is_ignored(signal.SIGTSTP) else signal.signal(signal.SIGTSTP, on_halt)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTSTP, before)


def log_at(path: Path) -> tuple[Path, int]:
    """Open a log to append to. Returns its path and descriptor.

    It is `path` if that is new, or a log of ours. Otherwise (a full disk, another user's file, a link, a FIFO) it is a
    new file in the temporary directory.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    for new in (os.O_CREAT | os.O_EXCL, 0):
        try:
            fd = os.open(path, flags | new, 0o666)
        except OSError:
            continue
        try:
            if new:
                os.write(fd, HEAD)
            if stat.S_ISREG(os.fstat(fd).st_mode) and os.pread(fd, len(HEAD), 0) == HEAD:
                return path, fd
        except OSError:
            if new:
                os.unlink(path)  # the disk is full
        os.close(fd)
    try:
        fd, own = tempfile.mkstemp(prefix=f"{path.stem}.", suffix=".log")
    except OSError as error:
        raise LaunchError(
            f"{path}: expected a log that can be written to, or a temporary directory for one, got neither "
            f"({error.strerror}); free some space there, or set TMPDIR"
        ) from None
    os.write(fd, HEAD)
    return Path(own), fd


def _stop(processes: list[subprocess.Popen]) -> None:
    """Ask nodes to leave after their current frame. A second Ctrl-C makes them leave at once."""
    for _ in range(2):
        for process in processes:
            if process.poll() is None:
                process.terminate()
        try:
            for process in processes:
                process.wait()
            return
        except KeyboardInterrupt:
            continue
