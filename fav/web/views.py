"""What a page shows of a job or a node, as plain values; pure."""

from collections import Counter
from collections.abc import Mapping

from fav.errors import sanitize
from fav.monitor.snapshot import ALIVE, JobSnapshot, JobStatus, NodeSnapshot, NodeStatus, Snapshot
from fav.monitor.text import count_words, failures, main_count
from fav.util.text import duration

MOST_LINES = 8  # maximum number of failures and notes of one job
ORDER = {  # of jobs: those that need attention come first
    JobStatus.FAILED: 0,
    JobStatus.RUNNING: 1,
    JobStatus.STARTING: 2,
    JobStatus.WAITING: 3,
    JobStatus.PAUSED: 4,
    JobStatus.FINISHED: 5,
    JobStatus.CANCELLED: 6,
}
ACTIONS = {  # the actions that apply to a job, by its state
    JobStatus.FAILED: ("retry", "pause", "cancel"),
    JobStatus.RUNNING: ("pause", "cancel"),
    JobStatus.STARTING: ("pause", "cancel"),
    JobStatus.WAITING: ("pause", "cancel"),
    JobStatus.PAUSED: ("resume", "cancel"),
    JobStatus.FINISHED: ("clean",),
    JobStatus.CANCELLED: ("retry", "clean"),
}
WORDS = {JobStatus.STARTING: "getting ready", JobStatus.WAITING: "waiting for a machine"}


def cards(now: Snapshot) -> dict[str, dict]:
    """All cards of a snapshot, by `job:NAME`, `node:NAME` and `now`."""
    hosts = {node.node: node.machine for node in now.nodes}
    alive = [node for node in now.nodes if node.state in ALIVE]
    words = {**WORDS, JobStatus.STARTING: "next in line"} if alive and all(node.tasks for node in alive) else WORDS
    found = {f"job:{job.name}": job_card(job, hosts, words) for job in now.jobs}
    found |= {f"node:{node.node}": node_card(node) for node in now.nodes}
    return {**found, "now": summary(now, words)}


def summary(now: Snapshot, words: Mapping[JobStatus, str] = WORDS) -> dict:
    """The summary at the top of the pages. `words` replaces the names of some states."""
    states = Counter(job.state for job in now.jobs)
    alive = [node for node in now.nodes if node.state in ALIVE]
    working = sum(bool(node.tasks) for node in alive)
    parts = [f"{states[state]} {words.get(state, str(state))}" for state in ORDER if states[state]]
    return {
        "kind": "now",
        "jobs": ", ".join(parts) or "no films yet",
        "nodes": _machines(len(alive), working),
        "none": not alive,
        "complaints": [sanitize(line, 500) for line in now.complaints[:MOST_LINES]],
    }


def job_card(job: JobSnapshot, hosts: Mapping[str, str], words: Mapping[JobStatus, str] = WORDS) -> dict:
    """The card of one job. `hosts` has the host of each node; `words` as for `summary`."""
    unit, done, total = main_count(job)
    lines = [*failures(job), *([job.lacks] if job.lacks else []), *job.learning, *job.notes]
    actions = ACTIONS[job.state]
    if job.state == JobStatus.FINISHED and job.missing:
        actions = ("retry", *actions)
    elif job.failed and "retry" not in actions:
        actions = ("retry", *actions)
    return {
        "kind": "job",
        "name": job.name,
        "state": job.state.name.lower(),
        "words": words.get(job.state, str(job.state)),
        "order": ORDER[job.state],
        "priority": job.priority,
        "done": done,
        "total": total or 0,
        "frames": f"{count_words(done, total)} {unit}",
        "percent": round(100 * done / total) if total else 0,
        "rate": f"{job.rate:.2f} {unit} a second" if job.rate else "",
        "left": f"{duration(job.left)} left" if job.left is not None else "",
        "who": _who(job, hosts),
        "latest": job.latest,
        "lines": [sanitize(line, 500) for line in lines[:MOST_LINES]],
        "actions": list(actions),
        "finished": job.state == JobStatus.FINISHED,
    }


def node_card(node: NodeSnapshot) -> dict:
    """The card of one node."""
    heard = f"last heard of {duration(node.heard_s)} ago" if node.state == NodeStatus.SILENT else ""
    return {
        "kind": "node",
        "name": node.node,
        "host": node.machine,
        "about": node.about,
        "state": node.state.name.lower(),
        "words": str(node.state),
        "tasks": ", ".join(node.tasks[:4]) + (f" and {len(node.tasks) - 4} more" if len(node.tasks) > 4 else ""),
        "frames": f"{node.frames} frames seen" if node.frames else "",
        "rate": f"{node.rate:.2f} a second" if node.rate else "",
        "heard": heard,
        "alive": node.state in ALIVE,
    }


def _who(job: JobSnapshot, hosts: Mapping[str, str]) -> str:
    """The machines that work on a job."""
    working = sorted({hosts.get(node, node) for node in job.claims.values()})
    if not working:
        return ""
    more = len(working) - 3
    return "on " + ", ".join(working[:3]) + (f" and {more} more" if more > 0 else "")


def _machines(alive: int, working: int) -> str:
    if not alive:
        return "no machine is there"
    return f"{alive} machine{'s' * (alive != 1)}, {working} at work"
