"""Is all of a job there, and does it read back? What is missing or damaged is made open again, so that nodes make it."""

import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from fav.errors import FavError
from fav.pipeline.artifacts import DamagedFileError, IndexProgress, JobArtifacts, numbers
from fav.pipeline.delivery import abandon, evaluation_name, has_images, publish_images, publish_under_name
from fav.pipeline.inputs import NEEDED, changed_inputs
from fav.pipeline.task_names import (
    EVALUATION_KINDS,
    INTERMEDIATE_KINDS,
    OPTIONAL_KINDS,
    REPORTS,
    encode_task,
    evaluation_windows,
    flow_task,
    frame_task,
    hash_task,
    index_task,
    measure_task,
    report_task,
    stitch_task,
    warmup_task,
)
from fav.util.safe_path import resolve_inside
from fav.video import decode, probe
from fav.video.image_output import images_in
from shared import results
from shared.attempts import clear_attempts, failed
from shared.command_names import command
from shared.errors import JobQueueError, ResultVanishedError, UserError
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task, shard_of

logger = logging.getLogger(__name__)

MAX_LISTED = 20  # damaged results that are told one by one
TELL_S = 10.0
READERS = 8  # at most so many results are read at the same time
WORDS = {"index": "piece{} of the index", "frame": "frame{}", "warmup": "warmup frame{}", "flow": "flow{}",
         "encode": "film segment{}", "measure": "measured part{}", "report": "part{} of the evaluation"}  # fmt: skip


# ---- what is missing
def missing(artifacts: JobArtifacts, by_names: bool = False) -> list[Task]:
    """The tasks whose results a finished job has and this one has not, asked afresh; an evaluation that failed is none of it.

    Where the index is not whole: its missing pieces, as far as that can be told. DamagedFileError where one does not read back; with
    `by_names`, no more of it is read than is needed to know which results there should be.
    """
    spec, timeline = artifacts.spec, artifacts.timeline
    extent = artifacts.index_progress() if by_names and not spec.chunk else None
    if extent is None or not extent.is_complete:
        artifacts.load_new_segments()
        extent = IndexProgress(len(timeline.pieces), timeline.end, timeline.is_complete)
    pieces, end = extent.pieces, extent.end
    if not extent.is_complete:
        last = max(
            (
                number
                for shard in results.shards(artifacts.job, "index")
                for number in artifacts.published_in_shard("index", shard)
            ),
            default=0,
        )
        return _absent(artifacts, map(index_task, range(max(last, pieces) + 1)))
    leads = (warmup_task(run.frame(position)) for run in timeline.chains for position in range(run.warmup))
    wanted = [map(index_task, range(pieces)), map(frame_task, range(spec.start, end)), leads]
    singles = [stitch_task(spec)]
    if spec.evaluate and not any(Task.from_name(name).kind in EVALUATION_KINDS for name in failed(artifacts.job)):
        wanted.append(map(measure_task, evaluation_windows(spec.start, end, True)))
        singles += map(report_task, REPORTS)
    return [task for tasks in wanted for task in _absent(artifacts, tasks)] + [
        task for task in singles if not results.is_done(artifacts.job, task)
    ]


def _absent(artifacts: JobArtifacts, tasks: Iterable[Task]) -> list[Task]:
    """Those of some tasks of one kind whose results are not there; where they are in order, each directory is listed once."""
    absent = []
    for shard, some in groupby(tasks, lambda task: shard_of(task.number)):
        some = list(some)
        there = artifacts.published_in_shard(some[0].kind, shard)
        absent += [task for task in some if task.number not in there]
    return absent


def describe_tasks(tasks: Sequence[Task], what: str = "missing") -> str:
    """Which tasks, in words: how many of each kind, and the first few of them."""
    parts = []
    for kind, some in groupby(tasks, lambda task: task.kind):
        some = list(some)
        which = ", ".join(task.suffix for task in some) if kind == "report" else numbers([task.number for task in some])
        counted = f"{len(some)} {WORDS.get(kind, '').format('s'[: len(some) != 1])}"
        parts.append(f"the film {what}" if kind == "stitch" else f"{counted} {what}: {which}")
    return "; ".join(parts)


def how_to_repair(job: Job, many: bool = False) -> str:
    """What makes results again that are missing or do not read back."""
    them = "them" if many else "it"
    if "finished" in job.flags():
        return f"{command('retry')} {job.share.layout.root} {job.name} makes {them} again"
    return f"nodes make {them} again ({_start_command(job)})"


def describe_missing(artifacts: JobArtifacts, by_names: bool = False) -> tuple[str, list[Task]]:
    """What a finished job lacks, in words with their cure, empty where that is nothing; and its missing tasks, as `missing`."""
    try:
        tasks = missing(artifacts, by_names)
    except DamagedFileError as error:
        return f"{_name(error.task)} does not read back ({error.why}); {how_to_repair(artifacts.job)}", [error.task]
    return (f"{describe_tasks(tasks)}; {how_to_repair(artifacts.job, len(tasks) > 1)}" if tasks else ""), tasks


# ---- what does not read back
def check(artifacts: JobArtifacts, whole: bool = True) -> tuple[list[DamagedFileError], int]:
    """Read everything back that is published; what does not read back, and how many results that are there were looked at.

    Nothing is set aside. From time to time it logs how far it is. Not `whole`: of pictures, flow and the film, only their
    beginnings and ends are read, as `verify` says.
    """
    job, damaged, looked, told = artifacts.job, [], 0, time.monotonic()
    total = sum(map(len, _published(artifacts)))
    how = "reading its %d results back" if whole else "looking at its %d results"
    logger.info(f"%s: {how}", job.name, total)

    def wrong(task: Task) -> DamagedFileError | None:
        try:
            verify(artifacts, task, whole)
        except DamagedFileError as error:
            return error
        except ResultVanishedError:
            pass  # it is missing by now
        return None

    with ThreadPoolExecutor(min(READERS, len(os.sched_getaffinity(0))) if whole else READERS, "check") as readers:
        for tasks in _published(artifacts):
            for found in readers.map(wrong, tasks):
                looked += 1
                damaged += [found] if found else []
                if time.monotonic() - told > TELL_S:
                    told = time.monotonic()
                    logger.info("%s: read %d of %d results back", job.name, looked, total)
    return damaged, looked


def _published(artifacts: JobArtifacts) -> Iterator[list[Task]]:
    """Every task that has a result, as far as the directories tell: all of one directory together."""
    makers = {
        "index": index_task,
        "frame": frame_task,
        "warmup": warmup_task,
        "flow": flow_task,
        "measure": measure_task,
        "encode": encode_task,
    }
    layout = artifacts.job.layout
    artifacts.job.share.system.require_directory(layout.results)
    for kind in ("print", "stitch", "report"):
        for directory in (layout.results / kind, layout.shard(kind, 0)):
            artifacts.job.share.system.require_directory(directory)
    for kind, make in makers.items():
        artifacts.job.share.system.require_directory(layout.results / kind)
        for shard in results.shards(artifacts.job, kind):
            artifacts.job.share.system.require_directory(layout.shard(kind, shard))
            yield list(map(make, sorted(artifacts.published_in_shard(kind, shard))))
    singles = [stitch_task(artifacts.spec), *map(report_task, REPORTS if artifacts.spec.evaluate else ())]
    yield [task for task in singles if results.is_done(artifacts.job, task)]


def verify(artifacts: JobArtifacts, task: Task, whole: bool = True) -> None:
    """Read a result back. DamagedFileError where it is not what it should be, and set aside where `artifacts` has a node.

    Not `whole`: of a picture, flow and the film, no more is looked at than their heads tell and whether they are cut off,
    and nothing is set aside.
    """
    if task.kind not in ("stitch", "report"):
        (artifacts.verify if whole else artifacts.check_ends)(task)
        return
    look = wrong_of_file if whole or task.kind == "report" else _wrong_of_head
    try:
        wrong = look(artifacts, task, artifacts.job.layout.result(task))
    except FileNotFoundError:
        raise ResultVanishedError(f"the result of {task} is not there") from None
    if wrong and whole and artifacts.node is not None:
        results.quarantine_result(artifacts.node, artifacts.job, task, None, whatever=True)
    if wrong:
        raise DamagedFileError(task, wrong)


def _film_hashes(job: Job) -> set[str]:
    found = set()
    for number in results.completed_in_shard(job, "print", 0, ".txt"):
        with suppress(JobQueueError):
            found.add(results.read(job, hash_task(number)).decode(errors="replace"))
    return found


def wrong_of_file(artifacts: JobArtifacts, task: Task, file: Path) -> str | None:
    """What keeps a file from being a film, or part of an evaluation, that a node made for this job; None where it is one."""
    found, size = hashlib.blake2b(), 0
    try:
        for part in artifacts.job.share.system.parts(file):
            found.update(part)
            size += len(part)
    except JobQueueError as error:
        return str(error)  # it is not even a file
    if prints := _film_hashes(artifacts.job):
        return None if found.hexdigest() in prints else "its checksum differs"
    if task.kind == "report":  # of a version that wrote no checksums down
        return None if size else "it is empty"
    return _wrong_of_film(artifacts, file)


def _wrong_of_head(artifacts: JobArtifacts, task: Task, file: Path) -> str | None:
    """What keeps a file from being a film, as far as its head tells; None where nothing does."""
    try:
        artifacts.job.share.system.head(file, 1)  # no link, no pipe
        if artifacts.spec.is_images:
            sum(1 for _ in images_in(file))
        else:
            probe(file)
    except UserError as error:
        return str(error)
    return None


def _wrong_of_film(artifacts: JobArtifacts, film: Path) -> str | None:
    try:
        extent, warnings = artifacts.index_progress(), []
        if artifacts.spec.is_images:
            frames = sum(1 for _ in images_in(film))
        else:
            with decode(film) as decoding:
                frames, warnings = sum(1 for _ in decoding), decoding.warnings
        if extent.is_complete and frames != extent.end - artifacts.spec.start:
            return f"expected {extent.end - artifacts.spec.start} frames, got {frames}"
        return next(iter(warnings), None)
    except FavError as error:
        return str(error)


# ---- what is done about it
def repair(node: Node, job: Job, whole: bool = True) -> list[str]:
    """Read all of a job back (not `whole`: as far as `check` says), set aside what does not, and take its mark `finished` away where nodes have to make something.

    Returns what was done, in lines for the user. FavError, and nothing is done, where nodes could not make it since an input
    is not there any more. Two may do this at once, and whoever dies at it has done no harm: what is missing stays so, and the
    next one goes on. The mark goes last. So a node that sets it once more sees what is missing, or we take it away.
    """
    artifacts = JobArtifacts(job)
    damaged, looked = check(artifacts, whole)
    lines = [*_reopened(node, artifacts, damaged), *_restore_film(node, artifacts, whole)]
    if lines or whole:
        return lines or [f"{job.name}: all {looked} results read back, and none is missing"]
    return [
        f"{job.name}: none of its {looked} results is missing or cut off ({command('retry')} "
        f"{job.share.layout.root} {job.name} reads all of them back)"
    ]


def reopen_missing(node: Node, job: Job) -> list[str]:
    """As `repair`, of what is missing alone: nothing is read back."""
    return _reopened(node, JobArtifacts(job), [])


def _reopened(node: Node, artifacts: JobArtifacts, damaged: list[DamagedFileError]) -> list[str]:
    job, root = artifacts.job, artifacts.job.share.layout.root
    lost = describe_missing(artifacts)[1]
    needed = [error for error in damaged if error.task.kind not in INTERMEDIATE_KINDS]
    if not damaged and not lost:
        return []
    if (needed or lost) and (wrong := changed_inputs(root, artifacts.spec, only=NEEDED)):
        raise FavError(f"{job.name}: {_describe_all(needed, lost)}; to make that again: {'; '.join(wrong)}")
    damaged = [error for error in damaged if _quarantine(node, job, error.task)]
    lines = [
        f"{job.name}: {_name(error.task)} did not read back ({error.why}): set aside" for error in damaged[:MAX_LISTED]
    ]
    if len(damaged) > MAX_LISTED:
        lines.append(f"{job.name}: {len(damaged) - MAX_LISTED} more did not read back: set aside")
    lost = describe_missing(JobArtifacts(job))[1]
    if not lost:
        return lines  # flow and segments are made where they are missing; or another operator was faster, and nodes have made it
    if "finished" in job.flags():
        names = set(failed(job))
        for task in lost:
            if str(task) in names:
                clear_attempts(job, task)
        job.clear_flag("finished")
    return [*lines, f"{job.name}: {describe_tasks(lost, 'to be made again')}; {next_step(job)}"]


def _quarantine(node: Node, job: Job, task: Task) -> bool:
    """Set a result aside, if it still does not read back, and do not count that as an attempt of its task; whether it was."""
    artifacts = JobArtifacts(job)
    try:
        verify(artifacts, task)
    except DamagedFileError:
        if task.kind == "stitch":
            abandon(node, job, task, film_path(artifacts))
        elif task.kind == "report":
            abandon(node, job, task, evaluation_name(artifacts.spec.film(job.share.layout.root), task.suffix))
        with suppress(ResultVanishedError):
            verify(JobArtifacts(job, node), task)
        clear_attempts(job, task)
        return True
    except ResultVanishedError:
        pass  # somebody else was faster
    return False


def film_path(artifacts: JobArtifacts) -> Path:
    """Where the film of a job was shown, or will be."""
    root = artifacts.job.share.layout.root
    with suppress(UserError):
        if word := artifacts.job.flag_text("finished"):
            return resolve_inside(root, word)
    return artifacts.spec.film(root)


def _restore_film(node: Node, artifacts: JobArtifacts, whole: bool) -> list[str]:
    """Give the whole film of a finished job the name that it had, where nothing is there any more."""
    job, film = artifacts.job, film_path(artifacts)
    again = f"{command('retry')} {job.share.layout.root} {job.name}"
    if "finished" not in job.flags():
        return []
    result = job.layout.result(stitch_task(artifacts.spec))
    if artifacts.spec.is_images:
        if film.is_dir() and has_images(result, film, whole):
            return []
    elif job.share.system.exists(film):
        if not whole and job.share.system.same_file(result, film):
            return []
        wrong = wrong_of_file(artifacts, stitch_task(artifacts.spec), film)
        line = f"{film}: expected the film of {job.name}, got another file ({wrong}); move it away, then {again} shows the film"
        return [line] if wrong else []
    publish = publish_images if artifacts.spec.is_images else publish_under_name
    out = publish(node, job, stitch_task(artifacts.spec), film, "film")
    for suffix in REPORTS if artifacts.spec.evaluate else ():
        if results.is_done(job, report_task(suffix)):
            beside = evaluation_name(artifacts.spec.film(job.share.layout.root), suffix)
            publish_under_name(node, job, report_task(suffix), beside, "evaluation")
    if out != film:
        job.clear_flag("finished")
        job.set_flag(node, "finished", out.relative_to(job.share.layout.root).as_posix())
    there = "all its results read back" if whole else "none of its results is missing or cut off"
    return [f"{job.name}: {there}; its film is shown again: {out}"]


# ---- words
def next_step(job: Job) -> str:
    """What an operator does so that nodes go on with a job that is not finished."""
    flags, root = job.flags(), job.share.layout.root
    names = [name for name in failed(job) if Task.from_name(name).kind not in OPTIONAL_KINDS]
    if "cancelled" in flags:
        return f"the job is cancelled: {command('retry')} {root} {job.name}, then start nodes ({_start_command(job)})"
    if "paused" in flags:
        return f"the job is paused: {command('resume')} {root} {job.name}, then start nodes ({_start_command(job)})"
    if names:
        which = ", ".join(names[:3])
        return f"tasks have failed ({which}): {command('retry')} {root} {job.name}, then start nodes ({_start_command(job)})"
    return f"start nodes ({_start_command(job)}), if none wait"


def _start_command(job: Job) -> str:
    return f"{command('node')} {job.share.layout.root}"


def _name(task: Task) -> str:
    """One task in words."""
    if task.kind in ("stitch", "report"):
        return "the film" if task.kind == "stitch" else f"the evaluation's part {task.suffix}"
    return f"{WORDS[task.kind].format('')} {task.number}"


def _describe_all(damaged: list[DamagedFileError], lost: list[Task]) -> str:
    tasks = [error.task for error in damaged]
    broken = describe_tasks(tasks, "not reading back")
    return "; ".join(filter(None, (broken, describe_tasks([task for task in lost if task not in tasks]))))
