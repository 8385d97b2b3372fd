"""Use the frames of another job whose film differs in nothing but its output, such as --strength or --crf.

A node takes a result from there when its task comes, so films of many frames are divided among nodes as usual. What is not there,
or cannot be read, is made as in any job: so the other job may be unfinished, and may be removed at any time.
"""

from contextlib import suppress
from pathlib import Path

from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import FRAME_KINDS
from shared import results
from shared.errors import UserError
from shared.jobs import Job, Manifest
from shared.membership import Node
from shared.paths import Task, is_id
from shared.shared_dir import SharedDir

KINDS = ("index", *FRAME_KINDS)
LIMIT = 1 << 30  # bytes of a result that is copied


class SameFrames:
    """The job whose frames a job uses.

    Args:
        job: that uses them.
        spec: of this job.
        node: this node.
    """

    def __init__(self, job: Job, spec: JobSpec, node: Node):
        self._job, self._node = job, node
        found = None if spec.frames_of is None else _job_of(job.share, spec.frames_of)
        self._other = JobArtifacts(found) if found else None

    def __bool__(self) -> bool:
        """Whether there was such a job when this node began."""
        return self._other is not None

    def take(self, task: Task) -> Path | bytes | None:
        """The result of a task of KINDS as the other job has it, to be published here; None if it must be made."""
        if self._other is None or task.kind not in KINDS or results.is_done(self._job, task):
            return None
        other, system = self._other.job, self._job.share.system
        try:
            self._other.verify(task)
            if not self._job.share.hard_links:
                return system.read(other.layout.result(task), LIMIT)
            private = self._node.temp_path().with_suffix(task.suffix)
            system.link(other.layout.result(task), private)
            return private
        except (UserError, OSError):
            return None


def _job_of(share: SharedDir, job_id: str) -> Job | None:
    """The job with this id; None if it is gone."""
    if not is_id(job_id):
        return None
    path = share.layout.job(job_id).manifest
    with suppress(UserError, OSError):
        manifest = Manifest.from_bytes(share.system.read(path), path)
        return Job(share, manifest) if manifest.id == job_id else None
    return None
