"""Many runs, on all cores; one run told in a form that can be replayed."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from tests.simulation.mutations import mutated
from tests.simulation.play import Play
from tests.simulation.world import Violation

CI_SEEDS = range(50)
SEARCHED = range(300)
FINDERS = {  # the first seed that finds each wrong protocol; it is tried first, then all that are searched
    "claim by exists then open": 14,
    "claim without asking for the result": 46,
    "claim that believes every error": 2,
    "release before publishing": 14,
    "placeholder of another is not linked back": 110,
    "release without looking at the owner": 105,
    "owner judged by a look before the move": 105,
    "heartbeat compared with the local clock": 16,
    "nodes looked at before the placeholders are listed": 5,
    "sweep that does not look at what a private directory holds": 42,
    "sweep that does not look at names and contents": 42,
    "sweep of notices by their names alone": 42,
    "sweep of jobs without the record of a creator": 42,
    "name of a job written in place": 7,
    "heartbeat file is swept before it is silent for a lease": 14,
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the faults that occurred in it, and the promise that was broken, None where none was."""

    seed: int
    faults: frozenset[str]
    broken: str | None


def play_of(seed: int, training: bool, trace: bool = False) -> Play:
    """A world with a job of small tasks, or with a training."""
    if not training:
        return Play(seed, trace)
    from tests.simulation.training import TrainingPlay  # imports torch

    return TrainingPlay(seed, trace)


def outcome(seed: int, mutation: str | None = None, training: bool = False) -> Outcome:
    with mutated(mutation) if mutation else nullcontext():
        play, broken = play_of(seed, training), None
        try:
            play.run()
        except Violation as violation:
            broken = str(violation)
    return Outcome(seed, frozenset(kind for kind, count in play.world.counts.items() if count), broken)


def told(seed: int, mutation: str | None = None, lines: int | None = None, training: bool = False) -> str:
    """The trace of a run (its last lines), and its end."""
    with mutated(mutation) if mutation else nullcontext():
        play = play_of(seed, training, trace=True)
        try:
            play.run()
            end = "all promises held"
        except Violation as violation:
            end = f"broken: {violation}"
    replay = f"python -m tests.simulation {seed}" + (f" --mutation '{mutation}'" if mutation else "")
    replay += " --training" if training else ""
    return "\n".join([*play.world.trace[-(lines or 0) :], f"seed {seed}: {end}", f"to see all of it: {replay}"])


def pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn"))


def outcomes(seeds: Iterable[int], training: bool = False) -> Iterator[Outcome]:
    with pool() as workers:
        yield from workers.map(partial(outcome, training=training), seeds, chunksize=10)


def catch(mutation: str) -> int | None:
    """A seed that finds a wrong protocol; None if no seed does."""
    seeds = dict.fromkeys((FINDERS.get(mutation, SEARCHED[0]), *SEARCHED))
    return next((seed for seed in seeds if outcome(seed, mutation).broken), None)


def occurred(runs: Iterable[Outcome]) -> Counter[str]:
    """In how many runs each fault occurred."""
    return Counter(fault for run in runs for fault in run.faults)
