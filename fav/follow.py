"""Following a job whose nodes we have started: how far it is, how fast, and what the nodes say."""

import time
from pathlib import Path
from typing import Callable

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from shared import results
from shared.errors import InputVanished, plain
from shared.jobs import Job

from .commands import duration
from .shelf import Shelf, stitch_task

RARELY = 20  # counting takes a twentieth of a core at most


class Talk:
    """What nodes say into their logs from now on, each thing once, however many of them say it."""

    def __init__(self, logs: list[Path]):
        self._read: dict[Path, int] = {}
        self._said: set[str] = set()
        self._told: list[str] = []
        for log in logs:
            self.hear(log)

    def hear(self, log: Path) -> None:
        """Read this log, too; it need not be there yet."""
        self._read[log] = log.stat().st_size if log.exists() else 0

    def tell(self, line: str) -> None:
        """Something to be shown that is in no log."""
        self._told.append(line)

    def lines(self) -> list[str]:
        fresh, self._told = self._told, []
        for log, before in list(self._read.items()):
            try:
                with open(log, "rb") as file:
                    file.seek(before)
                    data = file.read()
            except FileNotFoundError:
                continue
            whole = data[:data.rfind(b"\n") + 1]
            self._read[log] = before + len(whole)
            for line in whole.decode(errors="replace").splitlines():
                said = plain(line[9:] if line[2:3] == ":" else line, 2000)  # without the time
                if said not in self._said and not said.startswith(("done: ", "ended with exit code ")):
                    self._said.add(said)
                    fresh.append(said)
        return fresh


class Follower:
    """Counts a job's frames again and again at little cost, and how fast they come.

    A look that took long, since the job is large or the mount slow, is the last for `RARELY` times as long.
    """

    def __init__(self, job: Job):
        self.shelf = Shelf(job)
        self._since: tuple[float, int] | None = None
        self._next = float("-inf")
        self._seen: tuple[int, int | None, float | None, float | None] = 0, None, None, None

    def look(self, at_once: bool = False) -> tuple[int, int | None, float | None, float | None]:
        """Frames done, frames in all (None: not known yet), frames a second, seconds left."""
        began = time.monotonic()
        if at_once or began >= self._next:
            self._seen = self._count()
            self._next = time.monotonic() + RARELY * (time.monotonic() - began)
        return self._seen

    def closing(self) -> str:
        """What is left to do when all frames are there."""
        if self.shelf.spec.evaluate and results.is_done(self.shelf.job, stitch_task(self.shelf.spec)):
            done, total = self.shelf.measured()
            return f"measuring, {done} of {total}"
        return "stitching"

    def _count(self) -> tuple[int, int | None, float | None, float | None]:
        extent, done = self.shelf.extent(), self.shelf.published("frame")
        total = extent.end - self.shelf.spec.start if extent.complete else None
        now = time.monotonic()
        if self._since is None or done == 0:
            self._since = now, done
        began, before = self._since
        rate = (done - before) / (now - began) if done > before else None
        return done, total, rate, (total - done) / rate if rate and total else None


def follow(job: Job, running: Callable[[], bool], talk: Talk) -> None:
    """Show the job's progress, and what the nodes say, as long as nodes of ours are `running`."""
    follower = Follower(job)
    terminal = Console().is_terminal
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("frames  {task.fields[words]}")]
    with Progress(*columns, disable=not terminal) as bar:
        line = bar.add_task(job.name, total=None, words="")
        reported, last = -1, time.monotonic()
        while running():
            try:
                done, total, rate, left = follower.look()
                words = follower.closing() if done == total else f"{rate:.2f}/s, {duration(left)} left" if rate else ""
            except (OSError, InputVanished):
                time.sleep(1)
                continue
            for said in talk.lines():
                bar.console.print(said, markup=False, emoji=False, highlight=False) if terminal else click.echo(said)
            bar.update(line, completed=done, total=total, words=words)
            if not terminal and done != reported and (time.monotonic() - last > 10 or done == total):
                reported, last = done, time.monotonic()
                click.echo(f"{done} of {total or '?'} frames  {words}")
            time.sleep(0.5)
        done, total, *_ = follower.look(at_once=True)
        bar.update(line, completed=done, total=total, words="")
    for said in talk.lines():
        click.echo(said)
    if not terminal and done != reported:
        click.echo(f"{done} of {total or '?'} frames")
