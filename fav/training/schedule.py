"""The number of steps of each iteration: frames of a sequence after its first. It is fixed, or depends on the progress."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from fav.training.config import TrainingConfig, parse_steps


class Order(NamedTuple):
    """A request for a batch: the iteration, and its number of steps."""

    iteration: int
    steps: int


class Schedule:
    """The number of steps of each iteration.

    An entry with a percentage takes effect at the first batch that is requested after this progress.

    Attributes:
        progress: Returns the progress of the training, 0 to 1.
        begun: Pairs of an iteration and the steps from then on, ascending. They are saved, so that a resumed training
            repeats the same steps.
    """

    def __init__(
        self,
        config: TrainingConfig,
        progress: Callable[[], float] = lambda: 0.0,
        begun: Sequence[tuple[int, int]] = (),
    ):
        self._config, self.progress = config, progress
        self._entries = parse_steps(config.steps)
        self._fitted = self._entries[-1].percent
        fixed = [] if self._fitted else [(entry.start, entry.steps) for entry in self._entries]
        self.begun: list[tuple[int, int]] = [(int(start), int(steps)) for start, steps in begun] or fixed

    def order(self, iteration: int) -> Order:
        """Return the order of an iteration. Call it for ascending iterations."""
        if self._fitted:
            for entry in self._entries[len(self.begun) :]:
                if self.progress() < entry.start / 100:
                    break
                self.begun.append((iteration, entry.steps))
        return Order(iteration, self.steps_at(iteration))

    def orders(self, start: int, stop: int | None) -> Iterator[Order]:
        """Yield the orders of the iterations `start` to `stop` - 1, or without end. Each is decided when it is requested."""
        iteration = start
        while stop is None or iteration < stop:
            yield self.order(iteration)
            iteration += 1

    def phases_left(self) -> list[tuple[float, float]]:
        """Return the remaining phases of a schedule with percentages; of other schedules, an empty list.

        Returns:
            For each number of steps: the fraction of the whole training, and the time of an iteration divided by that of
            a current one.
        """
        if not self._fitted or not self.begun:
            return []
        now, current_cost = self.progress(), _cost(self.begun[-1][1])
        starts = [entry.start / 100 for entry in self._entries]
        fractions = [end - max(now, start) for start, end in zip(starts, [*starts[1:], 1.0])]
        return [
            (fraction, _cost(entry.steps) / current_cost)
            for fraction, entry in zip(fractions, self._entries)
            if fraction > 0
        ]

    def steps_at(self, iteration: int) -> int:
        """Return the number of frames that are stylized with a prior in an iteration, by the decisions so far."""
        if self._config.kind(iteration) == "single_image":
            return 0
        return next(steps for start, steps in reversed(self.begun) if start <= iteration)


def _cost(steps: int) -> float:
    """Return the approximate time of an iteration, relative to one of single images (docs/how-to/training.md)."""
    return 1.2 * (steps + 1) if steps else 1.0
