"""A training in steps: killed between or within them, it has the same weights as one that runs through."""

import numpy as np
import pytest
import torch

from fav.errors import FavError
from fav.training.config import TrainingConfig, TrainingInputs
from fav.training.setup import PreparedTraining, device_for, prepare_trainer
from fav.training.steps import advance, begin, resume, state_bytes, with_iterations
from fav.training.trainer import COLUMNS
from tests.helpers.training_material import TINY

ITERATIONS = 4
CPU = torch.device("cpu")


@pytest.fixture
def prepared(painting, photos, loss_network):
    """Makes the trainer of a small training anew, as another process would."""

    def make(**options) -> PreparedTraining:
        inputs = TrainingInputs(painting, photos, str(loss_network), device="cpu", threads=1)
        usual = dict(
            arch=TINY,
            crop=32,
            style_size=96,
            steps="0:0,50%:1",
            precision="float32",
            end_factor=0.1,
            steadiness_end_factor=5.0,
        )
        recipe = TrainingConfig("stripes.png", **{**usual, **options})
        return prepare_trainer(inputs, with_iterations(recipe, ITERATIONS), device_for(inputs))

    return make


def test_steps_with_a_new_process_between_them_come_to_the_same_bytes(prepared, tmp_path):
    whole = prepared()
    trainer = begin(whole, ITERATIONS)
    advance(trainer, whole.batches, ITERATIONS)
    parts = prepared()
    first = begin(parts, ITERATIONS)
    advance(first, parts.batches, 1)
    state = state_bytes(first)
    advance(first, parts.batches, 2)  # lost: its process was killed before it published
    again = prepared()
    second = resume(again, ITERATIONS, state, tmp_path / "state")
    advance(second, again.batches, 3)
    third = resume(
        again, ITERATIONS, state_bytes(second), tmp_path / "state"
    )  # the same process goes on from its state
    advance(third, again.batches, ITERATIONS)
    assert state_bytes(third) == state_bytes(trainer)
    assert [int(row[-2]) for row in trainer.history][:2] == [0, 0] and trainer.iteration == ITERATIONS
    assert np.ptp([value.abs().sum().item() for value in trainer.average.parameters()]) > 0


def test_the_learning_rate_falls_by_iterations_whatever_the_clock_says(prepared):
    one = prepared()
    trainer = begin(one, ITERATIONS)
    trainer.seconds = 1e9
    advance(trainer, one.batches, 3)
    assert trainer.optimizer.param_groups[0]["lr"] == trainer.config.rate_at(2, 2 / ITERATIONS)
    assert {row[-1] for row in trainer.history} == {0.0}, "no times are in a state"


def test_weights_for_steadiness_rise_along_the_training(prepared):
    rows = []
    for factor in (1.0, 5.0):
        one = prepared(steadiness_end_factor=factor, mix="affine:1")
        trainer = begin(one, ITERATIONS)
        advance(trainer, one.batches, 3)  # the first two are single images, so the weights are the same until then
        rows.append([dict(zip(COLUMNS, row)) for row in trainer.history])
    constant, rising = rows
    assert rising[:2] == constant[:2]
    now, before = rising[2], constant[2]
    assert now["temporal"] == before["temporal"] > 0 and now["forgetting"] == before["forgetting"] > 0
    more = (3 - 1) * (800 * now["temporal"] + 300 * now["forgetting"])  # half way: the factor is 3
    assert now["total"] - before["total"] == pytest.approx(more, rel=1e-3)


def test_percentages_become_iterations():
    recipe = TrainingConfig("a.png", steps="0:0,35%:2,70%:4")
    assert with_iterations(recipe, 900).steps == "0:0,315:2,630:4"
    assert with_iterations(recipe, 1).steps == "0:0,1:4"
    fixed = TrainingConfig("a.png", steps="0:0,1500:2")
    assert with_iterations(fixed, 900) is fixed


def test_a_state_of_another_training_or_a_damaged_one_is_refused(prepared, tmp_path):
    one = prepared()
    state = state_bytes(begin(one, ITERATIONS))
    with pytest.raises(FavError, match="seed was 0, not 1"):
        resume(prepared(seed=1), ITERATIONS, state, tmp_path / "state")
    with pytest.raises(FavError, match="state: damaged"):
        resume(prepared(), ITERATIONS, state[: len(state) // 2], tmp_path / "state")
