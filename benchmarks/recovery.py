"""How long a task waits for another node after its owner was killed, froze, or lost its machine."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from shared.claims import claimed
from shared.jobs import Job
from shared.settings import HEARTBEAT_S, POLL_S
from shared.shared_dir import open_share
from tests.helpers import toy_plan as toy

ELSEWHERE = ("unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child")
PATIENCE_S = 120.0


@dataclass
class Running:
    """A node as a real process, with all that it has started."""

    process: subprocess.Popen

    def everyone(self) -> list[int]:
        """Itself first; then its worker, and what else descends from it."""
        found = [self.process.pid]
        for pid in found:
            try:
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except OSError:
                pass  # ended meanwhile
        return found

    def signal(self, number: int, pids: list[int] | None = None) -> None:
        for pid in pids or self.everyone():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def worker(self) -> list[int]:
        """The process that runs the tasks."""
        return [pid for pid in self.everyone()[1:] if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@contextmanager
def node(job: Job, elsewhere: bool = False) -> Iterator[Running]:
    """A node of this machine, or of another one as far as its host's name and its processes tell."""
    command = [sys.executable, "-m", "tests.helpers.toy_plan", str(job.share.layout.root), job.name]
    if elsewhere:
        name = f"elsewhere-{random.randrange(10**6)}"
        command = [*ELSEWHERE, "sh", "-c", f'hostname {name} && exec "$@"', "sh", *command]
    running = Running(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    try:
        yield running
    finally:
        running.signal(signal.SIGKILL)
        running.process.wait()


def owner(job: Job) -> str | None:
    """Token of the node that works on the chain."""
    for path in claimed(job).values():
        try:
            return json.loads(path.read_bytes())["token"]
        except FileNotFoundError:
            pass  # on to the next frame
    return None


def until(condition: Callable[[], object]) -> float:
    """Seconds until it came about."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE_S:
            raise click.ClickException(f"a node did not do what was waited for in {PATIENCE_S:g} s")
        time.sleep(0.002)
    return time.monotonic() - began


def taken_over(how: str, directory: Path) -> float:
    """Seconds from the end of a task's owner to another node's claim."""
    share = open_share(directory)
    job = toy.create(share, chains=1, length=900, slow=0.1)
    with node(job, elsewhere=how == "machine killed") as first:
        until(lambda: owner(job))
        with node(job) as _:
            until(lambda: len(os.listdir(share.layout.nodes)) == 2)
            time.sleep(
                POLL_S + random.uniform(0, HEARTBEAT_S)
            )  # the second has looked around, and is at any point of its round
            before = owner(job) or owner(job)
            pids = first.everyone()
            if how == "worker killed":
                pids = first.worker()
            elif how == "machine killed":
                pids = pids[1:2]  # the first process of its namespace, with which all others go
            first.signal(signal.SIGSTOP if how == "node frozen" else signal.SIGKILL, pids)
            return until(lambda: owner(job) not in (None, before))


def can_be_elsewhere() -> bool:
    try:
        return subprocess.run([*ELSEWHERE, "hostname", "elsewhere"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Deaths of each kind.")
@click.option(
    "--share",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where to make the shared directory.  [default: a temporary place]",
)
def main(rounds: int, share: Path | None) -> None:
    """Print how long a task waits for the next node after its owner has ended in several ways; another node is idle."""
    limits = {
        "worker killed": 2.0,
        "node killed": 2.0,
        "node frozen": toy.LEASE_S + POLL_S,
        "machine killed": toy.LEASE_S + POLL_S,
    }
    if not can_be_elsewhere():
        del limits["machine killed"]
        click.echo("machine killed: left out, since unshare may not make another machine here (root may)")
    seconds: dict[str, list[float]] = {how: [] for how in limits}
    for number in range(rounds):
        for how in limits:
            click.echo(f"round {number + 1} of {rounds}: {how} …", err=True)
            with tempfile.TemporaryDirectory(dir=share) as directory:
                seconds[how].append(taken_over(how, Path(directory)))
    click.echo(
        f"lease {toy.LEASE_S:g} s, heartbeat {HEARTBEAT_S:g} s, poll {POLL_S:g} s; seconds until another node owns the task"
    )
    click.echo(f"{'the owner:':20}{'median':>8}{'slowest':>9}{'promised':>10}")
    for how, took in seconds.items():
        click.echo(f"{how:20}{median(took):8.2f}{max(took):9.2f}{limits[how]:10.0f}")


if __name__ == "__main__":
    main()
