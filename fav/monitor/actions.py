"""What the keys of `status --watch` do to the jobs and nodes of a shared directory.

A directory that was opened for reading is opened again for writing, so each function may raise JobQueueError.
"""

from fav.monitor.snapshot import Snapshot
from fav.pipeline.job_files import open_share
from shared.attempts import reopen
from shared.control import ControlCommand, send
from shared.jobs import TERMINAL_FLAGS, Job, all_jobs
from shared.notify import notify_on_exit
from shared.shared_dir import SharedDir


def pause_or_resume(share: SharedDir, only: str | None = None) -> list[str]:
    """Pause the unfinished jobs, or resume them if all are paused.

    Args:
        share: the shared directory.
        only: the name of the only job to change; None: all jobs.

    Returns:
        A line per job.
    """
    share = _writable(share)
    jobs = {job: flags for job in _jobs(share, only) if not (flags := job.flags()) & TERMINAL_FLAGS}
    pausing, lines = any("paused" not in flags for flags in jobs.values()), []
    with notify_on_exit(share) as node:
        for job in jobs:
            if pausing:
                job.set_flag(node, "paused")
            else:
                job.clear_flag("paused")
            lines.append(f"{job.name} {'is paused' if pausing else 'is resumed'}")
    return lines


def retry(share: SharedDir, now: Snapshot | None, only: str | None = None) -> int:
    """Reopen all failed tasks, and the missing results of finished jobs.

    Args:
        share: the shared directory.
        now: the last snapshot, which says what is missing; None: nothing.
        only: the name of the only job to change; None: all jobs.

    Returns:
        The number of reopened tasks.
    """
    from fav.pipeline.repair import reopen_missing  # imports OpenCV and PyAV

    share = _writable(share)
    missing = {job.name: len(job.missing) for job in now.jobs if job.missing} if now else {}
    jobs = _jobs(share, only)
    count = sum(map(reopen, jobs))
    lacking = [job for job in jobs if job.name in missing]
    with notify_on_exit(share) as node:
        for job in lacking:
            reopen_missing(node, job)
    return count + sum(missing[job.name] for job in lacking)


def drain(share: SharedDir, node: str) -> None:
    """Ask a node to finish its task and leave."""
    send(_writable(share), node, ControlCommand.DRAIN)


def _jobs(share: SharedDir, only: str | None) -> list[Job]:
    return [job for job in all_jobs(share) if only in (None, job.name)]


def _writable(share: SharedDir) -> SharedDir:
    return open_share(share.layout.root, new=False) if share.read_only else share
