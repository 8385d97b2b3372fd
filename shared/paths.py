"""Every path of the job system, defined once.

SHARED/
  fav-share.json                 marks the directory as a shared directory of this program
  nodes/<incarnation>            heartbeat file of a running node: who it is
  tmp/<incarnation>/             temporary files of that node
  notify/<incarnation>.<count>   renamed when the node has published something
  logs/<name>.log                output of nodes that the coordinator started; the first line marks it as ours (`logs`)
  control/<incarnation>.<verb>   request of the operator to a node: drain or stop
  by-name/<job name>/job.json    the manifest of the job with that name
  jobs/<job id>/
    creator                      the node that creates the job, until it has its name; or that removes it
    inputs.list                  names of the files that were put into inputs, each with a NUL after it
    job.json                     the manifest, written once
    inputs/                      the style, and a link or copy of the video
    claims/<task>                placeholders
    results/<kind>/<shard>/      published results
    attempts/<kind>/<shard>/<number>/<token>.<nonce>   one file per failed attempt
    failed/<task>                tasks that used up their attempts
    cancelled, finished, paused, priority    flags of the job
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from shared.errors import JobQueueError, sanitize

# Patterns of our own names. Users name jobs, so a job's name looks like many other files' names.
INCARNATION = re.compile(r"[A-Za-z0-9_-]{1,40}-[0-9]{1,10}-[0-9a-f]{8}")
TRASH = re.compile(rf"{INCARNATION.pattern}\.[0-9a-f]{{16}}")  # the rest of a job that a node is removing
CHECK_DIRECTORY = re.compile(r"check\.[0-9a-f]{16}")  # scratch directory of fscheck.local_checks.check_quickly
NOTICE = re.compile(rf"({INCARNATION.pattern})\.[0-9]{{9}}")  # in `notify`
HARD_LINK_PROBE = re.compile(r"probe(\.twin)?\.[0-9a-f]{16}")
LONGEST_NAME = 151  # bytes of a job's name; its id, and files beside its film, have longer names
NAMED = "letters and digits of any script, '.', '_' and '-', at most 151 bytes"

SHARD = 1000  # results per directory; 10^6 tasks need 1000 directories


def is_name(text: str) -> bool:
    """Whether this is a valid job name: no character is invisible, changes the writing direction, or is special to a shell."""
    return (
        bool(text)
        and _is_letter(text[0], first=True)
        and all(map(_is_letter, text))
        and len(text.encode(errors="replace")) <= LONGEST_NAME
        and unicodedata.is_normalized("NFC", text)
    )


def is_id(text: str) -> bool:
    """Whether this is a valid job id: a name and twelve random hexadecimal digits."""
    name, dot, digits = text.rpartition(".")
    return bool(dot) and is_name(name) and re.fullmatch("[0-9a-f]{12}", digits) is not None


def tame(text: str) -> str:
    """The text with characters that are invalid in job names replaced by `_`."""
    letters = (letter if _is_letter(letter) else "\0" for letter in unicodedata.normalize("NFC", text))
    return re.sub("\0+", "_", "".join(letters))


def _is_letter(letter: str, first: bool = False) -> bool:
    kinds = "LN" if first else "LNM"  # M: combining marks, which many scripts use for vowels
    return unicodedata.category(letter)[0] in kinds or not first and letter in "._-"


@dataclass(frozen=True, order=True)
class Task:
    """The least that one node can own. `suffix` is the suffix of its result file."""

    kind: str
    number: int
    suffix: str = ""

    def __str__(self) -> str:
        return f"{self.kind}.{self.number:07d}"

    @classmethod
    def parse(cls, name: str) -> "Task | None":
        """The task with that name, without its suffix; None if the name is not a task's."""
        kind, _, number = name.rpartition(".")
        task = cls(kind, int(number)) if re.fullmatch("[a-z]+", kind) and re.fullmatch("[0-9]{7,12}", number) else None
        return task if str(task) == name else None

    @classmethod
    def from_name(cls, name: str) -> "Task":
        """The task with that name, without its suffix.

        Raises:
            JobQueueError: the name is not a task's.
        """
        task = cls.parse(name)
        if task is None:
            raise JobQueueError(f"{sanitize(name)}: expected the name of a task, such as frame.0000012")
        return task


@dataclass(frozen=True)
class JobFiles:
    """File names of one type of job. The job system needs them to remove a job's files and no others.

    Attributes:
        endings: pairs of a task kind and a regular expression of the suffixes of its results, without the dot. Other
            kinds may have any suffix.
        old_inputs: regular expression of the stems of inputs in jobs of older versions, which kept no list of inputs;
            None if there were no such versions.
    """

    endings: tuple[tuple[str, str], ...] = ()
    old_inputs: str | None = None


def is_incarnation(name: str) -> bool:
    """Whether a name has the form of an incarnation."""
    return INCARNATION.fullmatch(name) is not None


def is_notice(name: str) -> bool:
    """Whether a name has the form of our files in `notify`."""
    return NOTICE.fullmatch(name) is not None


def is_request(name: str) -> bool:
    """Whether a name has the form of our files in `control`."""
    return is_incarnation(name.rpartition(".")[0])


def is_temporary(name: str) -> bool:
    """Whether a name has the form of our entries in `tmp`."""
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
        self.control = self.root / "control"  # made with the first request
        self.by_name = self.root / "by-name"
        self.jobs = self.root / "jobs"

    def subdirectories(self) -> tuple[Path, ...]:
        return self.nodes, self.tmp, self.notify, self.logs, self.by_name, self.jobs

    def reserved_names(self) -> tuple[Path, ...]:
        """Every path that this program uses directly in a shared directory."""
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
        # To build a path takes as long as a file operation, and each task needs its paths two or three times.
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
