"""The command that does everything: creates a job, starts nodes here or on other machines, and follows them."""

import sys
from pathlib import Path

import click

from fav.cli.common import finished_film, one_line_errors, share_for, submit_and_print
from fav.cli.executors import DASK, ELSEWHERE, Launch
from fav.cli.log_options import LOG, log_settings, start_record
from fav.cli.options import BACKEND, FILE, JOB, SOURCE, options, request_of
from fav.cli.preview import previews
from fav.cli.train_job import is_painting, run_training_and_film, submit_style_and_film
from fav.errors import FavError
from fav.launch.executor import run_job
from fav.monitor.console import begin_log, tell
from fav.monitor.snapshot import SnapshotReader
from fav.monitor.text import failures
from fav.pipeline.job_naming import default_name
from shared.jobs import Job
from shared.option_types import NumberType, WholeType

PREVIEW_HELP = "Make a film of the finished frames at this interval, as `preview` does."


@click.command()
@click.argument("shared", type=FILE)
@click.argument("video", type=SOURCE)
@click.argument("style", type=FILE)
@click.option(
    "--nodes",
    type=WholeType(1, 1000),
    default=1,
    show_default=True,
    help="Nodes to start on this machine; they share its cores.",
)
@options(ELSEWHERE)
@DASK
@click.option("--preview-every", type=NumberType(0, 10**6, min_open=True), metavar="MINUTES", help=PREVIEW_HELP)
@options(BACKEND)
@options(JOB)
@options(LOG)
@click.pass_context
@one_line_errors
def run(
    context: click.Context,
    shared: Path,
    video: str,
    style: Path,
    preview_every: float | None,
    device: str,
    backend: str,
    **values,
) -> None:
    """Create a job, start nodes and show progress.

    If the job exists already, the command joins it. Nodes on other machines may join at any time. If STYLE is a painting
    (an image), a style is learned from it first, as by `fav train SHARED STYLE`.

    Ctrl-C, or closing the terminal (but not under nohup), stops the nodes of this machine after their current frames. The
    same line continues the job. With --hosts, the nodes keep running after Ctrl-C, and without this machine. The same line
    follows them again; `drain` ends them. With --slurm, `scancel` ends the nodes; the same line queues as many more. With
    --dask, `drain` or the end of their workers ends them.
    """
    launch = Launch.take(values)
    launch.check(context)
    settings = log_settings(context)
    executor = launch.executor(device, backend, settings.words())
    if is_painting(style):
        if launch.dask is not None:
            raise FavError(
                f"--dask: expected a trained style, got a painting: {style}; train it first (fav train SHARED {style})"
            )
        with executor.ready():
            begin_log(settings, start_record(default_name(request_of(context, video, style, values))))
            training = submit_style_and_film(context, shared, video, style, values)
            film = run_training_and_film(training, executor)
            if film is None:
                tell("the film was removed; the style is there")
                return
            tell(f"the film is job {film.name}")
            logs = []
            if not film.flag_text("finished"):
                with previews(film, preview_every):
                    logs = run_job(film, executor)
        _print_result(film, logs)
        return
    share = share_for(shared, video, style)
    with executor.ready():
        begin_log(settings, start_record(default_name(request_of(context, video, style, values))))
        job = submit_and_print(context, share, video, style, values)
        if job.flag_text("finished"):
            return
        with previews(job, preview_every):
            logs = run_job(job, executor)
    _print_result(job, logs)


def _print_result(job: Job, logs: list[Path]) -> None:
    """Print the result of the job. Exits with 1 if there is no film."""
    if film := job.flag_text("finished"):
        tell(f"done: {finished_film(job.share.layout.root, job.name, film)}")
        return
    if "cancelled" in job.flags():
        tell("cancelled")
        sys.exit(1)
    for line in failures(SnapshotReader(job.share, once=True).job(job)):
        tell(line, err=True)
    where = f"; the logs of the nodes are {', '.join(map(str, logs))}" if logs else ", and no node started"
    tell(f"not finished{where}", err=True)
    sys.exit(1)
