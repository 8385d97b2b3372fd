"""A job without pictures: chains of small tasks, each made from the one before, and a sum at the end.

With `parts`, the links of a chain are put together in a task of their own as soon as they are there, as a film's segments are, while
other chains go on; the sum is made of these.

`python -m tests.helpers.toy_plan SHARE [JOB]` is a node that works on such jobs.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from shared import results
from shared.attempts import failed
from shared.claims import claimed
from shared.heartbeat import temporary_member
from shared.jobs import Job, create_job
from shared.membership import Node
from shared.paths import Task
from shared.shared_dir import SharedDir, open_share
from shared.supervisor import Supervisor

LEASE_S = 15.0
SICK = os.environ.get("FAV_TOY_SICK")


def link_task(number: int) -> Task:
    return Task("link", number, ".txt")


def part_task(chain: int) -> Task:
    return Task("part", chain, ".txt")


SUM = Task("sum", 0, ".txt")


class ToyPlan:
    """Chains of `length` links, `chains` of them; link n says n and the hash of link n-1.

    `poison` is a link that raises, `deadly` one that kills its process (with `signal`), `slow` seconds that each takes.
    At position `gate` of each chain, a link waits for a file `go` among the job's inputs.
    A node with FAV_TOY_SICK=raise or =kill in its environment can do no link.
    """

    optional = frozenset()

    def __init__(self, job: Job, node: Node):
        self.job, self.node = job, node
        spec = job.manifest.spec
        self.chains, self.length = spec["chains"], spec["length"]
        self.poison, self.deadly, self.slow = spec.get("poison"), spec.get("deadly"), spec.get("slow", 0.0)
        self.signal, self.gate = spec.get("signal", signal.SIGKILL), spec.get("gate")
        self.parts = spec.get("parts", False)
        self.done = [0] * self.chains

    def candidates(self) -> Iterator[Task]:
        taken = set(claimed(self.job)) | set(failed(self.job))
        for chain in range(self.chains):
            numbers = range(chain * self.length, (chain + 1) * self.length)
            self._advance(chain)
            if self.done[chain] < self.length and not any(str(link_task(number)) in taken for number in numbers):
                yield link_task(chain * self.length + self.done[chain])
        parts = self._missing_parts()
        whole = [chain for chain in parts if self.done[chain] == self.length]
        yield from (part_task(chain) for chain in whole if str(part_task(chain)) not in taken)
        if not parts and all(done == self.length for done in self.done) and str(SUM) not in taken:
            yield SUM

    def _missing_parts(self) -> list[int]:
        there = results.completed_in_shard(self.job, "part", 0) if self.parts else range(self.chains)
        return [chain for chain in range(self.chains) if chain not in there]

    def _links(self, chain: int) -> range:
        return range(chain * self.length, (chain + 1) * self.length)

    def _advance(self, chain: int) -> None:
        there = results.completed_in_shard(self.job, "link", 0)
        while self.done[chain] < self.length and chain * self.length + self.done[chain] in there:
            self.done[chain] += 1

    def run(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        system = self.node.share.system
        system.sleep(self.slow)
        if task == SUM and self.parts:
            return b"".join(results.read(self.job, part_task(chain)) for chain in range(self.chains))
        if task == SUM or task.kind == "part":
            numbers = range(self.chains * self.length) if task == SUM else self._links(task.number)
            return b"".join(results.read(self.job, link_task(number)) for number in numbers)
        while task.number % self.length == self.gate and "go" not in system.list(self.job.layout.inputs):
            system.sleep(0.05)
        if task.number == self.poison:
            raise ValueError("this link is poison")
        if SICK == "raise":
            raise MemoryError("no memory for any link")
        if task.number == self.deadly or SICK == "kill":
            os.kill(os.getpid(), self.signal)
        before = results.read(self.job, link_task(task.number - 1)) if task.number % self.length else b""
        return b"%d %d\n" % (task.number, sum(before) * 31 % 997)

    def published(self, task: Task, ours: bool) -> None:
        if task.kind == "link":
            self._advance(task.number // self.length)

    def next_in_chain(self, task: Task) -> Task | None:
        return link_task(task.number + 1) if task.kind == "link" and (task.number + 1) % self.length else None

    def self_test_task(self, task: Task) -> Task | None:
        begins = lambda number: number % self.length == 0
        there = results.completed_in_shard(self.job, "link", 0) if task.kind == "link" else ()
        return next(
            (link_task(n) for n in sorted(there) if n != task.number and begins(n) == begins(task.number)), None
        )

    def finalize(self) -> str | None:
        return "the sum" if results.is_done(self.job, SUM) else None

    def invalidate_cache(self) -> None:
        self.done = [0] * self.chains


class RecordingEvents:
    """Remembers which tasks were begun."""

    def __init__(self):
        self.tasks: list[str] = []

    def begin(self, job, task):
        self.tasks.append(str(task))

    def report_progress(self): ...
    def end(self): ...
    def waiting(self): ...
    def store_health(self, health): ...


def log_to_stdout() -> None:
    """Let this process print what is logged, the messages alone."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)


def create(share: SharedDir, name: str = "toy", lease: float = LEASE_S, **spec) -> Job:
    """Create a toy job."""
    with temporary_member(share) as node:
        return create_job(node, name, lease, lambda layout: spec)[0]


def expected(chains: int, length: int) -> bytes:
    """The sum that every undisturbed or disturbed run must come to."""
    lines = []
    for number in range(chains * length):
        before = lines[-1] if number % length else b""
        lines.append(b"%d %d\n" % (number, sum(before) * 31 % 997))
    return b"".join(lines)


if __name__ == "__main__":
    log_to_stdout()
    only, forever = next(iter(sys.argv[2:]), None), sys.argv[2:] == ["--forever"]
    sys.exit(
        Supervisor(
            open_share(Path(sys.argv[1])),
            "tests.helpers.toy_plan:ToyPlan",
            None if forever else only,
            forever,
            label=os.environ.get("TOY_LABEL", ""),
        ).run()
    )
