"""The commands that show a job, finished or not: a page about it, and a film of what is there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from shared.jobs import Job

from ..commands import one_line_errors
from ..options import FILE
from ..spec import FilmSpec, brought
from ..util.atomic import Draft, new_file, own_file
from .doors import check_video, opened, the_job


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--out", type=FILE, help="The page's file.  [default: beside the film, FILM.report.html, replaced each time]")
@one_line_errors
def report(shared: Path, job: str | None, out: Path | None) -> None:
    """Write one page of HTML about a job: pictures before and after, who did what when, how steady, what made it.

    It needs no other file and no network, and can be made while the job runs.
    """
    from ..job_report.facts import gather
    from ..job_report.page import page

    share = opened(shared)
    facts = gather(the_job(share, job))
    spec, mark = facts.shelf.spec, mark_of("report", facts.shelf.job)
    with _shown(out, spec.film(share.layout.root).with_suffix(".report.html"), mark) as draft:
        draft.file.write_text(page(facts, brought(share.layout.root, spec.video), mark), encoding="utf-8")
    click.echo(f"done: {draft.out}")


def mark_of(what: str, job: Job) -> str:
    """What is in each report or preview of a job, and in no other file: there it is proved whose a file is."""
    return f"fav {what} of {job.manifest.id}"


@contextmanager
def _shown(out: Path | None, default: Path, mark: str) -> Iterator[Draft]:
    """A file to write: `out`, a new one; else at the default place, where one that has the mark is replaced."""
    with new_file(out) if out else own_file(place_for(default), mark) as draft:
        yield draft


def place_for(wanted: Path) -> Path:
    """The path itself; where this user cannot write there, that name in the current directory, and a line that says so."""
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        pass  # told below, or by who writes there
    if os.access(wanted.parent, os.W_OK):
        return wanted
    here = Path.cwd() / wanted.name
    click.echo(f"{wanted.parent}: this user cannot write there; going on with {here}")
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
    from ..shelf import Shelf
    from ..shelf import preview as write
    from ..video import check_film_name

    share = opened(shared)
    shelf = Shelf(the_job(share, job))
    check_video(shelf.job)
    shelf.refresh()
    root = share.layout.root
    default, mark, video = preview_path(root, shelf.spec), mark_of("preview", shelf.job), brought(root, shelf.spec.video)
    if into:
        write(shelf, video, into, default, mark)
        return
    check_film_name(out or default)
    with _shown(out, default, mark) as draft:
        there = write(shelf, video, draft.file, draft.out, mark)
    click.echo(f"done: {draft.out}, with {there} stylized frames")
