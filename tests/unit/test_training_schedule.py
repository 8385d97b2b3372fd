"""When steps of memory begin: at an iteration, or at a share of the time; and signals that stop at once where nothing breaks."""

import math
import os
import signal

import pytest

from fav.training.config import FITTED_STEPS, StopCriteria, TrainingConfig, parse_steps
from fav.training.schedule import Schedule
from fav.training.stop_signals import StopAskedError, StopSignals

FITTED = TrainingConfig("s", mix="shift:1", steps="0:0,40%:2,70%:4")


def test_steps_begin_when_a_share_of_the_time_is_over_however_fast_iterations_are():
    for a_second in (1, 7):
        seconds = [0.0]
        limits = StopCriteria(None, minutes=1)
        schedule = Schedule(FITTED, lambda limits=limits, seconds=seconds: limits.progress(0, seconds[0]))
        steps = []
        for iteration in range(60 * a_second):
            seconds[0] = iteration / a_second
            steps.append(schedule.order(iteration).steps)
        assert [steps.index(number) for number in (0, 2, 4)] == [0, 24 * a_second, 42 * a_second]


def test_what_was_decided_stays_when_a_training_goes_on():
    done = 0.5
    first = Schedule(FITTED, lambda: done)
    orders = [*first.orders(0, 3)]  # made ahead: the training itself may be further back
    assert [order.steps for order in orders] == [2, 2, 2] and first.begun == [(0, 0), (0, 2)]
    again = Schedule(FITTED, lambda: 0.0, first.begun)
    assert [*again.orders(0, 3)] == orders
    done = 0.9
    assert first.order(3).steps == 4 and first.begun[-1] == (3, 4)


def test_shares_of_iterations_are_a_function_of_the_iteration():
    iteration = 0
    schedule = Schedule(FITTED, lambda: StopCriteria(100).progress(iteration, 1e9))
    steps = []
    for iteration in range(100):
        steps.append(schedule.order(iteration).steps)
    assert (steps.index(2), steps.index(4)) == (40, 70)


def test_what_is_left_is_told_with_longer_iterations_to_come():
    schedule = Schedule(FITTED, lambda: 0.2)
    schedule.order(0)
    shares, costs = zip(*schedule.phases_left())
    assert sum(shares) == pytest.approx(0.8) and shares[0] == pytest.approx(0.2)
    assert costs[0] == 1 and costs[0] < costs[1] < costs[2]
    assert not Schedule(TrainingConfig("s", steps="0:0,9:2")).phases_left()


def test_progress_is_that_of_whichever_ends_first():
    assert StopCriteria(100, minutes=1).progress(10, 30) == 0.5
    assert StopCriteria(100, minutes=1).progress(80, 30) == 0.8
    assert StopCriteria(100).progress(150, 9) == 1.5


def test_the_learning_rate_falls_to_its_end():
    config = TrainingConfig("s", learning_rate=0.1, end_factor=0.1)
    rates = [config.rate_at(5, progress) for progress in (0, 0.25, 0.5, 1, 2)]
    assert rates == sorted(rates, reverse=True) and rates[-1] == rates[-2]
    assert math.isclose(rates[0], 0.1) and math.isclose(rates[2], 0.055) and math.isclose(rates[-1], 0.01)
    assert TrainingConfig("s", learning_rate=0.1).rate_at(5, 0.7) == 0.1


def test_weights_for_steadiness_rise_to_their_end():
    factors = [
        TrainingConfig("s", steadiness_end_factor=5).steadiness_at(progress) for progress in (0, 0.25, 0.5, 1, 2)
    ]
    assert factors == sorted(factors) and (factors[0], factors[2], factors[3], factors[4]) == pytest.approx(
        (1, 3, 5, 5)
    )
    assert TrainingConfig("s").steadiness_at(0.7) == 1


def test_the_default_of_a_painting_alone_has_memory_from_the_beginning():
    entries = parse_steps(FITTED_STEPS)
    assert entries[0].steps == 1 < entries[-1].steps and all(entry.percent for entry in entries[1:])


def test_a_signal_ends_what_may_end_and_waits_for_what_may_not():
    done = []
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("write")  # not within may_end: it is not broken off
        with pytest.raises(StopAskedError), signals.may_end():
            done.append("iteration")
    assert done == ["write"] and signals.asked == signal.SIGTERM
    with StopSignals() as signals:
        with pytest.raises(StopAskedError), signals.may_end():
            done.append("begun")
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("ended")
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)  # a second one, at once
    assert done == ["write", "begun"]
