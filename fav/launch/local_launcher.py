"""Start nodes on this machine, and follow them until they end."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from fav.errors import FavError
from fav.launch.program import NODE
from fav.monitor.console import tell
from shared.jobs import Job
from shared.logs import LOG_HEAD
from shared.terminal import halt, is_ignored, stopped_code

HEAD = f"{LOG_HEAD}\n".encode()


def _run_here(job: Job, nodes: int, device: str, backend: str) -> list[Path]:
    """Work on the job with nodes of this machine until they have ended; their logs."""
    from fav.monitor.progress import LogTail, follow

    layout, cores = job.share.layout, max(1, len(os.sched_getaffinity(0)) // nodes)
    found = [log_at(layout.logs / f"{job.name}.{os.uname().nodename.split('.')[0]}.{number}.log") for number in range(nodes)]
    logs = [log for log, _ in found]
    processes, talk = [], LogTail(logs)
    try:
        with _halting(processes):
            for _, file in found:
                command = [*NODE, str(layout.root), "--job", job.name,
                           "--cores", str(cores), "--device", device, "--backend", backend]
                processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True))
                os.close(file)
            follow(job, lambda: any(process.poll() is None for process in processes), talk)
    except KeyboardInterrupt as asked:
        tell("stopping after the current frame (once more to stop at once); the same line again goes on")
        _stop(processes)
        sys.exit(stopped_code(asked))
    return logs


@contextmanager
def _halting(processes: list[subprocess.Popen]) -> Iterator[None]:
    """Let Ctrl-Z stop and continue these nodes, too, which are in sessions of their own."""
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
    """A log and its descriptor, to append to: this one if it is new, or begins as ours do; else (no room, a colleague's, a link,
    a FIFO, a file of another kind) a new one of this machine's own."""
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
                os.unlink(path)  # there is no room for a line
        os.close(fd)
    try:
        fd, own = tempfile.mkstemp(prefix=f"{path.stem}.", suffix=".log")
    except OSError as error:
        raise FavError(f"{path}: expected a log that can be written to, or a temporary directory for one, got neither "
                       f"({error.strerror}); make room there, or set TMPDIR") from None
    os.write(fd, HEAD)
    return Path(own), fd


def _stop(processes: list[subprocess.Popen]) -> None:
    """Ask nodes to leave after their current frame; a second Ctrl-C makes that at once."""
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
