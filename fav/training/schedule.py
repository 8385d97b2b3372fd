"""How many frames of a sample follow each other, from which iteration on: fixed beforehand, or fitted to the time there is."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from fav.training.config import TrainingConfig, parse_steps


class Order(NamedTuple):
    """What a batch is to be: that of an iteration, with so many steps."""

    iteration: int
    steps: int


class Schedule:
    """The steps of each iteration.

    Where they begin at percentages of the training, they begin with the first batch that is ordered once so much is done.
    `begun` keeps that, so that a training that goes on repeats what was decided: pairs of an iteration and the steps from
    then on, ascending. `progress` says how much is done, 0 to 1. The first entry of percentages may be `0:`, as of iterations.
    """

    def __init__(
        self,
        recipe: TrainingConfig,
        progress: Callable[[], float] = lambda: 0.0,
        begun: Sequence[tuple[int, int]] = (),
    ):
        self._recipe, self.progress = recipe, progress
        self._entries = parse_steps(recipe.steps)
        self._fitted = self._entries[-1].percent
        fixed = [] if self._fitted else [(entry.start, entry.steps) for entry in self._entries]
        self.begun: list[tuple[int, int]] = [(int(start), int(steps)) for start, steps in begun] or fixed

    def order(self, iteration: int) -> Order:
        """What is to be made for an iteration, after those of all before it."""
        if self._fitted:
            for entry in self._entries[len(self.begun) :]:
                if self.progress() < entry.start / 100:
                    break
                self.begun.append((iteration, entry.steps))
        return Order(iteration, self.steps_at(iteration))

    def orders(self, start: int, stop: int | None) -> Iterator[Order]:
        """The orders from iteration `start` up to `stop`, or without an end, each decided when it is asked for."""
        iteration = start
        while stop is None or iteration < stop:
            yield self.order(iteration)
            iteration += 1

    def phases_left(self) -> list[tuple[float, float]]:
        """What is still to be done, where steps begin at percentages; else nothing.

        Returns:
            For each number of steps, the share of the whole training, and how long an iteration takes, by one of now.
        """
        if not self._fitted or not self.begun:
            return []
        now, unit = self.progress(), _cost(self.begun[-1][1])
        starts = [entry.start / 100 for entry in self._entries]
        shares = [ends - max(now, start) for start, ends in zip(starts, [*starts[1:], 1.0])]
        return [(share, _cost(entry.steps) / unit) for share, entry in zip(shares, self._entries) if share > 0]

    def steps_at(self, iteration: int) -> int:
        """How many frames are painted on from a prior, one after the other, in an iteration, by what is decided so far."""
        if self._recipe.kind(iteration) == "single_image":
            return 0
        return next(steps for start, steps in reversed(self.begun) if start <= iteration)


def _cost(steps: int) -> float:
    """About how much longer an iteration with so many steps takes than one of stills (docs/how-to/training.md)."""
    return 1.2 * (steps + 1) if steps else 1.0
