"""The record and the tasks of a job that learns styles. `fav.training.job_plan` runs them.

    train n   N iterations of one chain; needs the state that the task before it has published
    sheet n   the contact sheet of the state of `train n`, at some points of the chain
    style c   the style of chain c with its sheet, losses and measures, after the last iteration
    film 0    makes the job of a film with the new style, if one was asked for

A chain is one painting with one seed. Its tasks have the numbers from `c * CHAIN` on. Only the latest states are kept:
a published one shows that all before it were done.
"""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from fav.errors import FavError, sanitize
from fav.pipeline.option import CURE, check_plain, format_value
from fav.util.safe_path import resolve_inside
from shared import results
from shared.jobs import Job
from shared.paths import SHARD, Task

CHAIN = SHARD  # numbers of one chain: its states lie in one directory
STATE = ".state"
STATE_LIMIT = 1 << 32  # bytes of a state: weights, their average, and two moments of each
BUNDLE_LIMIT = 1 << 30  # bytes of a style with its sheet
HEAD = 1 << 16  # bytes that have the first line of a state
MAGIC = b"fav training state 1 "
KEPT = 2  # states of a chain: the one before the latest is needed if that does not read back
SHEETS = 4  # parts of a training, after each of which there is a sheet
CURVE = 200  # points of the losses in the head of a state
FILES = (".safetensors", ".sheet.png", ".losses.png", ".losses.csv", ".verdict.txt")  # that a training delivers
MEASURES = "measures.json"  # in the archive of a style, besides FILES
Count = Annotated[int, Meta(ge=1, le=10**9)]


class TrainingChain(Struct, frozen=True, forbid_unknown_fields=True):
    """One painting with one seed. Paths are relative to the shared directory.

    Attributes:
        label: for people, such as `wave, seed 3`.
        style_image: the painting, or the model of --steady or --copy.
        init: the style that it begins with; None: random weights.
        began_with: the name of that style.
        recipe: a `fav.training.config.TrainingConfig`, complete.
        out: the style that is delivered if this chain is the best of those with the same `out`.
    """

    label: str
    style_image: str
    recipe: dict[str, Any]
    out: str
    init: str | None = None
    began_with: str = ""


class TrainingJob(Struct, frozen=True, forbid_unknown_fields=True):
    """The record of a job that learns styles. Paths are relative to the shared directory.

    Attributes:
        chains: what is learned.
        iterations: of each chain.
        task_iterations: of each task.
        loss_network: its file; None: only pixels are compared.
        photos: a directory; None: frames of `video`, or the built-in images.
        video: as for `--video`.
        clips: as for `--clips`.
        threads: CPU threads of every node; None: the node's own.
        bit_exact: only nodes of one numeric class may join.
        command: for people: the line that was typed.
        notes: for people.
        provenance: for people, by the keys of `fav.pipeline.provenance.LABELS`.
        film: the request of a film that is made with the style (`fav.pipeline.film_request`).
    """

    chains: Annotated[tuple[TrainingChain, ...], Meta(min_length=1, max_length=1000)]
    iterations: Count
    task_iterations: Count
    loss_network: str | None = None
    photos: str | None = None
    video: str | None = None
    clips: str | None = None
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    bit_exact: bool = False
    command: str = ""
    notes: tuple[str, ...] = ()
    provenance: dict[str, str] = {}
    film: dict[str, Any] | None = None

    def to_spec(self) -> dict:
        """The spec of the job's manifest."""
        return {"training": msgspec.to_builtins(self)}

    @property
    def tasks(self) -> int:
        """The tasks of each chain."""
        return -(-self.iterations // self.task_iterations)

    def iterations_after(self, tasks: int) -> int:
        """The number of iterations after `tasks` tasks of a chain."""
        return min(tasks * self.task_iterations, self.iterations)

    def has_sheet(self, tasks: int) -> bool:
        """Whether there is a contact sheet after `tasks` tasks; the last sheet comes with the style."""
        quarter = lambda done: SHEETS * done // self.tasks
        return 0 < tasks < self.tasks and quarter(tasks) > quarter(tasks - 1)

    @property
    def outs(self) -> list[str]:
        """The styles that are delivered."""
        return list(dict.fromkeys(chain.out for chain in self.chains))


def is_training(job: Job) -> bool:
    """Whether a job learns styles."""
    return "training" in job.manifest.spec


def training_of(job: Job) -> TrainingJob:
    """The record of a job that learns styles.

    Raises:
        FavError: it is not valid, or needs another version of the program.
    """
    try:
        found = msgspec.convert(job.manifest.spec.get("training"), TrainingJob)
    except (ValueError, OverflowError) as error:
        raise FavError(f"{job.name}: expected the record of a training ({sanitize(error, 200)}); {CURE}") from None
    if found.tasks > CHAIN:
        raise FavError(f"{job.name}: expected at most {CHAIN} tasks in a chain, got {found.tasks}; {CURE}")
    for chain in found.chains:
        for path in (chain.style_image, chain.init, chain.out):
            resolve_inside(Path("/"), path)
        if PurePosixPath(chain.out).suffix != FILES[0]:
            raise FavError(f"{job.name}: expected a style {FILES[0]}, got {format_value(chain.out)}; {CURE}")
        check_plain(f"{job.name}: label", chain.label)
    for path in (found.loss_network, found.photos, found.video, found.clips):
        resolve_inside(Path("/"), path)
    return found


# ---- tasks
def train_task(chain: int, step: int) -> Task:
    """The task number `step` of a chain, both counted from 0."""
    return Task("train", chain * CHAIN + step, STATE)


def sheet_task(chain: int, step: int) -> Task:
    """The contact sheet of the state that `train_task` of the same number publishes."""
    return Task("sheet", chain * CHAIN + step, ".png")


def style_task(chain: int) -> Task:
    return Task("style", chain, ".tar")


FILM = Task("film", 0, ".json")


def chain_of(task: Task) -> tuple[int, int]:
    """The chain of a task, and the number of the task in it; of a style task, that after the last."""
    return (task.number, CHAIN) if task.kind == "style" else divmod(task.number, CHAIN)


def steps_done(job: Job, chain: int) -> int:
    """How many tasks of a chain are done: up to the latest published state."""
    return max(states(job, chain), default=-1) + 1


def states(job: Job, chain: int) -> set[int]:
    """The tasks of a chain whose states are there, counted from 0."""
    return {number % CHAIN for number in results.completed_in_shard(job, "train", chain, STATE)}


# ---- the file of a state: a line of JSON for `status`, then the state
def pack(state: bytes, facts: dict) -> bytes:
    """The content of a file with a state, and facts about it as JSON values. Raises ValueError if a number is no JSON."""
    line = json.dumps({**facts, "checksum": _checksum(state)}, allow_nan=False).encode()
    return MAGIC + line + b"\n" + state


def unpack(data: bytes) -> tuple[bytes, dict]:
    """The state in the content of a file, and the facts. Raises ValueError if it is damaged."""
    head, newline, state = data.partition(b"\n")
    if not newline or not head.startswith(MAGIC):
        raise ValueError("expected the state of a training")
    facts = json.loads(head[len(MAGIC) :])
    if not isinstance(facts, dict) or facts.get("checksum") != _checksum(state):
        raise ValueError("its checksum differs")
    return state, facts


def _checksum(state: bytes) -> str:
    return hashlib.blake2b(state, digest_size=16).hexdigest()
