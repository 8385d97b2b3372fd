"""The state of jobs and nodes of a shared directory, in one snapshot. All views only render it.

Reading changes nothing. `fav/monitor/schema.py` turns a snapshot into JSON; docs/reference/status-json.md documents it.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from fav.errors import sanitize
from fav.monitor.eta import ThroughputEstimator
from fav.pipeline.task_names import OPTIONAL_KINDS, stylize_task
from fav.pipeline.training_job import is_training, training_of
from shared import control
from shared.attempts import Attempt, attempts_of_job, failed
from shared.claims import Claim, claims_of
from shared.control import ControlCommand
from shared.errors import JobRemovedError, UserError
from shared.failure_detector import SURE_S, FailureDetector
from shared.identity import Identity, find_identity
from shared.jobs import Job, all_jobs
from shared.paths import Task
from shared.results import read_head
from shared.shared_dir import SharedDir

# Modules that read films import OpenCV and PyAV, so they are imported only for films: all commands import this module.
if TYPE_CHECKING:
    from fav.monitor.pace import JobPace
    from fav.pipeline.artifacts import JobArtifacts

MAX_HEADER_READS = 200  # frames per snapshot whose header is read for their node
RECOUNT_S = 60.0  # how often the results of a finished job are counted again: some may have been removed
MAX_LISTED = 20  # failed tasks that are listed one by one
MAX_SEGMENTS = 1000  # of an index (100 000 frames): a single snapshot reads no longer one and has no time left then
LISTEN_S = 1.0  # between two polls of the heartbeats
MAX_LISTENS = round(SURE_S / LISTEN_S) + 1


class JobStatus(StrEnum):
    """The state of a job. A flag counts first, then claimed tasks, then failed ones."""

    FINISHED = "finished"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    RUNNING = "running"  # some of its tasks are claimed
    FAILED = "failed"  # no task is claimed, and one that the film needs has failed
    STARTING = "nodes are getting ready"  # no task is claimed yet, but there are nodes
    WAITING = "waiting for nodes"


class NodeStatus(StrEnum):
    """The state of a node. If several apply, the first one here counts."""

    DEAD = "dead"  # it ran on this machine, and its process is gone
    SILENT = "silent"  # on another machine; no heartbeat for SURE_S: it may be dead or disconnected
    STOPPING = "stopping"  # it was asked to leave at once
    DRAINING = "draining"  # it was asked to finish its task and leave
    BUSY = "busy"  # it has claimed tasks
    WAITING = "waiting"  # for a task that it can do


ALIVE = frozenset(NodeStatus) - {NodeStatus.DEAD, NodeStatus.SILENT}


@dataclass(frozen=True)
class JobSnapshot:
    """A job at one moment.

    Attributes:
        name: of the job.
        state: its state.
        counts: by kind of task, the published and the expected results (None: unknown). Of a training: iterations.
        chains: all chains and the finished ones; None if a single snapshot did not read the index.
        rate: frames per second (of a training: iterations), None if unknown.
        left: seconds until the film is complete, or the last iteration is done, None if unknown.
        claims: the node of each claimed task, or why it is unknown.
        failed: names of failed tasks.
        attempts: the failed attempts of the first failed tasks.
        blocked: lines about tasks that wait for failed ones.
        troubles: the number of all failed attempts, by reason.
        lacks: a line about missing results of a finished job, with the cure.
        missing: names of the tasks of these results.
        notes: remarks about the video.
        evaluation: the measurements in one line; None without --evaluate, or before they are done.
        film: where the film is, or will be.
        priority: as `prioritize` set it.
        latest: number of a frame that was finished last; None in a single snapshot, and before there is one.
        provenance: as in `fav.pipeline.provenance`; empty for jobs of older versions.
        learning: lines about the styles that a training learns; empty for a job that makes a film.
    """

    name: str
    state: JobStatus
    counts: dict[str, tuple[int, int | None]]
    chains: tuple[int, int] | None
    rate: float | None
    left: float | None
    claims: dict[str, str]
    failed: tuple[str, ...]
    attempts: dict[str, tuple[Attempt, ...]]
    blocked: tuple[str, ...]
    troubles: dict[str, int]
    lacks: str
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    evaluation: str | None
    film: str
    provenance: dict[str, str]
    priority: int = 0
    latest: int | None = None
    learning: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeSnapshot:
    """A node at one moment.

    Attributes:
        node: its incarnation.
        host: its machine.
        pid: its process.
        about: its device and numeric class.
        state: its state.
        heard_s: seconds since its heartbeat was renewed.
        tasks: the tasks that it holds, of all jobs.
        frames: frames that it has published since the first snapshot; 0 in a single snapshot.
        rate: frames per second of these, None if unknown.
        label: the operator's name of its machine, if it differs from the host name.
    """

    node: str
    host: str
    pid: int
    about: str
    state: NodeStatus
    heard_s: float
    tasks: tuple[str, ...]
    frames: int
    rate: float | None
    label: str = ""

    @property
    def machine(self) -> str:
        """Its machine, as people call it."""
        return self.label or self.host


@dataclass(frozen=True)
class Snapshot:
    """Jobs and nodes of a shared directory at one moment. `complaints`: lines about jobs that cannot be read."""

    jobs: tuple[JobSnapshot, ...]
    nodes: tuple[NodeSnapshot, ...]
    complaints: tuple[str, ...] = ()


@dataclass
class _Job:
    """What is known of a job between two snapshots."""

    artifacts: "JobArtifacts"
    pace: "JobPace" = field(init=False)
    done: dict[int, int] = field(default_factory=dict)  # finished frames of each chain, by its first frame
    lacks: str = ""  # of a finished job
    missing: tuple[str, ...] = ()
    counted: float | None = None  # time of that count, None for a job that is not finished
    latest: int | None = None  # number of a frame that was finished last

    def __post_init__(self):
        from fav.monitor.pace import JobPace

        self.pace = JobPace(self.artifacts)


@dataclass
class _Heartbeat:
    """The last heartbeat of a node.

    Attributes:
        beat: its time on the server's clock.
        since: when it was first seen, on this machine's clock.
        renewed: it changed between two polls, so its age is known without the server's clock.
    """

    beat: float
    since: float
    renewed: bool = False


class SnapshotReader:
    """Reads snapshots of all jobs of a share, or of the one named `only`.

    `once`: there will be one snapshot. Then the index of a film is read only if that gives the time left.
    """

    def __init__(self, share: SharedDir, only: str | None = None, once: bool = False):
        self.share, self.only, self.once = share, only, once
        self._jobs: dict[str, _Job] = {}
        self._detector = FailureDetector(share)
        self._identities: dict[str, Identity] = {}  # by node; the content of a heartbeat file never changes
        self._heard: dict[str, _Heartbeat] = {}  # by node
        self._frames: Counter[str] = Counter()  # by node
        self._paces: dict[str, ThroughputEstimator] = {}  # by node

    def read(self) -> Snapshot:
        """A snapshot of now. Raises OSError or JobQueueError if the directory cannot be read."""
        complaints: list[str] = []
        claims = self._claims(complaints)
        jobs, nodes = [], self._nodes(claims)
        alive = any(node.state in ALIVE for node in nodes)
        for job, held in claims.items():
            if self.only is None or job.name == self.only:
                try:
                    jobs.append(self._job_snapshot(job, held, alive))
                except UserError as error:
                    if isinstance(error, JobRemovedError) and job.name not in self.share.system.list(
                        self.share.layout.by_name
                    ):
                        continue  # removed meanwhile
                    complaints.append(f"{job.name}: {str(error).removeprefix(f'{job.name}: ')}")
        return Snapshot(tuple(jobs), tuple(self._counted(nodes)), tuple(complaints))

    def nodes(self) -> Snapshot:
        """A snapshot of the nodes only. Polls until each node of another machine has renewed its heartbeat, or is silent."""
        self._listen()
        for _ in range(MAX_LISTENS):
            if not any(map(self._is_unsure, self._identities)):
                break
            self.share.system.sleep(LISTEN_S)
            self._listen()
        complaints: list[str] = []
        return Snapshot((), self._nodes(self._claims(complaints)), tuple(complaints))

    def state(self, job: Job) -> JobStatus:
        """The state of one job only. Raises OSError or JobQueueError if it cannot be read."""
        claims = claims_of(job)
        nodes = self._nodes({job: claims})
        return status_of(job.flags(), claims, failed(job), any(node.state in ALIVE for node in nodes))

    def job(self, job: Job) -> JobSnapshot:
        """A snapshot of one job without nodes. Raises UserError if it cannot be read."""
        return self._job_snapshot(job, claims_of(job), alive=False)

    def _claims(self, complaints: list[str]) -> dict[Job, list[Claim]]:
        """All jobs with their claims. Adds lines about unreadable jobs to `complaints`, unless one job was asked for."""
        jobs = all_jobs(self.share, complaints.append if self.only is None else lambda line: None)
        return {job: claims_of(job) for job in jobs}

    def _job_snapshot(self, job: Job, claims: list[Claim], alive: bool) -> JobSnapshot:
        if is_training(job):
            return self._training_snapshot(job, claims, alive)
        from fav.pipeline.progress import blocked, evaluated, progress

        flags, now = job.flags(), self.share.system.monotonic()
        if job.manifest.id not in self._jobs:
            job.check_directories()
        known = self._known(job, "finished" in flags)
        artifacts = known.artifacts
        names = failed(job)
        state = status_of(flags, claims, names, alive)
        running, index = state == JobStatus.RUNNING, artifacts.index_progress()
        surveyed = not self.once or running and index.index_segments <= MAX_SEGMENTS
        if surveyed:
            known.pace.poll(now, [claim.task for claim in claims])
            self._count_frames_by_node(known)
        counts = progress(artifacts)  # with what was learned of the index
        chains = artifacts.timeline.chains
        tries = [(str(task), attempt) for task, attempt in attempts_of_job(job)]
        attempts = {name: tuple(attempt for task, attempt in tries if task == name) for name in names[:MAX_LISTED]}
        return JobSnapshot(
            name=job.name,
            state=state,
            counts=counts,
            chains=(len(chains), sum(not chain.remaining for chain in chains)) if surveyed else None,
            rate=known.pace.rate if running else None,
            left=known.pace.left() if running else None,
            claims={claim.task: claim.owner.incarnation if claim.owner else claim.why for claim in claims},
            failed=tuple(names),
            attempts=attempts,
            blocked=tuple(blocked(artifacts, names)),
            troubles=dict(Counter(attempt.why for _, attempt in tries)),
            lacks=known.lacks,
            missing=known.missing,
            notes=tuple(dict.fromkeys((*(sanitize(note, 500) for note in artifacts.spec.notes), *index.notes))),
            evaluation=evaluated(job) if artifacts.spec.evaluate else None,
            film=str(
                self.share.layout.root / ("finished" in flags and job.flag_text("finished") or artifacts.spec.out)
            ),
            provenance=artifacts.spec.provenance or {},
            priority=job.priority(flags),
            latest=known.latest,
        )

    def _training_snapshot(self, job: Job, claims: list[Claim], alive: bool) -> JobSnapshot:
        """A snapshot of a job that learns styles."""
        from fav.pipeline.training_progress import learning_lines, training_progress

        flags, training = job.flags(), training_of(job)
        job.check_directories()
        now, names = training_progress(job, training), failed(job)
        state = status_of(flags, claims, names, alive)
        tries = [(str(task), attempt) for task, attempt in attempts_of_job(job)]
        styles = sum(chain.verdict is not None for chain in now.chains)
        return JobSnapshot(
            name=job.name,
            state=state,
            counts={
                "iteration": (now.done, now.total),
                "style": (styles, len(now.chains)),
                **({"film": (int(now.film is not None), 1)} if training.film else {}),
            },
            chains=None,
            rate=now.rate if state == JobStatus.RUNNING else None,
            left=now.left if state == JobStatus.RUNNING else None,
            claims={claim.task: claim.owner.incarnation if claim.owner else claim.why for claim in claims},
            failed=tuple(names),
            attempts={name: tuple(attempt for task, attempt in tries if task == name) for name in names[:MAX_LISTED]},
            blocked=(),
            troubles=dict(Counter(attempt.why for _, attempt in tries)),
            lacks="",
            missing=(),
            notes=tuple(sanitize(note, 500) for note in training.notes),
            evaluation=None,
            film=str(self.share.layout.root / ("finished" in flags and job.flag_text("finished") or training.outs[0])),
            provenance=training.provenance,
            priority=job.priority(flags),
            learning=tuple(learning_lines(now)),
        )

    def _known(self, job: Job, finished: bool) -> _Job:
        """What is known of a job. Starts again if it was finished or reopened, or if other results are missing."""
        from fav.pipeline.artifacts import JobArtifacts
        from fav.pipeline.repair import describe_missing

        known, now = self._jobs.get(job.manifest.id), self.share.system.monotonic()
        if known is None or finished != (known.counted is not None):
            known = self._jobs[job.manifest.id] = _Job(JobArtifacts(job))
        if finished and (known.counted is None or now - known.counted > RECOUNT_S):
            lacks, tasks = describe_missing(JobArtifacts(job), by_names=True)
            if lacks != known.lacks:
                known = self._jobs[job.manifest.id] = _Job(
                    JobArtifacts(job), lacks=lacks, missing=tuple(map(str, tasks))
                )
            known.counted = now
        return known

    def _count_frames_by_node(self, known: _Job) -> None:
        """Read from the headers of new frames which node made them."""
        from fav.util.images import HEAD_BYTES, png_text

        fresh = []
        for chain in known.artifacts.timeline.chains:
            before = known.done.get(chain.start)
            known.done[chain.start] = chain.done
            fresh += [
                stylize_task(chain, position)
                for position in range(chain.done if before is None else before, chain.done)
            ]
        ends = (stylize_task(run, run.done - 1) for run in reversed(known.artifacts.timeline.chains) if run.done)
        seen = reversed(fresh) if fresh or known.latest is not None else ends
        known.latest = next((task.number for task in seen if task.kind == "frame"), known.latest)
        for task in fresh[:MAX_HEADER_READS]:
            try:
                self._frames[png_text(read_head(known.artifacts.job, task, HEAD_BYTES)[0]).get("node", "?")] += 1
            except UserError:
                continue

    def _nodes(self, claims: dict[Job, list[Claim]]) -> tuple[NodeSnapshot, ...]:
        """All nodes, without their frames."""
        self._listen()
        held: dict[str, list[str]] = {}
        for job, some in claims.items():
            for claim in some:
                if claim.owner:
                    held.setdefault(claim.owner.incarnation, []).append(f"{job.name} {claim.task}")
        requests = control.pending(self.share) if self._identities else {}
        clock, now = self._detector.now(self._identities), self.share.system.monotonic()
        found = []
        for name, identity in self._identities.items():
            heard_s, tasks = self._age(name, clock, now), tuple(sorted(held.get(name, ())))
            state = self._state(identity, heard_s, requests.get(name), bool(tasks))
            found.append(
                NodeSnapshot(
                    name, identity.host, identity.pid, identity.about, state, heard_s, tasks, 0, None, identity.label
                )
            )
        return tuple(found)

    def _identity(self, name: str) -> Identity | None:
        try:
            return self._identities.get(name) or find_identity(self.share, name)
        except OSError:
            return None

    def _listen(self) -> None:
        """Poll every heartbeat."""
        self._detector.poll()
        names, now = sorted(self._detector.nodes()), self.share.system.monotonic()
        self._identities = {name: identity for name in names if (identity := self._identity(name)) is not None}
        for name in self._identities:
            beat, before = self._detector.renewed_at(name), self._heard.get(name)
            if beat is not None and (before is None or before.beat != beat):
                self._heard[name] = _Heartbeat(beat, now, renewed=before is not None)

    def _is_unsure(self, name: str) -> bool:
        """Whether a node of another machine may be silent, and only the server's clock can say so yet."""
        heard, now = self._heard[name], self.share.system.monotonic()
        return not (heard.renewed or self._identities[name].same_boot(self._detector.me) or now - heard.since >= SURE_S)

    def _age(self, name: str, clock: float, now: float) -> float:
        """Seconds since a node's heartbeat was renewed.

        If it did not change between polls, this uses an estimate of the server's clock (`FailureDetector.now`).
        """
        heard = self._heard[name]
        return now - heard.since if heard.renewed else max(now - heard.since, clock - heard.beat)

    def _state(self, identity: Identity, heard_s: float, request: ControlCommand | None, holds: bool) -> NodeStatus:
        if self._detector.process_gone(identity):
            return NodeStatus.DEAD
        if heard_s >= SURE_S and not identity.same_boot(self._detector.me):
            return NodeStatus.SILENT
        asked: dict[ControlCommand | None, NodeStatus] = {
            ControlCommand.STOP: NodeStatus.STOPPING,
            ControlCommand.DRAIN: NodeStatus.DRAINING,
        }
        return asked.get(request, NodeStatus.BUSY if holds else NodeStatus.WAITING)

    def _counted(self, nodes: tuple[NodeSnapshot, ...]) -> list[NodeSnapshot]:
        """The nodes with the number and rate of their frames."""
        now, found = self.share.system.monotonic(), []
        for node in nodes:
            pace = self._paces.setdefault(node.node, ThroughputEstimator())
            pace.observe(now, self._frames[node.node], 1)
            found.append(replace(node, frames=self._frames[node.node], rate=pace.rate))
        return found


def status_of(flags: set[str], claims: Collection[object], failed: Collection[str], alive: bool) -> JobStatus:
    """The state of a job.

    Args:
        flags: of the job.
        claims: its claims.
        failed: names of its failed tasks.
        alive: whether there is a live node.
    """
    for state in (JobStatus.FINISHED, JobStatus.CANCELLED, JobStatus.PAUSED):
        if state in flags:
            return state
    if claims:
        return JobStatus.RUNNING
    if any(Task.from_name(name).kind not in OPTIONAL_KINDS for name in failed):
        return JobStatus.FAILED
    return JobStatus.STARTING if alive else JobStatus.WAITING
