"""The command `report`: an HTML page about a job, finished or not."""

from pathlib import Path

import click

from fav.cli.common import one_line_errors, open_read_only
from fav.cli.options import FILE
from fav.cli.outputs import check_suffix, mark_of, output_file, print_omitted, with_cure
from fav.pipeline.job_control import resolve_job
from fav.pipeline.training_job import is_training, training_of
from fav.util.safe_path import resolve_input, resolve_inside


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option(
    "--out",
    type=FILE,
    metavar="FILE",
    help="The page's file.  [default: beside the film, FILM.report.html, replaced each time]",
)
@one_line_errors
def report(shared: Path, job: str | None, out: Path | None) -> None:
    """Write one HTML page about a job.

    It shows frames before and after, what each node did when, how steady the film is, and all settings. It needs no other
    file and no network. You can make it while the job runs. For a training, it shows the contact sheets and the losses.
    """
    from fav.report.data import collect
    from fav.report.html import page

    if out is not None:
        check_suffix(out, ".html", ".htm")
    share = open_read_only(shared)
    found = resolve_job(share, job)
    if is_training(found):
        from fav.report.training_page import training_page

        mark, style = mark_of("report", found), resolve_inside(share.layout.root, training_of(found).outs[0])
        with output_file(share, out, style.with_suffix(".report.html"), mark) as draft:
            draft.file.write_text(training_page(found, mark), encoding="utf-8")
        click.echo(f"done: {draft.out}")
        return
    with with_cure(found):
        facts = collect(found)
    spec, mark = facts.artifacts.spec, mark_of("report", found)
    with output_file(share, out, spec.film(share.layout.root).with_suffix(".report.html"), mark) as draft:
        draft.file.write_text(page(facts, resolve_input(share.layout.root, spec.video), mark), encoding="utf-8")
    print_omitted(found, facts.left_out, facts.artifacts)
    click.echo(f"done: {draft.out}")
