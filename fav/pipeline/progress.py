"""The progress of a video job: results by kind, and what waits for failed tasks."""

from contextlib import suppress

from fav.pipeline.artifacts import DamagedFileError, JobArtifacts
from fav.pipeline.task_names import FRAME_KINDS, report_task, stitch_task
from shared import results
from shared.errors import JobQueueError, sanitize
from shared.identity import DECODE_ERRORS
from shared.jobs import Job
from shared.paths import Task


def evaluated(job: Job) -> str | None:
    """The first line of the evaluation of a job's film; None if it is not published or cannot be read."""
    try:
        return sanitize(results.read(job, report_task(".txt")).decode().partition("\n")[0], 500)
    except (JobQueueError, *DECODE_ERRORS):
        return None


def blocked(artifacts: JobArtifacts, failed: list[str]) -> list[str]:
    """Messages for the user on what waits for failed tasks, which are given by name."""
    lines = []
    if failed:
        with suppress(DamagedFileError):
            artifacts.load_new_segments()
    for task in map(Task.from_name, failed):
        waiting = 0
        chain = artifacts.chain_of(task) if task.kind in FRAME_KINDS else None
        if chain:
            waiting = len(chain) - chain.index_of(task.number) - 1
        if waiting:
            lines.append(
                f"{waiting} frame{'s wait' if waiting > 1 else ' waits'} for {task.kind} {task.number}, which failed"
            )
        elif task.kind == "encode":
            lines.append(f"the film waits for its segment {task.number}, which failed")
        elif task.kind == "index":
            lines.append(
                f"all frames from {artifacts.timeline.indexed_frames} on wait for index segment {task.number}, "
                f"which failed"
            )
    return lines


def progress(artifacts: JobArtifacts) -> dict[str, tuple[int, int | None]]:
    """The published and the expected number of results by kind. The expected number is None if it is unknown yet.

    A job with --evaluate also has measured evaluation windows. A job with --chunk has stylized chunks, where an unsplit
    shot counts as one chunk.
    """
    index = artifacts.index_progress()
    total = index.end - artifacts.spec.start if index.is_complete else None
    if artifacts.spec.is_flow:
        return {
            "index": (index.index_segments, index.index_segments if index.is_complete else None),
            "frame": (artifacts.published("trust"), total),
        }
    return {
        "index": (index.index_segments, index.index_segments if index.is_complete else None),
        "flow": (artifacts.published("flow"), total),
        "frame": (artifacts.published("frame"), total),
        **({"chunk": artifacts.chunks()} if artifacts.spec.chunk else {}),
        **({"measure": artifacts.measured()} if artifacts.spec.evaluate else {}),
        "encode": artifacts.encoded(),
        "stitch": (int(results.is_done(artifacts.job, stitch_task(artifacts.spec))), 1),
    }
