"""A node's record of its own failures. It survives the worker process.

A task that failed here is left to the other nodes for a while. The node then tests itself on a task that another node
has done. If it fails there, and again in a fresh process, the node is unhealthy and the task is not at fault.
"""

from dataclasses import dataclass, field

BACKOFF_S = 60.0  # how long a task that failed here once is left to the other nodes, which may be busy
LAST_BACKOFF_S = 300.0  # how long the third and last attempt is left to them
MAX_FAILURES_IN_A_ROW = 3  # failed attempts in a row before this node leaves the whole kind of task to the others, ...
KIND_BACKOFF_S = 20.0  # ... for this long; by then they have done a task that it can test itself on
MAX_SELF_TESTS = 2


@dataclass
class TaskFailures:
    """This node's failed attempts at one task, and the time of the last one in seconds of the monotonic clock."""

    times: int = 0
    when: float = 0.0


@dataclass
class KindSuspicion:
    """The failures of one kind of task on this node since its last success.

    Attributes:
        task: the task that failed last.
        why: the reason of its failure.
        in_a_row: the number of failures.
        when: the time of the last failure, in seconds of the monotonic clock.
        self_tests: the number of failed self-tests.
    """

    task: str = ""
    why: str = ""
    in_a_row: int = 0
    when: float = 0.0
    self_tests: int = 0


@dataclass
class NodeHealth:
    """A node's failures, by job id and by task or kind. `self_test` is the job id and kind of a self-test in progress."""

    failures: dict[str, dict[str, TaskFailures]] = field(default_factory=dict)
    suspicions: dict[str, dict[str, KindSuspicion]] = field(default_factory=dict)
    self_test: tuple[str, str] | None = None

    def failed(self, job: str, task: str, why: str, now: float) -> None:
        failure = self.failures.setdefault(job, {}).setdefault(task, TaskFailures())
        failure.times, failure.when = failure.times + 1, now
        suspicion = self.suspicions.setdefault(job, {}).setdefault(_kind(task), KindSuspicion())
        suspicion.task, suspicion.why, suspicion.when = task, why, now
        suspicion.in_a_row += 1

    def self_test_failed(self, why: str) -> None:
        """Record that the self-test in progress failed."""
        if self.self_test is None:
            raise RuntimeError("expected a self-test in progress, got none")
        job, kind = self.self_test
        suspicion = self.suspicions[job][kind]
        suspicion.self_tests, suspicion.why = suspicion.self_tests + 1, why
        self.self_test = None

    def self_test_passed(self, job: str, kind: str) -> bool:
        """Clear the suspicion of a kind of task. Returns whether there was one."""
        return self.suspicions.get(job, {}).pop(kind, None) is not None

    def reset(self, job: str, task: str) -> None:
        """Forget the failures of a task that was reopened."""
        self.failures.get(job, {}).pop(task, None)

    def failed_here(self, job: str, task: str) -> bool:
        return task in self.failures.get(job, {})

    def backoff_remaining(self, job: str, task: str, now: float) -> float:
        """Seconds for which this task is still left to other nodes, if there are any."""
        suspicion, failure = self.suspicions.get(job, {}).get(_kind(task)), self.failures.get(job, {}).get(task)
        waits = [0.0]
        if suspicion and suspicion.in_a_row >= MAX_FAILURES_IN_A_ROW:
            waits.append(suspicion.when + KIND_BACKOFF_S - now)
        if failure:
            waits.append(failure.when + (BACKOFF_S if failure.times == 1 else LAST_BACKOFF_S) - now)
        return max(waits)


def _kind(task: str) -> str:
    return task.partition(".")[0]
