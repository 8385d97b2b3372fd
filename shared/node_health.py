"""What a node remembers of its own failures, from one worker process to the next.

A task that failed here is left to the other nodes for a while. And a node that failed proves itself, as soon
as it can, on a task that is done: one that fails at that, too, and once more in a fresh process (the first may
be spoiled by the task), is sick, and the tasks are not.
"""

from dataclasses import dataclass, field

BACKOFF_S = 60.0  # for so long a task that failed here once is left to the others: they may be in the midst of a task
LAST_BACKOFF_S = 300.0  # and the third attempt: it is the last one
MAX_FAILURES_IN_A_ROW = 3  # attempts that fail in a row before this node leaves the whole kind to the others, ...
KIND_BACKOFF_S = 20.0  # ... and for how long: until they have done a task that it can prove itself on
MAX_SELF_TESTS = 2


@dataclass
class TaskFailures:
    """Attempts of this node at one task that came to nothing, and when the last one did, in seconds of the system's clock."""

    times: int = 0
    when: float = 0.0


@dataclass
class KindSuspicion:
    """Tasks of one kind have failed here, and none was done since: `row` of them, the last being `task`, because of `why`."""

    task: str = ""
    why: str = ""
    row: int = 0
    when: float = 0.0
    self_tests: int = 0  # failed


@dataclass
class NodeHealth:
    """By job id, the names of tasks and kinds of tasks. `self_test` is the job id and kind of the examination under way."""

    failures: dict[str, dict[str, TaskFailures]] = field(default_factory=dict)
    suspicions: dict[str, dict[str, KindSuspicion]] = field(default_factory=dict)
    self_test: tuple[str, str] | None = None

    def failed(self, job: str, task: str, why: str, now: float) -> None:
        failure = self.failures.setdefault(job, {}).setdefault(task, TaskFailures())
        failure.times, failure.when = failure.times + 1, now
        suspicion = self.suspicions.setdefault(job, {}).setdefault(_kind(task), KindSuspicion())
        suspicion.task, suspicion.why, suspicion.row, suspicion.when = task, why, suspicion.row + 1, now

    def self_test_failed(self, why: str) -> None:
        """The examination under way ended badly."""
        if self.self_test is None:
            raise RuntimeError("expected an examination under way, found none")
        job, kind = self.self_test
        suspicion = self.suspicions[job][kind]
        suspicion.self_tests, suspicion.why = suspicion.self_tests + 1, why
        self.self_test = None

    def self_test_passed(self, job: str, kind: str) -> bool:
        """Tasks of that kind can be done here; whether there was a doubt."""
        return self.suspicions.get(job, {}).pop(kind, None) is not None

    def reset(self, job: str, task: str) -> None:
        """Somebody opened the task anew: what was before does not count."""
        self.failures.get(job, {}).pop(task, None)

    def failed_here(self, job: str, task: str) -> bool:
        return task in self.failures.get(job, {})

    def backoff_remaining(self, job: str, task: str, now: float) -> float:
        """Seconds for which this task is still to be left to the other nodes, as long as there are some."""
        suspicion, failure = self.suspicions.get(job, {}).get(_kind(task)), self.failures.get(job, {}).get(task)
        waits = [0.0]
        if suspicion and suspicion.row >= MAX_FAILURES_IN_A_ROW:
            waits.append(suspicion.when + KIND_BACKOFF_S - now)
        if failure:
            waits.append(failure.when + (BACKOFF_S if failure.times == 1 else LAST_BACKOFF_S) - now)
        return max(waits)


def _kind(task: str) -> str:
    return task.partition(".")[0]
