"""Follow a job whose nodes this command has started: show its progress and the log lines of its nodes."""

import errno
import logging
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fav.errors import FavError
from fav.monitor.console import terminal_console
from fav.monitor.pace import JobPace
from fav.monitor.text import count_words, pace_words
from fav.pipeline.artifacts import DamagedFileError, JobArtifacts
from fav.pipeline.task_names import stitch_task
from fav.pipeline.training_job import is_training, training_of
from fav.pipeline.training_progress import training_progress
from fav.util.atomic import kind_of
from shared import results
from shared.claims import claimed
from shared.errors import ResultVanishedError, sanitize
from shared.jobs import Job
from shared.logs import LOG_HEAD, STARTED, LogLine, parse

logger = logging.getLogger(__name__)

HIDDEN = (LOG_HEAD, STARTED, "done: ", "ended with exit code ")  # beginnings of lines that are not shown
POLL_COST_FACTOR = 20  # counting takes at most a twentieth of a core
STEP = 1 << 20  # bytes that are read of a log per poll
MAX_LINES = 10_000  # lines that are remembered, so that none is shown twice
FINAL_POLLS = 100  # of the logs after all nodes have ended


class LogTail:
    """Reads the new lines of nodes' logs. Equal lines of several nodes are shown once.

    Reads only regular files, at most `STEP` bytes of each per poll, and never blocks: other programs may have made them.
    """

    def __init__(self, logs: list[Path]):
        self._read: dict[Path, int] = {}
        self._shown: dict[str, None] = {}  # the latest last
        self.behind = False  # whether a log has more than was read at the last poll
        for log in logs:
            self.add(log)

    def add(self, log: Path) -> None:
        """Read this log, too; it need not exist yet."""
        try:
            self._read[log] = log.lstat().st_size
        except OSError:
            self._read[log] = 0

    def lines(self) -> list[LogLine]:
        """The new lines, with sanitized messages."""
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
                continue  # not there yet, or a temporary error of the share
            self.behind |= len(data) == STEP
            whole = data[: data.rfind(b"\n") + 1]
            self._read[log] = before + (
                len(whole) if whole or len(data) < STEP else len(data)
            )  # a line of 1 MiB is not ours
            for line in whole.decode(errors="replace").splitlines():
                read = parse(line)
                message = sanitize(read.message, 2000)
                if message not in self._shown and not message.startswith(HIDDEN):
                    self._shown[message] = None
                    fresh.append(replace(read, message=message))
        for old in list(self._shown)[:-MAX_LINES]:
            del self._shown[old]
        return fresh


class NoLogError(FavError):
    """The file with the name of a log is not a log."""


def read_on(log: Path, place: int) -> bytes:
    """Read at most STEP bytes of a log from an offset. Raises NoLogError if it is no regular file, or not readable."""
    try:
        fd = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EACCES):
            raise
        got = "one that this user may not read" if error.errno == errno.EACCES else kind_of(log)
        raise NoLogError(f"{log}: expected a log, got {got}; it is ignored") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NoLogError(f"{log}: expected a log, got {kind_of(log)}; it is ignored")
        return os.pread(fd, STEP, place)
    finally:
        os.close(fd)


class ProgressTracker:
    """Counts a job's frames repeatedly, and estimates the time left with `JobPace`.

    After each count it waits `POLL_COST_FACTOR` times as long as the count took: a job may be large, a mount slow.
    """

    unit = "frames"

    def __init__(self, job: Job):
        self.artifacts = JobArtifacts(job)
        self.pace = JobPace(self.artifacts)
        self._first: int | None = None  # frames that were done at the first poll
        self._next = float("-inf")
        self._seen: tuple[int, int | None, float | None, float | None] = 0, None, None, None

    def poll(self, at_once: bool = False) -> tuple[int, int | None, float | None, float | None]:
        """Frames done, frames in total (None: unknown), frames per second, seconds left."""
        began = time.monotonic()
        if at_once or began >= self._next:
            self._seen = self._count()
            self._next = time.monotonic() + POLL_COST_FACTOR * (time.monotonic() - began)
        return self._seen

    def opening(self) -> str:
        """The step before the first frame, while the number of frames is still unknown."""
        if self.artifacts.index_progress().index_segments or claimed(self.artifacts.job):
            return "reading the video"
        return "nodes are getting ready"

    def closing(self) -> str:
        """The step after the last frame."""
        if self.artifacts.spec.is_flow:
            return "delivering"
        if self.artifacts.spec.evaluate and results.is_done(self.artifacts.job, stitch_task(self.artifacts.spec)):
            done, total = self.artifacts.measured()
            return f"measuring, {done} of {total}"
        with suppress(DamagedFileError):
            self.artifacts.load_new_segments()  # whoever looks after the last frame has not read the index yet
        done, total = self.artifacts.encoded()
        return "stitching" if done == total else f"encoding, segment {count_words(done, total)}"

    def _count(self) -> tuple[int, int | None, float | None, float | None]:
        index, done = self.artifacts.index_progress(), self.artifacts.published(self.artifacts.frame_kind)
        total = index.end - self.artifacts.spec.start if index.is_complete else None
        if self._first is None or done == 0:
            self._first = done
        if done == self._first:  # no rate yet: the index need not be read
            return done, total, None, None
        self.pace.poll(time.monotonic(), claimed(self.artifacts.job))
        return done, total, self.pace.rate, self.pace.left()


class TrainingTracker:
    """As `ProgressTracker`, of a job that learns styles: it counts the iterations of all chains."""

    unit = "iterations"

    def __init__(self, job: Job):
        self._job, self._training = job, training_of(job)
        self._now = training_progress(job, self._training)
        self._next = float("-inf")

    def poll(self, at_once: bool = False) -> tuple[int, int | None, float | None, float | None]:
        """Iterations done, in total, per second, seconds left."""
        began = time.monotonic()
        if at_once or began >= self._next:
            self._now = training_progress(self._job, self._training)
            self._next = time.monotonic() + max(POLL_COST_FACTOR * (time.monotonic() - began), 1.0)
        return self._now.done, self._now.total, self._now.rate, self._now.left

    def opening(self) -> str:
        """What nodes do before the first iterations are done; the total is known from the beginning."""
        return "nodes are getting ready"

    def closing(self) -> str:
        """The step after the last iteration."""
        return "measuring the style" if any(chain.verdict is None for chain in self._now.chains) else "delivering"


def tracker_of(job: Job) -> ProgressTracker | TrainingTracker:
    """The tracker of a job."""
    return TrainingTracker(job) if is_training(job) else ProgressTracker(job)


def follow(job: Job, running: Callable[[], bool], log_tail: LogTail) -> None:
    """Show the job's progress and its nodes' log lines while `running()` is true."""
    tracker = tracker_of(job)
    console = terminal_console()
    terminal = console.is_terminal
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(tracker.unit + "  {task.fields[words]}"),
    ]
    with Progress(*columns, console=console, disable=not terminal) as bar:
        line = bar.add_task(job.name, total=None, words="")
        reported, last = -1, time.monotonic()
        done, total, opening = -1, None, ""
        while running():
            try:
                done, total, rate, left = tracker.poll()
                if not done and total is None:
                    words = tracker.opening()
                else:
                    words = tracker.closing() if done == total else pace_words(rate, left)
            except (OSError, ResultVanishedError):
                time.sleep(1)
                continue
            for log_line in log_tail.lines():
                _repeat(log_line)
            bar.update(line, completed=done, total=total, words=words)
            if not terminal and not done and total is None:
                if words != opening:
                    opening = words
                    logger.info("%s", words, extra={"job": job.name})
            elif not terminal and done != reported and (time.monotonic() - last > 10 or done == total):
                reported, last = done, time.monotonic()
                said = f"{count_words(done, total or None)} {tracker.unit}{'  ' * bool(words)}{words}"
                logger.info("%s", said, extra={"job": job.name})
            time.sleep(0.5)
        with suppress(OSError, ResultVanishedError):  # the film may be done all the same
            done, total, *_ = tracker.poll(at_once=True)
        bar.update(line, completed=max(done, 0), total=total, words="")
    for _ in range(FINAL_POLLS):
        for log_line in log_tail.lines():
            _repeat(log_line)
        if not log_tail.behind:
            break
    if not terminal and done != reported:
        logger.info("%s %s", count_words(done, total or None), tracker.unit, extra={"job": job.name})


def _repeat(line: LogLine) -> None:
    """Log a node's line again, with its level and fields."""
    logger.log(line.level, "%s", line.message, extra={"node": line.node, "job": line.job, "task": line.task})
