"""A training in the simulated world: `fav.training.job_plan` decides and publishes; a small number takes the network's place."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest.mock import patch

from fav.pipeline.training_job import (
    CHAIN,
    KEPT,
    STATE,
    TrainingChain,
    TrainingJob,
    sheet_task,
    states,
    style_task,
    train_task,
    training_of,
    unpack,
)
from fav.training import job_plan
from fav.training.job_plan import TrainingPlan
from fav.training.trainer import COLUMNS
from shared import results
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task
from tests.simulation.play import Play
from tests.simulation.server import Inode

TASK_ITERATIONS = 3


class SmallTrainer:
    """What a network would be: a number that each iteration changes, and that depends on all iterations before."""

    def __init__(self, chain: int):
        self.value, self.iteration, self.history = chain + 1, 0, []
        self.config = SimpleNamespace()

    def iterate(self) -> None:
        self.iteration += 1
        self.value = (self.value * 31 + self.iteration) % 1_000_003
        self.history.append([float(self.value)] * len(COLUMNS))

    def state(self) -> bytes:
        return json.dumps([self.value, self.iteration]).encode()


def _advance(trainer: SmallTrainer, batches, until: int, report_progress) -> None:
    while trainer.iteration < until:
        trainer.iterate()
        report_progress()


def _resume(prepared, iterations: int, state: bytes, where) -> SmallTrainer:
    trainer = prepared.trainer
    trainer.value, trainer.iteration = json.loads(state)
    trainer.history = [[float(trainer.value)] * len(COLUMNS)] * trainer.iteration
    return trainer


class SimulatedTrainingPlan(TrainingPlan):
    """The plan of a training, without networks and files of inputs."""

    def __init__(self, job: Job, node: Node):
        self.job, self.node, self.training = job, node, training_of(job)
        self.numeric_class, self._threads = "one", None
        self._chain = self._publishing = self._delivered = None
        self._slow = job.manifest.spec["slow"]

    def run(self, task, report_progress) -> bytes:
        self.node.share.system.sleep(self._slow)
        return super().run(task, report_progress)

    def _prepared(self, number: int):
        if self._chain is None or self._chain.number != number:
            self._chain = job_plan._Chain(number, SimpleNamespace(trainer=SmallTrainer(number), batches=None))
        return self._chain.prepared

    def _sheet(self, trainer, prepared):
        return b"sheet %d\n" % trainer.value, [], {}

    def _style(self, number: int, trainer, report_progress) -> bytes:
        return b"style %d\n" % trainer.value


@contextmanager
def small_networks() -> Iterator[None]:
    """Numbers in the place of networks; a style is not delivered to a directory of people."""
    with ExitStack() as stack:
        for name, instead in (
            ("advance", _advance),
            ("resume", _resume),
            ("begin", lambda prepared, iterations: prepared.trainer),
            ("state_bytes", SmallTrainer.state),
            ("logged_losses", lambda config: COLUMNS),
            ("deliver_styles", lambda node, job, training: [job.share.layout.root / training.chains[0].out]),
        ):
            stack.enter_context(patch.object(job_plan, name, instead))
        yield


def may_be_removed(folder: Inode, inode: Inode) -> bool:
    """Whether a result is the state of a chain that has enough later ones."""
    steps = sorted(int(name.partition(".")[0]) for name in folder.names if name.endswith(STATE))
    mine = next((int(name.partition(".")[0]) for name, other in folder.names.items() if other is inode), None)
    return mine in steps[:-KEPT]


class TrainingPlay(Play):
    """A world with a training in it."""

    plan = SimulatedTrainingPlan

    def __init__(self, seed: int, trace: bool = False):
        super().__init__(seed, trace)
        chains = tuple(
            TrainingChain(f"seed {number}", "a.png", {}, "a.safetensors") for number in range(min(self.chains, 3))
        )
        tasks = self.length + 1
        self.record = TrainingJob(chains, tasks * TASK_ITERATIONS - 1, TASK_ITERATIONS)  # the last task is shorter
        self.spec, self.poison = {**self.record.to_spec(), "slow": self.spec["slow"]}, None
        self.world.may_be_removed = may_be_removed

    def run(self) -> None:
        with small_networks():
            super().run()

    def judge_results(self, job: Job, failed: set[Task]) -> int:
        """All states, sheets and styles are those of a training without faults. Returns how many tasks it has."""
        blocked = {
            task.number if task.kind == "style" else task.number // CHAIN for task in failed if task.kind != "sheet"
        }
        for chain in set(range(len(self.record.chains))) - blocked:
            self._judge_chain(job, chain)
        if not blocked and "finished" not in job.flags():
            raise self.world.broken("the job is not finished")
        sheets = sum(self.record.has_sheet(done) for done in range(self.record.tasks))
        return len(self.record.chains) * (self.record.tasks + sheets + 1)

    def _judge_chain(self, job: Job, chain: int) -> None:
        broken, last, there = self.world.broken, self.record.tasks - 1, states(job, chain)
        if last not in there:
            raise broken(f"{train_task(chain, last)} was neither done nor failed")
        trainer = SmallTrainer(chain)
        for step in range(self.record.tasks):
            _advance(trainer, None, self.record.iterations_after(step + 1), lambda: None)
            task, sheet = train_task(chain, step), sheet_task(chain, step)
            if step in there and unpack(results.read(job, task))[0] != trainer.state():
                raise broken(f"{task} has another state than without faults")
            if results.is_done(job, sheet) and results.read(job, sheet) != b"sheet %d\n" % trainer.value:
                raise broken(f"{sheet} has another picture than without faults")
        style = style_task(chain)
        if not results.is_done(job, style):
            raise broken(f"{style} was neither done nor failed")
        if results.read(job, style) != b"style %d\n" % trainer.value:
            raise broken(f"{style} is another one than without faults")
