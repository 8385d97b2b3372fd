#!/usr/bin/env python3
"""The operator's side: submit, run and watch jobs, and put them right."""

from shared.errors import installed

with installed():
    import click

    from fav.cli import jobs, nodes, preview, report, run, status

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=SETTINGS)
def main() -> None:
    """Submit, run and watch the jobs of a shared directory.

    JOB is a job's name as `status` shows it. You may leave it out where there is only one job.
    """


for command in (jobs.submit, jobs.prioritize, jobs.pause, jobs.resume, run.run, status.status, nodes.nodes, nodes.drain, nodes.stop, jobs.recover, jobs.stitch, preview.preview, report.report,
                jobs.retry, jobs.cancel, jobs.clean):  # fmt: skip
    main.add_command(command)


if __name__ == "__main__":
    main()
