"""A snapshot in lines of text, for terminals, logs and files."""

from collections import Counter
from collections.abc import Sequence

from fav.monitor.snapshot import ALIVE, MAX_LISTED, JobSnapshot, JobStatus, NodeSnapshot, Snapshot
from fav.util.text import duration
from shared.attempts import summarize

JOB_HEADS = "job", "state", "frames", "done", "speed and time left", "submitted by"
ORDER = [  # of the jobs in a table
    JobStatus.RUNNING,
    JobStatus.FAILED,
    JobStatus.STARTING,
    JobStatus.WAITING,
    JobStatus.PAUSED,
    JobStatus.CANCELLED,
    JobStatus.FINISHED,
]


def count_words(done: int, total: int | None) -> str:
    """`3 of 10`; `3 of ?` if the total is unknown."""
    return f"{done} of {total if total is not None else '?'}"


def main_count(job: JobSnapshot) -> tuple[str, int, int | None]:
    """What a job consists of, for people, and how many are done and expected: frames, or iterations."""
    kind = "frame" if "frame" in job.counts else "iteration"
    return (f"{kind}s", *job.counts.get(kind, (0, None)))


def pace_words(rate: float | None, left: float | None) -> str:
    """The rate of a job in frames or iterations per second, and the time left; empty if both are unknown."""
    words = [f"{rate:.2f} a second"] if rate else []
    return ", ".join(words + ([f"{duration(left)} left"] if left is not None else []))


def failures(job: JobSnapshot, each: bool = False, verbose: bool = False) -> list[str]:
    """Lines about failed tasks, and about tasks that wait for them.

    Args:
        job: the job.
        each: one line per attempt.
        verbose: with the traceback of each attempt.
    """
    lines = []
    for name, tries in job.attempts.items():
        if not each:
            lines.append(f"{name} failed after {len(tries)} attempts: {summarize(list(tries))}")
            continue
        lines.append(f"{name} failed after {len(tries)} attempts: {tries[-1].cause if tries else '?'}")
        for attempt in tries:
            ignored = "" if attempt.counts else " (that node was unhealthy: it does not count)"
            lines.append(
                f"  {attempt.why} on node {attempt.who or '?'} of {attempt.host or '?'}{ignored}: {attempt.cause}"
            )
            lines += [f"    {line}" for line in attempt.detail.strip().splitlines()] if verbose else []
    more = len(job.failed) - len(job.attempts)
    return [*lines, *([f"{more} more task(s) failed"] if more else []), *job.blocked[:MAX_LISTED]]


def job_lines(job: JobSnapshot, verbose: bool = False) -> list[str]:
    """The lines of `status` about a job, except for its film."""
    lines = [f"{job.name}: {job.state}{'; ' * bool(job.lacks)}{job.lacks}"]
    for kind, (done, total) in job.counts.items():
        if kind != "flow" or done:
            pace = pace_words(job.rate, job.left) if kind in ("frame", "iteration") else ""
            lines.append(f"  {kind:<8} {count_words(done, total)}{'  ' * bool(pace)}{pace}")
    lines += [f"  {line}" for line in (*job.learning, *job.notes)]
    lines += [f"  {task} is being worked on by {node}" for task, node in job.claims.items()]
    return lines + [f"  {line}" for line in failures(job, each=True, verbose=verbose)]


def job_rows(jobs: Sequence[JobSnapshot]) -> list[tuple[str, ...]]:
    """Return one row of `JOB_HEADS` for each job: those that nodes work on first, the finished ones last."""
    rows = []
    for job in sorted(jobs, key=lambda job: (ORDER.index(job.state), job.name)):
        unit, done, total = main_count(job)
        rows.append(
            (
                job.name,
                f"{job.state}{', incomplete' if job.lacks else ''}",
                f"{count_words(done, total)}{'' if unit == 'frames' else f' {unit}'}",
                f"{100 * done // total} %" if total else "",
                pace_words(job.rate, job.left),
                job.provenance.get("by", ""),
            )
        )
    return rows


def problems(job: JobSnapshot) -> list[str]:
    """Return what a user has to know of a job beside its row in the table: lacks, failures and what waits for them."""
    return [f"{job.name}: {line}" for line in ([job.lacks] if job.lacks else []) + failures(job)]


def count_nodes(nodes: Sequence[NodeSnapshot]) -> str:
    """Return how many nodes there are in each state: `3 busy, 1 waiting`; empty if there are none."""
    return ", ".join(f"{count} {state}" for state, count in Counter(node.state for node in nodes).items())


def node_line(node: NodeSnapshot) -> str:
    """The line of `status` about a node."""
    return f"node {node.node}: {node.state} (heartbeat renewed {duration(node.heard_s)} ago)"


def lines(now: Snapshot) -> list[str]:
    """The output of `status --watch` without a terminal: a line per node and a line per job."""
    working = sum(bool(node.tasks) and node.state in ALIVE for node in now.nodes)
    found = [f"node {node.node}: {node.state}" for node in now.nodes]
    for job in now.jobs:
        unit, done, total = main_count(job)
        parts = [
            f"{job.name}: {job.state}",
            job.lacks,
            f"{count_words(done, total)} {unit}",
            pace_words(job.rate, job.left),
            f"{working} of {len(now.nodes)} nodes at work" if job.state == JobStatus.RUNNING else "",
            f"{len(job.failed)} failed" if job.failed else "",
        ]
        found.append(", ".join(filter(None, parts)))
        found += [f"  {line}" for line in job.learning]
    return found + [f"error: {complaint}" for complaint in now.complaints]
