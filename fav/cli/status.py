"""The command that tells how far jobs are; scripts read it, too."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from fav.cli.common import film_at, looked_at, one_line_errors, the_job
from fav.cli.options import FILE, NumberType
from fav.errors import FavError
from fav.monitor.snapshot import failures, nodes_of, state_of
from fav.util.text import duration
from shared.errors import ShareError
from shared.jobs import all_jobs
from shared.shared_dir import SharedDir

WATCH_HELP = "Full screen, live. Plain lines where the output is not a terminal; one JSON object per line with --json."


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@click.option("--verbose", is_flag=True, help="Show the full traceback of each failure.")
@click.option("--watch", is_flag=True, help=WATCH_HELP)
@click.option("--every", type=NumberType(0.2, 3600), default=2, show_default=True, help="With --watch: seconds between two updates.")
@one_line_errors
def status(shared: Path, job: str | None, as_json: bool, verbose: bool, watch: bool, every: float) -> None:
    """Show jobs, nodes, progress and failures.

    Without JOB, it shows all jobs of the shared directory.
    """
    share = looked_at(shared)
    if watch:
        _watch(share, the_job(share, job).name if job else None, as_json, every)
        return
    jobs = [the_job(share, job)] if job else all_jobs(share, lambda line: click.echo(f"error: {line}", err=True))
    nodes = nodes_of(share)
    told = []
    for one in jobs:
        try:
            told.append(state_of(one, any(node["state"] == "running" for node in nodes)))
        except (FavError, ShareError) as error:
            if job:
                raise
            click.echo(f"error: {one.name}: {str(error).removeprefix(f'{one.name}: ')}", err=True)
    if as_json:
        click.echo(json.dumps({"jobs": told, "nodes": nodes}, indent=1))
        return
    if not jobs:
        click.echo("no jobs")
    for state in told:
        click.echo(f"{state['name']}: {state['state']}{'; ' * bool(state['lacks'])}{state['lacks']}")
        for kind, (done, total) in state["counts"].items():
            if kind != "flow" or done:
                click.echo(f"  {kind:<8} {done} of {total if total is not None else '?'}")
        for note in state["notes"]:
            click.echo(f"  {note}")
        for task, owner in state["claims"].items():
            click.echo(f"  {task} is being worked on by {owner}")
        for line in failures(state, each=True, verbose=verbose):
            click.echo(f"  {line}")
        if state["state"] == "finished":
            try:
                click.echo(f"  film     {film_at(share.layout.root, state['name'], state['film'])}")
            except FavError as error:
                click.echo(f"  {error}")
        if state["evaluation"]:
            click.echo(f"  measured {state['evaluation']}")
    for node in nodes:
        click.echo(f"node {node['node']}: {node['state']} (heartbeat renewed {duration(node['heard_s'])} ago)")


def _watch(share: SharedDir, only: str | None, as_json: bool, every: float) -> None:
    from fav.monitor.snapshot import SnapshotReader
    from fav.monitor.tui import StatusApp, lines, watch_plainly

    lookout, said = SnapshotReader(share, only), set()

    def say(now) -> None:
        for line in [json.dumps(asdict(now))] if as_json else [line for line in lines(now) if line not in said]:
            said.add(line)
            click.echo(line)

    if as_json or not sys.stdout.isatty():
        watch_plainly(lookout, every, say, time.sleep)
    else:
        StatusApp(lookout, every).run()
