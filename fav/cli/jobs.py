"""The commands for jobs: submit, prioritize, pause, resume, recover, stitch, retry, cancel, clean."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fav.cli.common import (
    fail_with,
    find_or_raise,
    one_line_errors,
    open_existing,
    resolve_job,
    share_for,
    submit_and_print,
)
from fav.cli.log_options import LOG
from fav.cli.options import FILE, JOB, NumberType, RenamedOption, WholeType, job_option, options
from fav.errors import FavError
from fav.monitor.console import tell
from fav.pipeline.inputs import check_video
from fav.pipeline.request import check_out
from fav.util.text import format_bytes
from shared.attempts import reopen
from shared.claims import claimed
from shared.command_names import command
from shared.errors import JobQueueError, JobRemovedError, ResultVanishedError
from shared.failure_detector import FailureDetector
from shared.heartbeat import temporary_member
from shared.identity import Identity, identities
from shared.jobs import TERMINAL_FLAGS, Job, all_jobs, is_ended, remove_job
from shared.membership import Node
from shared.notify import notify, notify_on_exit
from shared.ownership import foreign_files_message, remove_logs
from shared.recovery import Recovery
from shared.shared_dir import SharedDir

if TYPE_CHECKING:
    from fav.pipeline.artifacts import JobArtifacts

PRIORITY = WholeType(-999, 999)


@click.command()
@click.argument("shared", type=FILE)
@click.argument("video")
@click.argument("style", type=FILE)
@click.option("--priority", type=PRIORITY, help="The priority of the job, as `prioritize` sets it.")
@options(JOB)
@options(LOG)
@click.pass_context
@one_line_errors
def submit(context: click.Context, shared: Path, video: str, style: Path, priority: int | None, **values) -> None:
    """Create a job and leave the work to nodes.

    Nodes that wait for jobs (with --forever) begin at once. Others can be started later.
    """
    share = share_for(shared, video, style)
    job = submit_and_print(context, share, video, style, values)
    if not is_ended(job) and not _has_nodes(share):
        click.echo(f"no node works in {share.layout.root}; start one: {command('node')} {share.layout.root}")
    if priority is not None:
        with temporary_member(share) as node:
            job.prioritize(node, priority)


def _has_nodes(share: SharedDir) -> bool:
    """Whether a node has joined whose process is not known to be gone."""
    detector = FailureDetector(share)
    return any(not detector.process_gone(identity) for identity in identities(share).values())


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job")
@click.argument("priority", type=PRIORITY)
@one_line_errors
def prioritize(shared: Path, job: str, priority: int) -> None:
    """Set which job the nodes work on first.

    PRIORITY is a number from -999 to 999; a job that never got one has 0. Nodes work on the jobs with the largest number
    first. A node changes to a more urgent job after its current frame. Jobs of equal priority share the nodes. Write a
    negative number after two dashes: prioritize SHARED JOB -- -5.
    """
    share = open_existing(shared)
    found = resolve_job(share, job)
    with notify_on_exit(share) as node:
        found.prioritize(node, priority)
    click.echo(f"{found.name}: priority {priority}")


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@one_line_errors
def pause(shared: Path, job: str | None) -> None:
    """Pause a job after the frames in progress.

    Nodes wait until `resume`.
    """
    share = open_existing(shared)
    found = resolve_job(share, job)
    if is_ended(found):
        raise JobQueueError(f"{found.name}: the job is over; expected one that runs or waits")
    with notify_on_exit(share) as node:
        found.set_flag(node, "paused")
    click.echo(f"{found.name}: paused; {command('resume')} continues it")


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@one_line_errors
def resume(shared: Path, job: str | None) -> None:
    """Continue a paused job."""
    share = open_existing(shared)
    found = resolve_job(share, job)
    if is_ended(found):
        raise JobQueueError(f"{found.name}: expected a paused job, got one that is over")
    if "paused" not in found.flags():
        click.echo(f"{found.name}: was not paused")
        return
    found.clear_flag("paused")
    notify(share)
    click.echo(f"{found.name}: resumed")


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
    known = {identity.host for identity in identities(share).values()}
    complaints = [
        f"{host}: expected the host of a node, found no node there; {command('nodes')} {share.layout.root} lists them"
        for host in hosts
        if host not in known
    ]
    with notify_on_exit(share) as node:
        jobs = {one: set() for one in ([resolve_job(share, job)] if job else all_jobs(share, complaints.append))}
        recovery = Recovery(node, FailureDetector(share, node.identity))
        count = recovery.run(jobs, frozenset(hosts))
    click.echo(f"recovered {count} task(s)")
    rest = sum(len(claimed(one)) for one in jobs)
    if rest:
        click.echo(
            f"{rest} task(s) are claimed by nodes that are alive, or not silent for long enough to tell; waiting "
            f"nodes recover them after one lease"
        )
    fail_with(complaints)


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--out", help="The film's name, relative to SHARED.  [default: the job's name and a number]")
@options(
    [job_option(name, unset="the job's") for name in ("codec", "pixel_format", "preset", "crf", "strength", "mask")]
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
    strength: float | None,
    preserve_colors: bool | None,
    **encoding,
) -> None:
    """Make the film again from finished frames.

    The new film gets a new name. Nothing is stylized.
    """
    from fav.pipeline.artifacts import JobArtifacts, check_output_directory
    from fav.pipeline.delivery import FilmSegments, unpack_images
    from fav.pipeline.delivery import stitch as write
    from fav.pipeline.submit import another_film, within
    from fav.stylize.postprocess import check_mask
    from fav.util.atomic import exclusive
    from fav.util.safe_path import resolve_input

    if mask and no_mask:
        raise FavError("--mask and --no-mask: expected one of them, got both")
    share = open_existing(shared)
    if out:
        out = within(share.layout.root, out)
        check_out(out)
        check_output_directory(share, out)
    found = resolve_job(share, job)
    artifacts = JobArtifacts(found)
    _expect_frames(share, artifacts)
    spec = another_film(artifacts.spec, share.layout.root, out, **encoding)
    check_video(found)
    video = resolve_input(share.layout.root, artifacts.spec.video)
    if mask:
        check_mask(mask, video, artifacts.spec.source)
    values = {"strength": strength, "preserve_colors": preserve_colors}
    finish = replace(
        spec.postprocess_settings(share.layout.root),
        **{name: value for name, value in values.items() if value is not None},
        **({"mask": mask} if mask or no_mask else {}),
    )
    name = Path(spec.out)
    with temporary_member(share) as node:
        private, final = node.temp_path(), spec.film(share.layout.root)
        try:
            with (
                exclusive(private) as file,
                FilmSegments(artifacts, video, spec.encoder, finish, name=name) as segments,
            ):
                notes = write(artifacts, video, file, spec.encoder, segments.get, segments.again, name)
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
            raise JobQueueError(
                f"{final}: expected a new directory, but somebody has put files there; choose another --out"
            )
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

    Opens the failed tasks of a job again, and continues a job that was cancelled. Of a finished job, reads back every
    result. Nodes then make the missing and the damaged ones again.
    """
    share = open_existing(shared)
    found = resolve_job(share, job)
    flags = found.flags()
    found.clear_flag("cancelled")
    count = reopen(found)
    if count or "finished" not in flags:
        tell(f"{found.name}: {'no longer cancelled, ' if 'cancelled' in flags else ''}{count} failed task(s) reopened")
    with notify_on_exit(share) as node:
        if "finished" in flags:
            _repair(node, found)


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
    share = open_existing(shared)
    found = resolve_job(share, job)
    if "finished" in found.flags():
        raise JobQueueError(f"{found.name}: the job is finished; {command('clean')} removes it")
    with notify_on_exit(share) as node:
        found.set_flag(node, "cancelled")
    click.echo(f"{found.name}: cancelled")


def _film_inside(job: Job) -> Path | None:
    """The film of a finished job if it is only among the results, because it could not be delivered; else None."""
    try:
        film = job.share.layout.root / (job.flag_text("finished") or "")
        return film if job.layout.root in film.parents and job.share.system.exists(film) else None
    except (JobQueueError, NotADirectoryError):
        return None


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--finished", is_flag=True, help="Remove all jobs that are finished or cancelled.")
@click.option(
    "--older-than",
    "days",
    type=NumberType(0, 100000),
    metavar="DAYS",
    help="With --finished: only those that have been so for this many days.",
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
        _clean(share, find_or_raise(share, job), force)
        return
    complaints: list[str] = []
    ended = [job for job in all_jobs(share, complaints.append) if is_ended(job) and _ended_days(job) >= (days or 0)]
    for found in ended:
        try:
            _clean(share, found, force=False)
        except JobQueueError as error:
            complaints.append(str(error))
    if not ended:
        click.echo("no jobs to remove")
    fail_with(complaints)


def _ended_days(job: Job) -> float:
    """For how many days a job has been finished or cancelled; 0 where its files are gone."""
    system = job.share.system
    times = [system.mtime(job.layout.flag(flag)) for flag in TERMINAL_FLAGS if system.exists(job.layout.flag(flag))]
    return (time.time() - max(times) / 1e9) / 86400 if times else 0.0


def _clean(share: SharedDir, job: Job, force: bool) -> None:
    try:
        done = bool(job.flags() & TERMINAL_FLAGS)
        film = job.flag_text("finished")
    except JobRemovedError:
        done, film = True, None
    if not done and not force:
        raise JobQueueError(f"{job.name}: the job is not finished; cancel it first, or say --force")
    if not force and (inside := _film_inside(job)):
        raise JobQueueError(
            f"{job.name}: expected its film outside of the job's directory, got it in there, where it would be "
            f"removed, too ({inside}); copy it away, or bring it out: {command('stitch')} {share.layout.root} "
            f"{job.name} --out NAME; then say --force"
        )
    removal = remove_job(Node(share, Identity.here()), job)
    removal.add(remove_logs(share, job.name))
    stays = share.layout.root / film if film else None
    click.echo(
        f"{job.name}: removed, {format_bytes(removal.freed)} freed"
        + (f"; the film stays: {stays}" if stays and share.system.exists(stays) else "")
    )
    if removal.foreign:
        click.echo(foreign_files_message(share, removal.foreign))
