"""Let only nodes of one numeric class work on a --bit-exact job."""

from shared import results
from shared.errors import JobQueueError
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task

NUMERIC_CLASS_TASK = Task("class", 0, ".txt")  # the numeric class of a --bit-exact job, published by its first node
CLASS_LIMIT = 1 << 16  # bytes


def check_numeric_class(node: Node, job: Job, mine: str) -> None:
    """Publish this node's numeric class for a --bit-exact job, if it is the first one.

    Raises:
        JobQueueError: the job has another class, or was made by another version.
    """
    if job.source_mismatch:
        raise JobQueueError(
            f"{job.name}: the job is --bit-exact and was {job.source_mismatch}; install the same sources here"
        )
    results.publish_bytes(node, job, NUMERIC_CLASS_TASK, mine.encode())
    theirs = results.read(job, NUMERIC_CLASS_TASK, CLASS_LIMIT).decode(errors="replace")[:1000]
    if theirs != mine:
        raise JobQueueError(
            f"{job.name}: the job is --bit-exact and this machine has another numeric class: expected "
            f"[{theirs}], got [{mine}]; use equal machines, or submit without --bit-exact"
        )
