"""The command that does everything: creates a job, starts nodes here or on other machines, and follows them."""

import os
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Iterator

import click
from click.core import ParameterSource

from fav.commands import film_at, one_line_errors
from fav.coordinator.doors import submitted
from fav.coordinator.previews import previews
from fav.coordinator.slurm import follow_slurm
from fav.errors import FavError
from fav.model.backends import choose
from fav.monitor.console import tell
from fav.monitor.snapshot import failures, state_of
from fav.options import BACKEND, FILE, JOB, Number, options
from shared.cluster import slurm as queue
from shared.jobs import Job
from shared.logs import LOG_HEAD
from shared.share import open_share
from shared.sources import ROOT
from shared.terminal import halt, is_ignored, stopped_code

HOSTS_HELP = ("Start nodes on these machines by ssh instead: one host a line (docs/cluster.md). The file is read again while "
              "they work.")  # fmt: skip
SLURM_HELP = "Have Slurm start so many nodes instead, as it has room for them (docs/cluster.md)."
DASK_HELP = "Run a node on each worker of this Dask cluster instead: tcp://HOST:8786, or a scheduler file (docs/cluster.md)."
HEAD = f"{LOG_HEAD}\n".encode()
PREVIEW_HELP = "Make the film of what is done so far anew (as `preview` does), every so many minutes."


@click.command()
@click.argument("shared", type=FILE)
@click.argument("video")
@click.argument("style", type=FILE)
@click.option("--nodes", type=click.IntRange(1, 1000), default=1, show_default=True, help="Nodes to start on this machine; they share its cores.")
@click.option("--hosts", type=FILE, metavar="FILE", help=HOSTS_HELP)
@click.option("--skip-unfit", is_flag=True, help="Begin with the hosts that are fit, and try the others again later.")
@click.option("--slurm", type=click.IntRange(1), metavar="NODES", help=SLURM_HELP)
@click.option("--sbatch", "words", default="", metavar="OPTIONS", help='For --slurm: options of sbatch, as "--partition=lab --gres=gpu:1".')
@click.option("--dask", metavar="ADDRESS", help=DASK_HELP)
@click.option("--preview-every", type=Number(0, 10**6, min_open=True), metavar="MINUTES", help=PREVIEW_HELP)
@options(BACKEND)
@options(JOB)
@click.pass_context
@one_line_errors
def run(context: click.Context, shared: Path, video: str, style: Path, nodes: int, hosts: Path | None, skip_unfit: bool,
        slurm: int | None, words: str, dask: str | None, preview_every: float | None, device: str, backend: str, **values) -> None:
    """Create the job (or join it), work on it with some nodes, and show how far it is.

    Nodes on other machines may join at any time: node.py SHARED. Ctrl-C, or a
    terminal that is closed (but not under nohup), stops the nodes of this machine after their current
    frame; the same line again goes on. With --hosts, the nodes there
    outlive Ctrl-C and this machine: the same line again follows them, `drain` lets them leave. With
    --slurm they are Slurm's: `scancel` ends them, and the same line queues as many more. With
    --dask they end like those of --hosts, or with their workers.
    """
    engines = {"--hosts": hosts, "--slurm": slurm, "--dask": dask}
    elsewhere = [name for name, value in engines.items() if value is not None]
    if len(elsewhere) > 1:
        number = "both" if len(elsewhere) == 2 else "all"
        raise click.UsageError(f"{' and '.join(elsewhere)}: expected one of them, got {number}")
    if hosts and context.get_parameter_source("device") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--device is not for --hosts: there, the hosts file says devices=LIST or gpus=N")
    if elsewhere and context.get_parameter_source("nodes") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--nodes is for this machine: with --hosts, the hosts file says nodes=N; --slurm has a number "
                               "itself; with --dask there is one a worker")
    if skip_unfit and not hosts:
        raise click.UsageError("--skip-unfit goes with --hosts")
    if words and not slurm:
        raise click.UsageError("--sbatch goes with --slurm")
    if backend != "auto" and not elsewhere:
        choose(backend, device)
    share = open_share(shared)
    with ExitStack() as held:  # what must be there before a job is made
        if slurm:
            queue.check()
            follow = partial(follow_slurm, nodes=slurm, words=["--device", device, "--backend", backend], options=shlex.split(words))
        elif dask is not None:
            from fav.coordinator.dask import follow_dask
            from shared.cluster.dask import connected

            follow = partial(follow_dask, client=held.enter_context(connected(dask)), device=device, backend=backend)
        elif hosts:
            from fav.coordinator.hosts import follow_hosts, hosts_of

            hosts_of(hosts)
            follow = partial(follow_hosts, path=hosts, backend=backend, skip_unfit=skip_unfit)
        else:
            follow = partial(_run_here, nodes=nodes, device=device, backend=backend)
        job = submitted(context, share, video, style, values)
        with previews(job, preview_every):
            logs = follow(job)
    _conclude(job, logs)


def _run_here(job: Job, nodes: int, device: str, backend: str) -> list[Path]:
    """Work on the job with nodes of this machine until they have ended; their logs."""
    from fav.monitor.progress import Talk, follow

    layout, cores = job.share.layout, max(1, len(os.sched_getaffinity(0)) // nodes)
    found = [log_at(layout.logs / f"{job.name}.{os.uname().nodename.split('.')[0]}.{number}.log") for number in range(nodes)]
    logs = [log for log, _ in found]
    processes, talk = [], Talk(logs)
    try:
        with _halting(processes):
            for _, file in found:
                command = [sys.executable, str(ROOT / "node.py"), str(layout.root), "--job", job.name,
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


def _conclude(job: Job, logs: list[Path]) -> None:
    """The last lines: what came of the job. Exits with 1 where that is no film."""
    if film := job.word("finished"):
        tell(f"done: {film_at(job.share.layout.root, job.name, film)}")
        return
    if "cancelled" in job.marks():
        tell("cancelled")
        sys.exit(1)
    for line in failures(state_of(job, nodes_live=False)):
        tell(line, err=True)
    said = f"; what the nodes said is in {', '.join(map(str, logs))}" if logs else ", and no node came up"
    tell(f"not finished{said}", err=True)
    sys.exit(1)


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
