"""The commands that show a job, finished or not: a page about it, and a film of what is there."""

from pathlib import Path

import click

from ..commands import new, one_line_errors, whole
from ..options import FILE
from ..spec import FilmSpec, brought
from .doors import check_video, looked_at, the_job


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

    share = looked_at(shared)
    facts = gather(the_job(share, job))
    spec = facts.shelf.spec
    final = new(out) if out else spec.film(share.layout.root).with_suffix(".report.html")
    final.parent.mkdir(parents=True, exist_ok=True)
    with whole(final) as private:
        private.write_text(page(facts, brought(share.layout.root, spec.video)), encoding="utf-8")
    click.echo(f"done: {final}")


def preview_path(root: Path, spec: FilmSpec) -> Path:
    """Where the preview of a job lies if nobody says otherwise: beside its film."""
    film = spec.film(root)
    return film.with_suffix(f".preview{film.suffix}")


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--out", type=FILE, help="The film's file.  [default: beside the film, FILM.preview.mp4 and so on, replaced each time]")
@one_line_errors
def preview(shared: Path, job: str | None, out: Path | None) -> None:
    """Make a film of what is stylized so far; where a frame is missing, it shows the source, darkened.

    As far as the job has read its video. It disturbs nobody, and can be made while the job runs.
    """
    from ..shelf import Shelf
    from ..shelf import preview as write
    from ..video import check_film_name

    share = looked_at(shared)
    shelf = Shelf(the_job(share, job))
    check_video(shelf.job)
    shelf.refresh()
    root = share.layout.root
    final = new(out) if out else preview_path(root, shelf.spec)
    check_film_name(final.name)
    final.parent.mkdir(parents=True, exist_ok=True)
    with whole(final) as private:
        there = write(shelf, brought(root, shelf.spec.video), private)
    click.echo(f"done: {final}, with {there} stylized frames")
