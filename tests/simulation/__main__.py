"""Replays one seed, or runs many: see the package."""

import time

import click

from tests.simulation.many import occurred, outcomes, told
from tests.simulation.mutations import MUTATIONS
from tests.simulation.world import EVERY_FAULT


@click.command()
@click.argument("seeds", metavar="SEED | FIRST:LAST")
@click.option("--mutation", type=click.Choice(list(MUTATIONS)), help="Play it with a wrong protocol.")
@click.option("--lines", type=int, help="Only the last lines of the trace.")
@click.option("--training", is_flag=True, help="The job is a training.")
def main(seeds: str, mutation: str | None, lines: int | None, training: bool) -> None:
    """Replay SEED and print what happened, or run many seeds and print which broke a promise."""
    first, _, last = seeds.partition(":")
    if not last:
        click.echo(told(int(first), mutation, lines, training))
        return
    began, runs = time.monotonic(), []
    for run in outcomes(range(int(first), int(last)), training):
        runs.append(run)
        if run.broken:
            click.echo(f"seed {run.seed}: {run.broken.strip().splitlines()[-1]}")
        if len(runs) % 1000 == 0:
            click.echo(f"{len(runs)} seeds, {time.monotonic() - began:.0f} s")
    counts = occurred(runs)
    click.echo(
        f"{len(runs)} seeds in {time.monotonic() - began:.0f} s, {sum(run.broken is not None for run in runs)} broken"
    )
    click.echo("runs in which each fault occurred: " + ", ".join(f"{kind} {counts[kind]}" for kind in EVERY_FAULT))


if __name__ == "__main__":
    main()
