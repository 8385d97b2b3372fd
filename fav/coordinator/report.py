"""The command that writes a page about a job."""

from pathlib import Path

import click

from shared.share import open_share

from ..commands import new, one_line_errors, whole
from ..options import FILE
from .doors import the_job


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
    from ..spec import brought

    share = open_share(shared)
    facts = gather(the_job(share, job))
    spec = facts.shelf.spec
    final = new(out) if out else spec.film(share.layout.root).with_suffix(".report.html")
    final.parent.mkdir(parents=True, exist_ok=True)
    text = page(facts, brought(share.layout.root, spec.video))
    with whole(final) as private:
        private.write_text(text, encoding="utf-8")
    click.echo(f"done: {final}")
