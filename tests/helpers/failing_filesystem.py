"""A file system of which single steps fail, and work on it in this process, by a clock that only steps."""

import os
import threading
from pathlib import Path

import pytest

from shared.membership import Node
from shared.paths import Task
from shared.worker import Worker
from tests.helpers import toy_plan as toy
from tests.helpers.job_system import Clock
from tests.helpers.toy_plan import RecordingEvents

WRITING = ("write_new", "sync", "link", "rename", "unlink", "touch", "make_dirs")
READING = ("read", "exists", "list", "mtime", "same_file")


class FailingFileSystem(Clock):
    """A system on which calls of a method fail: those that `strikes(path)`, before they happen or `after` that."""

    def __init__(self):
        super().__init__()
        self.calm()

    def calm(self) -> None:
        self.method, self.strikes, self.code, self.after = None, lambda path: False, 0, False
        self.calls, self.struck = 0, 0

    def nth(self, method: str, number: int, code: int, after: bool = False) -> None:
        """The call of that number, counted from 0, fails."""
        self.where(method, lambda path: self.calls == number + 1, code, after)

    def where(self, method: str, strikes, code: int, after: bool = False) -> None:
        self.calm()
        self.method, self.strikes, self.code, self.after = method, strikes, code, after

    def monotonic(self) -> float:
        self.now += 0.5  # so that looks and recovery fall in the midst of a job
        return self.now


def _failing(method: str):
    calm = getattr(Clock, method)

    def call(self: FailingFileSystem, *paths, **options):
        if method != self.method:
            return calm(self, *paths, **options)
        self.calls += 1
        strikes = self.strikes(paths[-1] if method in ("link", "rename") else paths[0])
        self.struck += bool(strikes)
        if strikes and self.after:
            calm(self, *paths, **options)
        if strikes:
            raise OSError(self.code, os.strerror(self.code), str(paths[0]))
        return calm(self, *paths, **options)

    return call


for _method in (*WRITING, *READING):
    setattr(FailingFileSystem, _method, _failing(_method))


def step(clock: Clock, seconds: float) -> None:
    """Waiting, for a worker in this process: the clock steps, and a worker that waits for ever is found out."""
    clock.sleep(seconds)
    if clock.now > 10_000:
        pytest.fail("it has waited for hours")  # no Exception, which a worker would take for an attempt


class Patience(threading.Event):
    """A worker's stop event, the waits of which step the clock."""

    def __init__(self, clock: Clock):
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        step(self.clock, timeout or 0.0)
        return self.is_set()


class Film(toy.ToyPlan):
    """A plan whose sum is a private file, as films are."""

    def run(self, task: Task, report_progress) -> bytes | Path:
        if task != toy.SUM:
            return super().run(task, report_progress)
        private = self.node.temp_path()
        private.write_bytes(super().run(task, report_progress))
        return private


def work(node: Node, plan=Film, only: str | None = "toy", report: RecordingEvents | None = None) -> bool:
    """Work in this process, on a clock that only steps, until all is over; whether it ended well."""
    make = plan if callable(plan) else lambda job, node: plan
    stop = Patience(node.share.system)
    return Worker(node, lambda job, node: make(job, node), report or RecordingEvents(), stop, only).run()
