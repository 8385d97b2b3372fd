"""What is going on under a shared directory: jobs and nodes, read off it again and again at little cost."""

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from fav.monitor.eta import ThroughputEstimator, seconds_left, stitching
from fav.pipeline.artifacts import DamagedFileError, JobArtifacts
from fav.pipeline.progress import progress, standing
from fav.pipeline.repair import lack, reopen_missing
from fav.pipeline.task_names import PAINTED, painting_task
from fav.util.images import HEAD_BYTES, png_text
from shared import control
from shared.attempts import Attempt, failed, in_words, of_job, of_task, reopen
from shared.claims import claimed
from shared.control import ControlCommand, give
from shared.errors import JobQueueError, JobRemovedError, ResultVanishedError, UserError
from shared.failure_detector import FailureDetector
from shared.identity import identities, node_named, read_identity
from shared.jobs import OVER, Job, all_jobs
from shared.notify import ringing
from shared.paths import Task
from shared.results import head
from shared.settings import HEARTBEAT_S
from shared.shared_dir import SharedDir, open_share

MOST_HEADS = 200  # frames whose maker is asked for in one look
COUNT_AGAIN_S = 60.0  # how often the results of a finished job are counted anew: somebody may have removed some
MOST_TOLD = 20  # failed tasks that are told one by one


@dataclass(frozen=True)
class JobSnapshot:
    """`counts` are results published and expected by kind (None: not known yet); `rate` in frames a second, `left` in
    seconds, None where nothing can be said. `chains` are shots, or chunks of them: all, and those that are done. `troubles`
    counts attempts that came to nothing, by why; `failed` and `missing` are names of tasks, the latter of a finished job;
    `lacks` tells these in words, with their cure."""

    name: str
    state: str
    counts: dict[str, tuple[int, int | None]]
    chains: tuple[int, int]
    rate: float | None
    left: float | None
    failed: tuple[str, ...]
    troubles: dict[str, int]
    lacks: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeSnapshot:
    """`heard` is seconds since its heartbeat was seen to change; `tasks` what it holds, `frames` those that were seen to
    come from it, `rate` how many of them a second."""

    name: str
    host: str
    about: str
    state: str
    heard: float
    tasks: tuple[str, ...]
    frames: int
    rate: float | None


@dataclass(frozen=True)
class Snapshot:
    jobs: tuple[JobSnapshot, ...]
    nodes: tuple[NodeSnapshot, ...]
    complaints: tuple[str, ...] = ()


@dataclass
class _Job:
    """What is remembered of a job between two looks."""

    shelf: JobArtifacts
    pace: ThroughputEstimator = field(default_factory=ThroughputEstimator)
    done: dict[int, int] = field(default_factory=dict)  # frames that were done of each run, by its first frame
    lacks: str = ""  # of a finished job
    missing: tuple[str, ...] = ()
    counted: float | None = None  # when that was found out, None for a job that is not finished


class SnapshotReader:
    """Looks at the jobs of a share, or at the one of a name."""

    def __init__(self, share: SharedDir, only: str | None = None):
        self.share, self.only = share, only
        self._jobs: dict[str, _Job] = {}
        self._observer = FailureDetector(share)
        self._heard: dict[str, tuple[int, float]] = {}  # the heartbeat's time by the server's clock, and when by ours
        self._frames: Counter[str] = Counter()  # by node
        self._paces: dict[str, ThroughputEstimator] = {}  # by node

    def look(self) -> Snapshot:
        """Everything as it is now. JobQueueError where the directory cannot be read."""
        complaints: list[str] = []
        owners: dict[str, list[str]] = {}
        jobs = []
        for job in all_jobs(self.share, complaints.append):
            if self.only is None or job.name == self.only:
                try:
                    jobs.append(self._look_at(job, owners))
                except (JobRemovedError, ResultVanishedError):
                    continue  # cleaned meanwhile
                except UserError as error:
                    complaints.append(str(error))
        return Snapshot(tuple(jobs), tuple(self._nodes(owners)), tuple(complaints))

    def pause_or_resume(self) -> list[str]:
        """Pause the jobs that are looked at and not over, or let them go on where all of them are paused; what was done."""
        share = self._to_change()
        jobs = {job: marks for job in self._its_jobs(share) if not (marks := job.marks()) & OVER}
        pausing, told = any("paused" not in marks for marks in jobs.values()), []
        with ringing(share) as node:
            for job in jobs:
                if pausing:
                    job.mark(node, "paused")
                else:
                    job.unmark("paused")
                told.append(f"{job.name} {'is paused' if pausing else 'goes on'}")
        return told

    def retry(self) -> int:
        """Open all failed tasks of the jobs that are looked at anew, and what finished ones lack; how many there were."""
        share = self._to_change()
        count = sum(reopen(job) for job in self._its_jobs(share))
        lacking = [known for known in self._jobs.values() if known.missing]
        with ringing(share) as node:
            for known in lacking:
                reopen_missing(node, Job(share, known.shelf.job.manifest))
        return count + sum(len(known.missing) for known in lacking)

    def _its_jobs(self, share: SharedDir) -> list[Job]:
        return [job for job in all_jobs(share) if self.only in (None, job.name)]

    def _to_change(self) -> SharedDir:
        """The share, opened to write: one that was opened to look knows neither its modes nor its hard links. JobQueueError."""
        return open_share(self.share.layout.root, new=False) if self.share.read_only else self.share

    def drain(self, node: str) -> None:
        """Ask a node to finish its task and leave."""
        give(self._to_change(), node, ControlCommand.DRAIN)

    def _look_at(self, job: Job, owners: dict[str, list[str]]) -> JobSnapshot:
        marks = job.marks()
        known = self._known(job, "finished" in marks)
        shelf = known.shelf
        with suppress(DamagedFileError):  # `lacks` tells of it, or else nodes will see to it
            shelf.refresh()
        shelf.survey()
        claims, painters = claimed(job), 0
        for name, path in claims.items():
            painters += Task.named(name).kind in PAINTED
            try:
                owner = read_identity(self.share, path)
            except (JobQueueError, OSError):
                continue
            if owner:
                owners.setdefault(owner.incarnation, []).append(f"{job.name}: {name.replace('.', ' ', 1)}")
        counts, names = progress(shelf), failed(job)
        total, runs = counts["frame"][1], shelf.timeline.runs
        known.pace.see(time.monotonic(), sum(run.done for run in runs), painters)
        self._credit(known)
        state = standing(marks, claims, names)
        left = None
        if state == "running" and total is not None:
            stitch_s = stitching(total, (shelf.spec.width, shelf.spec.height))
            left = seconds_left([run.left for run in runs if run.left], known.pace, stitch_s)
        troubles = Counter(attempt.why for _, attempt in of_job(job))
        return JobSnapshot(job.name, state, counts, (len(runs), sum(not run.left for run in runs)),
                      known.pace.rate if state == "running" else None, left, tuple(names), dict(troubles),
                      known.lacks, known.missing)

    def _known(self, job: Job, finished: bool) -> _Job:
        """What is known of a job; from the beginning where it is finished by now, or is not any more, or lacks something else."""
        known, now = self._jobs.get(job.manifest.id), time.monotonic()
        if known is None or finished != (known.counted is not None):
            known = self._jobs[job.manifest.id] = _Job(JobArtifacts(job))
        if finished and (known.counted is None or now - known.counted > COUNT_AGAIN_S):
            lacks, tasks = lack(JobArtifacts(job), by_names=True)
            if lacks != known.lacks:
                known = self._jobs[job.manifest.id] = _Job(JobArtifacts(job), lacks=lacks, missing=tuple(map(str, tasks)))
            known.counted = now
        return known

    def _credit(self, known: _Job) -> None:
        """Ask frames that have come since the last look who made them."""
        fresh = []
        for run in known.shelf.timeline.runs:
            before = known.done.get(run.start)
            known.done[run.start] = run.done
            fresh += [painting_task(run, position) for position in range(run.done if before is None else before, run.done)]
        for task in fresh[:MOST_HEADS]:
            try:
                self._frames[png_text(head(known.shelf.job, task, HEAD_BYTES)[0]).get("node", "?")] += 1
            except UserError:
                continue

    def _nodes(self, owners: dict[str, list[str]]) -> list[NodeSnapshot]:
        self._observer.look()
        now, found = time.monotonic(), []
        for name in sorted(self._observer.nodes()):
            path = self.share.layout.heart(name)
            try:
                identity, beat = node_named(self.share, name), self.share.system.mtime(path)
            except OSError:
                continue
            if identity is None:
                continue
            seen, since = self._heard.get(name, (None, now))
            if seen != beat:
                since = now
            self._heard[name] = beat, since
            pace = self._paces.setdefault(name, ThroughputEstimator())
            pace.see(now, self._frames[name], 1)
            state = "dead" if self._observer.process_gone(identity) else "working" if name in owners else "waiting"
            tasks = tuple(sorted(owners.get(name, ())))
            found.append(NodeSnapshot(name, identity.host, identity.about, state, now - since, tasks, self._frames[name], pace.rate))
        return found


def _told(share: SharedDir) -> list[dict]:
    observer, known, ordered = FailureDetector(share), identities(share), control.given(share)
    observer.look()
    heard = _listen(observer, {name for name, identity in known.items() if not identity.lived_here(observer.me)})
    tasks, told, now = _tasks(share), [], observer.now()
    for name, identity in known.items():
        if observer.silence(name) is None:
            continue  # it has left
        gone, local = observer.process_gone(identity), identity.lived_here(observer.me)
        state = "dead" if gone else "alive" if local or name in heard else "silent"
        if name in ordered and state != "dead":
            state = {ControlCommand.DRAIN: "to leave after its task", ControlCommand.STOP: "to leave at once"}[ordered[name]]
        try:
            age = max(now - share.system.mtime(share.layout.heart(name)) / 1e9, 0.0)
        except FileNotFoundError:
            continue
        told.append({"node": name, "host": identity.host, "pid": identity.pid, "device": identity.about,
                     "tasks": tasks.get(name, []), "heard_s": age, "state": state})
    return told


def _listen(observer: FailureDetector, strangers: set[str]) -> set[str]:
    """Those of these nodes whose heart has beaten while we looked."""
    heard: set[str] = set()
    for _ in range(round(3 * HEARTBEAT_S)):
        if strangers <= heard:
            break
        observer.share.system.sleep(1.0)
        observer.look()
        heard |= {name for name in strangers if observer.silence(name) == 0.0}
    return heard


def _tasks(share: SharedDir) -> dict[str, list[str]]:
    """What each node has claimed."""
    found: dict[str, list[str]] = {}
    for job in all_jobs(share):
        for task, path in claimed(job).items():
            try:
                owner = read_identity(share, path)
            except (OSError, JobQueueError):
                continue
            if owner is not None:
                found.setdefault(owner.incarnation, []).append(f"{job.name} {task}")
    return found


def state_of(job: Job, nodes_live: bool) -> dict:
    from fav.pipeline.artifacts import JobArtifacts
    from fav.pipeline.progress import WAITING, blocked, evaluated, progress, standing
    from fav.pipeline.repair import lack

    job.check_directories()
    marks, shelf, names = job.marks(), JobArtifacts(job), failed(job)
    owners = {}
    for name, path in claimed(job).items():
        try:
            owner = read_identity(job.share, path)
            owners[name] = owner.incarnation if owner else "?"
        except JobQueueError as error:
            owners[name] = str(error)
    state = standing(marks, owners, names, "nodes are getting ready" if nodes_live else WAITING)
    lacks, missing = lack(shelf, by_names=True) if state == "finished" else ("", [])
    return {"name": job.name, "state": state, "lacks": lacks, "missing": [str(task) for task in missing],
            "counts": progress(shelf), "notes": list(shelf.extent().notes), "claims": owners, "failed": names,
            "attempts": {name: [vars(attempt) for attempt in of_task(job, Task.named(name))] for name in names[:MOST_TOLD]},
            "blocked": blocked(shelf, names), "evaluation": evaluated(job) if shelf.spec.evaluate else None,
            "film": str(job.share.layout.root / (job.word("finished") or shelf.spec.out))}


def nodes_of(share: SharedDir) -> list[dict]:
    observer = FailureDetector(share)
    observer.look()
    now = observer.now()
    found = []
    for name in observer.nodes():
        path = share.layout.heart(name)
        try:
            identity = node_named(share, name)
            heard = max(now - share.system.mtime(path) / 1e9, 0.0)
        except OSError:
            continue
        if identity is not None:
            state = "dead" if observer.process_gone(identity) else "running"
            found.append({"node": name, "host": identity.host, "pid": identity.pid, "about": identity.about, "state": state, "heard_s": heard})
    return found


def failures(state: dict, each: bool = False, verbose: bool = False) -> list[str]:
    """What failed, why, and what waits for it; `each` attempt in a line of its own, `verbose` with its traceback."""
    lines = []
    for name, fields in state["attempts"].items():
        tries = [Attempt(**attempt) for attempt in fields]
        if not each:
            lines.append(f"{name} failed after {len(tries)} attempts: {in_words(tries)}")
            continue
        lines.append(f"{name} failed after {len(tries)} attempts: {tries[-1].cause if tries else '?'}")
        for attempt in tries:
            sick = "" if attempt.counts else " (that node was found sick: it does not count)"
            lines.append(f"  {attempt.why} on node {attempt.who or '?'} of {attempt.host or '?'}{sick}: {attempt.cause}")
            lines += [f"    {line}" for line in attempt.detail.strip().splitlines()] if verbose else []
    more = len(state["failed"]) - len(state["attempts"])
    return [*lines, *([f"{more} more task(s) failed"] if more else []), *state["blocked"][:MOST_TOLD]]
