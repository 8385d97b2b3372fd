"""Learning until it is done or a signal comes: time, what is written when, and what is said meanwhile."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass

from rich.progress import MofNCompleteColumn, Progress, TaskID, TextColumn

from fav.model.checkpoints import save_style
from fav.monitor.console import terminal_console
from fav.training.checkpoint import save_state
from fav.training.config import StopCriteria
from fav.training.contact_sheet import Samples, contact_sheet
from fav.training.dataloader import Batch, Batches, stream
from fav.training.loss_curves import plot, recent, shown, table, table_mark
from fav.training.outputs import OutputPaths, write_own
from fav.training.stop_signals import StopAskedError, StopSignals
from fav.training.trainer import Trainer
from fav.training.verdict import Measure, verdict
from fav.util.atomic import PathTakenError
from fav.util.text import duration

logger = logging.getLogger(__name__)

TOLD_EVERY_S = 30  # where there is no terminal to draw on
SPEED_OVER = 20  # iterations


@dataclass(frozen=True)
class Outcome:
    """How a training ended: the signal that stopped it, None for none; and in words whether the style is ready."""

    signal: int | None
    verdict: str


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
        trainer.schedule.progress = lambda: limits.progress(trainer.iteration, trainer.seconds)
        self._provenance = provenance
        self._ends: deque[float] = deque(maxlen=SPEED_OVER)  # when the last iterations ended
        self._saved_at = trainer.iteration
        self._shown_at = 0
        self._measures: list[Measure] = []

    @property
    def done(self) -> bool:
        return self.trainer.schedule.progress() >= 1

    def run(self, batches: Batches, workers: int) -> Outcome:
        """Learn until it is done, and make the last sheet; or until a signal comes, and make none: that takes minutes.

        Whatever ends it, the state after the last iteration is on disk then, and where a signal did, the style; if an
        iteration was broken off, the state of the one before.

        Raises:
            OSError: The disk has no space.
            PathTakenError: Another file has one of the names.
        """
        trainer = self.trainer
        with StopSignals() as signals:
            with self._progress() as tell, suppress(StopAskedError):
                orders = trainer.schedule.orders(trainer.iteration, self.limits.iterations)
                with closing(stream(batches, orders, workers, trainer.device.type == "cuda")) as coming:
                    try:
                        self._learn(coming, signals, tell)
                    finally:
                        if trainer.whole and trainer.iteration > self._saved_at:
                            self._save()  # before the workers are waited for
            if trainer.iteration and not signals.asked:
                with suppress(StopAskedError):
                    self.show(signals)
            elif trainer.iteration:
                self._write_style("")
                self._write_table()
            return Outcome(signals.asked, self._verdict())

    def _learn(self, coming: Iterator[Batch], signals: StopSignals, tell: Callable[[], None]) -> None:
        """Iterate until it is done. Raises StopAskedError where a signal comes."""
        trainer, began, before = self.trainer, time.monotonic(), self.trainer.seconds
        save, show = _Every(self.limits.save_every), _Every(self.limits.sheet_every)
        while not self.done:
            with signals.may_end():
                batch = next(coming)
            trainer.iterate(batch, signals.may_end)
            trainer.seconds = before + time.monotonic() - began
            self._ends.append(time.monotonic())
            tell()
            if save.due():
                self._if_possible(self._save)
            if show.due():
                self._if_possible(lambda: self.show(signals))

    def show(self, signals: StopSignals) -> None:
        """Write the style as it is now, the sheet and the losses.

        Raises:
            OSError: The disk has no space.
            PathTakenError: Another file has one of the names.
            StopAskedError: A signal came; the style and the table of losses are written all the same.
        """
        trainer, names = self.trainer, self.names
        mark = trainer.recipe.mark
        self._write_style("")
        self._write_table()
        with signals.may_end():
            held_out = trainer.validation(self.samples.photos)
            of_loss = {name: held_out[name] for name in shown(trainer.recipe) if name in held_out}
            sheet, measures = contact_sheet(
                trainer.average,
                self.samples,
                trainer.device,
                mark,
                f"iteration {trainer.iteration} of {self._expected()}",
                of_loss,
            )
            curves = plot(trainer.history, names.out.name, mark)
        self._write_style(", ".join(f"{name} {value:.4g}" for name, value in of_loss.items()))
        write_own(names.sheet, sheet, mark)
        write_own(names.plot, curves, mark)
        self._shown_at, self._measures = trainer.iteration, measures
        logger.info(
            "iteration %d: %s, %s; %s",
            trainer.iteration,
            names.sheet.name,
            names.plot.name,
            ", ".join(map(str, measures)),
        )

    def _verdict(self) -> str:
        """Whether the style is ready, by the sheet of this iteration; without one, by how much of the training is done."""
        iteration = self.trainer.iteration
        known = self._measures if self._shown_at == iteration else []
        return verdict(known, iteration, None if self.done else self._expected())

    def _write_style(self, validation: str) -> None:
        """Write the style. `validation`: its losses on photographs that are not learnt from, in words; "" if not measured."""
        trainer = self.trainer
        provenance = {**self._provenance(recent(trainer.history)), **({"validation": validation} if validation else {})}
        save_style(trainer.average, self.names.out, provenance, mark=trainer.recipe.mark)

    def _write_table(self) -> None:
        write_own(self.names.table, table(self.trainer.history), table_mark(self.trainer.history))

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
        left = math.inf if self.limits.iterations is None else (self.limits.iterations - self.trainer.iteration) * pace
        if self.limits.minutes is not None:
            left = min(left, 60 * self.limits.minutes - self.trainer.seconds)
        return f"{losses}; {pace:.2g} s each, {duration(max(left, 0))} left"

    def _pace(self) -> float | None:
        """Seconds an iteration, over the last ones; None where too few are done."""
        return (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1) if len(self._ends) > 1 else None

    def _total(self) -> int | None:
        """How many iterations there will be, an estimate where minutes end before; None if not known yet."""
        pace, iteration, most = self._pace(), self.trainer.iteration, self.limits.iterations
        if self.done:
            return iteration
        if self.limits.minutes is None or not pace:
            return most
        whole = 60 * self.limits.minutes
        phases = self.trainer.schedule.phases_left() or [(1 - self.trainer.seconds / whole, 1.0)]
        within = iteration + max(0, round(sum(share * whole / (pace * cost) for share, cost in phases)))
        return min(within, most) if most else within

    def _expected(self) -> str:
        """How many iterations there will be, in words: `3000`, or `about 900` where the minutes end before."""
        total = self._total()
        estimated = total and not self.done and total != self.limits.iterations
        return f"about {total}" if estimated else str(total or "?")

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
                    bar.update(line, total=self._total(), completed=self.trainer.iteration, words=self._words())
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
