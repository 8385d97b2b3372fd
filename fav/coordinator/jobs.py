"""The commands of a job's life: submit, prioritize, pause, resume, recover, stitch, retry, cancel, clean."""

from dataclasses import replace
from pathlib import Path

import click

from shared.attempts import reopen
from shared.bell import ring, ringing
from shared.claims import claimed
from shared.errors import JobGone, ShareError
from shared.jobs import OVER, all_jobs, remove_job
from shared.nodes import Identity, Node, Observer, visiting
from shared.recovery import Recovery
from shared.share import open_share

from ..commands import one_line_errors
from ..errors import FavError
from ..options import FILE, JOB, MASK_HELP, Number, limits, options
from ..request import LIMITS, check_out
from .doors import check_video, named_job, opened, over, submitted, the_job

PRIORITY = click.IntRange(-999, 999)


@click.command()
@click.argument("shared", type=FILE)
@click.argument("video")
@click.argument("style", type=FILE)
@click.option("--priority", type=PRIORITY, help="As of `prioritize`.")
@options(JOB)
@click.pass_context
@one_line_errors
def submit(context: click.Context, shared: Path, video: str, style: Path, priority: int | None, **values) -> None:
    """Create a job for nodes that wait (`node.py SHARED --forever`) or will be started."""
    share = open_share(shared)
    job = submitted(context, share, video, style, values)
    if priority is not None:
        with visiting(share) as node:
            job.prioritize(node, priority)


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job")
@click.argument("priority", type=PRIORITY)
@one_line_errors
def prioritize(shared: Path, job: str, priority: int) -> None:
    """Let nodes serve jobs of a larger PRIORITY (-999 to 999; 0 if nobody said anything) before all others.

    A node goes over to a more urgent job after its current frame. Equally urgent jobs share the nodes. A negative number is
    written after two dashes: prioritize SHARED JOB -- -5.
    """
    share = opened(shared)
    found = the_job(share, job)
    with ringing(share) as node:
        found.prioritize(node, priority)
    click.echo(f"{found.name}: priority {priority}")


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@one_line_errors
def pause(shared: Path, job: str | None) -> None:
    """Let nodes lay a job down after their current frames, and wait. `resume` goes on."""
    share = opened(shared)
    found = the_job(share, job)
    if over(found):
        raise ShareError(f"{found.name}: the job is over; expected one that runs or waits")
    with ringing(share) as node:
        found.mark(node, "paused")
    click.echo(f"{found.name}: paused; coordinator.py resume goes on")


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@one_line_errors
def resume(shared: Path, job: str | None) -> None:
    """Go on with a job that was paused."""
    share = opened(shared)
    found = the_job(share, job)
    found.unmark("paused")
    ring(share)
    click.echo(f"{found.name}: goes on")


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--now", "hosts", multiple=True, metavar="HOST", help="Take every node on this host for dead at once: your word that it is off.")
@one_line_errors
def recover(shared: Path, job: str | None, hosts: tuple[str, ...]) -> None:
    """Remove the placeholders of dead nodes. Nodes do this by themselves; this is for the impatient.

    At once: those of nodes of this machine whose process is gone, and of all nodes on a HOST given
    with --now. Whether another machine is dead takes one lease of silence to tell, which nodes wait for.
    """
    share = opened(shared)
    with ringing(share) as node:
        jobs = {one: set() for one in ([the_job(share, job)] if job else all_jobs(share))}
        recovery = Recovery(node, Observer(share, node.identity))
        count = recovery.run(jobs, frozenset(hosts))
    click.echo(f"recovered {count} task(s)")
    rest = sum(len(claimed(one)) for one in jobs)
    if rest:
        click.echo(f"{rest} task(s) are claimed by nodes that are alive, or not silent for long enough to tell; waiting "
                   f"nodes recover them after one lease")


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--out", help="The film's name, relative to SHARED.  [default: the job's name and a number]")
@click.option("--crf", type=limits("crf"), help="Quality of the film: lower is better and larger.  [default: the job's]")
@click.option("--strength", type=Number(*LIMITS["strength"]), help="How far from the source: 1 is the style alone, 0 the source.  [default: the job's]")
@click.option("--preserve-colors/--no-preserve-colors", default=None, help="Keep the source's colours, or take the style's.  [default: the job's]")
@click.option("--mask", type=FILE, metavar="VIDEO_OR_IMAGE", help=f"{MASK_HELP}  [default: the job's]")
@click.option("--no-mask", is_flag=True, help="Leave the job's mask out.")
@one_line_errors
def stitch(shared: Path, job: str | None, out: str | None, crf: int | None, mask: Path | None, no_mask: bool, **values) -> None:
    """Make the film again, under a new name, from the frames that are published. Nothing is stylized."""
    from ..finish import check_mask
    from ..spec import brought, inside
    from ..shelf import Shelf, check_room, progress
    from ..shelf import stitch as write
    from ..video import check_film_name

    if mask and no_mask:
        raise FavError("--mask and --no-mask: expected one of them, got both")
    share = opened(shared)
    if out:
        check_out(out)
        check_room(share, out)
    found = the_job(share, job)
    shelf = Shelf(found)
    shelf.refresh()
    if not shelf.timeline.complete:
        raise ShareError(f"{found.name}: expected a job whose video is read to its end, got one that is still at frame {shelf.timeline.known}")
    done, total = progress(shelf)["frame"]
    if done != total:
        raise ShareError(f"{found.name}: expected all frames to be done, got {done} of {total}; wait, or start nodes")
    first = Path(shelf.spec.out)
    names = iter([out]) if out else (str(first.with_stem(f"{first.stem}-{number}")) for number in range(2, 1000))
    final = next((path for name in names if not (path := inside(share.layout.root, name)).exists()), None)
    if final is None:
        raise ShareError(f"{out}: expected a new name for the film, but the file exists")
    check_film_name(final.name)
    check_video(found)
    video = brought(share.layout.root, shelf.spec.video)
    if mask:
        check_mask(mask, video, shelf.spec.fps)
    finish = replace(shelf.spec.finish(share.layout.root), **{name: value for name, value in values.items() if value is not None},
                     **({"mask": mask} if mask or no_mask else {}))
    with visiting(share) as node:
        private = node.draft().with_suffix(final.suffix)
        notes = write(shelf, video, private, crf if crf is not None else shelf.spec.crf, finish)
        share.system.sync(private)
        share.system.make_dirs(final.parent)
        share.appear(private, final)
    for note in notes:
        click.echo(note)
    click.echo(f"done: {final}")


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@one_line_errors
def retry(shared: Path, job: str | None) -> None:
    """Open the failed tasks of a job anew, and a job that was cancelled."""
    share = opened(shared)
    found = the_job(share, job)
    was_cancelled = "cancelled" in found.marks()
    found.unmark("cancelled")
    count = reopen(found)
    click.echo(f"{found.name}: {'no longer cancelled, ' if was_cancelled else ''}{count} failed task(s) opened anew")
    ring(share)


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@one_line_errors
def cancel(shared: Path, job: str | None) -> None:
    """Tell all nodes to leave a job alone. What is published stays; `retry` goes on with it, `clean` removes it."""
    share = opened(shared)
    found = the_job(share, job)
    if "finished" in found.marks():
        raise ShareError(f"{found.name}: the job is finished; coordinator.py clean removes it")
    with ringing(share) as node:
        found.mark(node, "cancelled")
    click.echo(f"{found.name}: cancelled")


@click.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--force", is_flag=True, help="Even if it is not finished, and nodes work on it.")
@one_line_errors
def clean(shared: Path, job: str | None, force: bool) -> None:
    """Remove a job and its frames from the shared directory. The film stays."""
    share = opened(shared)
    found = named_job(share, job)
    try:
        done = bool(found.marks() & OVER)
    except JobGone:
        done = True
    if not done and not force:
        raise ShareError(f"{found.name}: the job is not finished; cancel it first, or say --force")
    remove_job(Node(share, Identity.here()), found)
    click.echo(f"{found.name}: removed")
