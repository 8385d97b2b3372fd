"""What the operator's commands have in common: finding the job that is meant, and submitting one."""

from pathlib import Path

import click

from fav.monitor.console import tell
from fav.options import request_of
from shared.bell import ringing
from shared.errors import ShareError
from shared.jobs import Job, all_jobs, find_job
from shared.share import Share, open_share


def opened(root: Path) -> Share:
    """A shared directory that is one already."""
    return open_share(root, new=False)


def looked_at(root: Path) -> Share:
    """A shared directory in which nothing is changed; it may be read-only, or another user's."""
    return open_share(root, read_only=True)


def the_job(share: Share, name: str | None) -> Job:
    """The job of that name; None: the only one. ShareError in other cases, JobGone where only its name is left."""
    job = named_job(share, name)
    job.marks()
    job.check_directories()
    return job


def named_job(share: Share, name: str | None) -> Job:
    """As `the_job`, though its files may be gone."""
    if name is not None:
        job = find_job(share, name)
        if job is None:
            raise ShareError(f"{name}: there is no job of that name; coordinator.py status {share.layout.root} lists them")
        return job
    jobs = all_jobs(share)
    if not jobs:
        raise ShareError(f"{share.layout.root}: there are no jobs here")
    if len(jobs) != 1:
        raise ShareError(f"{share.layout.root}: expected the name of one of its {len(jobs)} jobs; coordinator.py status lists them")
    return jobs[0]


def submitted(context: click.Context, share: Share, video: str, style: Path, values: dict) -> Job:
    """Create the job, or join it, and say so."""
    from fav.pipeline.submit import submit as create

    with ringing(share) as node:
        joined = create(node, request_of(context, video, style, values), tell)
    tell(f"{'created' if joined.created else 'joined'} job {joined.job.name}")
    if joined.created and share.news:  # who joins others is in the right place
        tell(share.news)
    for note in joined.notes:
        tell(note)
    return joined.job
