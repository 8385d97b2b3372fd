"""The progress of a job that learns styles: iterations, losses, sheets and verdicts, read in a few file operations."""

import json
from dataclasses import dataclass
from pathlib import Path

from fav.errors import sanitize
from fav.pipeline.training_files import verdict_of
from fav.pipeline.training_job import (
    CHAIN,
    FILM,
    HEAD,
    MAGIC,
    TrainingJob,
    chain_of,
    sheet_task,
    steps_done,
    train_task,
)
from shared import results
from shared.claims import claimed
from shared.errors import JobQueueError
from shared.jobs import Job
from shared.paths import Task

SHOWN = ("style", "content", "temporal", "palette")  # losses in a line


@dataclass(frozen=True)
class StateFacts:
    """The first line of a state.

    Attributes:
        iteration: the number of finished iterations.
        seconds: that its task took, None if unknown.
        iterations: of its task.
        node: that made it.
        numeric_class: of that node.
        losses: the means of the last iterations, by name.
        curve: (iteration, content, style, total) at some iterations.
        published: its time on the server's clock, seconds since 1970.
    """

    iteration: int
    seconds: float | None
    iterations: int
    node: str
    numeric_class: str
    losses: dict[str, float]
    curve: tuple[tuple[float, ...], ...]
    published: float


@dataclass(frozen=True)
class ChainProgress:
    """One chain at one moment.

    Attributes:
        number: of the chain, counted from 0.
        label: of the chain.
        iterations: that are done.
        facts: of the latest state; None if there is none, or it cannot be read.
        sheet: the latest contact sheet; None before there is one.
        verdict: on the style; None before it is made.
        is_learning: whether a node works on it.
    """

    number: int
    label: str
    iterations: int
    facts: StateFacts | None
    sheet: Path | None
    verdict: str | None
    is_learning: bool

    @property
    def seconds_each(self) -> float | None:
        """The seconds of an iteration, None if unknown."""
        facts = self.facts
        return facts.seconds / facts.iterations if facts and facts.seconds and facts.iterations else None


@dataclass(frozen=True)
class TrainingProgress:
    """A training at one moment. `film` is the name of the film's job, None before it is made."""

    chains: tuple[ChainProgress, ...]
    iterations: int  # of each chain
    film: str | None = None

    @property
    def done(self) -> int:
        """The finished iterations of all chains."""
        return sum(chain.iterations for chain in self.chains)

    @property
    def total(self) -> int:
        return self.iterations * len(self.chains)

    @property
    def rate(self) -> float | None:
        """Iterations per second of all nodes together; None if no chain is at work, or none has a state."""
        each = [chain.seconds_each for chain in self.chains if chain.is_learning]
        return sum(1 / seconds for seconds in each if seconds) or None

    @property
    def left(self) -> float | None:
        """Seconds until the last iteration, with as many nodes as now; None if the rate is unknown."""
        if self.rate is None:
            return None
        slowest = max(chain.seconds_each or 0 for chain in self.chains)
        longest = max(self.iterations - chain.iterations for chain in self.chains)
        return max(longest * slowest, (self.total - self.done) / self.rate)


def training_progress(job: Job, training: TrainingJob) -> TrainingProgress:
    """Read the progress of a training: a few file operations for each chain."""
    names = {Task.from_name(name) for name in claimed(job)}
    learning = {chain_of(task)[0] for task in names if task.kind in ("train", "sheet", "style")}
    finished = results.completed_in_shard(job, "style", 0, ".tar")
    chains = []
    for number, chain in enumerate(training.chains):
        steps = training.tasks if number in finished else steps_done(job, number)
        sheets = results.completed_in_shard(job, "sheet", number, ".png")
        chains.append(
            ChainProgress(
                number,
                chain.label,
                training.iterations_after(steps),
                state_facts(job, train_task(number, steps - 1)) if steps else None,
                job.layout.result(sheet_task(number, max(sheets) % CHAIN)) if sheets else None,
                verdict_of(job, number) if number in finished else None,
                number in learning,
            )
        )
    return TrainingProgress(tuple(chains), training.iterations, film_job(job) if training.film else None)


def learning_lines(now: TrainingProgress) -> list[str]:
    """Lines for people on each chain: its iterations, losses, sheet and verdict."""
    lines = []
    for chain in now.chains:
        parts = [f"{chain.label}: {chain.iterations} of {now.iterations} iterations"]
        if chain.facts:
            shown = [(name, chain.facts.losses[name]) for name in SHOWN if name in chain.facts.losses]
            parts += [", ".join(f"{name} {value:.2g}" for name, value in shown)] if shown else []
        parts += [f"the style is {chain.verdict}"] if chain.verdict else []
        parts += [f"sheet {chain.sheet}"] if chain.sheet and not chain.verdict else []
        lines.append("; ".join(parts))
    return lines + ([f"the film is job {now.film}"] if now.film else [])


def state_facts(job: Job, task: Task) -> StateFacts | None:
    """The first line of a published state; None if it is missing, or cannot be read."""
    try:
        head, published = results.read_head(job, task, HEAD)
        facts = json.loads(head.partition(b"\n")[0].removeprefix(MAGIC))
        return StateFacts(
            int(facts["iteration"]),
            float(facts["seconds"]),
            int(facts["iterations"]),
            sanitize(facts["node"], 80),
            sanitize(facts["numeric_class"], 500),
            {sanitize(name, 40): float(value) for name, value in facts["losses"].items()},
            tuple(tuple(map(float, point)) for point in facts["curve"]),
            published,
        )
    except (JobQueueError, KeyError, ValueError, TypeError, AttributeError):
        return None


def film_job(job: Job) -> str | None:
    """The name of the film's job, if it is made."""
    try:
        return sanitize(json.loads(results.read(job, FILM))["job"], 200)
    except (JobQueueError, KeyError, ValueError, TypeError):
        return None
