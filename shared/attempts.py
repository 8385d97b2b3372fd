"""Attempts that came to nothing, one file each, and the tasks that have used theirs up.

A record is either a JSON file that says what went wrong, or the placeholder itself of an owner that
vanished (its identity), or a result that did not read back (`damaged.<nonce>`).
"""

import json
import secrets
from dataclasses import dataclass

from .errors import ShareError
from .jobs import Job
from .layout import Task
from .nodes import MALFORMED, Identity, Node

MOST_FAULTS = 3  # attempts that raised, took their process down, hung, or left a damaged result
MOST_VANISHED = 10  # owners that vanished: mostly not the task's fault
MOST_FAILED_TASKS = 50  # a job with more of them is sick as a whole


@dataclass(frozen=True)
class Attempt:
    """`why` is raised, crashed, hung, damaged or vanished; `detail` a traceback or an owner."""

    why: str
    who: str
    detail: str


def nonce() -> str:
    """What makes the name of one record."""
    return secrets.token_hex(8)


def record(node: Node, job: Job, task: Task, why: str, detail: str, nonce: str) -> None:
    """Write down that this node's attempt failed; marks the task failed when that was the last one.

    Tried again with the same `nonce` after an error, it counts once. JobGone where the job was cleaned.
    """
    job.marks()
    place = job.layout.attempts_of(task)
    node.share.system.make_dirs(place)
    content = {"why": why, "who": node.identity.incarnation, "detail": detail[-20_000:]}
    try:
        node.share.system.write_new(place / f"{node.identity.token}.{nonce}", json.dumps(content).encode())
    except FileExistsError:
        pass
    settle(node, job, task)


def of_task(job: Job, task: Task) -> list[Attempt]:
    """All recorded attempts of a task that came to nothing."""
    found, place = [], job.layout.attempts_of(task)
    for name in job.share.system.list(place):
        if name.startswith("damaged."):
            found.append(Attempt("damaged", "", "the published result did not read back"))
            continue
        try:
            data = job.share.system.read(place / name)
            fields = json.loads(data) if data else {}
            if "why" in fields:
                found.append(Attempt(str(fields["why"]), str(fields["who"]), str(fields["detail"])))
            elif not data:  # without hard links: its owner died between making the placeholder and writing it
                found.append(Attempt("vanished", "", "before it had said its name"))
            else:
                owner = Identity.from_bytes(data, place / name)
                if name.partition(".")[0] == owner.token:  # else a living one's, moved by a recoverer that died then
                    found.append(Attempt("vanished", owner.incarnation, f"{owner.host}, process {owner.pid}"))
        except FileNotFoundError:
            continue
        except (ShareError, *MALFORMED) as error:
            found.append(Attempt("unreadable", "", str(error)))
    return found


def settle(node: Node, job: Job, task: Task) -> bool:
    """Mark a task that used up its attempts as failed; whether it is."""
    attempts = of_task(job, task)
    vanished = sum(attempt.why == "vanished" for attempt in attempts)
    if len(attempts) - vanished < MOST_FAULTS and vanished < MOST_VANISHED:
        return False
    last = max(attempts, key=lambda attempt: attempt.why != "vanished")
    try:
        node.share.system.write_new(job.layout.failure(task), f"{last.why} on {last.who}: {last.detail}".encode())
    except FileExistsError:
        pass
    return True


def failed(job: Job) -> list[str]:
    """Names of the failed tasks."""
    return [name for name in job.share.system.list(job.layout.failed) if Task.named(name)]


def reopen(job: Job) -> int:
    """Forget the attempts of all failed tasks, so that they are open again; how many there were."""
    names = failed(job)
    for task in map(Task.named, names):
        place = job.layout.attempts_of(task)
        try:
            job.share.system.rename(place, place.with_name(f"{place.name}.before.{secrets.token_hex(4)}"))
        except FileNotFoundError:
            pass
        job.share.system.unlink(job.layout.failure(task))
    return len(names)
