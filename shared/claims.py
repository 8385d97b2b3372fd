"""Claims: one node's ownership of one task, made by the atomic appearance of a placeholder.

A placeholder is a hard link to its owner's heartbeat file, so one `utime` renews every claim. Without hard
links, it is an exclusively created file with the same content. Claims only save work: a lost claim costs a
repeated task, never a wrong result.
"""

from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from shared import results
from shared.errors import JobQueueError, sanitize
from shared.identity import Identity, read_identity
from shared.jobs import Job, all_jobs
from shared.membership import Node
from shared.paths import Task
from shared.shared_dir import SharedDir


class Outcome(Enum):
    WON = auto()
    LOST = auto()
    DONE = auto()


class Claims:
    """The claims of this node on the tasks of one job."""

    def __init__(self, node: Node, job: Job):
        self.node = node
        self.job = job
        self.held: set[Task] = set()

    def claim(self, task: Task) -> Outcome:
        """Try to claim a task. DONE if its result was already published."""
        system, placeholder = self.node.share.system, self.job.layout.placeholder(task)
        try:
            if self.node.share.hard_links:
                system.link(self.node.heartbeat_file, placeholder)
            else:
                system.write_new(placeholder, self.node.identity.to_bytes())
        except OSError as error:
            if not self.is_ours(placeholder):
                if isinstance(error, FileExistsError):
                    return Outcome.LOST
                if isinstance(error, FileNotFoundError):
                    self.node.check()
                    self.job.flags()
                    # Somebody removed the directory; the next try finds it again.
                    system.make_dirs(placeholder.parent, below=self.job.layout.root)
                raise
        if results.is_done(self.job, task):  # perhaps since before we read that it was open
            self.release(task)
            return Outcome.DONE
        self.held.add(task)  # only now: a placeholder that an error leaves behind is not held, and recovery removes it
        return Outcome.WON

    def is_ours(self, placeholder: Path) -> bool:
        owner = owner_of(self.node.share, placeholder)
        return owner is not None and owner.token == self.node.identity.token

    def release(self, task: Task) -> None:
        """Give up a claim whose result is published."""
        self.node.share.system.unlink(self.job.layout.placeholder(task))
        self.held.discard(task)

    def abandon(self, task: Task) -> None:
        """Give up a claim without a result. The placeholder of another owner stays."""
        self.held.discard(task)
        remove_claim(
            self.node, self.job.layout.placeholder(task), self.node.temp_path(), self.node.identity.token, keep=False
        )

    def abandon_all(self) -> None:
        for task in list(self.held):
            self.abandon(task)


def claimed(job: Job) -> dict[str, Path]:
    """The present placeholders, by the name of their task; other files are ignored. A done task may be claimed."""
    return {name: job.layout.claims / name for name in claimed_names(job)}


def claimed_names(job: Job) -> list[str]:
    """The names of claimed tasks, without the paths of their placeholders, which take long to make for 500 nodes."""
    return [name for name in job.share.system.list(job.layout.claims) if Task.parse(name)]


@dataclass(frozen=True)
class Claim:
    """Who has claimed a task. `owner` is None if it is unknown; then `why` has the reason."""

    task: str
    owner: Identity | None
    why: str = ""


def owner_of(share: SharedDir, placeholder: Path) -> Identity | None:
    """The owner named in a placeholder; None if it is gone, empty, not ours, or of a newer version."""
    try:
        return read_identity(share, placeholder)
    except JobQueueError:
        return None


def claims_of(job: Job) -> list[Claim]:
    """The claims on a job's tasks with their owners, for display: an unreadable placeholder is no error."""
    found: dict[str, Claim | None] = {}
    for _ in range(2):  # a node claims its next task before it releases one: it may be seen at the second look only
        for name, path in claimed(job).items():
            if name not in found:
                found[name] = _read_claim(job.share, name, path)
        if None not in found.values():
            break
    return sorted((claim for claim in found.values() if claim), key=lambda claim: claim.task)


def _read_claim(share: SharedDir, name: str, path: Path) -> Claim | None:
    """A claim for display; None if it was released meanwhile."""
    try:
        owner = read_identity(share, path)
        return Claim(name, owner, "" if owner else "?") if owner or share.system.exists(path) else None
    except (OSError, JobQueueError) as error:
        return Claim(name, None, sanitize(error, 500))


def release_all(node: Node) -> None:
    """Give up all claims of this node, in all jobs."""
    for job in all_jobs(node.share):
        claims = Claims(node, job)
        for name, path in claimed(job).items():
            if claims.is_ours(path):
                claims.abandon(Task.from_name(name))


def remove_claim(node: Node, placeholder: Path, aside: Path, token: str, keep: bool) -> bool:
    """Remove a placeholder if it has `token`: rename it to `aside` first, then read it, then decide.

    Inode, time and link count prove nothing. Nor does a read *before* the rename: the name may have another
    owner's placeholder by then. That one is linked back.

    Args:
        node: this node.
        placeholder: the path to remove.
        aside: a path that was never used before.
        token: of the owner whose placeholder is to be removed.
        keep: leave the file at `aside`, as the record of an attempt.

    Returns:
        Whether a placeholder was removed.
    """
    system = node.share.system
    try:
        system.rename(placeholder, aside)
    except FileNotFoundError:
        if not system.exists(aside):  # else it happened, and only the reply was lost
            return False
    owner = owner_of(node.share, aside)
    if owner is None or owner.token == token:
        if not keep:
            system.unlink(aside)
        return True
    try:
        node.share.publish_no_replace(aside, placeholder)
    except FileExistsError:
        pass  # a third node claimed it meanwhile: the second one loses its claim, nothing else
    system.unlink(aside)
    return False
