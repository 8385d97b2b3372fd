"""Nodes that die, or freeze, at a file-system operation of a given number; and what is left of them.

`python -m tests.helpers.crashes DIR CLIP STYLE killed|frozen changes|every STEP` imports what a node needs once and then forks: a
node that ends at one operation, another that finishes the job, and so on through the operations of a node's life (each
one, or each STEPth), from the opening of the share and the submission of the job to its leaving. Prints every fault, and
at how many points it looked.
"""

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import torch

from fav.pipeline.plan import make_plan
from fav.pipeline.request import Request
from fav.pipeline.submit import submit
from fav.util.fingerprint import fingerprint
from shared import attempts
from shared.claims import claimed
from shared.errors import EvictedError, JobQueueError
from shared.failure_detector import FailureDetector
from shared.filesystem import FileSystem
from shared.heartbeat import temporary_member
from shared.jobs import Job, find_job
from shared.membership import Node
from shared.notify import ChangeNotifier
from shared.paths import Task
from shared.recovery import Recovery
from shared.settings import LEASE_S, MIN_LEASE_S, POLL_S
from shared.shared_dir import SharedDir, open_share
from shared.supervisor import EXIT_EVICTED, Supervisor
from shared.worker import Worker
from tests.helpers.toy_plan import RecordingEvents
from tests.helpers.video_jobs import short_segments

JOB, FRAMES, CUT, SEGMENT = "film", 4, 2, 3  # two segments
CHANGES = ("create", "write", "link", "rename", "unlink", "mkdir", "rmdir", "utime", "chmod", "chown")
LOOKS = (
    "open",
    "close",
    "read",
    "stat",
    "lstat",
    "fstat",
    "listdir",
    "scandir",
    "statvfs",
    "fsync",
)  # a crash before one leaves what one after it does
LIMIT_S = 90  # a child that takes longer hangs
ASTRAY = 99  # exit code of a node whose operations are not those of the undisturbed one

Strike = Callable[[int, str, partial], object]


class Stepped(FileSystem):
    """The real file system, and a clock on which every look takes half a second and a wait no time at all.

    Only the main thread moves it, so that a heart beside it, or a busy machine, changes nothing.
    """

    now = 1000.0

    def monotonic(self) -> float:
        if _in_main_thread():
            self.now += 0.5
        return self.now

    def sleep(self, seconds: float) -> None:
        if _in_main_thread():
            self.now += seconds
        else:
            super().sleep(seconds)

    def started_here(self, token: str) -> bool:
        return True  # each node has a place of its own for temporary files, and so for its note

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not _in_main_thread():
            return super().wait(event, seconds)
        self.sleep(seconds)
        return event.is_set()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class CountingOs:
    """The `os` module, with a log of the main thread's operations; `strike(number, name, call)` does each of them."""

    def __init__(self, names: tuple[str, ...], strike: Strike):
        self.names, self.strike = names, strike
        self.log: list[str] = []

    def __getattr__(self, name: str):
        real = getattr(os, name)
        if name not in CHANGES + LOOKS:
            return real

        def operation(*arguments, **options):
            named = "create" if name == "open" and arguments[1] & os.O_CREAT else name
            if named not in self.names or not _in_main_thread():
                return real(*arguments, **options)
            self.log.append(named)
            return self.strike(len(self.log) - 1, named, partial(real, *arguments, **options))

        return operation


@dataclass(frozen=True)
class Point:
    """Before, in the midst of (a write alone) or after the operation of that number, counted from 0, which is called so."""

    number: int
    name: str
    when: str

    def __str__(self) -> str:
        return f"{self.when} operation {self.number}, {self.name}"


def ending(point: Point, number: int, woken: Callable[[], None] = lambda: None) -> Strike:
    """A strike that sends its own process this signal at the point; `woken` is called if it lives on."""

    def strike(at: int, name: str, call: partial) -> object:
        if at != point.number:
            return call()
        if name != point.name:
            os._exit(ASTRAY)
        if point.when == "midst":
            fd, data = call.args
            call = partial(lambda: os.write(fd, data[: len(data) // 2]))
        try:
            return call() if point.when != "before" else None
        finally:  # also where it is refused
            os.kill(os.getpid(), number)
            woken()
            if point.when == "before":
                return call()  # noqa: B012

    return strike


class Told(RecordingEvents):
    """A report that prints which tasks are begun."""

    def begin(self, job: Job, task: Task) -> None:
        print(f"begins {task}", flush=True)


class Lone(Supervisor):
    """A node in one process: the same life, its worker a call, so that all its operations have an order."""

    def _run_worker(self, node: Node) -> tuple[int, bool]:
        worker = Worker(node, make_plan, Told(), threading.Event(), self.only)
        try:
            return (0 if worker.run() else 1), True
        except EvictedError:
            return EXIT_EVICTED, True


class Stage:
    """One shared directory, on which nodes live that are given the same line."""

    def __init__(self, directory: Path, clip: Path, style: Path, name: str):
        self.root, cuts = directory / name / "share", directory / name / "cuts.csv"
        self.request = Request(str(clip), style, name=JOB, lease=MIN_LEASE_S, frames=FRAMES, read_cuts=cuts, threads=1)
        self.root.mkdir(parents=True)
        cuts.write_text(f"{CUT}\n")

    def line(self, system: FileSystem) -> int:
        """What `node.py ROOT CLIP STYLE` does, from opening the share to leaving; its exit code."""
        tempfile.tempdir = tempfile.mkdtemp(
            dir=self.root.parent, prefix="machine."
        )  # a lock of one machine is none of another
        share = open_share(self.root, system)
        try:
            self._submit(share)
        except JobQueueError as error:
            if "run the same command again" not in str(error):  # of one that stood still as it made the job
                raise
            self._submit(share)
        return Lone(share, "", JOB).run()

    def _submit(self, share: SharedDir) -> None:
        with temporary_member(share) as creator, short_segments(SEGMENT):
            submit(creator, self.request)

    @property
    def share(self) -> SharedDir:
        return open_share(self.root, Stepped(), hard_links=True)

    def job(self) -> Job | None:
        return find_job(self.share, JOB)

    @property
    def film(self) -> Path:
        return self.root / f"{JOB}.mp4"

    def claims(self) -> list[str]:
        return sorted(claimed(self.job())) if self.job() else []

    def records(self) -> list[str]:
        """Of every attempt its task and what went wrong."""
        job = self.job()
        tasks = [Task(path.parent.parent.name, int(path.name)) for path in job.layout.attempts.glob("*/*/*")]
        return sorted(f"{task} {attempt.why}" for task in tasks for attempt in attempts.attempts_of_task(job, task))

    def files(self) -> set[str]:
        """All that lies there but attempts, by names that do not depend on chance."""
        names = (str(path.relative_to(self.root)) for path in self.root.rglob("*"))
        return {re.sub(rf"^jobs/{JOB}\.[0-9a-f]+", "jobs/ID", name) for name in names if "/attempts/" not in name}

    def published(self) -> set[tuple[str, int, int, str]]:
        """What must never change, results and film: name, inode, time and content."""
        files = [path for path in (*self.job().layout.results.rglob("*"), self.film) if path.is_file()]
        return {(str(path), path.stat().st_ino, path.stat().st_mtime_ns, fingerprint(path)) for path in files}

    def let_a_lease_pass(self) -> None:
        """What a waiting node does for one lease: what has no owner that could be asked for goes only then."""
        share = self.share
        with temporary_member(share) as node:
            recovery = Recovery(node, FailureDetector(share, node.identity))
            for _ in range(round(LEASE_S / POLL_S) + 2):
                share.system.sleep(POLL_S)
                recovery.run({self.job(): set()})


class Child:
    """A forked process that lives a node's life on a stage; what it says goes to its own log beside the share."""

    def __init__(self, stage: Stage, name: str, life: Callable[[], int]):
        self.log = log = stage.root.with_name(f"{name}.log")
        self.pid = os.fork()
        if self.pid == 0:
            signal.alarm(LIMIT_S)
            fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(fd, 1)
            os.dup2(fd, 2)
            code = 1
            try:
                code = life()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)

    def wait(self) -> int:
        """Until it ends or is stopped; its exit code, or minus the number of the signal."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        return -os.WSTOPSIG(status) if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)


@dataclass(frozen=True)
class Sweep:
    """The undisturbed life of a node, and what it left."""

    make_stage: Callable[[str], Stage]
    counted: tuple[str, ...]
    log: list[str]
    film: bytes
    files: set[str]

    def points(self) -> list[Point]:
        """All there are, in the order of the node's life."""
        whens = lambda name: ("before", "midst", "after") if name == "write" else ("before", "after")
        return [Point(number, name, when) for number, name in enumerate(self.log) for when in whens(name)]

    def killed(self, point: Point) -> list[str]:
        """A node is killed at the point, and another one finishes; what is not as it should be."""
        stage = self.make_stage(str(point))
        doomed = Child(
            stage, "doomed", lambda: stage.line(Stepped(CountingOs(self.counted, ending(point, signal.SIGKILL))))
        )
        if (code := doomed.wait()) != -signal.SIGKILL:
            return [f"the node ended with {code} before it came there"]
        held = stage.claims()
        if code := Child(stage, "next", lambda: stage.line(Stepped())).wait():
            return [f"the next node ended with {code}"]
        return [*self.differences(stage), *compared("attempts", stage.records(), [f"{name} vanished" for name in held])]

    def frozen(self, point: Point) -> list[str]:
        """A node stands still at the point for longer than a lease, others finish, it wakes up; what is not as it should be."""
        stage, system = self.make_stage(str(point)), Stepped()
        system.os = CountingOs(self.counted, ending(point, signal.SIGSTOP, woken=lambda: system.sleep(LEASE_S)))
        frozen = Child(stage, "frozen", lambda: stage.line(system))
        if (code := frozen.wait()) != -signal.SIGSTOP:
            return [f"the node ended with {code} before it came there"]
        try:
            held, begun = stage.claims(), frozen.log.read_text()
            if code := Child(stage, "next", lambda: stage.line(Stepped())).wait():
                return [f"the next node ended with {code}"]
            before = stage.published()
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
            code = frozen.wait()
        faults = [f"the one that woke up ended with {code}"] if code else []
        faults += [
            f"it {line} after it woke up"
            for line in frozen.log.read_text()[len(begun) :].splitlines()
            if "begins" in line
        ]
        faults += [f"{record} is on record" for record in set(stage.records()) - {f"{name} vanished" for name in held}]
        return [*faults, *compared("results", stage.published(), before), *self.differences(stage)]

    def differences(self, stage: Stage) -> list[str]:
        """Between what is there after all and what the undisturbed node left."""
        faults = [f"{room}/ is not empty" for room in ("nodes", "notify") if os.listdir(stage.root / room)]
        if stage.film.read_bytes() != self.film:
            faults.append("the film is another one")
        stage.let_a_lease_pass()
        return [*faults, *compared("files", stage.files(), self.files)]


def compared(what: str, there: Iterable, expected: Iterable) -> list[str]:
    if there == expected:
        return []
    few = [
        sorted((Counter(one) - Counter(other)).elements())[:5] for one, other in ((there, expected), (expected, there))
    ]
    return [f"{what}: too many {few[0]}, missing {few[1]}"]


def _undisturbed(directory: Path, make_stage: Callable[[str], Stage], counted: tuple[str, ...]) -> Sweep:
    stage, listed = make_stage("undisturbed"), directory / "operations.json"

    def live() -> int:
        counting = CountingOs(counted, lambda number, name, call: call())
        code = stage.line(Stepped(counting))
        listed.write_text(json.dumps(counting.log))
        return code

    child = Child(stage, "undisturbed", live)
    assert child.wait() == 0, child.log.read_text()
    return Sweep(make_stage, counted, json.loads(listed.read_text()), stage.film.read_bytes(), stage.files())


def _at(sweep: Sweep, how: str, point: Point) -> tuple[Point, list[str]]:
    try:
        return point, getattr(sweep, how)(point)
    except Exception:
        return point, [traceback.format_exc()]


def main(directory: Path, clip: Path, style: Path, how: str, which: str, step: str = "1") -> int:
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    cv2.setNumThreads(1)
    ChangeNotifier.wait = lambda notifier, seconds: notifier.node.share.system.wait(
        notifier.changed, seconds
    )  # no node waits here; clocks step
    make_stage = partial(Stage, directory, clip, style)
    sweep = _undisturbed(directory, make_stage, CHANGES + LOOKS if which == "every" else CHANGES)
    points, faulty = sweep.points()[:: int(step)], 0
    with get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        for point, faults in pool.imap_unordered(partial(_at, sweep, how), points):
            if faults:
                faulty += 1
                print(f"{how} {point}: {'; '.join(faults)}; see {directory / str(point)}")
            else:
                shutil.rmtree(directory / str(point))
    print(f"{how} at {len(points)} points, faults at {faulty}")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4]), *sys.argv[4:]))
