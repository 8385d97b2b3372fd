"""The command `node.py`, which is also `fav node`: joins a shared directory, works on its jobs until they are done, leaves."""

import os
import socket
import sys
import time
from pathlib import Path

import click
from click.core import ParameterSource

from fav.cli.common import SETTINGS, finished_film, one_line_errors
from fav.cli.options import BACKEND, FILE, JOB, limits, options, request_of
from fav.cli.share_argument import ShareCommand
from fav.model.backends import choose
from fav.util.text import duration
from shared.errors import sanitize
from shared.filesystem import TRANSIENT_ERRNOS
from shared.fscheck.environment import CLOCKS_S
from shared.fscheck.local_checks import check_quickly
from shared.heartbeat import temporary_member
from shared.jobs import find_job
from shared.shared_dir import SharedDir, open_share
from shared.supervisor import Supervisor
from shared.terminal import drop, nobody_reads

_unsaid: list[str] = []


def say(line: str) -> None:
    """Print a line with the time; on a disk that is full or away, before the next line that finds room.

    A node whose terminal or pipe is gone works on without a word.
    """
    _unsaid.append(f"{time.strftime('%H:%M:%S')} {sanitize(line, 4000)}")
    try:
        while _unsaid:
            click.echo(_unsaid[0])
            del _unsaid[0]
    except OSError as error:
        if nobody_reads(error, sys.stdout):
            drop(sys.stdout)
        elif error.errno not in TRANSIENT_ERRNOS:
            raise


@click.command(cls=ShareCommand, context_settings=SETTINGS)
@click.argument("shared", type=FILE)
@click.argument("video", required=False)
@click.argument("style", required=False, type=FILE)
@options(JOB)
@click.option("--job", "only", metavar="NAME", help="Serve only the job of this name.")
@click.option("--forever", is_flag=True, help="Keep waiting for new jobs.")
@click.option(
    "--local-video", type=FILE, help="A copy of the job's video on this machine, to read instead of the shared one."
)
@click.option(
    "--cores", type=limits("threads"), help="CPU threads of this node, where the job does not say (--threads)."
)
@options(BACKEND)
@click.pass_context
@one_line_errors
def node(
    context: click.Context,
    shared: Path,
    video: str | None,
    style: Path | None,
    only: str | None,
    forever: bool,
    local_video: Path | None,
    cores: int | None,
    device: str,
    backend: str,
    **values,
) -> None:
    """Work on the jobs in the directory SHARED.

    \b
    SHARED VIDEO STYLE   create this job, or join it if it exists; work until it is done
    SHARED               work on every job in the directory; with --forever, wait for new ones

    You may type the same line on any number of machines, at any time. A node that is stopped or killed loses at most the
    frame in progress. The same line continues the job.
    """
    # Threads of PyTorch that wait must not spin: with two nodes on two cores, a frame took three times as long.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    if video is not None and style is None:
        raise click.UsageError("expected SHARED VIDEO STYLE or SHARED alone, got a video without a style")
    typed = [name for name in values if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if video is None and typed:
        raise click.UsageError(
            f"--{typed[0].replace('_', '-')} is decided when a job is made: expected SHARED VIDEO STYLE with it"
        )
    if device not in ("auto", "cpu"):
        from fav.model.devices import device_of

        device_of(device)
    if backend != "auto":
        choose(backend, device)
    share = open_share(shared, new=video is not None)
    check_quickly(share)
    _report_clock_offset(share)
    if video is not None:
        only = _submit(share, request_of(context, video, style, values))
    here = {"video": str(local_video) if local_video else None, "threads": cores, "device": device, "backend": backend}
    code = Supervisor(share, "fav.pipeline.plan:make_plan", say, only, forever, here, about=device).run()
    if code == 0 and only and (job := find_job(share, only)) and (film := job.flag_text("finished")):
        say(f"done: {finished_film(share.layout.root, only, film)}")
    sys.exit(code)


def _report_clock_offset(share: SharedDir) -> None:
    """A line for who reads times, where this machine's clock is not the share's."""
    ahead = time.time() - share.now()
    if abs(ahead) > CLOCKS_S:
        say(
            f"the clock of {socket.gethostname()} is {duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} that of "
            f"{share.layout.root}: no harm to the film, but the times in this log are wrong"
        )


def _submit(share: SharedDir, request) -> str:
    """Create the job or join it; its name."""
    from fav.pipeline.submit import submit  # heavy: only who brings a video needs it here

    with temporary_member(share) as creator:
        joined = submit(creator, request, say)
    say(f"{'created' if joined.created else 'joined'} job {joined.job.name}")
    if joined.created and share.creation_notice:  # who joins others is in the right place
        say(share.creation_notice)
    for note in joined.notes:
        say(note)
    return joined.job.name
