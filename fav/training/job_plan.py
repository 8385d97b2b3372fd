"""The task plan of a job that learns styles (`fav.pipeline.training_job`): which tasks can run, and how they run."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch

from fav.errors import FavError
from fav.model.checkpoints import save_style
from fav.model.devices import cpu_model, device_of
from fav.pipeline.device_lock import acquire_device
from fav.pipeline.numeric_class import check_numeric_class
from fav.pipeline.option import CURE, format_value
from fav.pipeline.training_files import StyleBundle, deliver_styles
from fav.pipeline.training_job import (
    CURVE,
    FILM,
    KEPT,
    STATE_LIMIT,
    TrainingJob,
    chain_of,
    pack,
    sheet_task,
    states,
    steps_done,
    style_task,
    train_task,
    training_of,
    unpack,
)
from fav.training.config import TrainingConfig, TrainingInputs
from fav.training.contact_sheet import contact_sheet
from fav.training.loss_curves import logged_losses, plot, recent_means, table
from fav.training.setup import NO_NETWORK, PreparedTraining, prepare_trainer, style_metadata
from fav.training.steps import advance, begin, resume, state_bytes
from fav.training.trainer import COLUMNS, Trainer
from fav.training.verdict import Measure, verdict
from fav.util.safe_path import resolve_input
from shared import results
from shared.attempts import failed
from shared.claims import claimed
from shared.errors import InputChangedError, ResultVanishedError, sanitize
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task

logger = logging.getLogger(__name__)


@dataclass
class _Chain:
    """A chain that this node has in memory, in the state after `steps` published tasks."""

    number: int
    prepared: PreparedTraining
    steps: int | None = None  # None: the state in memory is not a published one


class TrainingPlan:
    """The tasks of one training, as one node sees them (a `shared.protocols.TaskPlan`).

    Args:
        job: the job.
        node: this node.
        threads: CPU threads, unless the job has --threads; None: all cores.
        device: of the networks; `auto` chooses a free GPU.
        backend: of films; a style is learned with PyTorch.
    """

    optional = frozenset({"sheet"})

    def __init__(
        self,
        job: Job,
        node: Node,
        video: str | None = None,
        threads: int | None = None,
        device: str = "auto",
        backend: str = "auto",
    ):
        self.job, self.node = job, node
        self.training: TrainingJob = training_of(job)
        self._threads = self.training.threads or threads
        self._device = device_of(acquire_device(device))
        if self._device.type == "cuda":
            torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
        self._chain: _Chain | None = None
        self._publishing: int | None = None  # tasks of the chain that are in the state that is being published
        self._delivered: str | None = None
        with self._threads_set():
            self.numeric_class = numeric_class(self._device)
        if self.training.bit_exact:
            check_numeric_class(node, job, self.numeric_class)

    # ---- what to do next
    def candidates(self) -> Iterator[Task]:
        taken = set(claimed(self.job)) | set(failed(self.job))
        busy = {chain_of(task)[0] for task in map(Task.from_name, taken) if task.kind in ("train", "style")}
        finished = self._finished()
        remaining = [number for number in range(len(self.training.chains)) if number not in finished | busy]
        mine = self._chain.number if self._chain else None
        for number in sorted(remaining, key=lambda number: number != mine):
            done = steps_done(self.job, number)
            sheet = sheet_task(number, done - 1)
            if self._lacks_sheet(number, done) and str(sheet) not in taken:
                yield sheet
            yield train_task(number, done) if done < self.training.tasks else style_task(number)
        if self._wants_film(finished) and str(FILM) not in taken:
            yield FILM

    def _finished(self) -> set[int]:
        return results.completed_in_shard(self.job, "style", 0, ".tar")

    def _lacks_sheet(self, chain: int, done: int) -> bool:
        return self.training.has_sheet(done) and not results.is_done(self.job, sheet_task(chain, done - 1))

    def _wants_film(self, finished: set[int]) -> bool:
        if not self.training.film or len(finished) < len(self.training.chains):
            return False
        return not results.is_done(self.job, FILM)

    def next_in_chain(self, task: Task) -> Task | None:
        if task.kind not in ("train", "sheet"):
            return None
        number, step = chain_of(task)
        done = steps_done(self.job, number)
        if task.kind == "train" and done == step + 1 and self._lacks_sheet(number, done):
            sheet = sheet_task(number, step)
            if str(sheet) not in {*claimed(self.job), *failed(self.job)}:
                return sheet
        return train_task(number, done) if done < self.training.tasks else style_task(number)

    def self_test_task(self, task: Task) -> Task | None:
        return None  # the inputs of the tasks that are done were removed

    def published(self, task: Task, ours: bool) -> None:
        number, step = chain_of(task)
        if task.kind == "train":
            if self._chain and self._chain.number == number:
                self._chain.steps = self._publishing if ours else None
            self._remove_old(number)
        elif task.kind == "style" and self._chain and self._chain.number == number:
            self._chain = None
        self._publishing = None

    def _remove_old(self, chain: int) -> None:
        """Remove the states of a chain that no task needs any more."""
        there = states(self.job, chain)
        for step in sorted(there)[:-KEPT]:
            self.node.share.system.unlink(self.job.layout.result(train_task(chain, step)))

    def invalidate_cache(self) -> None:
        self._delivered = None
        if self._chain:
            self._chain.steps = None

    def finalize(self) -> str | None:
        finished = self._finished()
        if len(finished & {*range(len(self.training.chains))}) < len(self.training.chains):
            self._delivered = None
            return None
        if self._delivered is None:
            styles = deliver_styles(self.node, self.job, self.training)
            self._delivered = styles[0].relative_to(self.job.share.layout.root).as_posix()
        return None if self._wants_film(finished) else self._delivered

    # ---- how to do it
    def run(self, task: Task, report_progress: Callable[[], None]) -> bytes:
        if task.kind == "film":
            return self._queue_film()
        number, step = chain_of(task)
        with self._threads_set():
            if task.kind == "train":
                return self._train(number, step, report_progress)
            trainer = self._trainer(number, self.training.tasks if task.kind == "style" else step + 1)
            report_progress()
            if task.kind == "sheet":
                return self._sheet(trainer, self._prepared(number))[0]
            return self._style(number, trainer, report_progress)

    def _train(self, chain: int, step: int, report_progress: Callable[[], None]) -> bytes:
        if steps_done(self.job, chain) > step:
            raise ResultVanishedError(f"{train_task(chain, step)}: other nodes have trained further")
        trainer = self._trainer(chain, step)
        before, began = trainer.iteration, time.monotonic()
        mine, self._chain = self._chain, None  # after an error, the state in memory is not a published one
        if mine is None:
            raise ValueError("expected a chain in memory")
        advance(trainer, mine.prepared.batches, self.training.iterations_after(step + 1), report_progress)
        mine.steps, self._chain, self._publishing = None, mine, step + 1
        means = recent_means(trainer.history)
        facts = {
            "iteration": trainer.iteration,
            "iterations": trainer.iteration - before,
            "seconds": round(time.monotonic() - began, 3),
            "node": self.node.identity.incarnation,
            "numeric_class": self.numeric_class,
            "losses": {name: float(f"{means[name]:.4g}") for name in logged_losses(trainer.config)},
            "curve": curve_of(trainer.history),
        }
        return pack(state_bytes(trainer), facts)

    def _trainer(self, chain: int, steps: int) -> Trainer:
        """The trainer of a chain, in the state after `steps` published tasks.

        Raises:
            ResultVanishedError: its state is missing, or cannot be read.
        """
        prepared = self._prepared(chain)
        if self._chain and self._chain.steps == steps:
            return prepared.trainer
        if steps == 0:
            if prepared.trainer.iteration:
                self._chain = None
                prepared = self._prepared(chain)
            trainer = begin(prepared, self.training.iterations)
        else:
            task = train_task(chain, steps - 1)
            data = results.read(self.job, task, STATE_LIMIT)
            try:
                state, _ = unpack(data)
            except ValueError as error:
                results.quarantine_result(self.node, self.job, task, data, STATE_LIMIT)
                raise ResultVanishedError(f"{task}: it cannot be read ({sanitize(error, 200)})") from None
            if self._chain:
                self._chain.steps = None  # while it changes
            trainer = resume(prepared, self.training.iterations, state, self.job.layout.result(task))
        if self._chain:
            self._chain.steps = steps
        return trainer

    def _prepared(self, number: int) -> PreparedTraining:
        """A chain with its inputs. It stays in memory until another chain is requested."""
        if self._chain and self._chain.number == number:
            return self._chain.prepared
        self._chain = None  # frees its memory first
        chain, training, root = self.training.chains[number], self.training, self.job.share.layout.root
        recorded = recipe_of(chain.recipe)
        network = resolve_input(root, training.loss_network)
        inputs = TrainingInputs(
            resolve_input(root, chain.style_image),
            resolve_input(root, training.photos),
            str(network) if network else NO_NETWORK,
            resolve_input(root, training.clips),
            resolve_input(root, chain.init),
            video=resolve_input(root, training.video),
        )
        try:
            prepared = prepare_trainer(inputs, recorded, self._device)
        except (FavError, FileNotFoundError, NotADirectoryError) as error:
            self.job.flags()  # raises JobRemovedError if the job was removed
            raise InputChangedError(f"{error}; restore the input, or make the job again") from error
        if changed := prepared.trainer.config.differences(recorded.to_json()):
            self.job.flags()
            raise InputChangedError(
                f"{self.job.layout.inputs}: expected the inputs of the training, got others ({'; '.join(changed)}); "
                f"restore them, or make the job again"
            )
        prepared.trainer.began_with = chain.began_with
        self._chain = _Chain(number, prepared)
        return prepared

    def _sheet(self, trainer: Trainer, prepared: PreparedTraining) -> tuple[bytes, list[Measure], dict[str, float]]:
        """The contact sheet as a PNG, its measures, and the losses on held-out photographs."""
        validation = trainer.validation(prepared.samples.photos)
        losses = {name: validation[name] for name in logged_losses(trainer.config) if name in validation}
        progress = f"iteration {trainer.iteration} of {self.training.iterations}"
        sheet, measures = contact_sheet(
            trainer.average, prepared.samples, self._device, trainer.config.mark, progress, losses
        )
        return sheet, measures, losses

    def _style(self, number: int, trainer: Trainer, report_progress: Callable[[], None]) -> bytes:
        """The archive of the finished style."""
        chain, mark = self.training.chains[number], trainer.config.mark
        sheet, measures, losses = self._sheet(trainer, self._prepared(number))
        report_progress()
        words = verdict(measures, trainer.iteration)
        metadata = style_metadata(trainer, self.training.command, recent_means(trainer.history))
        del metadata["minutes"]  # they differ between nodes, and equal trainings have equal files
        metadata["validation"] = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        draft = self.node.temp_path().with_suffix(".safetensors")
        try:
            style = save_style(trainer.average, draft, metadata, mark=mark).read_bytes()
        finally:
            self.node.share.system.unlink(draft)
        text = [f"{chain.label}: the style is {words}", *map(str, measures), metadata["losses"]]
        files = {
            ".safetensors": style,
            ".sheet.png": sheet,
            ".losses.png": plot(trainer.history, Path(chain.out).name, mark),
            ".losses.csv": table(trainer.history),
            ".verdict.txt": ("\n".join(text) + "\n").encode(),
        }
        values = {measure.name: (measure.value, measure.limit) for measure in measures}
        return StyleBundle(files, {"verdict": words, "measures": values}).to_bytes()

    def _queue_film(self) -> bytes:
        """Make the job of the film with the first style."""
        from fav.pipeline.film_request import queue_film

        styles = deliver_styles(self.node, self.job, self.training)
        return queue_film(self.node, self.training, styles[0])

    @contextmanager
    def _threads_set(self) -> Iterator[None]:
        """Run with this job's number of threads: films in the same process have their own."""
        before = torch.get_num_threads()
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def numeric_class(device: torch.device) -> str:
    """Describe everything that affects the bits of a training: equal lines give equal bytes."""
    libraries = f"torch {torch.__version__}, numpy {np.__version__}, opencv {cv2.__version__}"
    if device.type == "cuda":
        return f"training; {libraries}, {torch.cuda.get_device_name(device)}, cudnn {torch.backends.cudnn.version()}"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"training; {libraries}, {capability}, {torch.get_num_threads()} threads, {cpu_model()}"


def recipe_of(record: dict) -> TrainingConfig:
    """The recipe in the record of a job. Raises FavError if it is not valid."""
    for one in fields(TrainingConfig):
        kind = type(one.default) if one.name != "style" else str
        known = (str, type(None)) if one.default is None else (int, float) if kind is float else kind
        if one.name in record and (
            not isinstance(record[one.name], known) or type(record[one.name]) is bool and kind is not bool
        ):
            raise FavError(
                f"job: expected {one.name} to be {kind.__name__}, got {format_value(record[one.name])}; {CURE}"
            )
    if unknown := sorted({*map(str, record)} - {one.name for one in fields(TrainingConfig)}):
        raise FavError(f"job: expected options of a training, got {', '.join(unknown)[:200]!r}; update this machine")
    if "style" not in record:
        raise FavError(f"job: expected the name of the painting; {CURE}")
    recipe = TrainingConfig(**record)
    recipe.check("clips_print" in record and recipe.clips_print is not None)
    return recipe


def curve_of(history: list[list[float]]) -> list[list[float]]:
    """Points of the losses, at most CURVE: (iteration, content, style, total), each the mean of its part."""
    columns = [COLUMNS.index(name) for name in ("content", "style", "total")]
    parts = np.array_split(np.array(history), min(CURVE, len(history)))
    ends = np.cumsum([len(part) for part in parts])
    return [
        [int(end), *(float(f"{value:.4g}") for value in part[:, columns].mean(0))] for end, part in zip(ends, parts)
    ]
