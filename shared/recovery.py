"""Recovery: finds the placeholders of dead nodes and removes them, so that their tasks are open again.

It also sweeps what the dead leave behind: their private files, their heartbeat file last, and the directories
of jobs that they had not finished making or removing. What strangers have put there is left alone, and told once.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.attempts import nonce, settle
from shared.claims import claimed, owner_of, take_away
from shared.errors import JobQueueError
from shared.failure_detector import FailureDetector
from shared.filesystem import TRANSIENT_ERRNOS, Removal
from shared.identity import Identity, node_named
from shared.jobs import Job, Manifest, all_jobs
from shared.membership import Node, sweep
from shared.ownership import creator_of, left_alone, listed, remove_job_files, remove_notice, remove_private
from shared.paths import NOTICE, JobPaths, Task, is_id, is_private
from shared.settings import LEASE_S, POLL_S
from shared.shared_dir import SharedDir

logger = logging.getLogger(__name__)

NOBODY = "0" * 32  # a token that no node has


class Recovery:
    """What one node does about the others' deaths."""

    def __init__(self, node: Node, observer: FailureDetector):
        self.node = node
        self.share = node.share
        self.observer = observer
        self.recovered = 0
        self.due = 0.0  # seconds after which the next pass is worth while
        self._neighbours: list[Identity] = []  # living nodes of this machine, as of the last pass
        self._ownerless: dict[
            Path, tuple[int | None, float]
        ] = {}  # what has no owner that can be asked for -> mtime, seconds seen so
        self._seen_ownerless: set[Path] = set()
        self._swept: list[str] = []  # in this pass, relative to the shared directory
        self._strangers: list[Path] = []  # found in this pass, not made by this program
        self._left_alone: set[Path] = set()  # strangers that we have told of

    def run(self, jobs: dict[Job, set[Task]], now_dead: frozenset[str] = frozenset()) -> int:
        """One pass over the given jobs (each with the tasks that this node holds itself).

        `now_dead` are hosts whose nodes the operator declares dead. Returns how many orphans were removed.
        OSError where the share cannot be looked at: then nobody was judged by what was not seen.
        """
        self._seen_ownerless, self._neighbours, self._swept, self._strangers, self.due = set(), [], [], [], POLL_S
        self.share.system.forget_directories()
        seen = [(job, name, path) for job in jobs for name, path in claimed(job).items()]
        self.observer.look()  # after the placeholders were listed: their owners joined before that
        before = self.recovered
        for job, name, path in seen:
            with _strangers_aside():
                self._judge(job, Task.from_name(name), path, jobs[job], now_dead)
        self._sweep_dead(jobs, now_dead)
        self._sweep_leftovers()
        self._ownerless = {path: seen for path, seen in self._ownerless.items() if path in self._seen_ownerless}
        self._tell()
        return self.recovered - before

    def neighbour_died(self) -> bool:
        """Whether a node of this machine that lived at the last pass is gone; asks the process table, not the share."""
        return any(map(self.observer.process_gone, self._neighbours))

    def _judge(self, job: Job, task: Task, path: Path, held: set[Task], now_dead: frozenset[str]) -> None:
        owner = owner_of(self.share, path)
        if owner is None:
            # Created without hard links and not yet written, or by a stranger, or by a newer version: it gets one lease,
            # and as long as it is renewed, another one.
            if self.share.system.exists(path) and self._ownerless_for(path, job.manifest.lease, self._mtime(path)):
                self._remove(job, task, path, NOBODY)
        elif owner.token == self.node.identity.token:
            if not any(str(task) == str(mine) for mine in held):  # a link back that came too late, a link that failed
                take_away(self.node, path, self.node.draft(), owner.token, keep=False)
        elif owner.host in now_dead or self.observer.dead(owner, job.manifest.lease):
            self._remove(job, task, path, owner.token)
        else:
            self.due = min(self.due, job.manifest.lease - (self.observer.silence(owner.incarnation) or 0.0))

    def _ownerless_for(self, path: Path, lease: float, mtime: int | None = None) -> bool:
        """Whether it has been seen without an owner, and unchanged, for one lease, summed as an observer sums silence."""
        self._seen_ownerless.add(path)
        before, age = self._ownerless.get(path, (mtime, -self.observer.gap))
        self._ownerless[path] = mtime, age + self.observer.gap if mtime == before else 0.0
        return self._ownerless[path][1] >= lease

    def _mtime(self, path: Path) -> int | None:
        with _strangers_aside():
            return self.share.system.mtime(path)
        return None

    def _remove(self, job: Job, task: Task, path: Path, token: str) -> None:
        place = job.layout.attempts_of(task)
        self.share.system.make_dirs(place, below=job.layout.root)
        # The record of the attempt *is* the placeholder, moved: if we die here, nothing counts twice.
        if take_away(self.node, path, place / f"{token}.{nonce()}", token, keep=True):
            self.recovered += 1
            settle(self.node, job, task)

    def _sweep_dead(self, jobs: dict[Job, set[Task]], now_dead: frozenset[str]) -> None:
        longest = None  # lease of all jobs of the share: the node may be at work on one that we do not serve
        for name in self.observer.nodes():
            if name == self.node.identity.incarnation:
                continue
            identity = node_named(self.share, name)
            if identity is None:
                continue
            gone = self.observer.process_gone(identity) or identity.host in now_dead
            if not gone:
                if identity.lived_here(self.observer.me):
                    self._neighbours.append(identity)
                silence = self.observer.silence(name) or 0.0
                if silence < min((job.manifest.lease for job in jobs), default=LEASE_S):
                    continue
                longest = longest or max((job.manifest.lease for job in all_jobs(self.share)), default=LEASE_S)
                gone = silence >= longest
            if gone and not self._owns_any(identity, jobs):
                sweep(self.share, name)
                self._swept.append(f"node {name}")

    def _owns_any(self, identity: Identity, jobs: dict[Job, set[Task]]) -> bool:
        for job in jobs:
            for path in claimed(job).values():
                owner = owner_of(self.share, path)
                if owner is not None and owner.token == identity.token:
                    return True
        return False

    def _sweep_leftovers(self) -> None:
        """Remove private files, notices and unfinished jobs of nodes that have no heartbeat file (any more)."""
        layout, system = self.share.layout, self.share.system
        alive = set(self.observer.nodes()) | {self.node.identity.incarnation}
        for name in system.list(layout.private):
            if name not in alive and self._is_over(layout.private / name, is_private(name)):
                self._sweep(layout.private / name, lambda: remove_private(self.share, name))
        for name in system.list(layout.bell):
            form = NOTICE.fullmatch(name)
            if not (form and form[1] in alive) and self._is_over(layout.bell / name, form):
                self._sweep(layout.bell / name, lambda: remove_notice(self.share, name))
        self._sweep_jobs(alive)

    def _sweep_jobs(self, alive: set[str]) -> None:
        """Remove the directories of jobs whose creator died before they had their name, or before they were removed."""
        layout, system, named = self.share.layout, self.share.system, None
        for job in (layout.job(name) for name in system.list(layout.jobs)):
            has_form = is_id(job.root.name)
            names = system.list(job.root) if has_form else []
            if "creator" not in names and "job.json" in names:
                continue  # a job as it should be
            creator = creator_of(self.share, job) if has_form and _is_known(self.share, job) else None
            if creator in alive or not self._is_over(job.root, creator is not None):
                continue
            if named is None:
                named = {layout.jobs / one.manifest.id for one in all_jobs(self.share)}
            if job.root in named:
                system.unlink(job.creator)  # it has its name, and its creator died then
            else:
                self._sweep(job.root, lambda: remove_job_files(self.share, job, self.node.identity.incarnation))

    def _is_over(self, path: Path, is_ours: object) -> bool:
        """Whether a lease has passed over what a node seems to have left; what is not ours is told, and left alone."""
        if not is_ours:
            self._strangers.append(path)
            return False
        return self._ownerless_for(path, LEASE_S)

    def _sweep(self, path: Path, remove: Callable[[], Removal]) -> None:
        removal = remove()
        self._strangers += removal.strangers
        if not removal.strangers and not removal.failed:
            self._swept.append(path.relative_to(self.share.layout.root).as_posix())

    def _tell(self) -> None:
        """Say what was swept in this pass, and once what is not ours."""
        if self._swept:
            logger.info("removed what nodes that are gone had left: %s", listed(self._swept))
        if fresh := [path for path in self._strangers if path not in self._left_alone]:
            self._left_alone.update(fresh)
            logger.warning("%s", left_alone(self.share, fresh))


def _is_known(share: SharedDir, job: JobPaths) -> bool:
    """Whether the directory of a job has no manifest, or one that this version can read."""
    try:
        Manifest.from_bytes(share.system.read(job.manifest), job.manifest)
    except FileNotFoundError:
        pass
    except (NotADirectoryError, JobQueueError):
        return False
    return True


@contextmanager
def _strangers_aside() -> Iterator[None]:
    """A step that may fail on what a stranger has put into its way, and then is left out; not so in bad weather."""
    try:
        yield
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS:
            raise
