"""Run a training: iterate until a stop criterion or a signal, write the files, and report the progress."""

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
from fav.training.loss_curves import logged_losses, plot, recent_means, table, table_mark
from fav.training.outputs import OutputPaths, write_own
from fav.training.stop_signals import StopAskedError, StopSignals
from fav.training.trainer import Trainer
from fav.training.verdict import Measure, verdict
from fav.util.atomic import PathTakenError
from fav.util.text import duration

logger = logging.getLogger(__name__)

LOG_EVERY_S = 30  # without a terminal
SPEED_WINDOW = 20  # iterations
FIRST_SHEET = 1.0  # minutes until the first contact sheet, which suggests parts of the painting


@dataclass(frozen=True)
class Outcome:
    """The end of a training.

    Attributes:
        signal: The number of the signal that stopped it, or None.
        verdict: `ready`, or why the style is not (`fav.training.verdict`).
    """

    signal: int | None
    verdict: str


class TrainingLoop:
    """Runs the iterations of a trainer.

    Attributes:
        trainer: The trainer.
        names: The paths of the output files.
        limits: The stop criteria, and how often to write.
        samples: The inputs of the contact sheet.
    """

    def __init__(
        self,
        trainer: Trainer,
        names: OutputPaths,
        limits: StopCriteria,
        samples: Samples,
        metadata: Callable[[dict[str, float]], dict[str, str]],
    ):
        """Prepare a loop. `metadata` returns the metadata of the style file, given the means of the last losses."""
        self.trainer, self.names, self.limits, self.samples = trainer, names, limits, samples
        trainer.schedule.progress = lambda: limits.progress(trainer.iteration, trainer.seconds)
        self._metadata = metadata
        self._end_times: deque[float] = deque(maxlen=SPEED_WINDOW)  # of the last iterations
        self._saved_iteration = trainer.iteration
        self._measured_iteration = 0
        self._measures: list[Measure] = []

    @property
    def done(self) -> bool:
        """Whether a stop criterion is met."""
        return self.trainer.schedule.progress() >= 1

    def run(self, batches: Batches, workers: int) -> Outcome:
        """Train until a stop criterion is met, and make the last contact sheet; or until a signal arrives.

        After a signal, the style is written, but no sheet, because a sheet takes minutes. The state after the last
        complete iteration is always saved, also after an error.

        Raises:
            OSError: The disk has no space.
            PathTakenError: Another file has one of the names.
        """
        trainer = self.trainer
        with StopSignals() as signals:
            with self._progress() as report_progress, suppress(StopAskedError):
                orders = trainer.schedule.orders(trainer.iteration, self.limits.iterations)
                with closing(stream(batches, orders, workers, trainer.device.type == "cuda")) as loader:
                    try:
                        self._train(loader, signals, report_progress)
                    finally:
                        if trainer.is_consistent and trainer.iteration > self._saved_iteration:
                            self._save()  # before waiting for the workers
            if trainer.iteration and not signals.asked:
                with suppress(StopAskedError):
                    self.show(signals)
            elif trainer.iteration:
                self._write_style("")
                self._write_table()
            return Outcome(signals.asked, self._verdict())

    def _train(self, loader: Iterator[Batch], signals: StopSignals, report_progress: Callable[[], None]) -> None:
        """Iterate until a stop criterion is met. Raises StopAskedError if a signal arrives."""
        trainer, start_time, earlier_seconds = self.trainer, time.monotonic(), self.trainer.seconds
        save = _Timer(self.limits.save_every)
        show = _Timer(self.limits.sheet_every, math.inf if trainer.iteration else FIRST_SHEET)
        while not self.done:
            with signals.may_end():
                batch = next(loader)
            trainer.iterate(batch, signals.may_end)
            trainer.seconds = earlier_seconds + time.monotonic() - start_time
            self._end_times.append(time.monotonic())
            report_progress()
            if save.due():
                self._try_write(self._save)
            if show.due():
                self._try_write(lambda: self.show(signals))

    def show(self, signals: StopSignals) -> None:
        """Write the current style, the contact sheet and the losses.

        Raises:
            OSError: The disk has no space.
            PathTakenError: Another file has one of the names.
            StopAskedError: A signal arrived. The style and the table of losses are written before it is raised.
        """
        trainer, names = self.trainer, self.names
        mark = trainer.config.mark
        self._write_style("")
        self._write_table()
        with signals.may_end():
            validation = trainer.validation(self.samples.photos)
            losses = {name: validation[name] for name in logged_losses(trainer.config) if name in validation}
            sheet, measures = contact_sheet(
                trainer.average,
                self.samples,
                trainer.device,
                mark,
                f"iteration {trainer.iteration} of {self._expected_iterations()}",
                losses,
            )
            curves = plot(trainer.history, names.out.name, mark)
        self._write_style(", ".join(f"{name} {value:.4g}" for name, value in losses.items()))
        write_own(names.sheet, sheet, mark)
        write_own(names.plot, curves, mark)
        self._measured_iteration, self._measures = trainer.iteration, measures
        logger.info(
            "iteration %d: %s, %s; %s",
            trainer.iteration,
            names.sheet.name,
            names.plot.name,
            ", ".join(map(str, measures)),
        )

    def _verdict(self) -> str:
        """The verdict on the style by its current measures; without them, by the progress of the training."""
        iteration = self.trainer.iteration
        measures = self._measures if self._measured_iteration == iteration else []
        return verdict(measures, iteration, None if self.done else self._expected_iterations())

    def _write_style(self, validation: str) -> None:
        """Write the style. `validation`: its losses on held-out photographs, as text; "" if they were not measured."""
        trainer = self.trainer
        metadata = self._metadata(recent_means(trainer.history)) | ({"validation": validation} if validation else {})
        save_style(trainer.average, self.names.out, metadata, mark=trainer.config.mark)

    def _write_table(self) -> None:
        write_own(self.names.table, table(self.trainer.history), table_mark(self.trainer.history))

    def _save(self) -> None:
        save_state(self.names.state, self.trainer)
        self._saved_iteration = self.trainer.iteration

    def _try_write(self, write: Callable[[], object]) -> None:
        """Write files; log a warning if that fails, since a full disk may be temporary, and earlier files remain."""
        try:
            write()
        except (OSError, PathTakenError) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            logger.warning("iteration %d: not written (%s); trying again later", self.trainer.iteration, cause)

    def _status(self) -> str:
        """The last losses, the speed and the time left, in one line."""
        means, iteration_s = recent_means(self.trainer.history, SPEED_WINDOW), self._iteration_seconds()
        names = [name for name in logged_losses(self.trainer.config) if name not in ("variation", "range")]
        losses = ", ".join(f"{name} {means[name]:.2g}" for name in names)
        if iteration_s is None:
            return losses
        iterations = self.limits.iterations
        left_s = math.inf if iterations is None else (iterations - self.trainer.iteration) * iteration_s
        if self.limits.minutes is not None:
            left_s = min(left_s, 60 * self.limits.minutes - self.trainer.seconds)
        return f"{losses}; {iteration_s:.2g} s each, {duration(max(left_s, 0))} left"

    def _iteration_seconds(self) -> float | None:
        """The mean time of the last iterations; None before there are two."""
        times = self._end_times
        return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None

    def _total_iterations(self) -> int | None:
        """The total number of iterations, estimated if the time limit ends the training earlier; None if unknown."""
        iteration_s, iteration, limit = self._iteration_seconds(), self.trainer.iteration, self.limits.iterations
        if self.done:
            return iteration
        if self.limits.minutes is None or not iteration_s:
            return limit
        total_s = 60 * self.limits.minutes
        phases = self.trainer.schedule.phases_left() or [(1 - self.trainer.seconds / total_s, 1.0)]
        left = round(sum(fraction * total_s / (iteration_s * cost) for fraction, cost in phases))
        total = iteration + max(0, left)
        return min(total, limit) if limit else total

    def _expected_iterations(self) -> str:
        """The total number of iterations as text: `3000`, or `about 900` for an estimate."""
        total = self._total_iterations()
        estimated = total and not self.done and total != self.limits.iterations
        return f"about {total}" if estimated else str(total or "?")

    @contextmanager
    def _progress(self) -> Iterator[Callable[[], None]]:
        """Yield a function to call after each iteration. It updates a line on a terminal, or logs one every 30 s."""
        console = terminal_console()
        columns = [MofNCompleteColumn(), TextColumn("{task.fields[status]}")]  # 80 columns have no space for a bar
        logged_at = -math.inf
        with Progress(*columns, console=console) if console.is_terminal else nullcontext() as progress:
            line = TaskID(0)
            if progress:
                line = progress.add_task("", total=self.limits.iterations, completed=self.trainer.iteration, status="")

            def report_progress() -> None:
                nonlocal logged_at
                iteration = self.trainer.iteration
                if progress:
                    progress.update(line, total=self._total_iterations(), completed=iteration, status=self._status())
                elif time.monotonic() - logged_at >= LOG_EVERY_S:
                    logged_at = time.monotonic()
                    logger.info("iteration %d of %s: %s", iteration, self._expected_iterations(), self._status())

            yield report_progress


class _Timer:
    """A timer that is due every `minutes`, for the first time after `first` minutes, if that is less."""

    def __init__(self, minutes: float, first: float = math.inf):
        self._seconds, self._last = 60 * minutes, time.monotonic()
        self._last -= max(0, self._seconds - 60 * first)

    def due(self) -> bool:
        """Whether the time has passed. If so, the timer restarts."""
        if time.monotonic() - self._last < self._seconds:
            return False
        self._last = time.monotonic()
        return True
