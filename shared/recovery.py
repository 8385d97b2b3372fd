"""Recovery: finds the placeholders of dead nodes and removes them, so that their tasks are open again.

It also removes other files of dead nodes: their temporary files, then their heartbeat file, and the directories of
jobs that they had not finished creating or removing. Foreign files stay and are reported once.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.attempts import mark_failed_if_exhausted, nonce
from shared.claims import claimed, owner_of, remove_claim
from shared.errors import JobQueueError
from shared.failure_detector import FailureDetector
from shared.filesystem import TRANSIENT_ERRNOS, Removal
from shared.identity import Identity, find_identity
from shared.jobs import Job, Manifest, all_jobs
from shared.membership import Node, remove_node
from shared.ownership import (
    creator_of,
    foreign_files_message,
    list_names,
    remove_job_files,
    remove_notice,
    remove_temporary,
)
from shared.paths import NOTICE, JobPaths, Task, is_id, is_temporary
from shared.settings import LEASE_S, POLL_S
from shared.shared_dir import SharedDir

logger = logging.getLogger(__name__)

NODES_PER_POLL = 32  # of more nodes, a pass reads the heartbeats less often: what one node reads in a second is limited
POLLS_PER_LEASE = 4  # at least: the silence of a node is seen in several of them
NO_OWNER_TOKEN = "0" * 32  # a token that no node has


class Recovery:
    """The recovery passes of one node."""

    def __init__(self, node: Node, detector: FailureDetector):
        self.node = node
        self.share = node.share
        self.detector = detector
        self.recovered = 0
        self.due = 0.0  # seconds after which the next pass is useful
        self._identities: dict[str, Identity] = {}  # of nodes, by incarnation, as they were read once
        self._claims: set[Path] | None = None  # placeholders at the last pass; None: there was none
        self._nodes: set[str] = set()  # incarnations at the last pass
        self._local_peers: list[Identity] = []  # live nodes of this machine, at the last pass
        self._unowned_since: dict[
            Path, tuple[int | None, float]
        ] = {}  # path without a known owner -> mtime, seconds seen without a change
        self._seen_unowned: set[Path] = set()
        self._removed_names: list[str] = []  # in this pass, relative to the shared directory
        self._foreign: list[Path] = []  # found in this pass, not made by this program
        self._reported_foreign: set[Path] = set()

    def run(self, jobs: dict[Job, set[Task]], assumed_dead_hosts: frozenset[str] = frozenset()) -> int:
        """Run one pass.

        Args:
            jobs: the jobs, each with the tasks that this node holds itself.
            assumed_dead_hosts: hosts whose nodes the operator declares dead.

        Returns:
            The number of orphans that were removed.

        Raises:
            OSError: the share cannot be read. Then no node was declared dead.
        """
        self._seen_unowned, self._local_peers, self._removed_names, self._foreign = set(), [], [], []
        self.share.system.drop_directory_cache()
        seen = [(job, name, path) for job in jobs for name, path in claimed(job).items()]
        self.detector.poll()  # after listing the placeholders: their owners had joined before
        lease = min((job.manifest.lease for job in jobs), default=LEASE_S)
        self.due = self.detector.longest_gap = pause_s(len(self.detector.nodes()), lease)
        before = self.recovered
        # A live node has most of its claims for seconds, so those that are new since the last pass are not read.
        known = None if self._may_have_orphans(lease, assumed_dead_hosts) else self._claims
        self._claims = {path for _, _, path in seen}
        for job, name, path in seen:
            if known is None or path in known:
                with _ignore_foreign_files():
                    self._check_claim(job, Task.from_name(name), path, jobs[job], assumed_dead_hosts)
        self._remove_dead_nodes(jobs, assumed_dead_hosts)
        self._remove_stale_files()
        self._unowned_since = {path: seen for path, seen in self._unowned_since.items() if path in self._seen_unowned}
        self._log_removed()
        return self.recovered - before

    def local_peer_died(self) -> bool:
        """Whether a node of this machine has died since the last pass. Reads the process table, not the share."""
        return any(map(self.detector.process_gone, self._local_peers))

    def _may_have_orphans(self, lease: float, assumed_dead_hosts: frozenset[str]) -> bool:
        """Whether a claim that is new since the last pass may be an orphan: a node has died or left since then."""
        nodes, before = self.detector.nodes(), self._nodes
        self._nodes = set(nodes)
        self._identities = {name: identity for name, identity in self._identities.items() if name in self._nodes}
        return (
            bool(assumed_dead_hosts)
            or not before <= self._nodes
            or any((self.detector.silent_for(name) or 0.0) >= lease or self._is_gone(name) for name in nodes)
        )

    def _is_gone(self, name: str) -> bool:
        """Whether a node was a process of this machine that is gone."""
        identity = self._identity(name)
        return identity is not None and self.detector.process_gone(identity)

    def _identity(self, name: str) -> Identity | None:
        """Who a node is. Its heartbeat file is read once, since an incarnation is never another one."""
        if name not in self._identities:
            identity = find_identity(self.share, name)
            if identity is None:
                return None
            self._identities[name] = identity
        return self._identities[name]

    def _check_claim(
        self, job: Job, task: Task, path: Path, held: set[Task], assumed_dead_hosts: frozenset[str]
    ) -> None:
        owner = owner_of(self.share, path)
        if owner is None:
            # Not yet written (without hard links), foreign, or of a newer version: it gets one lease, and another one
            # whenever it is renewed.
            if self.share.system.exists(path) and self._unowned_longer_than(
                path, job.manifest.lease, self._mtime(path)
            ):
                self._remove(job, task, path, NO_OWNER_TOKEN)
        elif owner.token == self.node.identity.token:
            if not any(
                str(task) == str(mine) for mine in held
            ):  # linked back too late, or a link that reported an error
                remove_claim(self.node, path, self.node.temp_path(), owner.token, keep=False)
        elif owner.host_names & assumed_dead_hosts or self.detector.is_dead(owner, job.manifest.lease):
            self._remove(job, task, path, owner.token)
        else:
            self.due = min(self.due, job.manifest.lease - (self.detector.silent_for(owner.incarnation) or 0.0))

    def _unowned_longer_than(self, path: Path, lease: float, mtime: int | None = None) -> bool:
        """Whether a path has had no owner, and no change, for one lease, measured like a node's silence."""
        self._seen_unowned.add(path)
        before, age = self._unowned_since.get(path, (mtime, -self.detector.gap))
        self._unowned_since[path] = mtime, age + self.detector.gap if mtime == before else 0.0
        return self._unowned_since[path][1] >= lease

    def _mtime(self, path: Path) -> int | None:
        with _ignore_foreign_files():
            return self.share.system.mtime(path)
        return None

    def _remove(self, job: Job, task: Task, path: Path, token: str) -> None:
        place = job.layout.attempts_of(task)
        self.share.system.make_dirs(place, below=job.layout.root)
        # The renamed placeholder *is* the record of the attempt: if this node dies here, nothing counts twice.
        if remove_claim(self.node, path, place / f"{token}.{nonce()}", token, keep=True):
            self.recovered += 1
            mark_failed_if_exhausted(self.node, job, task)

    def _remove_dead_nodes(self, jobs: dict[Job, set[Task]], assumed_dead_hosts: frozenset[str]) -> None:
        longest = None  # lease of all jobs: the node may work on a job that this node does not serve
        for name in self.detector.nodes():
            if name == self.node.identity.incarnation:
                continue
            identity = self._identity(name)
            if identity is None:
                continue
            gone = self.detector.process_gone(identity) or bool(identity.host_names & assumed_dead_hosts)
            if not gone:
                if identity.same_boot(self.detector.me):
                    self._local_peers.append(identity)
                silence = self.detector.silent_for(name) or 0.0
                if silence < min((job.manifest.lease for job in jobs), default=LEASE_S):
                    continue
                longest = longest or max((job.manifest.lease for job in all_jobs(self.share)), default=LEASE_S)
                gone = silence >= longest
            if gone and find_identity(self.share, name) == identity and not self._owns_any(identity, jobs):
                remove_node(self.share, name)
                self._identities.pop(name, None)
                self._removed_names.append(f"node {name}")

    def _owns_any(self, identity: Identity, jobs: dict[Job, set[Task]]) -> bool:
        for job in jobs:
            for path in claimed(job).values():
                owner = owner_of(self.share, path)
                if owner is not None and owner.token == identity.token:
                    return True
        return False

    def _remove_stale_files(self) -> None:
        """Remove temporary files, notices and unfinished jobs of nodes without a heartbeat file."""
        layout, system = self.share.layout, self.share.system
        alive = set(self.detector.nodes()) | {self.node.identity.incarnation}
        for name in system.list(layout.tmp):
            if name not in alive and self._is_over(layout.tmp / name, is_temporary(name)):
                self._remove_stale(layout.tmp / name, lambda: remove_temporary(self.share, name))
        for name in system.list(layout.notify):
            form = NOTICE.fullmatch(name)
            if not (form and form[1] in alive) and self._is_over(layout.notify / name, form):
                self._remove_stale(layout.notify / name, lambda: remove_notice(self.share, name))
        self._remove_unfinished_jobs(alive)

    def _remove_unfinished_jobs(self, alive: set[str]) -> None:
        """Remove directories of jobs whose creator died before they had a name, or before they were removed."""
        layout, system, named = self.share.layout, self.share.system, None
        for job in (layout.job(name) for name in system.list(layout.jobs)):
            has_form = is_id(job.root.name)
            names = system.list(job.root) if has_form else []
            if "creator" not in names and "job.json" in names:
                continue  # a complete job
            creator = creator_of(self.share, job) if has_form and _is_known(self.share, job) else None
            if creator in alive or not self._is_over(job.root, creator is not None):
                continue
            if named is None:
                named = {layout.jobs / one.manifest.id for one in all_jobs(self.share)}
            if job.root in named:
                system.unlink(job.creator)  # it has its name: its creator died after that step
            else:
                self._remove_stale(job.root, lambda: remove_job_files(self.share, job, self.node.identity.incarnation))

    def _is_over(self, path: Path, is_ours: object) -> bool:
        """Whether a file of a dead node is older than a lease. A foreign file is noted, and never counts."""
        if not is_ours:
            self._foreign.append(path)
            return False
        return self._unowned_longer_than(path, LEASE_S)

    def _remove_stale(self, path: Path, remove: Callable[[], Removal]) -> None:
        removal = remove()
        self._foreign += removal.foreign
        if not removal.foreign and not removal.failed:
            self._removed_names.append(path.relative_to(self.share.layout.root).as_posix())

    def _log_removed(self) -> None:
        """Log what this pass removed, and each foreign file once."""
        if self._removed_names:
            logger.info("removed files of dead nodes: %s", list_names(self._removed_names))
        if fresh := [path for path in self._foreign if path not in self._reported_foreign]:
            self._reported_foreign.update(fresh)
            logger.warning("%s", foreign_files_message(self.share, fresh))


def pause_s(nodes: int, lease: float) -> float:
    """Seconds between two passes of one node.

    A pass reads every heartbeat. With the same pause for 500 nodes as for 32, they would ask the file server for
    250 times as much. A dead node is found up to one pause later.

    Args:
        nodes: that have a heartbeat file.
        lease: the shortest one of the jobs.
    """
    return max(POLL_S, min(POLL_S * nodes / NODES_PER_POLL, lease / POLLS_PER_LEASE))


def _is_known(share: SharedDir, job: JobPaths) -> bool:
    """Whether a job's directory has no manifest, or one that this version can read."""
    try:
        Manifest.from_bytes(share.system.read(job.manifest), job.manifest)
    except FileNotFoundError:
        pass
    except (NotADirectoryError, JobQueueError):
        return False
    return True


@contextmanager
def _ignore_foreign_files() -> Iterator[None]:
    """Ignore errors that foreign files cause. Temporary errors of the file system are raised."""
    try:
        yield
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS:
            raise
