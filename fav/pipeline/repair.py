"""Check whether all results of a job exist and can be read. Tasks of missing or damaged results are opened again."""

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
from fav.pipeline import flow_delivery
from fav.pipeline.artifacts import DamagedFileError, IndexProgress, JobArtifacts
from fav.pipeline.delivery import abandon, compare_images, evaluation_name, publish_images, publish_under_name
from fav.pipeline.inputs import NEEDED, changed_inputs
from fav.pipeline.omitted_results import first_numbers
from fav.pipeline.task_names import (
    EVALUATION_KINDS,
    INTERMEDIATE_KINDS,
    OPTIONAL_KINDS,
    REPORTS,
    backward_task,
    decode_task,
    encode_task,
    evaluation_windows,
    face_task,
    flow_task,
    forward_task,
    frame_task,
    hash_task,
    index_task,
    measure_task,
    report_task,
    stitch_task,
    survey_task,
    trust_task,
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

MAX_LISTED = 20  # damaged results that are reported one by one
LOG_INTERVAL_S = 10.0
MAX_READERS = 8  # results that are read at the same time
WORDS = {"index": "index segment{}", "survey": "survey{} of the video", "decode": "decoded range{} of the video",
         "frame": "frame{}", "warmup": "warmup frame{}", "flow": "flow{}",
         "face": "face{}", "bwd": "backward flow{}", "fwd": "forward flow{}", "trust": "reliability{}",
         "encode": "film segment{}", "measure": "evaluation window{}", "report": "evaluation report{}"}  # fmt: skip


# ---- what is missing
def missing(artifacts: JobArtifacts, by_names: bool = False) -> list[Task]:
    """The tasks of a finished job whose results are missing. The directories are listed again.

    If the index is incomplete, only its missing segments are returned. Tasks of a failed evaluation are not returned.

    Args:
        artifacts: of the job.
        by_names: read as little of the index as possible.

    Raises:
        DamagedFileError: a segment of the index cannot be read.
    """
    spec, timeline = artifacts.spec, artifacts.timeline
    index = artifacts.index_progress() if by_names and not spec.chunk else None
    if index is None or not index.is_complete:
        artifacts.load_new_segments()
        index = IndexProgress(len(timeline.index_segments), timeline.end, timeline.is_complete)
    segments, end = index.index_segments, index.end
    if not index.is_complete:
        last = max(
            (
                number
                for shard in results.shards(artifacts.job, "index")
                for number in artifacts.published_in_shard("index", shard)
            ),
            default=0,
        )
        return _absent(artifacts, map(index_task, range(max(last, segments) + 1)))
    if spec.is_flow:
        kinds = (
            (trust_task, range(spec.start, end)),
            (backward_task, range(spec.start + 1, end)),
            (forward_task, range(spec.start, end - 1)),
        )
        expected = [map(index_task, range(segments)), *(map(make, numbers) for make, numbers in kinds)]
        return [task for tasks in expected for task in _absent(artifacts, tasks)]
    warmups = (warmup_task(chain.frame(position)) for chain in timeline.chains for position in range(chain.warmup))
    expected = [map(index_task, range(segments)), map(frame_task, range(spec.start, end)), warmups]
    singles = [stitch_task(spec)]
    if spec.evaluate and not any(Task.from_name(name).kind in EVALUATION_KINDS for name in failed(artifacts.job)):
        expected.append(map(measure_task, evaluation_windows(spec.start, end, True)))
        singles += map(report_task, REPORTS)
    return [task for tasks in expected for task in _absent(artifacts, tasks)] + [
        task for task in singles if not results.is_done(artifacts.job, task)
    ]


def _absent(artifacts: JobArtifacts, tasks: Iterable[Task]) -> list[Task]:
    """Those of the tasks, all of one kind, that have no result. Sorted tasks list each directory once."""
    absent = []
    for shard, group in groupby(tasks, lambda task: shard_of(task.number)):
        group = list(group)
        published = artifacts.published_in_shard(group[0].kind, shard)
        absent += [task for task in group if task.number not in published]
    return absent


def describe_tasks(tasks: Sequence[Task], state: str = "missing") -> str:
    """Describe tasks for the user: how many of each kind, and the first few numbers. `state` is their common state."""
    parts = []
    for kind, group in groupby(tasks, lambda task: task.kind):
        group = list(group)
        report = kind == "report"
        which = ", ".join(task.suffix for task in group) if report else first_numbers([task.number for task in group])
        counted = f"{len(group)} {WORDS.get(kind, '').format('s'[: len(group) != 1])}"
        parts.append(f"the film {state}" if kind == "stitch" else f"{counted} {state}: {which}")
    return "; ".join(parts)


def how_to_repair(job: Job, many: bool = False) -> str:
    """The command that makes missing or damaged results again. `many`: there are several."""
    pronoun = "them" if many else "it"
    if "finished" in job.flags():
        return f"{command('retry')} {job.share.layout.root} {job.name} makes {pronoun} again"
    return f"nodes make {pronoun} again ({_start_command(job)})"


def describe_missing(artifacts: JobArtifacts, by_names: bool = False) -> tuple[str, list[Task]]:
    """Describe the missing results of a finished job.

    Returns:
        A message with the command that makes them again, empty if none is missing; and the tasks, as `missing` does.
    """
    try:
        tasks = missing(artifacts, by_names)
    except DamagedFileError as error:
        return f"{_name(error.task)} does not read back ({error.why}); {how_to_repair(artifacts.job)}", [error.task]
    return (f"{describe_tasks(tasks)}; {how_to_repair(artifacts.job, len(tasks) > 1)}" if tasks else ""), tasks


# ---- what does not read back
def check(artifacts: JobArtifacts, whole: bool = True) -> tuple[list[DamagedFileError], int]:
    """Read all published results of a job, and log the progress. Nothing is quarantined.

    Args:
        artifacts: of the job.
        whole: read the results completely; otherwise as for `verify`.

    Returns:
        An error for each damaged result, and the number of checked results.
    """
    job, damaged, checked, logged = artifacts.job, [], 0, time.monotonic()
    total = sum(map(len, _published(artifacts)))
    action = "reading its %d results back" if whole else "checking the ends of its %d results"
    logger.info(f"%s: {action}", job.name, total)

    def error_of(task: Task) -> DamagedFileError | None:
        try:
            verify(artifacts, task, whole)
        except DamagedFileError as error:
            return error
        except ResultVanishedError:
            pass  # it was removed meanwhile
        return None

    threads = min(MAX_READERS, len(os.sched_getaffinity(0))) if whole else MAX_READERS
    with ThreadPoolExecutor(threads, "check") as readers:
        for tasks in _published(artifacts):
            for error in readers.map(error_of, tasks):
                checked += 1
                damaged += [error] if error else []
                if time.monotonic() - logged > LOG_INTERVAL_S:
                    logged = time.monotonic()
                    logger.info("%s: read %d of %d results back", job.name, checked, total)
    return damaged, checked


def _published(artifacts: JobArtifacts) -> Iterator[list[Task]]:
    """Yield all tasks that have a published result, one list per directory."""
    makers = {
        "index": index_task,
        "survey": lambda number: survey_task(),
        "decode": decode_task,
        "frame": frame_task,
        "warmup": warmup_task,
        "flow": flow_task,
        "measure": measure_task,
        "encode": encode_task,
        "face": face_task,
        "bwd": backward_task,
        "fwd": forward_task,
        "trust": trust_task,
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
    if artifacts.spec.is_flow:
        return
    singles = [stitch_task(artifacts.spec), *map(report_task, REPORTS if artifacts.spec.evaluate else ())]
    yield [task for task in singles if results.is_done(artifacts.job, task)]


def verify(artifacts: JobArtifacts, task: Task, whole: bool = True) -> None:
    """Read a result and check it.

    Args:
        artifacts: of the job. If it has a node, a damaged result is quarantined.
        task: whose result to read.
        whole: read it completely. Otherwise, of a frame, flow, segment or film, only the ends are read, and nothing is
            quarantined.

    Raises:
        DamagedFileError: it cannot be read, or has other content than expected.
        ResultVanishedError: it is missing.
    """
    if task.kind not in ("stitch", "report"):
        (artifacts.verify if whole else artifacts.check_ends)(task)
        return
    check_file = problem_of_file if whole or task.kind == "report" else _problem_of_head
    try:
        problem = check_file(artifacts, task, artifacts.job.layout.result(task))
    except FileNotFoundError:
        raise ResultVanishedError(f"the result of {task} is missing") from None
    if problem and whole and artifacts.node is not None:
        results.quarantine_result(artifacts.node, artifacts.job, task, None, whatever=True)
    if problem:
        raise DamagedFileError(task, problem)


def _published_hashes(job: Job) -> set[str]:
    """The hashes of all films and reports that nodes have made for a job."""
    hashes = set()
    for number in results.completed_in_shard(job, "print", 0, ".txt"):
        with suppress(JobQueueError):
            hashes.add(results.read(job, hash_task(number)).decode(errors="replace"))
    return hashes


def problem_of_file(artifacts: JobArtifacts, task: Task, file: Path) -> str | None:
    """Check whether a file is a film or report that a node made for this job.

    Returns:
        The problem; None if there is none.
    """
    digest, size = hashlib.blake2b(), 0
    try:
        for part in artifacts.job.share.system.parts(file):
            digest.update(part)
            size += len(part)
    except JobQueueError as error:
        return str(error)  # it is no regular file
    if hashes := _published_hashes(artifacts.job):
        return None if digest.hexdigest() in hashes else "its checksum differs"
    if task.kind == "report":  # jobs of earlier versions have no checksums
        return None if size else "it is empty"
    return _problem_of_film(artifacts, file)


def _problem_of_head(artifacts: JobArtifacts, task: Task, file: Path) -> str | None:
    """Check only the beginning of a film; return the problem, None if there is none."""
    try:
        artifacts.job.share.system.head(file, 1)  # raises an error for links and pipes
        if artifacts.spec.is_images:
            sum(1 for _ in images_in(file))
        else:
            probe(file)
    except UserError as error:
        return str(error)
    return None


def _problem_of_film(artifacts: JobArtifacts, film: Path) -> str | None:
    """Decode a film and count its frames; return the problem, None if there is none."""
    try:
        index, problems = artifacts.index_progress(), []
        if artifacts.spec.is_images:
            frames = sum(1 for _ in images_in(film))
        else:
            with decode(film) as decoding:
                frames, problems = sum(1 for _ in decoding), decoding.problems
        if index.is_complete and frames != index.end - artifacts.spec.start:
            return f"expected {index.end - artifacts.spec.start} frames, got {frames}"
        return next(iter(problems), None)
    except FavError as error:
        return str(error)


# ---- what is done about it
def repair(node: Node, job: Job, whole: bool = True) -> list[str]:
    """Check all results of a job, quarantine damaged ones, and reopen the job if nodes must make results again.

    Several processes may repair a job at the same time, and may be interrupted: missing results stay missing, and the
    next repair continues. The flag `finished` is cleared last. If a node sets it again, either that node finds the
    missing results, or this function clears the flag.

    Args:
        node: this node.
        job: a finished job.
        whole: read the results completely, as for `check`.

    Returns:
        Messages for the user on what was done.

    Raises:
        FavError: an input that nodes need has changed or is missing. Then nothing is done.
    """
    artifacts = JobArtifacts(job)
    damaged, checked = check(artifacts, whole)
    lines = [*_reopened(node, artifacts, damaged), *_restore_film(node, artifacts, whole)]
    if lines or whole:
        return lines or [f"{job.name}: all {checked} results read back, and none is missing"]
    return [
        f"{job.name}: none of its {checked} results is missing or truncated ({command('retry')} "
        f"{job.share.layout.root} {job.name} reads all of them back)"
    ]


def reopen_missing(node: Node, job: Job) -> list[str]:
    """Reopen the tasks of missing results, as `repair` does. No result is read."""
    return _reopened(node, JobArtifacts(job), [])


def _reopened(node: Node, artifacts: JobArtifacts, damaged: list[DamagedFileError]) -> list[str]:
    """Quarantine damaged results and reopen the tasks of missing ones; return messages for the user."""
    job, root = artifacts.job, artifacts.job.share.layout.root
    absent = describe_missing(artifacts)[1]
    needed = [error for error in damaged if error.task.kind not in INTERMEDIATE_KINDS]
    if not damaged and not absent:
        return []
    if (needed or absent) and (changed := changed_inputs(root, artifacts.spec, only=NEEDED)):
        raise FavError(f"{job.name}: {_describe_all(needed, absent)}; to make that again: {'; '.join(changed)}")
    damaged = [error for error in damaged if _quarantine(node, job, error.task)]
    lines = [
        f"{job.name}: {_name(error.task)} did not read back ({error.why}): set aside" for error in damaged[:MAX_LISTED]
    ]
    if len(damaged) > MAX_LISTED:
        lines.append(f"{job.name}: {len(damaged) - MAX_LISTED} more did not read back: set aside")
    absent = describe_missing(JobArtifacts(job))[1]
    if not absent:
        return lines  # only intermediate results were damaged, or nodes have made the results again meanwhile
    if "finished" in job.flags():
        names = set(failed(job))
        for task in absent:
            if str(task) in names:
                clear_attempts(job, task)
        job.clear_flag("finished")
    return [*lines, f"{job.name}: {describe_tasks(absent, 'to be made again')}; {next_step(job)}"]


def _quarantine(node: Node, job: Job, task: Task) -> bool:
    """Quarantine a result if it is still damaged, without counting an attempt; return whether it was."""
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
        pass  # another process was faster
    return False


def film_path(artifacts: JobArtifacts) -> Path:
    """The path to which the film of a job was, or will be, delivered."""
    root = artifacts.job.share.layout.root
    with suppress(UserError):
        if delivered := artifacts.job.flag_text("finished"):
            return resolve_inside(root, delivered)
    return artifacts.spec.film(root)


def _restore_film(node: Node, artifacts: JobArtifacts, whole: bool) -> list[str]:
    """Deliver the film of a finished job again if it was removed; return messages for the user."""
    job, film = artifacts.job, film_path(artifacts)
    retry = f"{command('retry')} {job.share.layout.root} {job.name}"
    if "finished" not in job.flags():
        return []
    if artifacts.spec.is_flow:
        return _restore_flow(node, artifacts, film)
    result = job.layout.result(stitch_task(artifacts.spec))
    if artifacts.spec.is_images:
        there = compare_images(result, film, whole)
        if there.is_whole:
            return []
        if there.has and there.others:
            others = f"{there.others[0]}{f' and {len(there.others) - 1} more' if there.others[1:] else ''}"
            return [
                f"{film}: expected the images of {job.name}, got other files by their names ({others}); move them away, then "
                f"{retry} puts the images back"
            ]
    elif job.share.system.exists(film):
        if not whole and job.share.system.same_file(result, film):
            return []
        problem = problem_of_file(artifacts, stitch_task(artifacts.spec), film)
        line = (
            f"{film}: expected the film of {job.name}, got another file ({problem}); move it away, "
            f"then {retry} delivers the film again"
        )
        return [line] if problem else []
    publish = publish_images if artifacts.spec.is_images else publish_under_name
    out = publish(node, job, stitch_task(artifacts.spec), film, "film")
    for suffix in REPORTS if artifacts.spec.evaluate else ():
        if results.is_done(job, report_task(suffix)):
            report = evaluation_name(artifacts.spec.film(job.share.layout.root), suffix)
            publish_under_name(node, job, report_task(suffix), report, "evaluation")
    if out != film:
        job.clear_flag("finished")
        job.set_flag(node, "finished", out.relative_to(job.share.layout.root).as_posix())
    state = "all its results read back" if whole else "none of its results is missing or truncated"
    return [f"{job.name}: {state}; its film was delivered again: {out}"]


def _restore_flow(node: Node, artifacts: JobArtifacts, directory: Path) -> list[str]:
    """Put removed files of a finished flow job back into its directory; return messages for the user."""
    job = artifacts.job
    if not flow_delivery.missing_files(artifacts, directory):
        return []
    out = flow_delivery.deliver(node, artifacts)
    if out != directory:
        job.clear_flag("finished")
        job.set_flag(node, "finished", out.relative_to(job.share.layout.root).as_posix())
    return [f"{job.name}: its files were delivered again: {out}"]


# ---- messages
def next_step(job: Job) -> str:
    """What the operator must do so that nodes continue an unfinished job."""
    flags, root = job.flags(), job.share.layout.root
    names = [name for name in failed(job) if Task.from_name(name).kind not in OPTIONAL_KINDS]
    if "cancelled" in flags:
        return f"the job is cancelled: {command('retry')} {root} {job.name}, then start nodes ({_start_command(job)})"
    if "paused" in flags:
        return f"the job is paused: {command('resume')} {root} {job.name}, then start nodes ({_start_command(job)})"
    if names:
        some, retry = ", ".join(names[:3]), f"{command('retry')} {root} {job.name}"
        return f"tasks have failed ({some}): {retry}, then start nodes ({_start_command(job)})"
    return f"start nodes ({_start_command(job)}), if none wait"


def _start_command(job: Job) -> str:
    return f"{command('node')} {job.share.layout.root}"


def _name(task: Task) -> str:
    """The result of a task, for messages."""
    if task.kind in ("stitch", "report"):
        return "the film" if task.kind == "stitch" else f"the evaluation report {task.suffix}"
    return f"{WORDS[task.kind].format('')} {task.number}"


def _describe_all(damaged: list[DamagedFileError], absent: list[Task]) -> str:
    tasks = [error.task for error in damaged]
    unreadable = describe_tasks(tasks, "not reading back")
    return "; ".join(filter(None, (unreadable, describe_tasks([task for task in absent if task not in tasks]))))
