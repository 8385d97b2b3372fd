"""The files that `report` and `preview` write: their paths, and the mark that distinguishes them from a user's files."""

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
    """The text that each report or preview of a job has, and no other file. Only files with it may be replaced."""
    return f"fav {what} of {job.manifest.id}"


@contextmanager
def output_file(share: SharedDir, out: Path | None, default: Path, mark: str) -> Iterator[Draft]:
    """Open a file for writing: `out`, which must be new, or else `default`, which is replaced if it has the mark."""
    check_place(out or default, share.layout.root)
    if not out:
        share.system.refuse_symlink(default.parent)
    with new_file(out) if out else own_output(place_for(default), mark) as draft:
        share_with_users(share, draft)
        yield draft


def share_with_users(share: SharedDir, draft: Draft) -> None:
    """Give a file in the shared directory its group and mode, whatever the umask. Others stay as they are."""
    if Path(os.path.realpath(share.layout.root)) in Path(os.path.realpath(draft.private)).parents:
        share.system.share_with_users(draft.fd)


@contextmanager
def own_output(out: Path, mark: str) -> Iterator[Draft]:
    """Like `own_file`, but make missing directories, and remove them again if no file is written."""
    made = []
    with suppress(OSError):  # `own_file` will report the error
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
    """Check that a file to write is outside of the directories in which nodes write and remove files.

    Args:
        out: the file.
        root: a shared directory; other marked shared directories are found by their markers.

    Returns:
        `out`.

    Raises:
        FavError: it is inside of such a directory.
    """
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


def check_suffix(out: Path, *suffixes: str) -> Path:
    """Return `out`. Raises FavError if its name ends in none of these."""
    if out.suffix.lower() not in suffixes:
        raise FavError(
            f"{out}: expected a name that ends in {' or '.join(suffixes)}, got {out.suffix or 'no suffix'}; choose another"
        )
    return out


def place_for(wanted: Path) -> Path:
    """The path; if this user cannot write there, the same name in the current directory, and a line says so."""
    there = next(path for path in wanted.parents if path.exists())
    if os.access(there, os.W_OK):
        return wanted
    here = Path.cwd() / wanted.name
    tell(f"{wanted.parent}: this user cannot write there; using {here}")
    return here


@contextmanager
def with_cure(job: Job) -> Iterator[None]:
    """Add the cure to the error for a result that cannot be read."""
    try:
        yield
    except ResultVanishedError as error:
        from fav.pipeline.repair import how_to_repair

        raise JobQueueError(f"{job.name}: {error}; {how_to_repair(job)}") from None


def print_omitted(job: Job, left_out: "OmittedResults", artifacts: "JobArtifacts") -> int:
    """Print which frames are left out, if any. Returns the number of indexed frames."""
    from fav.pipeline.repair import describe_missing, how_to_repair

    total = artifacts.timeline.end - artifacts.spec.start
    if not artifacts.timeline.is_complete and "finished" in job.flags():
        click.echo(f"{job.name}: {describe_missing(artifacts)[0]}")
    if words := left_out.describe(total):
        click.echo(f"{job.name}: {words}; {how_to_repair(job, len(left_out) > 1)}")
    return total
