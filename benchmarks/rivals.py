"""The same empty tasks in other people's ways: jug, dirq, and a loop around filelock's SoftFileLock.

Each claims a task, writes the same synced result and releases; what it does not need (a heart, attempts) it leaves out.
"""

import contextlib
import io
import os
from pathlib import Path

from benchmarks.meter import Meter

RESULT = b"done\n"
SHARD = 1000  # results a directory

JUGFILE = """
from jug import Task
from benchmarks import rivals
for number in range({tasks}):
    Task(rivals.jug_task, number)
"""

_meter: Meter | None = None  # of the jug of this process, whose tasks are functions


def jug_task(number: int) -> bytes:
    _meter.did()
    return RESULT


class Jug:
    """`jug execute`, as its users run it; it writes, syncs and renames the result by itself."""

    def prepare(self, place: Path, tasks: int) -> None:
        (place / "jugfile.py").write_text(JUGFILE.format(tasks=tasks))

    def work(self, place: Path, tasks: int, meter: Path) -> None:
        global _meter
        from jug.jug import main

        _meter = Meter(meter)
        _meter.begin()
        with contextlib.redirect_stdout(io.StringIO()):
            main(["jug", "execute", str(place / "jugfile.py"), "--jugdir", str(place / "jugdir"), "--will-cite"])


def publish(place: Path, number: int) -> None:
    """The result as a whole, synced file."""
    shard = place / "results" / str(number // SHARD)
    draft = f"{shard}/{number}.{os.getpid()}"
    try:
        file = open(draft, "xb")
    except FileNotFoundError:
        os.makedirs(shard, exist_ok=True)
        file = open(draft, "xb")
    with file:
        file.write(RESULT)
        file.flush()
        os.fsync(file.fileno())
    os.rename(draft, f"{shard}/{number}")


class Dirq:
    """A queue with an element for each task; whoever locked one does it and removes it. Filling the queue is not timed."""

    def prepare(self, place: Path, tasks: int) -> None:
        from dirq.QueueSimple import QueueSimple

        queue = QueueSimple(str(place / "queue"), granularity=1)  # the smallest directories that it can make
        for number in range(tasks):
            queue.add(b"%d" % number)

    def work(self, place: Path, tasks: int, meter: Path) -> None:
        from dirq.QueueSimple import QueueSimple

        measured = Meter(meter)
        measured.begin()
        queue = QueueSimple(str(place / "queue"))
        for name in queue:
            if queue.lock(name):
                publish(place, int(queue.get(name)))
                queue.remove(name)
                measured.did()


class SoftFileLock:
    """A loop over the tasks with a lock file for each, until all results are there."""

    def prepare(self, place: Path, tasks: int) -> None:
        (place / "locks").mkdir()

    def work(self, place: Path, tasks: int, meter: Path) -> None:
        import filelock

        measured, left = Meter(meter), range(tasks)
        measured.begin()
        while left:
            again = []
            for number in left:
                result = f"{place}/results/{number // SHARD}/{number}"
                if os.path.exists(result):
                    continue
                try:
                    with filelock.SoftFileLock(f"{place}/locks/{number}.lock", timeout=0):
                        if not os.path.exists(result):
                            publish(place, number)
                            measured.did()
                except filelock.Timeout:
                    again.append(number)
            left = again


SYSTEMS = {"jug": Jug(), "dirq": Dirq(), "softfilelock": SoftFileLock()}
