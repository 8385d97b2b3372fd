"""The files that `report` and `preview` write: where they lie, and the mark that tells them from a user's files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fav.errors import FavError
from fav.monitor.console import tell
from fav.util.atomic import Draft, new_file, own_file
from shared.errors import JobQueueError, ResultVanishedError
from shared.jobs import Job
from shared.paths import SharedDirPaths
from shared.shared_dir import SharedDir

if TYPE_CHECKING:
    from fav.pipeline.artifacts import JobArtifacts
    from fav.pipeline.omitted_results import OmittedResults


def mark_of(what: str, job: Job) -> str:
    """What is in each report or preview of a job, and in no other file: there it is proved whose a file is."""
    return f"fav {what} of {job.manifest.id}"


@contextmanager
def _shown(share: SharedDir, out: Path | None, default: Path, mark: str) -> Iterator[Draft]:
    """A file to write: `out`, a new one; else at the default place, where one that has the mark is replaced."""
    check_place(out or default, share.layout.root)
    if not out:
        share.system.refuse_symlink(default.parent)
    with new_file(out) if out else own_output(place_for(default), mark) as draft:
        yield draft


@contextmanager
def own_output(out: Path, mark: str) -> Iterator[Draft]:
    """As `own_file`, in a directory that is made if there is none, and removed again where no file is written."""
    made = []
    with suppress(OSError):  # told by who writes there
        for directory in reversed((out.parent, *out.parent.parents)):
            if not directory.exists():
                directory.mkdir()
                made.append(directory)
    try:
        with own_file(out, mark) as draft:
            yield draft
    except BaseException:
        with suppress(OSError):  # others may have put something there
            for directory in reversed(made):
                directory.rmdir()
        raise


def check_place(out: Path, root: Path | None = None) -> Path:
    """The path of a file to write, itself. FavError where it lies among what nodes write and remove in a shared directory:
    `root`, or any one that is marked."""
    real = Path(os.path.realpath(out.parent)) / out.name
    known = os.path.realpath(root) if root else None
    below = real
    for above in real.parents:
        layout = SharedDirPaths(above)
        ours = {path.name for path in layout.reserved_names()}
        if below.name.casefold() in ours and (str(above) == known or layout.marker.is_file()):
            raise FavError(
                f"{out}: expected a place outside of {below}, where nodes write and remove files; choose another"
            )
        below = above
    return out


def place_for(wanted: Path) -> Path:
    """The path itself; where this user cannot write there, that name in the current directory, and a line that says so."""
    there = next(path for path in wanted.parents if path.exists())
    if os.access(there, os.W_OK):
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
