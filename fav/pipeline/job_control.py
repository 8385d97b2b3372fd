"""The operator's actions on jobs and nodes, for the commands and for the page of `fav web`."""

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fav.util.text import format_bytes
from shared import control
from shared.attempts import reopen
from shared.command_names import command
from shared.control import ControlCommand
from shared.errors import JobQueueError, JobRemovedError
from shared.failure_detector import FailureDetector
from shared.identity import Identity, identities
from shared.jobs import PRIORITIES, TERMINAL_FLAGS, Job, all_jobs, find_job, is_ended, remove_job
from shared.membership import Node
from shared.notify import notify, notify_on_exit
from shared.ownership import foreign_files_message, remove_logs
from shared.shared_dir import SharedDir

if TYPE_CHECKING:
    from fav.pipeline.request import Request
    from fav.pipeline.submit import SubmitResult


def resolve_job(share: SharedDir, name: str | None) -> Job:
    """Find a job by name.

    Args:
        share: the shared directory.
        name: of the job; None: the only job.

    Raises:
        JobQueueError: there is no such job, or not exactly one.
        JobRemovedError: only its name is left.
    """
    job = find_or_raise(share, name)
    job.flags()
    job.check_directories()
    return job


def find_or_raise(share: SharedDir, name: str | None) -> Job:
    """Find a job as `resolve_job` does, even if its files were removed."""
    if name is not None:
        job = find_job(share, name)
        if job is None:
            raise JobQueueError(
                f"{name}: there is no job with that name; {command('status')} {share.layout.root} lists them"
            )
        return job
    complaints: list[str] = []
    jobs = all_jobs(share, complaints.append)
    if complaints and not jobs:
        raise JobQueueError(complaints[0])
    if not jobs:
        raise JobQueueError(f"{share.layout.root}: there are no jobs here")
    if len(jobs) != 1:
        raise JobQueueError(
            f"{share.layout.root}: expected the name of one of its {len(jobs)} jobs; "
            f"{command('status')} {share.layout.root} lists them"
        )
    return jobs[0]


def prioritize(share: SharedDir, name: str | None, priority: int) -> str:
    """Set the priority of a job; nodes work on the highest one first. Return a message; errors as for `resolve_job`."""
    if priority not in PRIORITIES:
        raise JobQueueError(
            f"priority: expected a number from {PRIORITIES.start} to {PRIORITIES.stop - 1}, got {priority}"
        )
    job = resolve_job(share, name)
    with notify_on_exit(share) as node:
        job.prioritize(node, priority)
    return f"{job.name}: priority {priority}"


def pause(share: SharedDir, name: str | None) -> str:
    """Pause a job after the frames in progress; return a message.

    Raises:
        JobQueueError: the job has ended, or as for `resolve_job`.
    """
    job = resolve_job(share, name)
    if is_ended(job):
        raise JobQueueError(f"{job.name}: the job is over; expected one that runs or waits")
    with notify_on_exit(share) as node:
        job.set_flag(node, "paused")
    return f"{job.name}: paused; {command('resume')} continues it"


def resume(share: SharedDir, name: str | None) -> str:
    """Continue a paused job; return a message.

    Raises:
        JobQueueError: the job has ended, or as for `resolve_job`.
    """
    job = resolve_job(share, name)
    if is_ended(job):
        raise JobQueueError(f"{job.name}: expected a paused job, got one that is over")
    if "paused" not in job.flags():
        return f"{job.name}: was not paused"
    job.clear_flag("paused")
    notify(share)
    return f"{job.name}: resumed"


def retry(share: SharedDir, name: str | None) -> list[str]:
    """Reopen failed tasks, continue a cancelled job, or repair a finished one; return messages.

    Raises:
        JobQueueError: as for `resolve_job`.
    """
    job = resolve_job(share, name)
    flags = job.flags()
    job.clear_flag("cancelled")
    count, messages = reopen(job), []
    if count or "finished" not in flags:
        before = "no longer cancelled, " if "cancelled" in flags else ""
        messages.append(f"{job.name}: {before}{count} failed task(s) reopened")
    with notify_on_exit(share) as node:
        if "finished" in flags:
            from fav.pipeline.repair import repair  # imports much that other commands do not need

            messages += repair(node, job)
    return messages


def cancel(share: SharedDir, name: str | None) -> str:
    """Stop all work on a job and keep its frames; return a message.

    Raises:
        JobQueueError: the job is finished, or as for `resolve_job`.
    """
    job = resolve_job(share, name)
    if "finished" in job.flags():
        raise JobQueueError(f"{job.name}: the job is finished; {command('clean')} removes it")
    with notify_on_exit(share) as node:
        job.set_flag(node, "cancelled")
    return f"{job.name}: cancelled"


def clean(share: SharedDir, name: str | None, force: bool = False) -> list[str]:
    """Remove a job with its frames and logs, but keep the film; return messages.

    Args:
        share: the shared directory.
        name: of the job; None: the only one.
        force: remove the job even if it has not ended, or its film is inside of its directory.

    Raises:
        JobQueueError: the job has not ended, or its film would be removed; or as for `find_or_raise`.
    """
    return _clean(share, find_or_raise(share, name), force)


def clean_ended(share: SharedDir, days: float) -> tuple[list[str], list[str]]:
    """Remove all jobs that were finished or cancelled at least `days` days ago.

    Returns:
        Messages on removed jobs, and messages on jobs that could not be read or removed.
    """
    done: list[str] = []
    complaints: list[str] = []
    for job in all_jobs(share, complaints.append):
        if is_ended(job) and _ended_days(job) >= days:
            try:
                done += _clean(share, job, force=False)
            except JobQueueError as error:
                complaints.append(str(error))
    return done, complaints


def _ended_days(job: Job) -> float:
    """The days since a job was finished or cancelled; 0 if its files are gone."""
    system, times = job.share.system, []
    for path in map(job.layout.flag, TERMINAL_FLAGS):
        if system.exists(path):
            with suppress(FileNotFoundError, NotADirectoryError):  # another command removes the job
                times.append(system.mtime(path))
    return (time.time() - max(times) / 1e9) / 86400 if times else 0.0


def _clean(share: SharedDir, job: Job, force: bool) -> list[str]:
    try:
        done = bool(job.flags() & TERMINAL_FLAGS)
        film = job.flag_text("finished")
    except JobRemovedError:
        done, film = True, None
    if not done and not force:
        raise JobQueueError(f"{job.name}: the job is not finished; cancel it first, or use --force")
    if not force and (inside := _film_inside(job)):
        raise JobQueueError(
            f"{job.name}: expected its film outside of the job's directory, found it inside, where it would also be "
            f"removed ({inside}); copy it, or write it to another place: {command('stitch')} {share.layout.root} "
            f"{job.name} --out NAME; then use --force"
        )
    removal = remove_job(Node(share, Identity.here()), job)
    removal.add(remove_logs(share, job.name))
    delivered = share.layout.root / film if film else None
    line = f"{job.name}: removed, {format_bytes(removal.freed)} freed"
    if delivered and share.system.exists(delivered):
        line += f"; the film stays: {delivered}"
    return [line, *([foreign_files_message(share, removal.foreign)] if removal.foreign else [])]


def _film_inside(job: Job) -> Path | None:
    """The film of a finished job if it could not be delivered, so that it is only in the job's directory; else None."""
    try:
        film = job.share.layout.root / (job.flag_text("finished") or "")
        return film if job.layout.root in film.parents and job.share.system.exists(film) else None
    except (JobQueueError, NotADirectoryError):
        return None


def submit_and_notify(share: SharedDir, request: "Request") -> "SubmitResult":
    """Create the job of a request, or join it, and notify waiting nodes. Errors as for `submit`."""
    from fav.pipeline.submit import submit  # imports torch

    with notify_on_exit(share) as node:
        return submit(node, request)


def present_nodes(share: SharedDir) -> dict[str, Identity]:
    """All nodes by name, without those of this machine whose process is gone."""
    detector = FailureDetector(share)
    return {name: identity for name, identity in identities(share).items() if not detector.process_gone(identity)}


def ask_nodes(share: SharedDir, who: str | None, order: ControlCommand) -> list[str]:
    """Ask nodes to leave.

    Args:
        share: the shared directory.
        who: a host or a node; None: all nodes.
        order: whether to drain or to stop.

    Returns:
        The names of the nodes that were asked.

    Raises:
        JobQueueError: there is no such node.
    """
    control.remove_stale(share)
    selected = [
        name
        for name, identity in present_nodes(share).items()
        if who is None or who == name or who in identity.host_names
    ]
    if not selected:
        what = f"{who}: expected a host or node" if who else f"{share.layout.root}: expected nodes"
        raise JobQueueError(
            f"{what} of those that work here, got none; {command('nodes')} {share.layout.root} lists them"
        )
    for name in selected:
        control.send(share, name, order)
    return selected
