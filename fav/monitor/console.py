"""Print lines to a terminal that may be closed or full."""

import sys

import click

from shared.terminal import drop, nobody_reads


def tell(line: str, err: bool = False) -> None:
    """Print a line. Where nobody reads it any more (a terminal that is closed, the end of a pipe) or there is no room for it,
    work goes on without."""
    try:
        click.echo(line, err=err)
    except OSError as error:
        stream = sys.stderr if err else sys.stdout
        if nobody_reads(error, stream):
            drop(stream)


def _flush() -> None:
    """Write what was not written yet; what cannot be, Python would complain of once more when it ends."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            drop(stream)
