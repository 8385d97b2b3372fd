"""Claim, publish and release empty tasks: what a task costs in jobs of any size, beside others that do the same.

`pip install -e .[bench]` brings the others (jug, dirq); filelock is the program's own.
With --out FILE each measured cell is appended to FILE, and one that is there is not measured again.
"""

import json
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import rivals
from benchmarks.meter import Counting, Meter
from shared import results
from shared.claims import claimed
from shared.heartbeat import temporary_member
from shared.jobs import Job, create_job
from shared.membership import Node
from shared.paths import SHARD, Task, shard_of
from shared.settings import LEASE_S
from shared.shared_dir import open_share
from shared.supervisor import Supervisor

CHAIN = 100  # tasks that one node does one after the other, as the frames of a shot
END = Task("end", 0, ".txt")
PATH = click.Path(path_type=Path)


def create(node: Node, name: str, tasks: int, chain: int, pause_s: float = 0.0) -> Job:
    """A job of empty tasks, or of tasks in each of which a node sleeps."""
    return create_job(node, name, LEASE_S, lambda layout: {"tasks": tasks, "chain": chain, "pause_s": pause_s})[0]


def empty_task(number: int) -> Task:
    return Task("empty", number, ".txt")


class EmptyPlan:
    """`tasks` empty tasks in chains of `chain`, and one that tells when all are done (a `shared.protocols.TaskPlan`)."""

    optional: frozenset[str] = frozenset()

    def __init__(self, job: Job, node: Node, meter: str | None = None):
        self.job, self.node = job, node
        spec = job.manifest.spec
        self.tasks, self.chain, self.pause_s = spec["tasks"], spec["chain"], spec["pause_s"]
        self.meter = Meter(Path(meter)) if meter else None
        if self.meter:
            self.counting = node.share.system.os = Counting()
            self.meter.begin()
        self.invalidate_cache()

    def invalidate_cache(self) -> None:
        self.done = [0] * -(-self.tasks // self.chain)  # of each chain
        self.first = 0  # chains before this one are done
        for shard in range(shard_of(self.tasks - 1) + 1):
            self._survey(shard)

    def _length(self, chain: int) -> int:
        return min(self.chain, self.tasks - chain * self.chain)

    def _survey(self, shard: int) -> None:
        """Learn of all that is done in one directory of results."""
        there = results.completed_in_shard(self.job, "empty", shard)
        if not there:
            return
        for chain in range(shard * SHARD // self.chain, min((shard + 1) * SHARD // self.chain, len(self.done))):
            while self.done[chain] < self._length(chain) and chain * self.chain + self.done[chain] in there:
                self.done[chain] += 1

    def candidates(self) -> Iterator[Task]:
        taken = [task for task in map(Task.parse, claimed(self.job)) if task.kind == "empty"]
        busy = {task.number // self.chain for task in taken}
        while self.first < len(self.done) and self.done[self.first] == self._length(self.first):
            self.first += 1
        for chain in range(self.first, len(self.done)):
            if chain not in busy and self.done[chain] < self._length(chain):
                yield empty_task(chain * self.chain + self.done[chain])
        if self.first == len(self.done):
            yield END

    def run(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        if self.pause_s:
            time.sleep(self.pause_s)
        return rivals.RESULT

    def published(self, task: Task, ours: bool) -> None:
        if task.kind == "empty" and ours:
            self.done[task.number // self.chain] += 1
            if self.meter:
                self.meter.did(self.counting.total)
        elif task.kind == "empty":
            self._survey(shard_of(task.number))

    def next_in_chain(self, task: Task) -> Task | None:
        following = task.number + 1
        if task.kind == "empty" and following % self.chain and following < self.tasks:
            return empty_task(following)

    def finalize(self) -> str | None:
        return "the end" if results.is_done(self.job, END) else None


class Ours:
    """The product: nodes as a user starts them, supervisor and all."""

    def __init__(self, chain: int, pause_s: float = 0.0):
        self.chain, self.pause_s = chain, pause_s

    def prepare(self, place: Path, tasks: int) -> None:
        with temporary_member(open_share(place)) as node:
            create(node, "empty", tasks, self.chain, self.pause_s)

    def work(self, place: Path, tasks: int, meter: Path) -> None:
        before = time.process_time()
        Supervisor(open_share(place), "benchmarks.claims:EmptyPlan", "empty", options={"meter": str(meter)}).run()
        Meter(meter).beside(time.process_time() - before)


# ours-20ms sleeps so long in each task: what is left of the time is what nodes wait for, or do, between two.
SYSTEMS = {"ours": Ours(CHAIN), "ours-unchained": Ours(1), "ours-20ms": Ours(CHAIN, 0.02), **rivals.SYSTEMS}


def _work(name: str, place: Path, tasks: int, meter: Path, start) -> None:
    """One process of a system under test."""
    start.wait()
    SYSTEMS[name].work(place, tasks, meter)


def measure(name: str, place: Path, tasks: int, processes: int, limit_s: float) -> dict:
    """One cell: `processes` of one system on a job of its own. What was not done when the limit came is told."""
    began = time.monotonic()
    SYSTEMS[name].prepare(place, tasks)
    filled = time.monotonic() - began
    meters = [place / f"meter.{number}" for number in range(processes)]
    for path in meters:
        Meter.make(path)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(processes)
    workers = [context.Process(target=_work, args=(name, place, tasks, path, start)) for path in meters]
    for worker in workers:
        worker.start()
    end = time.monotonic() + limit_s
    for worker in workers:
        worker.join(max(0.0, end - time.monotonic()))
    for worker in workers:
        worker.kill()
        worker.join()
    read = [meter for meter in map(Meter, meters) if meter.began]
    return {
        "system": name,
        "tasks": tasks,
        "processes": processes,
        "filled": filled,
        "done": sum(int(meter.done) for meter in read),
        "seconds": max(meter.ended for meter in read) - min(meter.began for meter in read),
        "cpu": sum(meter.cpu + meter.cpu_beside for meter in read),
        "operations": sum(meter.operations for meter in read),
        "peak_mb": max(meter.peak_kb for meter in read) / 1024,
        "fewest": int(min(meter.done for meter in read)),
        "pause_s": getattr(SYSTEMS[name], "pause_s", 0.0),
    }


def per_task(cell: dict) -> float:
    """Microseconds a task, of the tasks that were done."""
    return cell["seconds"] / max(cell["done"], 1) * 1e6


def cpu_per_task(cell: dict) -> float:
    """Microseconds of processor time, of all processes together."""
    return cell["cpu"] / max(cell["done"], 1) * 1e6


def idle(cell: dict) -> str:
    """The share of its time that a process was not in a task; nothing where tasks are empty."""
    at_work = cell["done"] * cell.get("pause_s", 0.0)
    return f"{1 - at_work / (cell['processes'] * cell['seconds']):.1%}" if at_work else ""


def table(cells: list[dict]) -> Iterator[str]:
    yield f"{'system':16}{'tasks':>9}{'processes':>11}{'µs a task':>11}{'of CPU':>8}{'operations':>12}{'peak MB':>9}{'to fill, s':>12}{'s in all':>10}{'idle':>7}"
    groups: dict[tuple, list[dict]] = {}
    for cell in cells:
        groups.setdefault((cell["processes"], cell["tasks"], cell["system"]), []).append(cell)
    for (processes, tasks, name), same in sorted(groups.items()):
        cell = sorted(same, key=per_task)[len(same) // 2]
        short = cell["done"] < tasks
        words = (
            f"> limit: {cell['done']} done, {per_task(cell) * tasks / 1e6:.0f} s extrapolated"
            if short
            else f"{cell['seconds']:.1f}"
        )
        operations = f"{cell['operations'] / max(cell['done'], 1):.1f}" if cell["operations"] else ""
        yield (
            f"{name:16}{tasks:9}{processes:11}{statistics.median(map(per_task, same)):11.0f}"
            f"{statistics.median(map(cpu_per_task, same)):8.0f}{operations:>12}{cell['peak_mb']:9.0f}"
            f"{cell['filled']:12.1f}{words:>10}{idle(cell):>7}"
        )


def numbers(context, parameter, text: str) -> list[int]:
    return [int(float(word)) for word in text.split(",")]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--tasks", default="1e3,1e4", show_default=True, callback=numbers, help="Sizes of the jobs.")
@click.option("--processes", default="1,8", show_default=True, callback=numbers)
@click.option("--systems", default="ours,jug,dirq,softfilelock", show_default=True, help=f"Of: {', '.join(SYSTEMS)}.")
@click.option(
    "--dir",
    "place",
    type=PATH,
    default=Path(tempfile.gettempdir()),
    show_default=True,
    help="Where the shared directories are made, on the disk or mount to be measured.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Times that each cell is measured, alternating; the median is shown.",
)
@click.option(
    "--limit-s",
    type=float,
    default=900.0,
    show_default=True,
    help="A cell that takes longer is cut off, and extrapolated.",
)
@click.option("--out", type=PATH, help="File of measured cells: go on where it ends.")
def main(
    tasks: list[int], processes: list[int], systems: str, place: Path, rounds: int, limit_s: float, out: Path | None
) -> None:
    """Print a table of microseconds, file operations and memory for a task, by system, size of the job and processes."""
    names = systems.split(",")
    if unknown := set(names) - set(SYSTEMS):
        raise click.UsageError(f"--systems: expected some of {', '.join(SYSTEMS)}, got {', '.join(sorted(unknown))}")
    cells = [json.loads(line) for line in out.read_text().splitlines()] if out and out.exists() else []
    for number in range(rounds):
        for size in tasks:
            for count in processes:
                for name in names:
                    same = [
                        cell
                        for cell in cells
                        if (cell["system"], cell["tasks"], cell["processes"]) == (name, size, count)
                    ]
                    if len(same) > number:
                        continue
                    click.echo(f"{name}: {size} tasks, {count} processes …", err=True)
                    room = Path(tempfile.mkdtemp(prefix="claims.", dir=place))
                    try:
                        cells.append(measure(name, room, size, count, limit_s))
                    finally:
                        shutil.rmtree(room, ignore_errors=True)
                    click.echo(list(table(cells[-1:]))[1], err=True)
                    if out:
                        with open(out, "a") as file:
                            file.write(json.dumps(cells[-1]) + "\n")
    for line in table(cells):
        click.echo(line)


if __name__ == "__main__":
    main()
