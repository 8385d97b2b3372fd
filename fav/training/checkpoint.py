"""The state of a training on disk, from which it goes on exactly: after a signal, a crash or a loss of power."""

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
    """Write the state of a training, whole and synced, in the place of an earlier one. OSError where there is no room,
    PathTakenError where something else has its name."""
    buffer, mark = io.BytesIO(), trainer.recipe.mark
    torch.save({"version": VERSION, "training": mark, "recipe": trainer.recipe.to_json(), **trainer.state()}, buffer)
    write_own(path, buffer.getvalue(), mark)


def load_state(path: Path) -> dict:
    """The state in a file, which no code can come from. FavError where it is damaged or none."""
    try:
        state = read_pickle(path)
    except (FavError, OSError) as error:
        raise FavError(
            f"{path}: expected the state of a training, got a file that does not read as one; remove it to begin anew"
        ) from error
    if state.get("version") in range(1, VERSION):
        raise FavError(
            f"{path}: expected the state of a training of this version, got one of an earlier version; to go on from "
            f"its style, give that with --init and choose another OUT"
        )
    if state.get("version") != VERSION or not isinstance(state.get("recipe"), dict):
        raise FavError(
            f"{path}: expected the state of a training of this version, got another file; choose another OUT"
        )
    return state


def check_same(path: Path, recipe: TrainingConfig, state: dict) -> None:
    """FavError that names the options in which a recipe differs from the one of a state."""
    if differences := recipe.differences(state["recipe"]):
        told = "; ".join(differences)
        raise FavError(f"{path}: this training was begun with other options ({told}); give those, or another OUT")


def restore(path: Path, trainer: Trainer, state: dict) -> None:
    """Let a trainer go on from a state. FavError where it is not whole."""
    try:
        trainer.restore(state)
    except (KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise FavError(
            f"{path}: expected the whole state of a training, got one with parts missing; remove it to begin anew"
        ) from error
