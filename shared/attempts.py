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
from .nodes import Identity, Node

MOST_FAULTS = 3  # attempts that raised, took their process down, hung, or left a damaged result
MOST_VANISHED = 10  # owners that vanished: mostly not the task's fault
MOST_FAILED_TASKS = 50  # a job with more of them is sick as a whole


@dataclass(frozen=True)
class Attempt:
    """`why` is raised, crashed, hung, damaged or vanished; `detail` a traceback or an owner."""

    why: str
    who: str
    detail: str


def record(node: Node, job: Job, task: Task, why: str, detail: str) -> None:
    """Write down that this node's attempt failed; marks the task failed when that was the last one."""
    place = job.layout.attempts_of(task)
    node.share.system.make_dirs(place)
    content = {"why": why, "who": node.identity.incarnation, "detail": detail[-20_000:]}
    node.share.system.write_new(place / f"{node.identity.token}.{secrets.token_hex(8)}", json.dumps(content).encode())
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
            fields = json.loads(data)
            if "why" in fields:
                found.append(Attempt(str(fields["why"]), str(fields["who"]), str(fields["detail"])))
            else:
                owner = Identity.from_bytes(data, place / name)
                found.append(Attempt("vanished", owner.incarnation, f"{owner.host}, process {owner.pid}"))
        except FileNotFoundError:
            continue
        except (ShareError, ValueError, KeyError, TypeError) as error:
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
    return job.share.system.list(job.layout.failed)


def reopen(job: Job) -> int:
    """Forget the attempts of all failed tasks, so that they are open again; how many there were."""
    names = failed(job)
    for name in names:
        kind, _, number = name.rpartition(".")
        task = Task(kind, int(number))
        place = job.layout.attempts_of(task)
        try:
            job.share.system.rename(place, place.with_name(f"{place.name}.before.{secrets.token_hex(4)}"))
        except FileNotFoundError:
            pass
        job.share.system.unlink(job.layout.failure(task))
    return len(names)
