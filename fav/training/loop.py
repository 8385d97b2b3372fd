"""Run a training: iterate until a stop criterion, handle signals, write the files, and report the progress."""

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
from fav.training.loss_curves import logged_losses, plot, recent_means, table, table_mark
from fav.training.outputs import OutputPaths, write_own
from fav.training.trainer import Trainer
from fav.training.verdict import verdict
from fav.util.atomic import PathTakenError
from fav.util.text import duration
from shared.terminal import is_ignored, leave_terminal

logger = logging.getLogger(__name__)

LOG_EVERY_S = 30  # without a terminal
SPEED_WINDOW = 20  # iterations


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
        self._metadata = metadata
        self._end_times: deque[float] = deque(maxlen=SPEED_WINDOW)  # of the last iterations
        self._saved_iteration = trainer.iteration

    @property
    def done(self) -> bool:
        """Whether a stop criterion is met."""
        if self.limits.minutes is not None and self.trainer.seconds >= 60 * self.limits.minutes:
            return True
        return self.trainer.iteration >= self.limits.iterations

    def run(self, batches: Batches, workers: int) -> int | None:
        """Train until a stop criterion is met, or a signal arrives.

        The state is saved at the end, also after an error. If an iteration was interrupted while it changed the state,
        the state that was saved before remains.

        Returns:
            The number of the signal that stopped the training, or None.
        """
        trainer = self.trainer
        try:
            with _stop_signals() as signals, self._progress() as report_progress:
                save, show = _Timer(self.limits.save_every), _Timer(self.limits.sheet_every)
                start_time, earlier_seconds = time.monotonic(), trainer.seconds
                pinned = trainer.device.type == "cuda"
                with closing(stream(batches, trainer.iteration, self.limits.iterations, workers, pinned)) as loader:
                    while not self.done and not signals:
                        trainer.iterate(next(loader))
                        trainer.seconds = earlier_seconds + time.monotonic() - start_time
                        self._end_times.append(time.monotonic())
                        report_progress()
                        if save.due():
                            self._try_write(self._save)
                        if show.due():
                            self._try_write(self.show)
        finally:
            if trainer.is_consistent and trainer.iteration > self._saved_iteration:
                self._save()
        return next(iter(signals), None)

    def show(self) -> str:
        """Write the current style, the contact sheet and the losses.

        Returns:
            `ready`, or why the style is not (`fav.training.verdict`).

        Raises:
            OSError: The disk has no space.
            PathTakenError: Another file has one of the names.
        """
        trainer, names = self.trainer, self.names
        mark = trainer.recipe.mark
        validation = trainer.validation(self.samples.photos)
        losses = {name: validation[name] for name in logged_losses(trainer.recipe) if name in validation}
        validation_text = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        metadata = {**self._metadata(recent_means(trainer.history)), "validation": validation_text}
        save_style(trainer.average, names.out, metadata, mark=mark)
        sheet, measures = contact_sheet(trainer.average, self.samples, trainer.device, mark, trainer.iteration, losses)
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
        names = [name for name in logged_losses(self.trainer.recipe) if name not in ("variation", "range")]
        losses = ", ".join(f"{name} {means[name]:.2g}" for name in names)
        if iteration_s is None:
            return losses
        left_s = (self.limits.iterations - self.trainer.iteration) * iteration_s
        if self.limits.minutes is not None:
            left_s = min(left_s, 60 * self.limits.minutes - self.trainer.seconds)
        return f"{losses}; {iteration_s:.2g} s each, {duration(max(left_s, 0))} left"

    def _iteration_seconds(self) -> float | None:
        """The mean time of the last iterations; None before there are two."""
        times = self._end_times
        return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None

    def _expected_iterations(self) -> str:
        """The total number of iterations: `3000`, or `about 900` if the time limit ends the training earlier."""
        iteration_s, iteration = self._iteration_seconds(), self.trainer.iteration
        if self.limits.minutes is None or not iteration_s:
            return str(self.limits.iterations)
        total = iteration + max(0, round((60 * self.limits.minutes - self.trainer.seconds) / iteration_s))
        return str(self.limits.iterations) if total >= self.limits.iterations else f"about {total}"

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
                if progress:
                    progress.update(line, completed=self.trainer.iteration, status=self._status())
                elif time.monotonic() - logged_at >= LOG_EVERY_S:
                    logged_at = time.monotonic()
                    total = self._expected_iterations()
                    logger.info("iteration %d of %s: %s", self.trainer.iteration, total, self._status())

            yield report_progress


class _Timer:
    """A timer that is due every `minutes`."""

    def __init__(self, minutes: float):
        self._seconds, self._last = 60 * minutes, time.monotonic()

    def due(self) -> bool:
        """Whether the time has passed. If so, the timer restarts."""
        if time.monotonic() - self._last < self._seconds:
            return False
        self._last = time.monotonic()
        return True


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect stop signals in a list, so that the current iteration can end.

    A second signal raises KeyboardInterrupt. A second SIGHUP does not, because a terminal that closes sends two.
    """
    received: list[int] = []

    def stop(number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            leave_terminal()
            if received:
                return
        if received:
            raise KeyboardInterrupt
        received.append(number)

    earlier_handlers = {
        number: signal.signal(number, stop)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if number != signal.SIGHUP or not is_ignored(number)
    }
    try:
        yield received
    finally:
        for number, handler in earlier_handlers.items():
            signal.signal(number, handler)
