"""A share with strangers' entries in it, the world outside, and what nodes and commands do on the share for hours."""

import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from click.testing import CliRunner
from hypothesis import currently_in_test_context
from hypothesis import note as noted

import coordinator
import fav.report.html  # noqa: F401  heavy, and imported late by `report`: the first example would seem to hang
from fav.errors import FavError
from fav.pipeline.job_files import open_share
from fav.pipeline.plan import make_plan
from fav.pipeline.task_names import frame_task
from shared.claims import Claims
from shared.errors import JobQueueError, StopRequested
from shared.failure_detector import FailureDetector
from shared.heartbeat import temporary_member
from shared.identity import Identity
from shared.jobs import all_jobs, create_job
from shared.membership import Node
from shared.notify import ChangeNotifier
from shared.recovery import Recovery
from shared.shared_dir import SharedDir
from shared.worker import Worker
from tests.helpers import toy_plan as toy
from tests.helpers.job_system import Clock
from tests.helpers.strangers import differences, look, make_home

HOUR = 3600.0
MEMORY = "/dev/shm"
HANGS_S = 60  # in real time: others may keep the processor busy
PATIENCE_S = 60.0  # for how long of its own clock a node works on one job
REFUSALS = (JobQueueError, FavError, StopRequested)


class Ticking(Clock):
    """A clock that a test moves, and that goes on a little at each look, so that a node's looks and passes come due."""

    def monotonic(self) -> float:
        self.now += 0.05
        return self.now


class Until(threading.Event):
    """Asks a worker to stop at some time of its own clock."""

    def __init__(self, clock: Clock, until: float):
        super().__init__()
        self.clock, self.until = clock, until

    def is_set(self) -> bool:
        return self.clock.now >= self.until

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.sleep(timeout or 0.0)
        return self.is_set()


def note(line: str) -> None:
    """What happened, for who reads of a failed example."""
    if currently_in_test_context():
        noted(line)


def call(root: Path, *words: str) -> None:
    """A command as it is typed; it may fail, but not with a traceback."""
    command, *others = words
    result = CliRunner().invoke(coordinator.main, [command, str(root), *others])
    note(f"{' '.join(words)}: {result.exit_code}: {result.output[:300]!r}")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"`{' '.join(words)}` ended in a traceback") from result.exception


def quietly(root: Path, *words: str, writes: str | None = None) -> None:
    """A command that only looks: it leaves the whole share as it is, the names and times of what is ours included.

    It may write one file at the top of it, named `writes`.
    """
    before = look(root)
    call(root, *words)
    changed = differences(before, look(root))
    if writes:
        file, above = re.escape(str(root / writes)), re.escape(str(root))
        changed = [line for line in changed if not re.match(f"(changed: {above}: |(new|changed): {file}[: ])", line)]
    assert not changed, "\n".join([f"`{' '.join(words)}` only looks, and has changed:", *changed])


class World:
    """A share with strangers' entries in it, a clock, and the nodes that died on it."""

    task = toy.link_task(1)  # that they die at

    def __init__(self, root: Path):
        self.root, self.clock, self.dead = root, Ticking(), []

    def open(self) -> SharedDir:
        return open_share(self.root, system=self.clock)

    def look(self) -> None:
        for words in (("status",), ("status", "--json"), ("status", "toy", "--verbose"), ("nodes",),
                      ("nodes", "--json"), ("report", "toy"),
                      ("preview", "toy")):  # fmt: skip
            quietly(self.root, *words)

    def errand(self, what: Callable[[Node], None]) -> None:
        """What a node does that comes and goes; a refusal ends it in one line."""
        with suppress(*REFUSALS), temporary_member(self.open()) as node:
            what(node)

    def visit(self) -> None:
        self.errand(lambda node: ChangeNotifier(node).notify())

    def create(self) -> None:
        with suppress(*REFUSALS):
            toy.create(self.open(), "second", chains=1, length=1)

    def work(self) -> None:
        """Work on all jobs, for a while."""
        plan, stop = lambda job, node: toy.ToyPlan(job, node), Until(self.clock, self.clock.now + PATIENCE_S)
        self.errand(lambda node: Worker(node, plan, toy.RecordingEvents(), stop).run())

    def hours(self) -> None:
        """Passes of a node that sees everybody else silent for hours."""
        self.errand(self._recover)

    def _recover(self, node: Node) -> None:
        recovery = Recovery(node, FailureDetector(node.share, node.identity))
        with patch("shared.recovery.pause_s", lambda *words: HOUR):
            for _ in range(4):
                self.clock.now += HOUR
                node.renew()
                recovery.run({job: set() for job in all_jobs(node.share)})

    def die(self) -> Path | None:
        """A node of another machine dies in the midst of much; its private directory."""
        with suppress(*REFUSALS):
            share = self.open()
            dead = Node(share, Identity(**{**vars(Identity.here()), "host": "elsewhere", "boot": "another"}))
            dead.join()
            ChangeNotifier(dead).notify()
            share.system.write_new(dead.temp_path(), b"a frame")
            for job in all_jobs(share):
                with suppress(OSError):  # a job with a link in it: a node that works on it says so in one line
                    Claims(dead, job).claim(self.task)
            with suppress(Gone):
                create_job(dead, "unborn", toy.LEASE_S, die)
            self.dead.append(dead)
            return dead.tmp_dir

    def remains(self) -> list[Path]:
        """What the dead have left."""
        unborn = list((self.root / "jobs").glob("unborn.*"))
        return [path for dead in self.dead for path in (dead.heartbeat_file, dead.tmp_dir) if path.exists()] + unborn


class Gone(BaseException):
    """Its process has died."""


def die(layout) -> dict:
    raise Gone


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Who waits for longer, on a FIFO for example, is found out."""

    def hangs(*_) -> None:
        # No Exception: a worker would take that for a failed attempt.
        pytest.fail(f"it has not come back within {seconds} s")

    before = signal.signal(signal.SIGALRM, hangs)
    try:
        left = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *left)  # of pytest-timeout, or of a limit around this one


@contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """A directory with the world outside in it, which is removed afterwards. What commands write here is aside."""
    umask, here = os.umask(0o022), os.getcwd()
    base = Path(tempfile.mkdtemp(dir=directory))
    (directory / "here").mkdir(exist_ok=True)
    try:
        os.chdir(directory / "here")
        make_home(base / "home")
        with in_time(HANGS_S):
            yield base
    finally:
        os.umask(umask)
        os.chdir(here)
        shutil.rmtree(base)


class Films(World):
    """A share with films."""

    task = frame_task(1)

    def look(self) -> None:
        for words in ("status", "status --json", "status made", "nodes", "nodes --json"):
            quietly(self.root, *words.split())
        for job in ("made", "toy"):
            quietly(self.root, "preview", job, writes=f"{job}.preview.mp4")
        quietly(self.root, "report", "made", writes="made.report.html")

    def work(self) -> None:
        stop = Until(self.clock, self.clock.now + PATIENCE_S)
        self.errand(lambda node: Worker(node, make_plan, toy.RecordingEvents(), stop).run())

    def create(self) -> None:
        call(
            self.root,
            "submit",
            str(self.root.parent / "clip.mp4"),
            str(self.root.parent / "tiny.safetensors"),
            "--frames",
            "2",
            "--name",
            "second",
        )
