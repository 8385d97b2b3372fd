"""The command `preview`, and previews at intervals while a job is followed."""

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fav.cli.common import one_line_errors, open_existing, open_read_only
from fav.cli.options import FILE
from fav.cli.outputs import mark_of, output_file, own_output, place_for, print_omitted, share_with_users, with_cure
from fav.errors import FavError
from fav.launch.program import COORDINATOR
from fav.monitor.console import tell
from fav.pipeline.inputs import check_video
from fav.pipeline.job_control import resolve_job
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import encode_task
from fav.util.image_sequence import is_image_output
from fav.util.safe_path import resolve_input
from shared.errors import JobQueueError, UserError
from shared.heartbeat import temporary_member
from shared.jobs import Job
from shared.results import publish_bytes

if TYPE_CHECKING:
    from fav.video import EncodedSegment

GRACE_S = 5.0  # time for a preview to end before it is killed
COMMAND = [*COORDINATOR, "preview"]


class PreviewError(FavError):
    """A preview could not be made."""


@contextmanager
def previews(job: Job, minutes: float | None) -> Iterator[None]:
    """Make a preview of the job at intervals, in a separate process.

    A preview that takes longer than the interval delays the next one. An error of the last preview is printed at the end.

    Args:
        job: the job.
        minutes: the interval; None: make no previews.
    """
    if minutes is None:
        yield
        return
    over, wrong = threading.Event(), ""

    def run() -> None:
        nonlocal wrong
        while not over.wait(minutes * 60):
            try:
                make(job, film, over)
                wrong = ""
            except PreviewError as error:
                wrong = wrong if over.is_set() else str(error)
            except (UserError, OSError) as error:
                wrong = f"error: {error}"

    wanted = preview_path(job.share.layout.root, JobSpec.from_json(job.manifest.spec))
    job.share.system.refuse_symlink(wanted.parent)
    film = place_for(wanted)
    tell(f"every {minutes:g} min, what is done so far: {film}")
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if wrong:
            tell(f"the last preview: {wrong.splitlines()[-1]}", err=True)


def make(job: Job, film: Path, over: threading.Event) -> None:
    """Make one preview, in a separate process. This process owns the unfinished file, and removes it after an error.

    Raises:
        PreviewError: it fails, or `over` is set before it is done.
    """
    with own_output(film, mark_of("preview", job)) as draft:
        share_with_users(job.share, draft)
        into = f"/proc/self/fd/{draft.fd}"
        made = subprocess.Popen(
            [*COMMAND, str(job.share.layout.root), job.name, "--into", into],
            pass_fds=(draft.fd,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )  # in a new session, so that Ctrl-C reaches only this process
        try:
            said = _output(made, over)
        finally:
            _end(made)
        if made.returncode:
            raise PreviewError(said.strip() or f"it ended with exit code {made.returncode}")


def _output(process: subprocess.Popen, over: threading.Event) -> str:
    """The output of a process on stderr, when it has ended. Raises PreviewError if `over` is set before."""
    while not over.is_set():
        try:
            return process.communicate(timeout=0.2)[1]
        except subprocess.TimeoutExpired:
            continue
    raise PreviewError


def _end(process: subprocess.Popen) -> None:
    """Interrupt a process, and kill it if it does not end within GRACE_S. (Some libraries ignore signals.)"""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@contextmanager
def publishing(shared: Path, job: Job) -> "Iterator[Callable[[int, EncodedSegment], None]]":
    """Publish the segments of the film that a preview encodes, so that the next preview and the nodes can use them.

    Nothing is claimed: if a node encodes the same segment, the first one to publish it wins. Errors of publishing are ignored.
    """
    with temporary_member(open_existing(shared)) as node:

        def keep(number: int, segment: "EncodedSegment") -> None:
            with suppress(OSError, JobQueueError):
                about = {"node": node.identity.incarnation}
                publish_bytes(
                    node, Job(node.share, job.manifest), encode_task(number), replace(segment, about=about).to_bytes()
                )

        yield keep


def preview_path(root: Path, spec: JobSpec) -> Path:
    """The default path of a preview: beside the film."""
    film = spec.film(root)
    if spec.is_images:
        return film.with_name(f"{film.name}.preview.mp4")
    return film.with_suffix(f".preview{film.suffix}")


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option(
    "--out",
    type=FILE,
    metavar="FILE",
    help="The film's file, or a small animation: .gif or .webp.  [default: beside the film, FILM.preview.mp4 and so on, "
    "replaced each time]",
)
@click.option("--into", type=FILE, hidden=True)  # a file that `run` has opened, and publishes or removes itself
@one_line_errors
def preview(shared: Path, job: str | None, out: Path | None, into: Path | None) -> None:
    """Make a film of the frames finished so far.

    Where a frame is missing, the film shows the source, darkened. It covers the part of the video that the job has read.
    You can make it while the job runs; nodes are not disturbed.
    """
    from fav.pipeline.animation import animate, is_animation
    from fav.pipeline.artifacts import JobArtifacts
    from fav.pipeline.repair import describe_missing
    from fav.pipeline.stitching import preview as write
    from fav.video import check_film_name

    share = open_read_only(shared)
    artifacts = JobArtifacts(resolve_job(share, job))
    check_video(artifacts.job)
    with with_cure(artifacts.job):
        artifacts.load_new_segments()
    if artifacts.timeline.end <= artifacts.spec.start and "finished" in artifacts.job.flags():
        raise JobQueueError(f"{artifacts.job.name}: {describe_missing(artifacts)[0]}")
    root = share.layout.root
    default, mark, video = (
        preview_path(root, artifacts.spec),
        mark_of("preview", artifacts.job),
        resolve_input(root, artifacts.spec.video),
    )
    if into:
        with publishing(shared, artifacts.job) as keep:
            write(artifacts, video, into, default, mark, keep)
        return
    animation = out is not None and is_animation(out)
    if out and is_image_output(out.name):
        raise FavError(f"{out}: expected a film or an animation, got numbered images; take .mp4, .gif or .webp")
    if out and not animation:
        check_film_name(out, artifacts.spec.codec)
    with output_file(share, out, default, mark) as draft:
        if animation:
            left_out = animate(artifacts, video, draft.file, draft.out)
        else:
            left_out = write(artifacts, video, draft.file, draft.out, mark)
    total = print_omitted(artifacts.job, left_out, artifacts)
    click.echo(f"done: {draft.out}, with {total - len(left_out)} stylized frames")
