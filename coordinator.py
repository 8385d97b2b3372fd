#!/usr/bin/env python3
"""The operator's side: submit, run and watch jobs, and put them right."""

import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import click

from fav.backends import choose
from fav.commands import duration, new, one_line_errors, whole
from fav.errors import FavError
from fav.options import BACKEND, FILE, JOB, MASK_HELP, options, request_of
from shared.attempts import Attempt, failed, in_words, of_task, reopen
from shared.bell import Bell
from shared.claims import claimed
from shared.errors import JobGone, ShareError
from shared.jobs import Job, all_jobs, find_job, remove_job
from shared.layout import Task
from shared.nodes import Identity, Node, Observer, read_identity, visiting
from shared.recovery import Recovery
from shared.share import Share, open_share

ROOT = Path(__file__).resolve().parent
MOST_TOLD = 20  # failed tasks that are told one by one
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=SETTINGS)
def main() -> None:
    """Submit, run and watch the jobs of a shared directory.

    JOB is a job's name as `status` shows it; where there is only one job, it may be left out.
    """


def _job(share: Share, name: str | None) -> Job:
    if name is not None:
        job = find_job(share, name)
        if job is None:
            raise ShareError(f"{name}: there is no job of that name; coordinator.py status {share.layout.root} lists them")
        return job
    jobs = all_jobs(share)
    if not jobs:
        raise ShareError(f"{share.layout.root}: there are no jobs here")
    if len(jobs) != 1:
        raise ShareError(f"{share.layout.root}: expected the name of one of its {len(jobs)} jobs; coordinator.py status lists them")
    return jobs[0]


def _submit(context: click.Context, share: Share, video: str, style: Path, values: dict) -> Job:
    from fav.submission import submit as create

    with visiting(share) as node:
        joined = create(node, request_of(context, video, style, values))
        Bell(node).ring()
    click.echo(f"{'created' if joined.created else 'joined'} job {joined.job.name}")
    for note in joined.notes:
        click.echo(note)
    return joined.job


@main.command()
@click.argument("shared", type=FILE)
@click.argument("video")
@click.argument("style", type=FILE)
@options(JOB)
@click.pass_context
@one_line_errors
def submit(context: click.Context, shared: Path, video: str, style: Path, **values) -> None:
    """Create a job for nodes that wait (`node.py SHARED --forever`) or will be started."""
    _submit(context, open_share(shared), video, style, values)


@main.command()
@click.argument("shared", type=FILE)
@click.argument("video")
@click.argument("style", type=FILE)
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Nodes to start on this machine; they share its cores.")
@options(BACKEND)
@options(JOB)
@click.pass_context
@one_line_errors
def run(context: click.Context, shared: Path, video: str, style: Path, nodes: int, device: str, backend: str, **values) -> None:
    """Create the job (or join it), work on it with some nodes on this machine, and show how far it is.

    Nodes on other machines may join at any time: node.py SHARED. Ctrl-C stops the nodes of this
    machine after their current frame; the same line again goes on.
    """
    from fav.follow import Talk, follow

    if backend != "auto":
        choose(backend, device)
    share = open_share(shared)
    job = _submit(context, share, video, style, values)
    cores = max(1, len(os.sched_getaffinity(0)) // nodes)
    logs = [_log(share.layout.logs / f"{job.name}.{os.uname().nodename.split('.')[0]}.{number}.log") for number in range(nodes)]
    processes, talk = [], Talk(logs)
    for log in logs:
        with open(log, "ab") as file:
            command = [sys.executable, str(ROOT / "node.py"), str(share.layout.root), "--job", job.name,
                       "--cores", str(cores), "--device", device, "--backend", backend]
            processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True))
    try:
        follow(job, processes, talk)
    except KeyboardInterrupt:
        click.echo("stopping after the current frame (once more to stop at once); the same line again goes on")
        _stop(processes)
        sys.exit(130)
    if film := job.word("finished"):
        click.echo(f"done: {share.layout.root / film}")
        return
    if "cancelled" in job.marks():
        click.echo("cancelled")
        sys.exit(1)
    for line in _failures(_state(job, nodes_live=False)):
        click.echo(line, err=True)
    click.echo(f"not finished; what the nodes said is in {', '.join(map(str, logs))}", err=True)
    sys.exit(1)


def _log(path: Path) -> Path:
    """The log itself if it can be written to; else (no room, a colleague's, a link, a FIFO) a new one of this machine's own."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        os.close(fd)
        if regular:
            return path
    except OSError:
        pass
    fd, own = tempfile.mkstemp(prefix=f"{path.stem}.", suffix=".log")
    os.close(fd)
    return Path(own)


def _stop(processes: list[subprocess.Popen]) -> None:
    """Ask nodes to leave after their current frame; a second Ctrl-C makes that at once."""
    for _ in range(2):
        for process in processes:
            if process.poll() is None:
                process.terminate()
        try:
            for process in processes:
                process.wait()
            return
        except KeyboardInterrupt:
            continue


@main.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.option("--verbose", is_flag=True, help="Whole tracebacks of what failed.")
@click.option("--watch", is_flag=True, help="Full screen, again and again; lines where the output is no terminal, one JSON a line with --json.")
@click.option("--every", type=click.FloatRange(0.2, 3600), default=2, show_default=True, help="Seconds between two looks of --watch.")
@one_line_errors
def status(shared: Path, job: str | None, as_json: bool, verbose: bool, watch: bool, every: float) -> None:
    """How far each job is, which nodes there are and when each was last heard, and what failed."""
    share = open_share(shared)
    if watch:
        _watch(share, _job(share, job).name if job else None, as_json, every)
        return
    jobs = [_job(share, job)] if job else all_jobs(share, lambda line: click.echo(f"error: {line}", err=True))
    nodes = _nodes(share)
    told = [_state(one, any(node["state"] == "running" for node in nodes)) for one in jobs]
    if as_json:
        click.echo(json.dumps({"jobs": told, "nodes": nodes}, indent=1))
        return
    if not jobs:
        click.echo("no jobs")
    for state in told:
        click.echo(f"{state['name']}: {state['state']}")
        for kind, (done, total) in state["counts"].items():
            if kind != "flow" or done:
                click.echo(f"  {kind:<8} {done} of {total if total is not None else '?'}")
        for note in state["notes"]:
            click.echo(f"  {note}")
        for task, owner in state["claims"].items():
            click.echo(f"  {task} is being worked on by {owner}")
        for line in _failures(state, each=True, verbose=verbose):
            click.echo(f"  {line}")
        if state["state"] == "finished":
            click.echo(f"  film     {state['film']}")
        if state["evaluation"]:
            click.echo(f"  measured {state['evaluation']}")
    for node in nodes:
        click.echo(f"node {node['node']}: {node['state']} (heartbeat renewed {duration(node['heard_s'])} ago by this machine's clock)")


def _watch(share: Share, only: str | None, as_json: bool, every: float) -> None:
    from fav.live.look import Lookout
    from fav.live.screen import Watch, lines, watch_plainly

    lookout, said = Lookout(share, only), set()

    def say(now) -> None:
        for line in [json.dumps(asdict(now))] if as_json else [line for line in lines(now) if line not in said]:
            said.add(line)
            click.echo(line)

    if as_json or not sys.stdout.isatty():
        watch_plainly(lookout, every, say, time.sleep)
    else:
        Watch(lookout, every).run()


def _state(job: Job, nodes_live: bool) -> dict:
    from fav.shelf import OPTIONAL, Shelf, blocked, evaluated, progress

    try:
        marks = job.marks()
    except JobGone:
        raise ShareError(f"{job.name}: its files are gone; coordinator.py clean removes the name, too") from None
    shelf, names = Shelf(job), failed(job)
    owners = {}
    for name, path in claimed(job).items():
        try:
            owner = read_identity(job.share, path)
            owners[name] = owner.incarnation if owner else "?"
        except ShareError as error:
            owners[name] = str(error)
    lost = any(Task.named(name).kind not in OPTIONAL for name in names)
    state = next((mark for mark in ("finished", "cancelled") if mark in marks), None)
    state = state or ("running" if owners else "failed" if lost else "nodes are getting ready" if nodes_live else "waiting for nodes")
    return {"name": job.name, "state": state,
            "counts": progress(shelf), "notes": list(shelf.extent().notes), "claims": owners, "failed": names,
            "attempts": {name: [vars(attempt) for attempt in of_task(job, Task.named(name))] for name in names[:MOST_TOLD]},
            "blocked": blocked(shelf, names), "evaluation": evaluated(job) if shelf.spec.evaluate else None,
            "film": str(job.share.layout.root / (job.word("finished") or shelf.spec.out))}


def _nodes(share: Share) -> list[dict]:
    observer = Observer(share)
    observer.look()
    found = []
    for name in observer.nodes():
        path = share.layout.heart(name)
        try:
            identity = read_identity(share, path)
            heard = max(time.time() - share.system.mtime(path) / 1e9, 0.0)  # for people only: no decision rests on it
        except (ShareError, OSError):
            continue
        if identity is not None:
            state = "dead" if observer.process_gone(identity) else "running"
            found.append({"node": name, "host": identity.host, "pid": identity.pid, "about": identity.about, "state": state, "heard_s": heard})
    return found


def _failures(state: dict, each: bool = False, verbose: bool = False) -> list[str]:
    """What failed, why, and what waits for it; `each` attempt in a line of its own, `verbose` with its traceback."""
    lines = []
    for name, fields in state["attempts"].items():
        tries = [Attempt(**attempt) for attempt in fields]
        if not each:
            lines.append(f"{name} failed after {len(tries)} attempts: {in_words(tries)}")
            continue
        lines.append(f"{name} failed after {len(tries)} attempts: {tries[-1].cause if tries else '?'}")
        for attempt in tries:
            sick = "" if attempt.counts else " (that node was found sick: it does not count)"
            lines.append(f"  {attempt.why} on node {attempt.who or '?'} of {attempt.host or '?'}{sick}: {attempt.cause}")
            lines += [f"    {line}" for line in attempt.detail.strip().splitlines()] if verbose else []
    more = len(state["failed"]) - len(state["attempts"])
    return [*lines, *([f"{more} more task(s) failed"] if more else []), *state["blocked"][:MOST_TOLD]]


@main.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--now", "hosts", multiple=True, metavar="HOST", help="Take every node on this host for dead at once: your word that it is off.")
@one_line_errors
def recover(shared: Path, job: str | None, hosts: tuple[str, ...]) -> None:
    """Remove the placeholders of dead nodes. Nodes do this by themselves; this is for the impatient.

    At once: those of nodes of this machine whose process is gone, and of all nodes on a HOST given
    with --now. Whether another machine is dead takes one lease of silence to tell, which nodes wait for.
    """
    share = open_share(shared)
    with visiting(share) as node:
        jobs = {one: set() for one in ([_job(share, job)] if job else all_jobs(share))}
        recovery = Recovery(node, Observer(share, node.identity))
        count = recovery.run(jobs, frozenset(hosts))
        Bell(node).ring()
    click.echo(f"recovered {count} task(s)")
    rest = sum(len(claimed(one)) for one in jobs)
    if rest:
        click.echo(f"{rest} task(s) are claimed by nodes that are alive, or not silent for long enough to tell; waiting "
                   f"nodes recover them after one lease")


@main.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--out", help="The film's name, relative to SHARED.  [default: the job's name and a number]")
@click.option("--crf", type=click.IntRange(0, 51), help="Quality of the film: lower is better and larger.  [default: the job's]")
@click.option("--strength", type=click.FloatRange(0, 1), help="How far from the source: 1 is the style alone, 0 the source.  [default: the job's]")
@click.option("--preserve-colors/--no-preserve-colors", default=None, help="Keep the source's colours, or take the style's.  [default: the job's]")
@click.option("--mask", type=FILE, metavar="VIDEO_OR_IMAGE", help=f"{MASK_HELP}  [default: the job's]")
@click.option("--no-mask", is_flag=True, help="Leave the job's mask out.")
@one_line_errors
def stitch(shared: Path, job: str | None, out: str | None, crf: int | None, mask: Path | None, no_mask: bool, **values) -> None:
    """Make the film again, under a new name, from the frames that are published. Nothing is stylized."""
    from fav.finish import check_mask
    from fav.spec import brought, inside
    from fav.shelf import Shelf, progress
    from fav.shelf import stitch as write
    from fav.video import check_film_name

    if mask and no_mask:
        raise FavError("--mask and --no-mask: expected one of them, got both")
    share = open_share(shared)
    found = _job(share, job)
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


@main.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--out", type=FILE, help="The page's file.  [default: beside the film, FILM.report.html, replaced each time]")
@one_line_errors
def report(shared: Path, job: str | None, out: Path | None) -> None:
    """Write one page of HTML about a job: pictures before and after, who did what when, how steady, what made it.

    It needs no other file and no network, and can be made while the job runs.
    """
    from fav.job_report.facts import gather
    from fav.job_report.page import page
    from fav.spec import brought

    share = open_share(shared)
    facts = gather(_job(share, job))
    spec = facts.shelf.spec
    final = new(out) if out else spec.film(share.layout.root).with_suffix(".report.html")
    final.parent.mkdir(parents=True, exist_ok=True)
    text = page(facts, brought(share.layout.root, spec.video))
    with whole(final) as private:
        private.write_text(text, encoding="utf-8")
    click.echo(f"done: {final}")


@main.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@one_line_errors
def retry(shared: Path, job: str | None) -> None:
    """Open the failed tasks of a job anew, and a job that was cancelled."""
    share = open_share(shared)
    found = _job(share, job)
    was_cancelled = "cancelled" in found.marks()
    found.unmark("cancelled")
    count = reopen(found)
    click.echo(f"{found.name}: {'no longer cancelled, ' if was_cancelled else ''}{count} failed task(s) opened anew")
    with visiting(share) as node:
        Bell(node).ring()


@main.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@one_line_errors
def cancel(shared: Path, job: str | None) -> None:
    """Tell all nodes to leave a job alone. What is published stays; `retry` goes on with it, `clean` removes it."""
    share = open_share(shared)
    found = _job(share, job)
    if "finished" in found.marks():
        raise ShareError(f"{found.name}: the job is finished; coordinator.py clean removes it")
    with visiting(share) as node:
        found.mark(node, "cancelled")
        Bell(node).ring()
    click.echo(f"{found.name}: cancelled")


@main.command()
@click.argument("shared", type=FILE)
@click.argument("job", required=False)
@click.option("--force", is_flag=True, help="Even if it is not finished, and nodes work on it.")
@one_line_errors
def clean(shared: Path, job: str | None, force: bool) -> None:
    """Remove a job and its frames from the shared directory. The film stays."""
    share = open_share(shared)
    found = _job(share, job)
    try:
        over = bool(found.marks())
    except JobGone:
        over = True
    if not over and not force:
        raise ShareError(f"{found.name}: the job is not finished; cancel it first, or say --force")
    remove_job(Node(share, Identity.here()), found)
    click.echo(f"{found.name}: removed")


if __name__ == "__main__":
    main()
