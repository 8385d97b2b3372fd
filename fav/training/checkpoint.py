"""Save and load the state of a training, so that it resumes exactly after a signal, a crash or a power loss."""

import io
from pathlib import Path

import torch

from fav.errors import FavError
from fav.model.checkpoints import read_pickle
from fav.training.config import TrainingConfig
from fav.training.outputs import write_own
from fav.training.trainer import Trainer

VERSION = 3


def save_state(path: Path, trainer: Trainer) -> None:
    """Write the state atomically, and sync it. Replaces an earlier state of the same training.

    Raises:
        OSError: The disk has no space.
        PathTakenError: Another file has the name.
    """
    buffer, mark = io.BytesIO(), trainer.config.mark
    torch.save({"version": VERSION, "training": mark, "recipe": trainer.config.to_json(), **trainer.state()}, buffer)
    write_own(path, buffer.getvalue(), mark)


def load_state(path: Path) -> dict:
    """Read a state from a file. No code in the file is executed.

    Raises:
        FavError: The file is damaged, or not a state of this version.
    """
    try:
        state = read_pickle(path)
    except (FavError, OSError) as error:
        raise FavError(
            f"{path}: expected the state of a training, got a file that does not read as one; remove it to start again"
        ) from error
    if state.get("version") in range(1, VERSION):
        raise FavError(
            f"{path}: expected the state of a training of this version, got one of an earlier version; to continue from "
            f"its style, give it with --init and choose another OUT"
        )
    if state.get("version") != VERSION or not isinstance(state.get("recipe"), dict):
        raise FavError(
            f"{path}: expected the state of a training of this version, got another file; choose another OUT"
        )
    return state


def check_same(path: Path, config: TrainingConfig, state: dict) -> None:
    """Raise FavError, with the options that differ, unless the state is of a training with the same options."""
    if differences := config.differences(state["recipe"]):
        listed = "; ".join(differences)
        raise FavError(f"{path}: this training was started with other options ({listed}); give those, or another OUT")


def restore(path: Path, trainer: Trainer, state: dict) -> None:
    """Load a state into a trainer. Raises FavError if the state is incomplete."""
    try:
        trainer.restore(state)
    except (KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise FavError(
            f"{path}: expected the complete state of a training, got one with missing parts; remove it to start again"
        ) from error
