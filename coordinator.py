#!/usr/bin/env python3
"""The commands of the operator: submit, run, watch and repair jobs."""

from shared.startup import checked_imports

with checked_imports():
    import click

    from fav.cli.commands import COORDINATOR
    from fav.cli.common import SETTINGS
    from fav.cli.share_argument import HINT, ShareGroup


@click.group(context_settings=SETTINGS, cls=ShareGroup, epilog=HINT)
def main() -> None:
    """Submit, run and watch the jobs of a shared directory.

    JOB is a job's name as `status` shows it. It may be left out if there is only one job.
    """


for command in COORDINATOR:
    main.add_command(command)


if __name__ == "__main__":
    main()
