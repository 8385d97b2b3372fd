"""The commands that show a job, finished or not: a page about it, and a film of what is there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fav.commands import one_line_errors
from fav.coordinator.doors import looked_at, the_job
from fav.monitor.console import tell
from fav.options import FILE
from fav.pipeline.inputs import check_video
from fav.pipeline.spec import FilmSpec
from fav.util.atomic import Draft, new_file, own_file
from fav.util.safe_path import brought
from shared.errors import InputVanished, ShareError
from shared.jobs import Job
from shared.share import Share

if TYPE_CHECKING:
    from fav.pipeline.artifacts import LeftOut, Shelf


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--out", type=FILE, help="The page's file.  [default: beside the film, FILM.report.html, replaced each time]")
@one_line_errors
def report(shared: Path, job: str | None, out: Path | None) -> None:
    """Write one page of HTML about a job: pictures before and after, who did what when, how steady, what made it.

    It needs no other file and no network, and can be made while the job runs.
    """
    from fav.report.data import gather
    from fav.report.html import page

    share = looked_at(shared)
    found = the_job(share, job)
    with _cured(found):
        facts = gather(found)
    spec, mark = facts.shelf.spec, mark_of("report", found)
    with _shown(share, out, spec.film(share.layout.root).with_suffix(".report.html"), mark) as draft:
        draft.file.write_text(page(facts, brought(share.layout.root, spec.video), mark), encoding="utf-8")
    _tell(found, facts.left_out, facts.shelf)
    click.echo(f"done: {draft.out}")


def mark_of(what: str, job: Job) -> str:
    """What is in each report or preview of a job, and in no other file: there it is proved whose a file is."""
    return f"fav {what} of {job.manifest.id}"


@contextmanager
def _shown(share: Share, out: Path | None, default: Path, mark: str) -> Iterator[Draft]:
    """A file to write: `out`, a new one; else at the default place, where one that has the mark is replaced."""
    if not out:
        share.system.follow_no_link(default.parent)
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


def preview_path(root: Path, spec: FilmSpec) -> Path:
    """Where the preview of a job lies if nobody says otherwise: beside its film."""
    film = spec.film(root)
    return film.with_suffix(f".preview{film.suffix}")


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--out", type=FILE, help="The film's file.  [default: beside the film, FILM.preview.mp4 and so on, replaced each time]")
@click.option("--into", type=FILE, hidden=True)  # what `run` has opened, which puts it in its place, or takes it away
@one_line_errors
def preview(shared: Path, job: str | None, out: Path | None, into: Path | None) -> None:
    """Make a film of what is stylized so far; where a frame is missing, it shows the source, darkened.

    As far as the job has read its video. It disturbs nobody, and can be made while the job runs.
    """
    from fav.pipeline.artifacts import Shelf
    from fav.pipeline.delivery import preview as write
    from fav.pipeline.repair import lack
    from fav.video import check_film_name

    share = looked_at(shared)
    shelf = Shelf(the_job(share, job))
    check_video(shelf.job)
    with _cured(shelf.job):
        shelf.refresh()
    if shelf.timeline.end <= shelf.spec.start and "finished" in shelf.job.marks():
        raise ShareError(f"{shelf.job.name}: {lack(shelf)[0]}")
    root = share.layout.root
    default, mark, video = preview_path(root, shelf.spec), mark_of("preview", shelf.job), brought(root, shelf.spec.video)
    if into:
        write(shelf, video, into, default, mark)
        return
    check_film_name(out or default)
    with _shown(share, out, default, mark) as draft:
        left_out = write(shelf, video, draft.file, draft.out, mark)
    total = _tell(shelf.job, left_out, shelf)
    click.echo(f"done: {draft.out}, with {total - len(left_out)} stylized frames")


@contextmanager
def _cured(job: Job) -> Iterator[None]:
    """What does not read back, with its cure."""
    try:
        yield
    except InputVanished as error:
        from fav.pipeline.repair import cure

        raise ShareError(f"{job.name}: {error}; {cure(job)}") from None


def _tell(job: Job, left_out: "LeftOut", shelf: "Shelf") -> int:
    """Say which frames are left out, if there are such; how many are indexed."""
    from fav.pipeline.repair import cure, lack

    total = shelf.timeline.end - shelf.spec.start
    if not shelf.timeline.complete and "finished" in job.marks():
        click.echo(f"{job.name}: {lack(shelf)[0]}")
    if words := left_out.in_words(total):
        click.echo(f"{job.name}: {words}; {cure(job, len(left_out) > 1)}")
    return total
