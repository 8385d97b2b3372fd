"""Published results: a complete, synced file with its final name, or no file; never replaced."""

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
    """Give a finished, synced temporary file its final name.

    The temporary file is removed, except when an error is raised: then the step can be tried again.

    Returns:
        False if the task was already done; then the published result counts.
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
                return True  # it happened, and only the reply was lost
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
    """Whether the task's result is published, according to the server now."""
    return job.share.system.exists(job.layout.result(task))


def read(job: Job, task: Task, limit: int = RECORD_LIMIT) -> bytes:
    """Read a published result of at most `limit` bytes, the maximum for its kind. A larger one is not read.

    Raises:
        ResultVanishedError: the result is missing.
        JobQueueError: it is larger, or not a file.
    """
    try:
        return job.share.system.read(job.layout.result(task), limit)
    except FileNotFoundError:
        raise ResultVanishedError(f"the result of {task} is not there") from None


def read_head(job: Job, task: Task, size: int) -> tuple[bytes, float]:
    """The first `size` bytes of a published result, and its time: seconds since 1970 on the server's clock.

    Raises:
        ResultVanishedError: the result is missing.
    """
    try:
        return job.share.system.head(job.layout.result(task), size)
    except (FileNotFoundError, NotADirectoryError):
        raise ResultVanishedError(f"the result of {task} is not there") from None


def ends(job: Job, task: Task, read_head: int, tail: int) -> tuple[bytes, bytes]:
    """The first and the last bytes of a published result of any size.

    Raises:
        ResultVanishedError: the result is missing.
        JobQueueError: it is not a file.
    """
    try:
        return job.share.system.ends(job.layout.result(task), read_head, tail)
    except FileNotFoundError:
        raise ResultVanishedError(f"the result of {task} is not there") from None


def completed_in_shard(job: Job, kind: str, shard: int, suffix: str = "") -> set[int]:
    """Numbers of the done tasks of one shard.

    `suffix` counts only results with that suffix. If all tasks of a kind have the same one, it excludes files that
    other programs made from our results.
    """
    names = job.share.system.list(job.layout.shard(kind, shard))
    return {int(name.partition(".")[0]) for name in names if RESULT.fullmatch(name) and name.endswith(suffix)}


def shards(job: Job, kind: str) -> list[int]:
    """Numbers of the existing result directories of a kind."""
    names = job.share.system.list(job.layout.shard(kind, 0).parent)
    numbers = [int(name) for name in names if re.fullmatch("[0-9]{4,9}", name)]
    return sorted({number for number in numbers if job.layout.shard(kind, number).name in names})


def count(job: Job, kind: str, numbers: range) -> int:
    """How many of these tasks have a published result."""
    return ResultCounter(job, kind).count(numbers)


class ResultCounter:
    """Counts the results of one kind repeatedly. A shard that was once complete is not listed again."""

    def __init__(self, job: Job, kind: str, suffix: str = ""):
        self.job = job
        self.kind = kind
        self.suffix = suffix  # as for `completed_in_shard`
        self._full: set[range] = set()

    def count(self, numbers: range) -> int:
        """How many of these tasks have a published result."""
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
    """Rename a damaged result, so that its task is open again. The renamed file is the record of a failed attempt.

    Args:
        node: this node.
        job: the job.
        task: the task.
        damaged: the content that was read. If the result has another content by now, another node was faster, and
            that result stays. None: it is not a readable file of at most `limit` bytes.
        limit: the maximum size of the result in bytes.
        whatever: skip the comparison, for a result that is too large for it.
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
    """Whether the renamed file is not the damaged one, but another node's new result."""
    try:
        return node.share.system.read(aside, limit) != damaged
    except JobQueueError:  # not a file, or too large: the same one, if nothing was read before
        return damaged is not None
