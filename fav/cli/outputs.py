"""The files that `report` and `preview` write: where they lie, and the mark that tells them from a user's files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fav.monitor.console import tell
from fav.util.atomic import Draft, new_file, own_file
from shared.errors import JobQueueError, ResultVanishedError
from shared.jobs import Job
from shared.shared_dir import SharedDir

if TYPE_CHECKING:
    from fav.pipeline.artifacts import JobArtifacts, OmittedResults


def mark_of(what: str, job: Job) -> str:
    """What is in each report or preview of a job, and in no other file: there it is proved whose a file is."""
    return f"fav {what} of {job.manifest.id}"


@contextmanager
def _shown(share: SharedDir, out: Path | None, default: Path, mark: str) -> Iterator[Draft]:
    """A file to write: `out`, a new one; else at the default place, where one that has the mark is replaced."""
    if not out:
        share.system.refuse_symlink(default.parent)
    with new_file(out) if out else own_file(place_for(default), mark) as draft:
        yield draft


def place_for(wanted: Path) -> Path:
    """The path itself; where this user cannot write there, that name in the current directory, and a line that says so."""
    with suppress(OSError):  # told below, or by who writes there
        wanted.parent.mkdir(parents=True, exist_ok=True)
    if os.access(wanted.parent, os.W_OK):
        return wanted
    here = Path.cwd() / wanted.name
    tell(f"{wanted.parent}: this user cannot write there; going on with {here}")
    return here


@contextmanager
def _cured(job: Job) -> Iterator[None]:
    """What does not read back, with its cure."""
    try:
        yield
    except ResultVanishedError as error:
        from fav.pipeline.repair import how_to_repair

        raise JobQueueError(f"{job.name}: {error}; {how_to_repair(job)}") from None


def _tell(job: Job, left_out: "OmittedResults", artifacts: "JobArtifacts") -> int:
    """Say which frames are left out, if there are such; how many are indexed."""
    from fav.pipeline.repair import describe_missing, how_to_repair

    total = artifacts.timeline.end - artifacts.spec.start
    if not artifacts.timeline.is_complete and "finished" in job.flags():
        click.echo(f"{job.name}: {describe_missing(artifacts)[0]}")
    if words := left_out.describe(total):
        click.echo(f"{job.name}: {words}; {how_to_repair(job, len(left_out) > 1)}")
    return total
