"""Every path of the job system, spelled once.

SHARED/
  fav-share.json                 marks the directory as a shared directory of this program
  nodes/<incarnation>            heartbeat file of a running node: who it is
  tmp/<incarnation>/             files that it is making
  notify/<incarnation>.<count>   renamed when it has published something
  logs/<name>.log                what nodes started by the coordinator said, after a first line of ours (`logs`)
  control/<incarnation>.<verb>   what the operator asks of a node: to drain or to stop
  by-name/<job name>/job.json    the manifest of the job of that name
  jobs/<job id>/
    creator                      the node that makes the job, until it has its name; or that removes it
    inputs.list                  names of the files that were put into inputs, each with a NUL after it
    job.json                     the manifest, written once
    inputs/                      style, and the video where it was copied in
    claims/<task>                placeholders
    results/<kind>/<shard>/      published results
    attempts/<kind>/<shard>/<number>/<token>.<nonce>   what went wrong, one file an attempt
    failed/<task>                tasks that used up their attempts
    cancelled, finished, paused, priority    marks
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from shared.errors import JobQueueError, sanitize

# The forms of our own names. A job is named by its user, so its name has the form of many other files' names.
INCARNATION = re.compile(r"[A-Za-z0-9_-]{1,40}-[0-9]{1,10}-[0-9a-f]{8}")
TRASH = re.compile(rf"{INCARNATION.pattern}\.[0-9a-f]{{16}}")  # what is left of a job that a node removes
CHECK_DIRECTORY = re.compile(r"check\.[0-9a-f]{16}")  # the ground of check/quick.py
NOTICE = re.compile(rf"({INCARNATION.pattern})\.[0-9]{{9}}")  # in `notify`
HARD_LINK_PROBE = re.compile(r"probe(\.twin)?\.[0-9a-f]{16}")
LONGEST_NAME = 151  # bytes of a job's name; its identity, and what is written beside its film, have longer ones
NAMED = "letters and digits of any script, '.', '_' and '-', at most 151 bytes"

SHARD = 1000  # results a directory; 10^6 tasks make 1000 directories of 1000


def is_name(text: str) -> bool:
    """Whether a job may have this name: no letter in it is invisible, turns others around, or means something to a shell."""
    return (
        bool(text)
        and _is_letter(text[0], first=True)
        and all(map(_is_letter, text))
        and len(text.encode(errors="replace")) <= LONGEST_NAME
        and unicodedata.is_normalized("NFC", text)
    )


def is_id(text: str) -> bool:
    """Whether a job may have this identity: its name and twelve random digits."""
    name, dot, digits = text.rpartition(".")
    return bool(dot) and is_name(name) and re.fullmatch("[0-9a-f]{12}", digits) is not None


def tame(text: str) -> str:
    """The text with a `_` for what no name of a job has."""
    letters = (letter if _is_letter(letter) else "\0" for letter in unicodedata.normalize("NFC", text))
    return re.sub("\0+", "_", "".join(letters))


def _is_letter(letter: str, first: bool = False) -> bool:
    kinds = "LN" if first else "LNM"  # a mark, as many scripts have for vowels, is part of the letter before it
    return unicodedata.category(letter)[0] in kinds or not first and letter in "._-"


@dataclass(frozen=True, order=True)
class Task:
    """The least that one node can own. `suffix` is that of its result's file."""

    kind: str
    number: int
    suffix: str = ""

    def __str__(self) -> str:
        return f"{self.kind}.{self.number:07d}"

    @classmethod
    def parse(cls, name: str) -> "Task | None":
        """The task of that name, without its suffix; None for a name that no task has."""
        kind, _, number = name.rpartition(".")
        task = cls(kind, int(number)) if re.fullmatch("[a-z]+", kind) and re.fullmatch("[0-9]{7,12}", number) else None
        return task if str(task) == name else None

    @classmethod
    def from_name(cls, name: str) -> "Task":
        """The task of that name, without its suffix.

        Raises:
            JobQueueError: no task has such a name.
        """
        task = cls.parse(name)
        if task is None:
            raise JobQueueError(f"{sanitize(name)}: expected the name of a task, such as frame.0000012")
        return task


@dataclass(frozen=True)
class JobFiles:
    """What the bridge to a kind of jobs calls its files, as far as the job system must know: to remove them, and nothing
    beside them that people have made.

    `endings` are kinds of tasks, and the regular expression of what their results' names end in, after the dot; the results
    of a kind that is not among them may end in anything. `old_inputs` is the expression of names of inputs, without their
    endings, in jobs of versions that kept no list of them; None: there were no such versions.
    """

    endings: tuple[tuple[str, str], ...] = ()
    old_inputs: str | None = None


def is_incarnation(name: str) -> bool:
    """Whether a name is one that a node gives itself."""
    return INCARNATION.fullmatch(name) is not None


def is_notice(name: str) -> bool:
    """Whether nodes give names of this form to what they make in `notify`."""
    return NOTICE.fullmatch(name) is not None


def is_order(name: str) -> bool:
    """Whether operators give names of this form to what they make in `control`."""
    return is_incarnation(name.rpartition(".")[0])


def is_temporary(name: str) -> bool:
    """Whether nodes give names of this form to what they make in `tmp`."""
    return any(form.fullmatch(name) for form in (INCARNATION, TRASH, CHECK_DIRECTORY, HARD_LINK_PROBE))


def shard_of(number: int) -> int:
    """The directory, counted from 0, that holds the results of task `number`."""
    return number // SHARD


class SharedDirPaths:
    """Paths under the shared directory itself."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self.marker = self.root / "fav-share.json"
        self.nodes = self.root / "nodes"
        self.tmp = self.root / "tmp"
        self.notify = self.root / "notify"
        self.logs = self.root / "logs"
        self.control = self.root / "control"  # made when the first command is sent
        self.by_name = self.root / "by-name"
        self.jobs = self.root / "jobs"

    def subdirectories(self) -> tuple[Path, ...]:
        return self.nodes, self.tmp, self.notify, self.logs, self.by_name, self.jobs

    def reserved_names(self) -> tuple[Path, ...]:
        """Every name that this program uses at the top of a shared directory."""
        return self.marker, *self.subdirectories(), self.control

    def heartbeat(self, incarnation: str) -> Path:
        return self.nodes / incarnation

    def tmp_of(self, incarnation: str) -> Path:
        return self.tmp / incarnation

    def command_file(self, incarnation: str, order: str) -> Path:
        return self.control / f"{incarnation}.{order}"

    def name(self, job_name: str) -> Path:
        return self.by_name / job_name

    def named_manifest(self, job_name: str) -> Path:
        return self.name(job_name) / "job.json"

    def job(self, job_id: str) -> "JobPaths":
        return JobPaths(self.jobs / job_id)


class JobPaths:
    """Paths under one job."""

    def __init__(self, root: Path):
        self.root = root
        self.manifest = root / "job.json"
        self.creator = root / "creator"
        self.input_list = root / "inputs.list"
        self.inputs = root / "inputs"
        self.claims = root / "claims"
        self.results = root / "results"
        self.attempts = root / "attempts"
        self.failed = root / "failed"
        # A path takes as long to make as a file system to ask for it, and a task's are needed twice or three times.
        self.shard = cache(self._shard)
        self.placeholder = lru_cache(16)(self._placeholder)
        self.result = lru_cache(16)(self._result)

    def subdirectories(self) -> tuple[Path, ...]:
        return self.inputs, self.claims, self.results, self.attempts, self.failed

    def _placeholder(self, task: Task) -> Path:
        return self.claims / str(task)

    def _shard(self, kind: str, shard: int) -> Path:
        return self.results / kind / f"{shard:04d}"

    def _result(self, task: Task) -> Path:
        return self.shard(task.kind, shard_of(task.number)) / f"{task.number:07d}{task.suffix}"

    def attempts_of(self, task: Task) -> Path:
        return self.attempts / task.kind / f"{shard_of(task.number):04d}" / f"{task.number:07d}"

    def failure(self, task: Task) -> Path:
        return self.failed / str(task)

    def flag(self, flag: str) -> Path:
        return self.root / flag
