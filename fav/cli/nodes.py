"""The commands for nodes: list them, and ask them to leave. It does not matter who started them."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from fav.cli.common import fail_with, one_line_errors, open_existing, open_read_only
from fav.cli.options import FILE
from fav.monitor.schema import nodes_json
from fav.monitor.snapshot import NodeSnapshot, SnapshotReader
from fav.pipeline.job_control import ask_nodes
from fav.util.table import show_table
from fav.util.text import duration
from shared.control import ControlCommand

SHARED = click.argument("shared", type=FILE)
WHO = click.argument("who", required=False, metavar="[HOST|NODE]")


@click.command()
@SHARED
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@one_line_errors
def nodes(shared: Path, as_json: bool) -> None:
    """List the nodes, their tasks and their state.

    A `busy` node has tasks, and a `waiting` node has none. A `draining` or `stopping` node was asked to leave. The command
    listens until each node on another machine has renewed its heartbeat, or for three heartbeat intervals. A `silent`
    node may be dead or cut off from the shared directory. Other nodes take over its tasks after one lease.
    """
    now = SnapshotReader(open_read_only(shared)).nodes()
    if as_json:
        click.echo(json.dumps(nodes_json(now.nodes), indent=1))
    elif not now.nodes:
        click.echo("no nodes")
    else:
        _show(now.nodes)
    fail_with(now.complaints)  # the tasks of such a job are unknown


def _show(found: Sequence[NodeSnapshot]) -> None:
    heads = "node", "host", "device", "at work on", "heartbeat renewed", "state"
    show_table(
        heads,
        [
            (
                node.node,
                node.machine,
                node.about,
                ", ".join(node.tasks) or "nothing",
                f"{duration(node.heard_s)} ago",
                node.state,
            )
            for node in found
        ],
    )


def _request(shared: Path, who: str | None, request: ControlCommand, words: str) -> None:
    for name in ask_nodes(open_existing(shared), who, request):
        click.echo(f"{name}: {words}")


@click.command()
@SHARED
@WHO
@one_line_errors
def drain(shared: Path, who: str | None) -> None:
    """Ask nodes to leave after the current task.

    Give a host, one node, or nothing for all nodes. The request goes through the shared directory, so it does not matter
    who started them. Other nodes take the tasks that a node has not begun.
    """
    _request(shared, who, ControlCommand.DRAIN, "asked to leave after its current task")


@click.command()
@SHARED
@WHO
@one_line_errors
def stop(shared: Path, who: str | None) -> None:
    """Ask nodes to leave at once.

    Give a host, one node, or nothing for all nodes. Their tasks are open again for other nodes, and do not count as failed
    attempts.
    """
    _request(shared, who, ControlCommand.STOP, "asked to leave at once")
