"""A training in steps of N iterations: each continues from the bytes of a state, and ends with the bytes of the next one.

A step depends on its state and inputs alone, not on the clock or on where it runs. So a training whose steps run on
several machines of one numeric class has the same weights, bit for bit, as one that runs in one process.
"""

import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from fav.errors import FavError
from fav.model.checkpoints import read_pickle_bytes
from fav.training.checkpoint import VERSION, check_same, restore
from fav.training.config import TrainingConfig, parse_steps
from fav.training.dataloader import Batch, Batches
from fav.training.setup import PreparedTraining
from fav.training.trainer import Trainer
from fav.util.prefetch import prefetch


def with_iterations(recipe: TrainingConfig, iterations: int) -> TrainingConfig:
    """The recipe with iterations in the place of percentages of the training (`--num-frame-steps`)."""
    entries = parse_steps(recipe.steps)
    if not any(entry.percent for entry in entries):
        return recipe
    starts = [math.ceil(entry.start * iterations / 100) if entry.percent else entry.start for entry in entries]
    last = {start: entry.steps for start, entry in zip(starts, entries)}  # in a short training, two may begin at one
    return replace(recipe, steps=",".join(f"{start}:{steps}" for start, steps in last.items()))


def begin(prepared: PreparedTraining, iterations: int) -> Trainer:
    """The trainer of a training of `iterations` iterations, before the first one."""
    trainer = prepared.trainer
    trainer.schedule.progress = lambda: trainer.iteration / iterations
    return trainer


def resume(prepared: PreparedTraining, iterations: int, state: bytes, where: Path) -> Trainer:
    """The trainer with a state that `state_bytes` returned.

    Args:
        prepared: The training.
        iterations: Of the whole training.
        state: The state.
        where: Its path, for messages.

    Raises:
        FavError: It is damaged, or of a training with other options.
    """
    trainer = prepared.trainer
    read = read_pickle_bytes(state, where)
    if read.get("version") != VERSION or not isinstance(read.get("recipe"), dict):
        raise FavError(f"{where}: expected the state of a training of this version, got another file")
    check_same(where, trainer.config, read)
    restore(where, trainer, read)
    return begin(prepared, iterations)


def advance(trainer: Trainer, batches: Batches, until: int, report_progress: Callable[[], None] = lambda: None) -> None:
    """Train until `until` iterations are done. A thread makes the next batch meanwhile.

    No times are recorded: they would be the only difference between two runs of one step.

    Args:
        trainer: The trainer, of `begin` or `resume`.
        batches: Its samples.
        until: The number of iterations at the end.
        report_progress: Called after each iteration.

    Raises:
        FavError: A sample cannot be made, or a loss is not finite.
    """

    def batch(iteration: int) -> Batch | FavError:
        return batches[trainer.schedule.order(iteration)]

    trainer.seconds = 0.0
    for made in prefetch(batch, range(trainer.iteration, until)):
        if isinstance(made, FavError):
            raise made
        trainer.iterate(made)
        report_progress()


def state_bytes(trainer: Trainer) -> bytes:
    """The state of a trainer, for `resume`. Equal states have equal bytes."""
    buffer = io.BytesIO()
    described = {"version": VERSION, "training": trainer.config.mark, "recipe": trainer.config.to_json()}
    torch.save({**described, **trainer.state()}, buffer)
    return buffer.getvalue()
