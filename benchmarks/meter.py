"""What a process under test has done so far, in a file that is mapped: it can be read after the process was killed."""

import mmap
import os
import resource
import time
from collections import Counter
from pathlib import Path

FIELDS = ("began", "ended", "done", "operations", "peak_kb", "cpu_before", "cpu", "cpu_beside")


class Meter:
    """One process's figures: seconds of the monotonic clock and of processor time, tasks, file operations, peak memory in KiB.

    `cpu_beside` is the processor time of a process that stands beside the one that works.
    """

    def __init__(self, path: Path):
        with open(path, "r+b") as file:
            self._values = memoryview(mmap.mmap(file.fileno(), 0)).cast("d")

    @staticmethod
    def make(path: Path) -> None:
        path.write_bytes(bytes(8 * len(FIELDS)))

    def begin(self) -> None:
        self._set("began", time.monotonic())
        self._set("cpu_before", time.process_time())

    def did(self, operations: int = 0) -> None:
        """One more task is done; `operations` is the number of file operations so far, 0 where nobody counts."""
        self._set("ended", time.monotonic())
        self._set("done", self.done + 1)
        self._set("cpu", time.process_time() - self.cpu_before)
        self._set("operations", operations)
        if self.done % 100 == 1:
            self._set("peak_kb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    def beside(self, seconds: float) -> None:
        """A process that stands beside the one that works has taken so much processor time."""
        self._set("cpu_beside", seconds)

    def _set(self, field: str, value: float) -> None:
        self._values[FIELDS.index(field)] = value

    def __getattr__(self, field: str) -> float:
        if field not in FIELDS:
            raise AttributeError(field)
        return self._values[FIELDS.index(field)]


class Counting:
    """Stands for the `os` module, and counts the calls of its functions by name."""

    def __init__(self):
        self.calls: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return self.calls.total()

    def __getattr__(self, name: str):
        real = getattr(os, name)

        def counted(*arguments, **options):
            self.calls[name] += 1
            return real(*arguments, **options)

        setattr(self, name, counted)
        return counted
