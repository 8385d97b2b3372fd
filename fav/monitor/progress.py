"""Following a job whose nodes we have started: how far it is, how fast, and what the nodes say."""

import errno
import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fav.errors import FavError
from fav.monitor.console import terminal_console
from fav.monitor.pace import JobPace
from fav.monitor.text import count_words, pace_words
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.task_names import stitch_task
from fav.util.atomic import kind_of
from shared import results
from shared.claims import claimed
from shared.errors import ResultVanishedError, sanitize
from shared.jobs import Job
from shared.logs import LOG_HEAD, STARTED, LogLine, parse

logger = logging.getLogger(__name__)

NOT_TOLD = (LOG_HEAD, STARTED, "done: ", "ended with exit code ")  # lines that begin so: the operator knows
POLL_COST_FACTOR = 20  # counting takes a twentieth of a core at most
STEP = 1 << 20  # bytes that are read of a log at one look
MAX_LINES = 10_000  # lines that are remembered, so as not to be shown again
FINAL_POLLS = 100  # at logs, when all nodes have ended


class LogTail:
    """What nodes say into their logs from now on, each thing once, however many of them say it.

    Only regular files are read, some of each at a time, and none is waited on: what lies in the share may be anybody's.
    """

    def __init__(self, logs: list[Path]):
        self._read: dict[Path, int] = {}
        self._said: dict[str, None] = {}  # the latest last
        self.behind = False  # whether some log has more than was read of it at the last look
        for log in logs:
            self.hear(log)

    def hear(self, log: Path) -> None:
        """Read this log, too; it need not be there yet."""
        try:
            self._read[log] = log.lstat().st_size
        except OSError:
            self._read[log] = 0

    def lines(self) -> list[LogLine]:
        """What is new. The messages are plain."""
        fresh: list[LogLine] = []
        self.behind = False
        for log, before in list(self._read.items()):
            try:
                data = read_on(log, before)
            except NoLogError as error:
                fresh.append(LogLine(str(error), logging.WARNING))
                del self._read[log]
                continue
            except OSError:
                continue  # not there yet, or the share's weather
            self.behind |= len(data) == STEP
            whole = data[: data.rfind(b"\n") + 1]
            self._read[log] = before + (
                len(whole) if whole or len(data) < STEP else len(data)
            )  # a line of 1 MiB is none of ours
            for line in whole.decode(errors="replace").splitlines():
                read = parse(line)
                said = sanitize(read.message, 2000)
                if said not in self._said and not said.startswith(NOT_TOLD):
                    self._said[said] = None
                    fresh.append(replace(read, message=said))
        for old in list(self._said)[:-MAX_LINES]:
            del self._said[old]
        return fresh


class NoLogError(FavError):
    """What has the name of a log is none; the message is a line for the operator."""


def read_on(log: Path, place: int) -> bytes:
    """What is in a log from there on, at most STEP bytes. NoLogError where it is no regular file or not for this user."""
    try:
        fd = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EACCES):
            raise
        got = "one that this user may not read" if error.errno == errno.EACCES else kind_of(log)
        raise NoLogError(f"{log}: expected a log, got {got}; it is left out") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NoLogError(f"{log}: expected a log, got {kind_of(log)}; it is left out")
        return os.pread(fd, STEP, place)
    finally:
        os.close(fd)


class ProgressTracker:
    """Counts a job's frames again and again at little cost, and estimates the time left as every view does (`JobPace`).

    A look that took long, since the job is large or the mount slow, is the last for `POLL_COST_FACTOR` times as long.
    """

    def __init__(self, job: Job):
        self.artifacts = JobArtifacts(job)
        self.pace = JobPace(self.artifacts)
        self._first: int | None = None  # frames that were done at the beginning, or before the first was
        self._next = float("-inf")
        self._seen: tuple[int, int | None, float | None, float | None] = 0, None, None, None

    def poll(self, at_once: bool = False) -> tuple[int, int | None, float | None, float | None]:
        """Frames done, frames in all (None: not known yet), frames a second, seconds left."""
        began = time.monotonic()
        if at_once or began >= self._next:
            self._seen = self._count()
            self._next = time.monotonic() + POLL_COST_FACTOR * (time.monotonic() - began)
        return self._seen

    def opening(self) -> str:
        """What nodes do before the first frame is finished, where the number of frames is not known yet."""
        if self.artifacts.index_progress().pieces or claimed(self.artifacts.job):
            return "reading the video"
        return "nodes are getting ready"

    def closing(self) -> str:
        """What is left to do when all frames are there."""
        if self.artifacts.spec.evaluate and results.is_done(self.artifacts.job, stitch_task(self.artifacts.spec)):
            done, total = self.artifacts.measured()
            return f"measuring, {done} of {total}"
        done, total = self.artifacts.encoded()
        return "stitching" if done == total else f"encoding, segment {count_words(done, total)}"

    def _count(self) -> tuple[int, int | None, float | None, float | None]:
        extent, done = self.artifacts.index_progress(), self.artifacts.published("frame")
        total = extent.end - self.artifacts.spec.start if extent.is_complete else None
        if self._first is None or done == 0:
            self._first = done
        if done == self._first:  # nothing can be said yet: the index need not be read
            return done, total, None, None
        self.pace.poll(time.monotonic(), claimed(self.artifacts.job))
        return done, total, self.pace.rate, self.pace.left()


def follow(job: Job, running: Callable[[], bool], talk: LogTail) -> None:
    """Show the job's progress, and what the nodes say, as long as nodes of ours are `running`."""
    follower = ProgressTracker(job)
    console = terminal_console()
    terminal = console.is_terminal
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames  {task.fields[words]}"),
    ]
    with Progress(*columns, console=console, disable=not terminal) as bar:
        line = bar.add_task(job.name, total=None, words="")
        reported, last = -1, time.monotonic()
        opening = ""
        while running():
            try:
                done, total, rate, left = follower.poll()
                if not done and total is None:
                    words = follower.opening()
                else:
                    words = follower.closing() if done == total else pace_words(rate, left)
            except (OSError, ResultVanishedError):
                time.sleep(1)
                continue
            for said in talk.lines():
                _repeat(said)
            bar.update(line, completed=done, total=total, words=words)
            if not terminal and not done and total is None:
                if words != opening:
                    opening = words
                    logger.info("%s", words, extra={"job": job.name})
            elif not terminal and done != reported and (time.monotonic() - last > 10 or done == total):
                reported, last = done, time.monotonic()
                logger.info("%s frames  %s", count_words(done, total or None), words, extra={"job": job.name})
            time.sleep(0.5)
        done, total, *_ = follower.poll(at_once=True)
        bar.update(line, completed=done, total=total, words="")
    for _ in range(FINAL_POLLS):
        for said in talk.lines():
            _repeat(said)
        if not talk.behind:
            break
    if not terminal and done != reported:
        logger.info("%s frames", count_words(done, total or None), extra={"job": job.name})


def _repeat(line: LogLine) -> None:
    """Log what a node has logged, as its own."""
    logger.log(line.level, "%s", line.message, extra={"node": line.node, "job": line.job, "task": line.task})
