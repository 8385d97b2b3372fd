"""The progress of a worker, in memory that it shares with its supervisor.

The worker writes a few bytes per task. They remain readable after the worker has died.
"""

import mmap
import os
import struct
import time
from collections.abc import Callable
from multiprocessing import reduction
from multiprocessing.context import BaseContext

from shared.paths import Task

BYTES = 1024
HEAD = struct.Struct(
    "=4Q"
)  # bytes of the task's name, 0 without a task; then counters of signs of life, signs of progress, and ended tasks
# A task hangs after HANG_FACTOR times the longest silence of its kind so far, but at least HANG_S. For the first task
# of a kind it is FIRST_TASK_TIMEOUT_S, because slow flow of large frames takes an hour.
HANG_FACTOR, HANG_S, FIRST_TASK_TIMEOUT_S = 30.0, 600.0, 7500.0


class Memory(mmap.mmap):
    """Memory that two processes share; the child process gets it as an argument. `fd` is closed with it.

    Shared memory of multiprocessing needs a writable /dev/shm or temporary directory; this one does not.
    """

    fd: int

    def __new__(cls, fd: int) -> "Memory":
        memory = super().__new__(cls, fd, BYTES)
        memory.fd = fd
        return memory

    def __del__(self):
        os.close(self.fd)

    def __reduce__(self):
        return _received, (reduction.DupFd(self.fd),)


def _received(handle) -> Memory:
    return Memory(handle.detach())


class TaskProgressWriter:
    """The worker's side."""

    def __init__(self, memory):
        self._memory = memory
        self._length = self._signs = self._progress = self._ended = 0

    @staticmethod
    def memory(context: BaseContext):
        """Empty memory for both sides, to be passed to the worker as an argument of its process."""
        try:
            fd = os.memfd_create("task progress")
        except (AttributeError, OSError):  # not Linux, or an old kernel
            return context.RawArray("c", BYTES)
        os.ftruncate(fd, BYTES)
        return Memory(fd)

    def begin(self, job_name: str, task: Task, job_id: str) -> None:
        words = "\0".join((job_name, str(task), job_id)).encode()
        self._memory[HEAD.size : HEAD.size + len(words)] = words
        self._length = len(words)
        self._sign()

    def report_progress(self) -> None:
        """Note that the task makes progress."""
        self._progress += 1
        self._sign()

    def end(self) -> None:
        self._length = 0
        self._ended += 1
        self.report_progress()

    @property
    def busy(self) -> bool:
        """Whether a task is in progress."""
        return self._length > 0

    def waiting(self) -> None:
        """Note that the task waits for the share: neither progress nor a hang."""
        self._sign()

    def _sign(self) -> None:
        self._signs += 1
        HEAD.pack_into(self._memory, 0, self._length, self._signs, self._progress, self._ended)


class TaskProgressMonitor:
    """The supervisor's side: the worker's task, and the seconds without a sign of life while the share answered."""

    def __init__(self, memory, monotonic: Callable[[], float] = time.monotonic):
        self._memory, self._monotonic = memory, monotonic
        self.task: tuple[str, str, str] | None = None  # names of job and task, id of the job
        self.ended = 0  # tasks
        self.silent_for = 0.0
        self._longest: dict[str, float] = {}  # by kind of task
        self._signs = self._progress = 0
        self._looked = monotonic()

    def poll(self, share_answers: bool) -> None:
        now = self._monotonic()
        if share_answers:
            self.silent_for += min(now - self._looked, 1.0)  # time in which the machine was suspended does not count
        self._looked = now
        length, signs, progress, self.ended = HEAD.unpack_from(self._memory)
        if signs != self._signs:
            if self.task and progress != self._progress:
                kind = _kind(self.task)
                self._longest[kind] = max(self._longest.get(kind, 0.0), self.silent_for)
            self.silent_for, self._signs, self._progress = 0.0, signs, progress
        words = self._memory[HEAD.size : HEAD.size + length].decode(errors="replace").split("\0")
        self.task = tuple(words) if len(words) == 3 else None

    @property
    def is_hung(self) -> bool:
        if self.task is None:
            return False
        longest = self._longest.get(_kind(self.task))
        return self.silent_for > (FIRST_TASK_TIMEOUT_S if longest is None else max(HANG_S, HANG_FACTOR * longest))


def _kind(task: tuple[str, str, str]) -> str:
    return task[1].partition(".")[0]
