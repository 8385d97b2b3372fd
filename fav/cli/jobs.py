"""The commands for jobs: submit, prioritize, pause, resume, recover, stitch, retry, cancel, clean."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fav.cli.common import fail_with, one_line_errors, open_existing, share_for, submit_and_print
from fav.cli.log_options import LOG
from fav.cli.options import FILE, JOB, SOURCE, RenamedOption, job_option, options
from fav.cli.train_job import is_painting, submit_style_and_film
from fav.errors import FavError
from fav.monitor.console import tell
from fav.pipeline import job_control
from fav.pipeline.inputs import check_video
from fav.pipeline.job_control import resolve_job
from fav.pipeline.option import FRAMES
from fav.pipeline.request import check_out
from fav.pipeline.spec import OPTIONS
from shared.claims import claimed
from shared.command_names import command
from shared.errors import JobQueueError, ResultVanishedError
from shared.failure_detector import FailureDetector
from shared.heartbeat import temporary_member
from shared.identity import identities
from shared.jobs import PRIORITIES, Job, all_jobs, is_ended
from shared.membership import Node
from shared.notify import notify_on_exit
from shared.option_types import NumberType, WholeType
from shared.recovery import Recovery
from shared.shared_dir import SharedDir

if TYPE_CHECKING:
    from fav.pipeline.artifacts import JobArtifacts

logger = logging.getLogger(__name__)

PRIORITY = WholeType(PRIORITIES.start, PRIORITIES.stop - 1)
RECOVERY_TRIES = 3  # further passes


@click.command()
@click.argument("shared", type=FILE)
@click.argument("video", type=SOURCE)
@click.argument("style", type=FILE)
@click.option("--priority", type=PRIORITY, help="The priority of the job, as `prioritize` sets it.")
@options(JOB)
@options(LOG)
@click.pass_context
@one_line_errors
def submit(context: click.Context, shared: Path, video: str, style: Path, priority: int | None, **values) -> None:
    """Create a job and leave the work to nodes.

    Nodes that wait for jobs (with --forever) begin at once. Others can be started later. If STYLE is a painting (an image), a
    style is learned from it first, as by `fav train SHARED STYLE`.
    """
    if is_painting(style):
        job = submit_style_and_film(context, shared, video, style, values)
        share = job.share
    else:
        share = share_for(shared, video, style)
        job = submit_and_print(context, share, video, style, values)
    if not is_ended(job) and not job_control.present_nodes(share):
        root = share.layout.root
        logger.info("no node works in %s; start one: %s %s", root, command("node"), root)
    if priority is not None:
        with temporary_member(share) as node:
            job.prioritize(node, priority)


@click.command(context_settings={"ignore_unknown_options": True})  # -5 is a priority
@click.argument("shared", type=FILE)
@click.argument("job")
@click.argument("priority", type=PRIORITY)
@one_line_errors
def prioritize(shared: Path, job: str, priority: int) -> None:
    """Set which job the nodes work on first.

    PRIORITY is a number from -999 to 999; a job that never got one has 0. Nodes work on the jobs with the largest number
    first. A node changes to a more urgent job after its current frame. Jobs of equal priority share the nodes.
    """
    click.echo(job_control.prioritize(open_existing(shared), job, priority))


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@one_line_errors
def pause(shared: Path, job: str | None) -> None:
    """Pause a job after the frames in progress.

    Nodes wait until `resume`.
    """
    click.echo(job_control.pause(open_existing(shared), job))


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@one_line_errors
def resume(shared: Path, job: str | None) -> None:
    """Continue a paused job."""
    click.echo(job_control.resume(open_existing(shared), job))


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option(
    "--assume-dead",
    "hosts",
    cls=RenamedOption,
    former=("--now",),
    multiple=True,
    metavar="HOST",
    help="Treat every node on this host as dead now. Use it only when the host is off.",
)
@one_line_errors
def recover(shared: Path, job: str | None, hosts: tuple[str, ...]) -> None:
    """Remove the placeholders of dead nodes.

    Nodes do this by themselves; this command does it now. It recovers the tasks of nodes on this machine whose process has
    ended, and of all nodes on a HOST that --assume-dead names. It does not judge nodes on other machines: that takes one lease of
    silence, and the nodes wait for it.
    """
    share = open_existing(shared)
    nodes = identities(share)
    known = {name for identity in nodes.values() for name in identity.host_names}
    doomed = {name for name, identity in nodes.items() if identity.host_names & set(hosts)}
    complaints = [
        f"{host}: expected the host of a node, found no node there; {command('nodes')} {share.layout.root} lists them"
        for host in hosts
        if host not in known
    ]
    with notify_on_exit(share) as node:
        jobs = {one: set() for one in ([resolve_job(share, job)] if job else all_jobs(share, complaints.append))}
        recovery = Recovery(node, FailureDetector(share, node.identity))
        count = recovery.run(jobs, frozenset(hosts))
        for _ in range(RECOVERY_TRIES):  # a node that lives after all may claim another task during a pass
            if not doomed & set(share.system.list(share.layout.nodes)):
                break
            count += recovery.run(jobs, frozenset(hosts))
    click.echo(f"recovered {count} task(s)")
    rest = sum(len(claimed(one)) for one in jobs)
    if rest:
        click.echo(
            f"{rest} task(s) are claimed by nodes that are alive, or not silent for long enough to tell; waiting "
            f"nodes recover them after one lease"
        )
    fail_with(complaints)


class StitchCommand(click.Command):
    """The command `stitch`. For an option that changes the frames, its error says what to do instead."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            option = OPTIONS.get(error.option_name.lstrip("-").replace("-", "_"))
            if option is None or option.changes != FRAMES:
                raise
            raise click.UsageError(
                f"{option.flag} decides the frames, which a stitch does not make: make another job with it "
                f"({command('submit')}, with another --name)",
                ctx,
            ) from None


@click.command(cls=StitchCommand)
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option(
    "--out", metavar="FILE", help="The film's name, relative to SHARED.  [default: the job's name and a number]"
)
@options(
    [
        job_option(name, unset="the job's")
        for name in ("codec", "pixel_format", "preset", "crf", "strength", "mask", "mask_strength")
    ]
)
@click.option(
    "--preserve-colors/--no-preserve-colors",
    default=None,
    help="Keep the colors of the source, or take those of the style.  [default: the job's]",
)
@click.option("--no-mask", is_flag=True, help="Leave the job's mask out.")
@one_line_errors
def stitch(
    shared: Path,
    job: str | None,
    out: str | None,
    mask: Path | None,
    no_mask: bool,
    strength: float | str | None,
    mask_strength: float | str | None,
    preserve_colors: bool | None,
    **encoding,
) -> None:
    """Make the film again from finished frames.

    The new film gets a new name. Nothing is stylized.
    """
    from fav.pipeline.artifacts import JobArtifacts
    from fav.pipeline.delivery import unpack_images
    from fav.pipeline.film_comment import film_comment, with_postprocessing
    from fav.pipeline.film_output import another_film, check_output_directory, within
    from fav.pipeline.over_time import check_curves
    from fav.pipeline.stitching import FilmSegments
    from fav.pipeline.stitching import stitch as write
    from fav.stylize.postprocess import check_mask
    from fav.util.atomic import exclusive
    from fav.util.curve import Curve
    from fav.util.fingerprint import hash_of
    from fav.util.safe_path import resolve_input
    from fav.video import probe

    if mask and no_mask:
        raise FavError("--mask and --no-mask: expected one of them, got both")
    share = open_existing(shared)
    if out:
        out = within(share.layout.root, out)
        check_out(out)
        check_output_directory(share, out)
    found = resolve_job(share, job)
    artifacts = JobArtifacts(found)
    check_video(found)
    _expect_frames(share, artifacts)
    spec = another_film(artifacts.spec, share.layout.root, out, **encoding)
    video = resolve_input(share.layout.root, artifacts.spec.video)
    if mask:
        check_mask(mask, video, artifacts.spec.source)
    curves = {"strength": strength, "mask_strength": mask_strength}
    curves = {name: value for name, value in curves.items() if value is not None}
    if any(isinstance(value, str) for value in curves.values()):
        check_curves(curves, artifacts.spec.source.name or video, probe(video, artifacts.spec.source))
    postprocessing = replace(
        spec.postprocess_settings(share.layout.root),
        **{name: Curve.of(value) for name, value in curves.items()},
        **({} if preserve_colors is None else {"preserve_colors": preserve_colors}),
        **({"mask": mask} if mask or no_mask else {}),
    )
    if mask_strength is not None and not postprocessing.mask:
        raise FavError("--mask-strength: expected a job with a mask, or --mask")
    name = Path(spec.out)
    mask_hash = hash_of(mask) if mask else None if no_mask else spec.mask_hash
    made_by = film_comment(with_postprocessing(spec, postprocessing, mask, mask_hash))
    with temporary_member(share) as node:
        private, final = node.temp_path(), spec.film(share.layout.root)
        try:
            with (
                exclusive(private) as file,
                FilmSegments(artifacts, video, spec.encoder, postprocessing, name=name) as segments,
            ):
                notes = write(artifacts, video, file, spec.encoder, segments.get, segments.again, name, made_by=made_by)
        except ResultVanishedError as error:
            _repair(node, found)
            raise JobQueueError(
                f"{found.name}: expected all frames to read back, got one that did not ({error}); {_retry_first(found)}"
            ) from None
        share.system.sync(private)
        share.system.make_dirs(final.parent)
        if not spec.is_images:
            share.publish_no_replace(private, final)
        elif not unpack_images(node, private, final):
            raise JobQueueError(f"{final}: expected a new directory, but there are files in it; choose another --out")
    for note in notes:
        click.echo(note)
    click.echo(f"done: {final}")


def _expect_frames(share: SharedDir, artifacts: "JobArtifacts") -> None:
    """Raise JobQueueError unless all frames of a job are published. Reopens a finished job, so that nodes make them."""
    from fav.pipeline.progress import progress
    from fav.pipeline.repair import describe_missing, describe_tasks, next_step
    from fav.pipeline.task_names import FRAME_KINDS

    job = artifacts.job
    words, tasks = describe_missing(artifacts)
    needed = [task for task in tasks if task.kind in (*FRAME_KINDS, "index")]
    if not needed:
        return
    if "finished" in job.flags():
        with notify_on_exit(share) as node:
            _repair(node, job)
        raise JobQueueError(
            f"{job.name}: expected all frames to be there, got {describe_tasks(needed)}; {_retry_first(job)}"
        )
    if not artifacts.timeline.is_complete:
        raise JobQueueError(
            f"{job.name}: expected a job whose video is read to its end, got one that is still at frame "
            f"{artifacts.timeline.indexed_frames}; wait, or {next_step(job)}"
        )
    done, total = progress(artifacts)["frame"]
    raise JobQueueError(f"{job.name}: expected all frames to be done, got {done} of {total}; wait, or {next_step(job)}")


def _retry_first(job: Job) -> str:
    """What to do before a film can be stitched, after missing frames were reopened."""
    from fav.pipeline.repair import next_step

    return f"{next_step(job)}; when it is finished again, the same line stitches it"


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@options(LOG)
@one_line_errors
def retry(shared: Path, job: str | None) -> None:
    """Retry failed tasks, or repair a finished job.

    The command opens the failed tasks of a job again, and continues a cancelled job. It reads every result of a finished job.
    Nodes then make the missing and damaged results again.
    """
    for line in job_control.retry(open_existing(shared), job):
        tell(line)


def _repair(node: Node, job: Job) -> None:
    from fav.pipeline.repair import repair

    for line in repair(node, job):
        tell(line)


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@one_line_errors
def cancel(shared: Path, job: str | None) -> None:
    """Stop all work on a job and keep its frames.

    `retry` continues the job; `clean` removes it.
    """
    click.echo(job_control.cancel(open_existing(shared), job))


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--finished", is_flag=True, help="Remove all jobs that are finished or cancelled.")
@click.option(
    "--older-than",
    "days",
    type=NumberType(0, 100000),
    metavar="DAYS",
    help="With --finished: only jobs that ended at least this many days ago.",
)
@click.option(
    "--force", is_flag=True, help="Remove it even if it is not finished, nodes work on it, or its film lies in it."
)
@one_line_errors
def clean(shared: Path, job: str | None, finished: bool, days: float | None, force: bool) -> None:
    """Remove a job with its frames and logs.

    Films, reports and previews stay. The command says how much space is free again.
    """
    if finished and (job or force):
        raise FavError("--finished: expected without JOB and --force; it takes all jobs that are over")
    if days is not None and not finished:
        raise FavError("--older-than: expected with --finished")
    share = open_existing(shared)
    if not finished:
        for line in job_control.clean(share, job, force):
            click.echo(line)
        return
    removed, complaints = job_control.clean_ended(share, days or 0)
    for line in removed:
        click.echo(line)
    if not removed:
        click.echo("no jobs to remove")
    fail_with(complaints)
