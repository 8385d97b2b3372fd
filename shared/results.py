"""Published results: whole and synced under their final name, or not there at all; never replaced."""

import re
import secrets
from pathlib import Path

from shared.attempts import mark_failed_if_exhausted
from shared.errors import JobQueueError, ResultVanishedError
from shared.filesystem import RECORD_LIMIT
from shared.jobs import Job
from shared.membership import Node
from shared.paths import SHARD, Task, shard_of

RESULT = re.compile(r"[0-9]{7,12}\.[A-Za-z0-9]+")  # not an editor's copy of one


def publish(node: Node, job: Job, task: Task, private: Path) -> bool:
    """Give a finished, synced private file of ours its final name.

    False where the task was done already; then the published one counts. The private file is gone in both cases,
    and stays where an error is raised, so that the step can be tried again.
    """
    ours = _publish_no_replace(node, job, private, job.layout.result(task))
    node.share.system.unlink(private)
    return ours


def _publish_no_replace(node: Node, job: Job, private: Path, final: Path) -> bool:
    system = node.share.system
    for _ in range(2):
        try:
            node.share.publish_no_replace(private, final)
            return True
        except OSError as error:
            if system.same_file(private, final):
                return True  # it happened, only the reply was lost
            if system.exists(final):
                return False
            if not isinstance(error, FileNotFoundError):
                raise
        job.flags()
        node.check()
        system.make_dirs(final.parent, below=job.layout.root)  # the shard's directory is not there yet
    node.share.publish_no_replace(private, final)
    return True


def publish_bytes(node: Node, job: Job, task: Task, data: bytes) -> bool:
    """Publish a result that is held in memory."""
    private = node.temp_path()
    node.share.system.write_new(private, data)
    try:
        return publish(node, job, task, private)
    except OSError:
        node.share.system.unlink(private)
        raise


def is_done(job: Job, task: Task) -> bool:
    """Whether the task's result is published, asked afresh."""
    return job.share.system.exists(job.layout.result(task))


def read(job: Job, task: Task, limit: int = RECORD_LIMIT) -> bytes:
    """A published result of at most `limit` bytes, as many as its kind can have; of a larger one nothing is read.

    ResultVanishedError where it is not there, JobQueueError where it is larger, or no file.
    """
    try:
        return job.share.system.read(job.layout.result(task), limit)
    except FileNotFoundError:
        raise ResultVanishedError(f"the result of {task} is not there") from None


def read_head(job: Job, task: Task, size: int) -> tuple[bytes, float]:
    """The first `size` bytes of a published result, and when it was written: seconds since 1970 by the server's clock.

    ResultVanishedError where it is not there.
    """
    try:
        return job.share.system.head(job.layout.result(task), size)
    except (FileNotFoundError, NotADirectoryError):
        raise ResultVanishedError(f"the result of {task} is not there") from None


def ends(job: Job, task: Task, read_head: int, tail: int) -> tuple[bytes, bytes]:
    """The first and the last bytes of a published result, however large it is.

    ResultVanishedError where it is not there, JobQueueError where it is no file.
    """
    try:
        return job.share.system.ends(job.layout.result(task), read_head, tail)
    except FileNotFoundError:
        raise ResultVanishedError(f"the result of {task} is not there") from None


def completed_in_shard(job: Job, kind: str, shard: int, suffix: str = "") -> set[int]:
    """Numbers of the tasks of one shard whose results are published; with `suffix`, only of files that end so.

    Where all tasks of a kind have one suffix, it tells their results from what other programs made of these.
    """
    names = job.share.system.list(job.layout.shard(kind, shard))
    return {int(name.partition(".")[0]) for name in names if RESULT.fullmatch(name) and name.endswith(suffix)}


def shards(job: Job, kind: str) -> list[int]:
    """Numbers of the directories that there are of the results of a kind."""
    names = job.share.system.list(job.layout.shard(kind, 0).parent)
    numbers = [int(name) for name in names if re.fullmatch("[0-9]{4,9}", name)]
    return sorted({number for number in numbers if job.layout.shard(kind, number).name in names})


def count(job: Job, kind: str, numbers: range) -> int:
    """How many of these tasks have a published result."""
    return ResultCounter(job, kind).count(numbers)


class ResultCounter:
    """Counts the results of one kind again and again; a directory that was once seen to be full is not looked at again."""

    def __init__(self, job: Job, kind: str, suffix: str = ""):
        self.job = job
        self.kind = kind
        self.suffix = suffix  # as for `completed_in_shard`
        self._full: set[range] = set()

    def count(self, numbers: range) -> int:
        """How many of the tasks of these numbers have a published result."""
        there = set(self.job.share.system.list(self.job.layout.shard(self.kind, 0).parent))
        total = 0
        for start in range(numbers.start - numbers.start % SHARD, numbers.stop, SHARD):
            part = range(max(start, numbers.start), min(start + SHARD, numbers.stop))
            if part not in self._full and self.job.layout.shard(self.kind, shard_of(start)).name in there:
                done = sum(
                    number in part for number in completed_in_shard(self.job, self.kind, shard_of(start), self.suffix)
                )
                if done < len(part):
                    total += done
                    continue
                self._full.add(part)
            total += len(part) if part in self._full else 0
        return total


def quarantine_result(
    node: Node, job: Job, task: Task, damaged: bytes | None, limit: int = RECORD_LIMIT, whatever: bool = False
) -> None:
    """Take a published result that does not read back out of the way, so that its task is open again.

    What is left is the record of a damaged attempt. `damaged` is what was read; where the name carries something
    else by now, another node was faster and that one stays. None: it is not even a file of at most `limit` bytes that can
    be read. `whatever`: it is not looked at again; so for one that is too large to be compared.
    """
    system, place, result = node.share.system, job.layout.attempts_of(task), job.layout.result(task)
    system.make_dirs(place, below=job.layout.root)
    aside = place / f"damaged.{secrets.token_hex(8)}"
    try:
        system.rename(result, aside)
    except FileNotFoundError:
        if not system.exists(aside):
            return  # another node was faster
    if not whatever and _is_other_result(node, aside, damaged, limit):
        try:
            node.share.publish_no_replace(aside, result)
        except FileExistsError:
            pass
        system.unlink(aside)
        return
    mark_failed_if_exhausted(node, job, task)


def _is_other_result(node: Node, aside: Path, damaged: bytes | None, limit: int) -> bool:
    """Whether what was taken aside is another result than the one that was judged."""
    try:
        return node.share.system.read(aside, limit) != damaged
    except JobQueueError:  # no file, or too large: as it was, where nothing was read
        return damaged is not None
