"""Where a process's time goes, by step: seconds on the wall and seconds of processor time, nothing counted twice."""

import functools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path


def now() -> tuple[float, float]:
    """Seconds on the wall, and seconds of processor time of all threads of this process."""
    return time.perf_counter(), time.process_time()


class Stopwatch:
    """Sums the seconds of named steps; while a step within a step runs, the outer one stands still.

    Steps of the thread that made it are counted. What other threads do meanwhile is in a step's processor time, so that is
    its own only as long as steps follow one another.
    """

    def __init__(self, clock: Callable[[], tuple[float, float]] = now):
        self.wall: dict[str, float] = defaultdict(float)
        self.cores: dict[str, float] = defaultdict(float)
        self._clock, self._thread, self._open = clock, threading.get_ident(), []
        self._since = clock()

    def _book(self) -> None:
        """What has passed since the last look belongs to the innermost open step."""
        before, self._since = self._since, self._clock()
        if self._open:
            self.wall[self._open[-1]] += self._since[0] - before[0]
            self.cores[self._open[-1]] += self._since[1] - before[1]

    @contextmanager
    def step(self, name: str):
        if threading.get_ident() != self._thread:
            yield
            return
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def timed(self, name: str, function: Callable) -> Callable:
        """`function`, its calls counted as a step."""

        @functools.wraps(function)
        def wrapped(*arguments, **options):
            with self.step(name):
                return function(*arguments, **options)

        return wrapped

    def time(self, name: str, *places: tuple[object, str]) -> None:
        """Count the calls of these attributes of modules or classes as a step, from now on."""
        for owner, attribute in places:
            setattr(owner, attribute, self.timed(name, getattr(owner, attribute)))

    def save(self, path: Path, **more) -> None:
        path.write_text(json.dumps({"steps": self.wall, "step_cores": self.cores, **more}))


def peak_kb(pid: int | str = "self") -> int:
    """The most memory that a process has held so far, in KiB."""
    return next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM"))
