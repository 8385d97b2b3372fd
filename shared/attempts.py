"""Attempts that came to nothing, one file each, and the tasks that have used theirs up.

A record is either a JSON file that says what went wrong, or the placeholder itself of an owner that
vanished (its identity), or a result that did not read back (`damaged.<nonce>`). One that its node took
back (`void.<token>.<nonce>`) does not count.
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

MAX_FAILURES = 3  # attempts that raised, took their process down, hung, or left a damaged result
MAX_VANISHED_OWNERS = 10  # owners that vanished: mostly not the task's fault
MAX_FAILED_TASKS = 50  # a job with more of them is sick as a whole
IGNORED_PREFIX = "void."


@dataclass(frozen=True)
class Attempt:
    """`why` is raised, crashed, hung, damaged or vanished; `detail` a traceback or an owner.

    It `counts`, unless the node `who` took it back: then the node was sick, and not the task.
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
    """What makes the name of one record."""
    return secrets.token_hex(8)


def record(node: Node, job: Job, task: Task, why: str, detail: str, nonce: str) -> None:
    """Write down that this node's attempt failed; marks the task failed when that was the last one.

    Tried again with the same `nonce` after an error, it counts once. JobRemovedError where the job was cleaned.
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
    """All recorded attempts of a task that came to nothing."""
    return [attempt for _, attempt in _records(job, task)]


def attempts_of_job(job: Job) -> Iterator[tuple[Task, Attempt]]:
    """All recorded attempts of a job that came to nothing, but those of tasks that were opened anew."""
    system, place = job.share.system, job.layout.attempts
    for kind in system.list(place):
        for shard in system.list(place / kind):
            for task in filter(None, (Task.parse(f"{kind}.{number}") for number in system.list(place / kind / shard))):
                yield from ((task, attempt) for attempt in attempts_of_task(job, task))


def _records(job: Job, task: Task) -> Iterator[tuple[str, Attempt]]:
    """Names of the records of a task's attempts, and what they say."""
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
                yield name, Attempt("vanished", "", "before it had said its name")
            else:
                owner = Identity.from_bytes(data, place / name)
                if name.partition(".")[0] == owner.token:  # else a living one's, moved by a recoverer that died then
                    yield name, Attempt("vanished", owner.incarnation, f"{owner.host}, process {owner.pid}", owner.host)
        except FileNotFoundError:
            continue
        except (JobQueueError, *DECODE_ERRORS) as error:
            yield name, Attempt("unreadable", "", str(error))


def mark_failed_if_exhausted(node: Node, job: Job, task: Task) -> bool:
    """Mark a task that used up its attempts as failed; whether it is."""
    attempts = attempts_of_task(job, task)
    if not _used_up(attempts):
        return False
    last = max(attempts, key=lambda attempt: attempt.why != "vanished")
    node.share.system.make_dirs(job.layout.failed, below=job.layout.root)
    try:
        node.share.system.write_new(job.layout.failure(task), f"{last.why} on {last.who}: {last.detail}".encode())
    except FileExistsError:
        pass
    return not _open_again(job, task)  # a node may have taken its own back meanwhile


def _used_up(attempts: list[Attempt]) -> bool:
    vanished = sum(attempt.why == "vanished" for attempt in attempts)
    faults = sum(attempt.why != "vanished" and attempt.counts for attempt in attempts)
    return faults >= MAX_FAILURES or vanished >= MAX_VANISHED_OWNERS


def _open_again(job: Job, task: Task) -> bool:
    """Remove the mark of a failed task that has attempts left; whether it had. After the mark was written, or a record
    was taken back: of two nodes that do one each, at least one sees both."""
    if _used_up(attempts_of_task(job, task)):
        return False
    job.share.system.unlink(job.layout.failure(task))
    return True


def ignore_attempts(node: Node, job: Job, task: Task) -> None:
    """What this node failed at, in all its incarnations, is not to count: it was the node, and not the task."""
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
                pass  # only the reply of the first try was lost; or somebody opened the task anew
    _open_again(job, task)


def summarize(attempts: list[Attempt]) -> str:
    """Some attempts in one line: each cause once, and on which nodes."""
    causes: dict[str, Counter[str]] = {}
    for attempt in attempts:
        where = f"{attempt.why} on {attempt.who or '?'}" + ("" if attempt.counts else ", found sick")
        causes.setdefault(attempt.cause, Counter())[where] += 1
    return "; ".join(
        f"{cause} ({', '.join(place if times == 1 else f'{times} times {place}' for place, times in where.items())})"
        for cause, where in causes.items()
    )


def why(job: Job, name: str) -> str:
    """Why the task of that name failed, in one line."""
    return f"{name}: {summarize(attempts_of_task(job, Task.from_name(name)))}"


def failed(job: Job) -> list[str]:
    """Names of the failed tasks."""
    return [name for name in job.share.system.list(job.layout.failed) if Task.parse(name)]


def reopen(job: Job) -> int:
    """Forget the attempts of all failed tasks, so that they are open again; how many there were."""
    names = failed(job)
    for task in map(Task.from_name, names):
        clear_attempts(job, task)
    return len(names)


def clear_attempts(job: Job, task: Task) -> None:
    """Let the attempts of a task count no more, and open it anew if it failed."""
    place = job.layout.attempts_of(task)
    try:
        job.share.system.rename(place, place.with_name(f"{place.name}.before.{secrets.token_hex(4)}"))
    except FileNotFoundError:
        pass
    job.share.system.unlink(job.layout.failure(task))
