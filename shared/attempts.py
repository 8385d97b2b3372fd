"""Records of failed attempts, one file each, and the tasks that used up their attempts.

There are three kinds of records: a JSON file with the error; the placeholder of an owner that vanished (its
identity); a damaged result (`damaged.<nonce>`). A record that its node withdrew (`void.<token>.<nonce>`) does
not count.
"""

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from shared.errors import JobQueueError, sanitize
from shared.identity import DECODE_ERRORS, Identity, node_key
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task

MAX_FAILURES = 3  # attempts that raised, crashed their process, hung, or left a damaged result
MAX_VANISHED_OWNERS = 10  # owners that vanished: mostly not the task's fault
MAX_FAILED_TASKS = 50  # a job with more failed tasks fails as a whole
IGNORED_PREFIX = "void."


@dataclass(frozen=True)
class Attempt:
    """One failed attempt.

    Attributes:
        why: raised, crashed, hung, damaged, vanished or unreadable.
        who: the incarnation that failed, "" if unknown.
        detail: a traceback, or the owner.
        host: the machine of that node, "" if unknown.
        counts: False if the node withdrew the record, because the node was at fault and not the task.
    """

    why: str
    who: str
    detail: str
    host: str = ""
    counts: bool = True

    @property
    def cause(self) -> str:
        """The last line of the detail."""
        return (self.detail.strip().splitlines() or ["?"])[-1]


def nonce() -> str:
    """A random part of the name of one record."""
    return secrets.token_hex(8)


def record(node: Node, job: Job, task: Task, why: str, detail: str, nonce: str) -> None:
    """Record that this node's attempt failed. Marks the task as failed if it has no attempts left.

    A second call with the same `nonce` writes no second record.

    Raises:
        JobRemovedError: the job was removed.
    """
    job.flags()
    place = job.layout.attempts_of(task)
    node.share.system.make_dirs(place, below=job.layout.root)
    content = {"why": why, "who": node.identity.incarnation, "host": node.identity.host, "detail": detail[-20_000:]}
    try:
        node.share.system.write_new(place / f"{node.identity.token}.{nonce}", json.dumps(content).encode())
    except FileExistsError:
        pass
    mark_failed_if_exhausted(node, job, task)


def attempts_of_task(job: Job, task: Task) -> list[Attempt]:
    """All recorded failed attempts of a task."""
    return [attempt for _, attempt in _records(job, task)]


def attempts_of_job(job: Job) -> Iterator[tuple[Task, Attempt]]:
    """All recorded failed attempts of a job, except those before a task was reopened."""
    system, place = job.share.system, job.layout.attempts
    for kind in system.list(place):
        for shard in system.list(place / kind):
            for task in filter(None, (Task.parse(f"{kind}.{number}") for number in system.list(place / kind / shard))):
                yield from ((task, attempt) for attempt in attempts_of_task(job, task))


def _records(job: Job, task: Task) -> Iterator[tuple[str, Attempt]]:
    """The names of a task's records, and their content."""
    place = job.layout.attempts_of(task)
    for name in job.share.system.list(place):
        if name.startswith("damaged."):
            yield name, Attempt("damaged", "", "the published result did not read back")
            continue
        try:
            data = job.share.system.read(place / name)
            fields = json.loads(data) if data else {}
            if "why" in fields:
                detail = "\n".join(sanitize(line, 2000) for line in str(fields["detail"]).splitlines())
                yield (
                    name,
                    Attempt(
                        sanitize(fields["why"]),
                        sanitize(fields["who"]),
                        detail,
                        sanitize(fields.get("host", "")),
                        counts=not name.startswith(IGNORED_PREFIX),
                    ),
                )
            elif not data:  # without hard links: its owner died between making the placeholder and writing it
                yield name, Attempt("vanished", "", "before it wrote its identity")
            else:
                owner = Identity.from_bytes(data, place / name)
                if (
                    name.partition(".")[0] == owner.token
                ):  # else a live node's, moved by a recovering node that then died
                    yield name, Attempt("vanished", owner.incarnation, f"{owner.host}, process {owner.pid}", owner.host)
        except FileNotFoundError:
            continue
        except (JobQueueError, *DECODE_ERRORS) as error:
            yield name, Attempt("unreadable", "", str(error))


def mark_failed_if_exhausted(node: Node, job: Job, task: Task) -> bool:
    """Mark a task as failed if it used up its attempts. Returns whether it is failed."""
    attempts = attempts_of_task(job, task)
    if not _used_up(attempts):
        return False
    last = max(attempts, key=lambda attempt: attempt.why != "vanished")
    node.share.system.make_dirs(job.layout.failed, below=job.layout.root)
    try:
        node.share.system.write_new(job.layout.failure(task), f"{last.why} on {last.who}: {last.detail}".encode())
    except FileExistsError:
        pass
    return not _open_again(job, task)  # a node may have withdrawn its records meanwhile


def _used_up(attempts: list[Attempt]) -> bool:
    vanished = sum(attempt.why == "vanished" for attempt in attempts)
    faults = sum(attempt.why != "vanished" and attempt.counts for attempt in attempts)
    return faults >= MAX_FAILURES or vanished >= MAX_VANISHED_OWNERS


def _open_again(job: Job, task: Task) -> bool:
    """Remove the mark of a failed task if it has attempts left. Returns whether it has.

    A node calls this after it wrote the mark, or withdrew a record. If two nodes do one each, at least one sees both.
    """
    if _used_up(attempts_of_task(job, task)):
        return False
    job.share.system.unlink(job.layout.failure(task))
    return True


def ignore_attempts(node: Node, job: Job, task: Task) -> None:
    """Withdraw the records of this node, of all its incarnations: the node was at fault, not the task."""
    place = job.layout.attempts_of(task)
    for name, attempt in _records(job, task):
        if (
            attempt.counts
            and attempt.why != "vanished"
            and node_key(attempt.who) == node_key(node.identity.incarnation)
        ):
            try:
                node.share.system.rename(place / name, place / f"{IGNORED_PREFIX}{name}")
            except FileNotFoundError:
                pass  # the reply of the first try was lost; or the task was reopened
    _open_again(job, task)


def summarize(attempts: list[Attempt]) -> str:
    """Attempts in one line: each cause once, with its nodes."""
    causes: dict[str, Counter[str]] = {}
    for attempt in attempts:
        where = f"{attempt.why} on {attempt.who or '?'}" + ("" if attempt.counts else ", unhealthy")
        causes.setdefault(attempt.cause, Counter())[where] += 1
    return "; ".join(
        f"{cause} ({', '.join(place if times == 1 else f'{times} times {place}' for place, times in where.items())})"
        for cause, where in causes.items()
    )


def why(job: Job, name: str) -> str:
    """Why the task with this name failed, in one line."""
    return f"{name}: {summarize(attempts_of_task(job, Task.from_name(name)))}"


def failed(job: Job) -> list[str]:
    """Names of the failed tasks."""
    return [name for name in job.share.system.list(job.layout.failed) if Task.parse(name)]


def reopen(job: Job) -> int:
    """Reopen all failed tasks. Returns how many there were."""
    names = failed(job)
    for task in map(Task.from_name, names):
        clear_attempts(job, task)
    return len(names)


def clear_attempts(job: Job, task: Task) -> None:
    """Discount all attempts of a task so far, and reopen it if it failed."""
    place = job.layout.attempts_of(task)
    try:
        job.share.system.rename(place, place.with_name(f"{place.name}.before.{secrets.token_hex(4)}"))
    except FileNotFoundError:
        pass
    job.share.system.unlink(job.layout.failure(task))
