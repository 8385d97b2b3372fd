"""The command `node.py` or `fav node`: join a shared directory, work on its jobs until they are done, and leave."""

import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from fav.cli.common import SETTINGS, finished_film, one_line_errors, share_for
from fav.cli.log_options import LOG, log_settings, start_record
from fav.cli.options import BACKEND, FILE, JOB, SOURCE, LabelType, limits, options, request_of
from fav.cli.share_argument import ShareCommand
from fav.model.backends import choose
from fav.monitor.console import begin_log, node_log
from fav.pipeline.job_files import open_share
from fav.pipeline.job_naming import default_name
from fav.util.text import duration
from shared.fscheck.environment import CLOCKS_S
from shared.fscheck.local_checks import check_quickly
from shared.heartbeat import temporary_member
from shared.jobs import find_job
from shared.shared_dir import SharedDir
from shared.supervisor import Supervisor

if TYPE_CHECKING:
    from fav.pipeline.request import Request

logger = logging.getLogger(__name__)

MAKE_PLAN = "fav.cli.plans:make_plan"  # by its name: it is slow to import, and only workers need it

CARDS = Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd")  # of drivers: NVIDIA, the same in WSL, AMD


@click.command(cls=ShareCommand, context_settings=SETTINGS)
@click.argument("shared", type=FILE)
@click.argument("video", required=False, type=SOURCE)
@click.argument("style", required=False, type=FILE)
@options(JOB)
@click.option("--job", "only", metavar="NAME", help="Serve only the job of this name.")
@click.option("--forever", is_flag=True, help="Keep waiting for new jobs.")
@click.option(
    "--local-video", type=FILE, help="A copy of the job's video on this machine, to read instead of the shared one."
)
@click.option("--cores", type=limits("threads"), help="CPU threads of this node, unless the job has --threads.")
@click.option(
    "--label",
    type=LabelType(),
    metavar="NAME",
    help="What `nodes` and `drain` call this machine.  [default: its host name]",
)
@options(BACKEND)
@options(LOG)
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
    label: str | None,
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
    request = request_of(context, video, style, values) if video is not None and style is not None else None
    here = {"video": str(local_video) if local_video else None, "threads": cores, "device": device, "backend": backend}
    settings = log_settings(context)
    job = default_name(request) if request else only
    with node_log(settings, job):
        begin_log(settings, start_record(job), always=True)
        sys.exit(_work(shared, request, only, forever, here, label or ""))


def _work(shared: Path, request: "Request | None", only: str | None, forever: bool, here: dict, label: str = "") -> int:
    """Work until the jobs are done: the one of `only` or of the request, or all. Returns the exit code."""
    device, backend = here["device"], here["backend"]
    if device not in ("auto", "cpu"):
        from fav.model.devices import device_of

        device_of(device)
    if backend != "auto":
        choose(backend, device)
    share = share_for(shared, request.video, request.style) if request else open_share(shared, new=False)
    check_quickly(share)
    _report_clock_offset(share)
    if request is not None:
        only = _submit(share, request)
        if not forever and (film := _film(share, only)):
            logger.info("already done: %s", film)
            return 0
    code = Supervisor(share, MAKE_PLAN, only, forever, here, _device_words(device), label).run()
    if code == 0 and only and (film := _film(share, only)):
        logger.info("done: %s", film)
    return code


def _device_words(device: str) -> str:
    """What the node computes on, for people: the worker takes a card later, so this looks only whether there may be one."""
    if device != "auto":
        return device
    return "auto: see its log" if any(path.exists() for path in CARDS) else "cpu"


def _film(share: SharedDir, name: str) -> Path | None:
    """The film of a finished job; None if it is not finished. Raises FavError if the film is gone."""
    job = find_job(share, name)
    film = job.flag_text("finished") if job else None
    return finished_film(share.layout.root, name, film) if film else None


def _report_clock_offset(share: SharedDir) -> None:
    """Log a warning if this machine's clock differs from the share's."""
    ahead = time.time() - share.now()
    if abs(ahead) > CLOCKS_S:
        logger.warning(
            "the clock of %s is %s %s that of %s: no harm to the film, but the times in this log are wrong",
            socket.gethostname(),
            duration(abs(ahead)),
            "ahead of" if ahead > 0 else "behind",
            share.layout.root,
        )


def _submit(share: SharedDir, request: "Request") -> str:
    """Create the job or join it. Returns its name."""
    from fav.pipeline.submit import submit  # slow to import, and not needed without a video

    with temporary_member(share) as creator:
        joined = submit(creator, request)
    if joined.created or joined.job.flag_text("finished") is None:
        logger.info("%s job %s", "created" if joined.created else "joined", joined.job.name)
    if joined.created and share.creation_notice:  # who joins an existing job has the right directory
        logger.info("%s", share.creation_notice)
    for note in joined.notes:
        logger.info("%s", note)
    return joined.job.name
