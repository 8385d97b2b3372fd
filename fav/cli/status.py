"""The command `status`: shows jobs and nodes, for people and as JSON for scripts."""

import json
import sys
import time
from pathlib import Path

import click

from fav.cli.common import EXIT_USAGE, fail_with, finished_film, one_line_errors, open_read_only
from fav.cli.options import FILE
from fav.errors import FavError
from fav.monitor.schema import snapshot_json
from fav.monitor.snapshot import JobStatus, Snapshot, SnapshotReader
from fav.monitor.text import JOB_HEADS, count_nodes, job_lines, job_rows, lines, node_line, problems
from fav.pipeline.job_control import resolve_job
from fav.pipeline.provenance import lines_of
from fav.util.table import show_table
from shared.command_names import command
from shared.errors import JobQueueError
from shared.option_types import NumberType
from shared.shared_dir import SharedDir

WATCH_HELP = "Full screen, live. Plain lines where the output is not a terminal; one JSON object per line with --json."


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@click.option("--verbose", is_flag=True, help="Show the full traceback of each failure.")
@click.option("--watch", is_flag=True, help=WATCH_HELP)
@click.option(
    "--every",
    type=NumberType(0.2, 3600),
    default=2,
    show_default=True,
    help="With --watch: seconds between two updates.",
)
@one_line_errors
def status(shared: Path, job: str | None, as_json: bool, verbose: bool, watch: bool, every: float) -> None:
    """Show jobs, nodes, progress and failures.

    Without JOB, the command shows all jobs of the shared directory: several of them as a table, running ones first. With
    JOB, it also shows the inputs of the film, and the command that made it.
    """
    share = open_read_only(shared)
    if watch:
        _watch(share, resolve_job(share, job).name if job else None, as_json, every)
        return
    now = SnapshotReader(share, resolve_job(share, job).name if job else None, once=True).read()
    if job and now.complaints:
        raise JobQueueError(now.complaints[0])
    if as_json:
        click.echo(json.dumps(snapshot_json(now), indent=1))
    elif len(now.jobs) > 1 and not verbose:
        _show_table(share, now)
    else:
        _show(share, now, verbose, provenance=job is not None)
    fail_with(now.complaints)


def _show(share: SharedDir, now: Snapshot, verbose: bool, provenance: bool) -> None:
    if not now.jobs and not now.complaints:
        click.echo("no jobs")
    for one in now.jobs:
        for line in job_lines(one, verbose):
            click.echo(line)
        if one.state == JobStatus.FINISHED and one.learning:
            gone = "" if Path(one.film).exists() else " is gone; the line that made the job delivers it again"
            click.echo(f"  style    {one.film}{gone}")
        elif one.state == JobStatus.FINISHED:
            try:
                click.echo(f"  film     {finished_film(share.layout.root, one.name, one.film)}")
            except FavError as error:
                click.echo(f"  {error}")
        for label, text in lines_of(one.provenance).items() if provenance else ():
            click.echo(f"  {label:<8} {text}")
        if one.evaluation:
            click.echo(f"  measured {one.evaluation}")
    for node in now.nodes:
        click.echo(node_line(node))


def _show_table(share: SharedDir, now: Snapshot) -> None:
    show_table(JOB_HEADS, job_rows(now.jobs))
    for job in now.jobs:
        for line in problems(job):
            click.echo(line)
    nodes = count_nodes(now.nodes)
    root = share.layout.root
    click.echo(f"nodes: {nodes}; {command('nodes')} {root} lists them" if nodes else "nodes: none")
    click.echo(f"{command('status')} {root} JOB tells more of a job")


def _watch(share: SharedDir, only: str | None, as_json: bool, every: float) -> None:
    from fav.monitor.tui import StatusApp, watch_lines

    reader, said = SnapshotReader(share, only), []

    def say(now: Snapshot) -> None:
        fresh = [json.dumps(snapshot_json(now))] if as_json else lines(now)
        for line in fresh if as_json else [line for line in fresh if line not in said]:
            click.echo(line)
        said[:] = fresh

    if as_json or not sys.stdout.isatty():
        last = watch_lines(reader, every, say, time.sleep)
        if last.complaints:
            sys.exit(EXIT_USAGE)  # the output has the complaints already
    else:
        StatusApp(reader, every).run()
