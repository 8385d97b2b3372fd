"""Learning until it is done: time, signals, what is written when, and what is said meanwhile."""

import logging
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext

from rich.progress import MofNCompleteColumn, Progress, TaskID, TextColumn

from fav.model.checkpoints import save_style
from fav.monitor.console import terminal_console
from fav.training.checkpoint import save_state
from fav.training.config import StopCriteria
from fav.training.contact_sheet import Samples, contact_sheet
from fav.training.dataloader import Batches, stream
from fav.training.loss_curves import plot, recent, shown, table, table_mark
from fav.training.outputs import OutputPaths, write_own
from fav.training.trainer import Trainer
from fav.training.verdict import verdict
from fav.util.atomic import PathTakenError
from fav.util.text import duration
from shared.terminal import is_ignored, leave_terminal

logger = logging.getLogger(__name__)

TOLD_EVERY_S = 30  # where there is no terminal to draw on
SPEED_OVER = 20  # iterations


class TrainingLoop:
    """A trainer at work. `provenance` gives a style's metadata from the means of the last losses."""

    def __init__(
        self,
        trainer: Trainer,
        names: OutputPaths,
        limits: StopCriteria,
        samples: Samples,
        provenance: Callable[[dict[str, float]], dict[str, str]],
    ):
        self.trainer, self.names, self.limits, self.samples = trainer, names, limits, samples
        self._provenance = provenance
        self._ends: deque[float] = deque(maxlen=SPEED_OVER)  # when the last iterations ended
        self._saved_at = trainer.iteration

    @property
    def done(self) -> bool:
        if self.limits.minutes is not None and self.trainer.seconds >= 60 * self.limits.minutes:
            return True
        return self.trainer.iteration >= self.limits.iterations

    def run(self, batches: Batches, workers: int) -> int | None:
        """Learn until it is done; the number of the signal that stopped it before, None for none.

        Whatever ends it, the state after the last iteration is on disk then; if that was broken off, the one saved before.
        """
        trainer = self.trainer
        try:
            with _asked_to_stop() as asked, self._progress() as tell:
                save, show = _Every(self.limits.save_every), _Every(self.limits.sheet_every)
                began, before = time.monotonic(), trainer.seconds
                pinned = trainer.device.type == "cuda"
                with closing(stream(batches, trainer.iteration, self.limits.iterations, workers, pinned)) as coming:
                    while not self.done and not asked:
                        trainer.iterate(next(coming))
                        trainer.seconds = before + time.monotonic() - began
                        self._ends.append(time.monotonic())
                        tell()
                        if save.due():
                            self._if_possible(self._save)
                        if show.due():
                            self._if_possible(self.show)
        finally:
            if trainer.whole and trainer.iteration > self._saved_at:
                self._save()
        return next(iter(asked), None)

    def show(self) -> str:
        """Write the style as it is now, the sheet and the losses.

        Returns:
            In words, whether the style is ready (`fav.training.verdict`).

        Raises:
            OSError: The disk has no space.
            PathTakenError: Another file has one of the names.
        """
        trainer, names = self.trainer, self.names
        mark = trainer.recipe.mark
        held_out = trainer.validation(self.samples.photos)
        of_loss = {name: held_out[name] for name in shown(trainer.recipe) if name in held_out}
        validation = ", ".join(f"{name} {value:.4g}" for name, value in of_loss.items())
        provenance = {**self._provenance(recent(trainer.history)), "validation": validation}
        save_style(trainer.average, names.out, provenance, mark=mark)
        sheet, measures = contact_sheet(trainer.average, self.samples, trainer.device, mark, trainer.iteration, of_loss)
        write_own(names.sheet, sheet, mark)
        write_own(names.table, table(trainer.history), table_mark(trainer.history))
        write_own(names.plot, plot(trainer.history, names.out.name, mark), mark)
        logger.info(
            "iteration %d: %s, %s; %s",
            trainer.iteration,
            names.sheet.name,
            names.plot.name,
            ", ".join(map(str, measures)),
        )
        return verdict(measures)

    def _save(self) -> None:
        save_state(self.names.state, self.trainer)
        self._saved_at = self.trainer.iteration

    def _if_possible(self, write: Callable[[], object]) -> None:
        try:
            write()
        except (OSError, PathTakenError) as error:  # a full disk is weather, and what was written before is still there
            why = error.strerror if isinstance(error, OSError) else error
            logger.warning("iteration %d: not written (%s); tried again later", self.trainer.iteration, why)

    def _words(self) -> str:
        means, pace = recent(self.trainer.history, SPEED_OVER), self._pace()
        losses = ", ".join(
            f"{name} {means[name]:.2g}" for name in shown(self.trainer.recipe) if name not in ("variation", "range")
        )
        if pace is None:
            return losses
        left = (self.limits.iterations - self.trainer.iteration) * pace
        if self.limits.minutes is not None:
            left = min(left, 60 * self.limits.minutes - self.trainer.seconds)
        return f"{losses}; {pace:.2g} s each, {duration(max(left, 0))} left"

    def _pace(self) -> float | None:
        """Seconds an iteration, over the last ones; None where too few are done."""
        return (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1) if len(self._ends) > 1 else None

    def _expected(self) -> str:
        """How many iterations there will be: `3000`, or `about 900` where the minutes end before."""
        pace, iteration = self._pace(), self.trainer.iteration
        if self.limits.minutes is None or not pace:
            return str(self.limits.iterations)
        within = iteration + max(0, round((60 * self.limits.minutes - self.trainer.seconds) / pace))
        return str(self.limits.iterations) if within >= self.limits.iterations else f"about {within}"

    @contextmanager
    def _progress(self) -> Iterator[Callable[[], None]]:
        """Something to call after each iteration: a live line on a terminal, a line now and then elsewhere."""
        console = terminal_console()
        columns = [MofNCompleteColumn(), TextColumn("{task.fields[words]}")]  # 80 characters have no room for a bar
        told = -math.inf
        with Progress(*columns, console=console) if console.is_terminal else nullcontext() as bar:
            line = TaskID(0)
            if bar:
                line = bar.add_task("", total=self.limits.iterations, completed=self.trainer.iteration, words="")

            def after_each() -> None:
                nonlocal told
                if bar:
                    bar.update(line, completed=self.trainer.iteration, words=self._words())
                elif time.monotonic() - told >= TOLD_EVERY_S:
                    told = time.monotonic()
                    logger.info("iteration %d of %s: %s", self.trainer.iteration, self._expected(), self._words())

            yield after_each


class _Every:
    """Says whether so many minutes have passed since it last said so."""

    def __init__(self, minutes: float):
        self._seconds, self._last = 60 * minutes, time.monotonic()

    def due(self) -> bool:
        if time.monotonic() - self._last < self._seconds:
            return False
        self._last = time.monotonic()
        return True


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """A list that holds the signal once one has come; the iteration at hand ends first. A second one interrupts at once,
    but not a second SIGHUP: a terminal that closes sends two."""
    asked: list[int] = []

    def stop(number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            leave_terminal()
            if asked:
                return
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {
        number: signal.signal(number, stop)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if number != signal.SIGHUP or not is_ignored(number)
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
