"""What is going on under a shared directory, read off it at little cost: one snapshot, which every view only renders.

Nothing is changed by looking. `fav/monitor/schema.py` makes JSON of a snapshot; docs/reference/status-json.md documents each field.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum

from fav.errors import sanitize
from fav.monitor.eta import ThroughputEstimator
from fav.monitor.pace import JobPace
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.job_files import open_share
from fav.pipeline.progress import blocked, evaluated, progress
from fav.pipeline.repair import describe_missing, reopen_missing
from fav.pipeline.task_names import OPTIONAL_KINDS, stylize_task
from fav.util.images import HEAD_BYTES, png_text
from shared import control
from shared.attempts import Attempt, attempts_of_job, failed, reopen
from shared.claims import Claim, claims_of
from shared.control import ControlCommand, send
from shared.errors import JobRemovedError, UserError
from shared.failure_detector import SURE_S, FailureDetector
from shared.identity import Identity, find_identity
from shared.jobs import TERMINAL_FLAGS, Job, all_jobs
from shared.notify import notify_on_exit
from shared.paths import Task
from shared.results import read_head
from shared.shared_dir import SharedDir

MAX_HEADER_READS = 200  # frames whose maker is asked for in one look
RECOUNT_S = 60.0  # how often the results of a finished job are counted anew: somebody may have removed some
MAX_LISTED = 20  # failed tasks that are told one by one
MAX_SEGMENTS = (
    1000  # of an index (100 000 frames): a single look reads no longer one, though that would tell the time left
)
LISTEN_S = 1.0  # between two looks while nodes are listened to
MAX_LISTENS = round(SURE_S / LISTEN_S) + 1


class JobStatus(StrEnum):
    """How a job stands. A mark that somebody set comes first, then what is claimed and what has failed."""

    FINISHED = "finished"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    RUNNING = "running"  # some of its tasks are claimed
    FAILED = "failed"  # nothing is claimed, and a task that the film needs has failed
    STARTING = "nodes are getting ready"  # nothing is claimed yet, but there are nodes
    WAITING = "waiting for nodes"


class NodeStatus(StrEnum):
    """What a node does. Of several words that fit, the first one here counts."""

    DEAD = "dead"  # it ran on this machine, and its process is gone
    SILENT = "silent"  # of another machine; no heartbeat for SURE_S: it may be dead, or cut off
    STOPPING = "stopping"  # it was asked to leave at once
    DRAINING = "draining"  # it was asked to finish its task and leave
    BUSY = "busy"  # it has claimed tasks
    WAITING = "waiting"  # for a task that it can do


ALIVE = frozenset(NodeStatus) - {NodeStatus.DEAD, NodeStatus.SILENT}


@dataclass(frozen=True)
class JobSnapshot:
    """A job at one moment.

    `priority` is as `prioritize` set it. `latest` is the number of a frame that was stylized last, as far as that was seen:
    None in a single look, and before there is one. `counts` are results published and expected by kind (None: not known yet). `chains` are shots, or chunks of them: all,
    and those that are done; None where a single look did not need to know. `rate` is in frames a second and `left` in
    seconds, None where nothing can be said. `claims` has the node that holds each task, or what keeps it from being told.
    `failed` and `missing` are names of tasks, the latter of a finished job; `lacks` tells these in words, with their cure.
    `attempts` are those of the first failed tasks, `troubles` counts all attempts that came to nothing, by why. `blocked`
    tells what waits for failed tasks. `film` is where the film is, or will be. `provenance` is as in
    `fav.pipeline.provenance`, empty for a job of a version that did not record it.
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


@dataclass(frozen=True)
class NodeSnapshot:
    """A node at one moment.

    `about` is its device and numeric class, `heard_s` seconds since its heartbeat was renewed. `tasks` is what it holds, of
    all jobs. `frames` counts those that were seen to come from it, `rate` how many of them a second; a single look sees none.
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


@dataclass(frozen=True)
class Snapshot:
    """Jobs and nodes of a shared directory at one moment; `complaints` are about what could not be read."""

    jobs: tuple[JobSnapshot, ...]
    nodes: tuple[NodeSnapshot, ...]
    complaints: tuple[str, ...] = ()


@dataclass
class _Job:
    """What is remembered of a job between two looks."""

    artifacts: JobArtifacts
    pace: JobPace = field(init=False)
    done: dict[int, int] = field(default_factory=dict)  # frames that were done of each run, by its first frame
    lacks: str = ""  # of a finished job
    missing: tuple[str, ...] = ()
    counted: float | None = None  # when that was found out, None for a job that is not finished
    latest: int | None = None  # the number of a frame that was stylized last

    def __post_init__(self):
        self.pace = JobPace(self.artifacts)


@dataclass
class _Heartbeat:
    """The last heartbeat of a node that was seen: its time by the server's clock, and when by ours it was seen first.

    `renewed`: it came while we looked, so how old it is can be told without the server's clock.
    """

    beat: float
    since: float
    renewed: bool = False


class SnapshotReader:
    """Looks at the jobs of a share, or at the one of a name.

    `once`: there will be one look. Then it reads the index of a film only where that tells the time left.
    """

    def __init__(self, share: SharedDir, only: str | None = None, once: bool = False):
        self.share, self.only, self.once = share, only, once
        self._jobs: dict[str, _Job] = {}
        self._detector = FailureDetector(share)
        self._identities: dict[str, Identity] = {}  # by node; what is in a heartbeat file never changes
        self._heard: dict[str, _Heartbeat] = {}  # by node
        self._frames: Counter[str] = Counter()  # by node
        self._paces: dict[str, ThroughputEstimator] = {}  # by node

    def read(self) -> Snapshot:
        """Everything as it is now. OSError or JobQueueError where the directory cannot be read."""
        complaints: list[str] = []
        claims = self._claims(complaints)
        jobs, nodes = [], self._nodes(claims)
        alive = any(node.state in ALIVE for node in nodes)
        for job, held in claims.items():
            if self.only is None or job.name == self.only:
                try:
                    jobs.append(self._look_at(job, held, alive))
                except UserError as error:
                    if isinstance(error, JobRemovedError) and job.name not in self.share.system.list(
                        self.share.layout.by_name
                    ):
                        continue  # cleaned meanwhile
                    complaints.append(f"{job.name}: {str(error).removeprefix(f'{job.name}: ')}")
        return Snapshot(tuple(jobs), tuple(self._counted(nodes)), tuple(complaints))

    def nodes(self) -> Snapshot:
        """The nodes, and no job. Those of other machines are listened to until each has renewed its heartbeat, or would be silent."""
        self._listen()
        for _ in range(MAX_LISTENS):
            if not any(map(self._is_unsure, self._identities)):
                break
            self.share.system.sleep(LISTEN_S)
            self._listen()
        complaints: list[str] = []
        return Snapshot((), self._nodes(self._claims(complaints)), tuple(complaints))

    def state(self, job: Job) -> JobStatus:
        """How one job stands, and nothing else. OSError or JobQueueError where that cannot be read."""
        claims = claims_of(job)
        nodes = self._nodes({job: claims})
        return status_of(job.flags(), claims, failed(job), any(node.state in ALIVE for node in nodes))

    def job(self, job: Job) -> JobSnapshot:
        """One job alone, where no node is left. UserError where it cannot be read."""
        return self._look_at(job, claims_of(job), alive=False)

    def pause_or_resume(self) -> list[str]:
        """Pause the jobs that are looked at and not over, or let them go on where all of them are paused; what was done."""
        share = self._to_change()
        jobs = {job: flags for job in self._its_jobs(share) if not (flags := job.flags()) & TERMINAL_FLAGS}
        pausing, told = any("paused" not in flags for flags in jobs.values()), []
        with notify_on_exit(share) as node:
            for job in jobs:
                if pausing:
                    job.set_flag(node, "paused")
                else:
                    job.clear_flag("paused")
                told.append(f"{job.name} {'is paused' if pausing else 'goes on'}")
        return told

    def retry(self) -> int:
        """Open all failed tasks of the jobs that are looked at anew, and what finished ones lack; how many there were."""
        share = self._to_change()
        count = sum(reopen(job) for job in self._its_jobs(share))
        lacking = [known for known in self._jobs.values() if known.missing]
        with notify_on_exit(share) as node:
            for known in lacking:
                reopen_missing(node, Job(share, known.artifacts.job.manifest))
        return count + sum(len(known.missing) for known in lacking)

    def _its_jobs(self, share: SharedDir) -> list[Job]:
        return [job for job in all_jobs(share) if self.only in (None, job.name)]

    def _to_change(self) -> SharedDir:
        """The share, opened to write: one that was opened to look knows neither its modes nor its hard links. JobQueueError."""
        return open_share(self.share.layout.root, new=False) if self.share.read_only else self.share

    def drain(self, node: str) -> None:
        """Ask a node to finish its task and leave."""
        send(self._to_change(), node, ControlCommand.DRAIN)

    def _claims(self, complaints: list[str]) -> dict[Job, list[Claim]]:
        """All jobs with what is claimed of them. Complaints are about the jobs that are looked at."""
        jobs = all_jobs(self.share, complaints.append if self.only is None else lambda line: None)
        return {job: claims_of(job) for job in jobs}

    def _look_at(self, job: Job, claims: list[Claim], alive: bool) -> JobSnapshot:
        flags, now = job.flags(), self.share.system.monotonic()
        if job.manifest.id not in self._jobs:
            job.check_directories()
        known = self._known(job, "finished" in flags)
        artifacts = known.artifacts
        counts, names = progress(artifacts), failed(job)
        state = status_of(flags, claims, names, alive)
        running, extent = state == JobStatus.RUNNING, artifacts.index_progress()
        surveyed = not self.once or running and extent.pieces <= MAX_SEGMENTS
        if surveyed:
            known.pace.poll(now, [claim.task for claim in claims])
            self._count_frames_by_node(known)
        runs = artifacts.timeline.chains
        tries = [(str(task), attempt) for task, attempt in attempts_of_job(job)]
        told = {name: tuple(attempt for task, attempt in tries if task == name) for name in names[:MAX_LISTED]}
        return JobSnapshot(
            name=job.name,
            state=state,
            counts=counts,
            chains=(len(runs), sum(not run.remaining for run in runs)) if surveyed else None,
            rate=known.pace.rate if running else None,
            left=known.pace.left() if running else None,
            claims={claim.task: claim.owner.incarnation if claim.owner else claim.why for claim in claims},
            failed=tuple(names),
            attempts=told,
            blocked=tuple(blocked(artifacts, names)),
            troubles=dict(Counter(attempt.why for _, attempt in tries)),
            lacks=known.lacks,
            missing=known.missing,
            notes=tuple(dict.fromkeys((*(sanitize(note, 500) for note in artifacts.spec.notes), *extent.notes))),
            evaluation=evaluated(job) if artifacts.spec.evaluate else None,
            film=str(
                self.share.layout.root / ("finished" in flags and job.flag_text("finished") or artifacts.spec.out)
            ),
            provenance=artifacts.spec.provenance or {},
            priority=job.priority(flags),
            latest=known.latest,
        )

    def _known(self, job: Job, finished: bool) -> _Job:
        """What is known of a job; from the beginning where it is finished by now, or is not any more, or lacks something else."""
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
        """Ask frames that have come since the last look who made them."""
        fresh = []
        for run in known.artifacts.timeline.chains:
            before = known.done.get(run.start)
            known.done[run.start] = run.done
            fresh += [
                stylize_task(run, position) for position in range(run.done if before is None else before, run.done)
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
        """All nodes, whose frames are not counted yet."""
        self._listen()
        held: dict[str, list[str]] = {}
        for job, some in claims.items():
            for claim in some:
                if claim.owner:
                    held.setdefault(claim.owner.incarnation, []).append(f"{job.name} {claim.task}")
        orders = control.pending(self.share) if self._identities else {}
        clock, now = self._detector.now(self._identities), self.share.system.monotonic()
        found = []
        for name, identity in self._identities.items():
            heard_s, tasks = self._age(name, clock, now), tuple(sorted(held.get(name, ())))
            state = self._state(identity, heard_s, orders.get(name), bool(tasks))
            found.append(
                NodeSnapshot(name, identity.host, identity.pid, identity.about, state, heard_s, tasks, 0, None)
            )
        return tuple(found)

    def _identity(self, name: str) -> Identity | None:
        try:
            return self._identities.get(name) or find_identity(self.share, name)
        except OSError:
            return None

    def _listen(self) -> None:
        """Look at every heartbeat."""
        self._detector.poll()
        names, now = sorted(self._detector.nodes()), self.share.system.monotonic()
        self._identities = {name: identity for name in names if (identity := self._identity(name)) is not None}
        for name in self._identities:
            beat, before = self._detector.renewed_at(name), self._heard.get(name)
            if beat is not None and (before is None or before.beat != beat):
                self._heard[name] = _Heartbeat(beat, now, renewed=before is not None)

    def _is_unsure(self, name: str) -> bool:
        """Whether nothing but the server's clock tells yet if a node of another machine is silent."""
        heard, now = self._heard[name], self.share.system.monotonic()
        return not (heard.renewed or self._identities[name].same_boot(self._detector.me) or now - heard.since >= SURE_S)

    def _age(self, name: str, clock: float, now: float) -> float:
        """Seconds since a node's heartbeat was renewed. Where it did not change while we looked, the server's clock tells that,
        as far as it is known to somebody who does not write to the share."""
        heard = self._heard[name]
        return now - heard.since if heard.renewed else max(now - heard.since, clock - heard.beat)

    def _state(self, identity: Identity, heard_s: float, order: ControlCommand | None, holds: bool) -> NodeStatus:
        if self._detector.process_gone(identity):
            return NodeStatus.DEAD
        if heard_s >= SURE_S and not identity.same_boot(self._detector.me):
            return NodeStatus.SILENT
        asked: dict[ControlCommand | None, NodeStatus] = {
            ControlCommand.STOP: NodeStatus.STOPPING,
            ControlCommand.DRAIN: NodeStatus.DRAINING,
        }
        return asked.get(order, NodeStatus.BUSY if holds else NodeStatus.WAITING)

    def _counted(self, nodes: tuple[NodeSnapshot, ...]) -> list[NodeSnapshot]:
        """The nodes with the frames that were seen to come from them."""
        now, found = self.share.system.monotonic(), []
        for node in nodes:
            pace = self._paces.setdefault(node.node, ThroughputEstimator())
            pace.observe(now, self._frames[node.node], 1)
            found.append(replace(node, frames=self._frames[node.node], rate=pace.rate))
        return found


def status_of(flags: set[str], claims: Collection[object], failed: Collection[str], alive: bool) -> JobStatus:
    """How a job stands: by its marks, what is claimed of it, the names of its failed tasks, and whether a node is `alive`."""
    for state in (JobStatus.FINISHED, JobStatus.CANCELLED, JobStatus.PAUSED):
        if state in flags:
            return state
    if claims:
        return JobStatus.RUNNING
    if any(Task.from_name(name).kind not in OPTIONAL_KINDS for name in failed):
        return JobStatus.FAILED
    return JobStatus.STARTING if alive else JobStatus.WAITING
