"""Which job a worker serves next, and which of its open tasks it leaves to other nodes."""

from collections.abc import Iterable, Iterator
from itertools import islice

from shared import attempts
from shared.claims import Outcome, claimed
from shared.errors import JobRemovedError, ResultVanishedError
from shared.failure_detector import FailureDetector
from shared.identity import node_key
from shared.job_state import JobState
from shared.paths import Task
from shared.settings import HEARTBEAT_S, POLL_S
from shared.worker_context import WorkerContext

MAX_CANDIDATES = 20  # per poll; tasks that other nodes claimed first are left out at the next poll


class Scheduler:
    """Chooses jobs and tasks for one worker, and claims the tasks."""

    def __init__(self, context: WorkerContext, detector: FailureDetector):
        self.context = context
        self.detector = detector
        self._counted = float("-inf")  # when the other nodes were last counted

    def by_priority(self, states: Iterable[JobState]) -> list[JobState]:
        """The jobs to serve, the most urgent first.

        Among equally urgent jobs the one that this node has begun comes first, then the one with the fewest nodes.
        """
        served = [state for state in states if not state.ended_as and not state.paused]
        if len(served) < 2:
            return served
        busy = {state: self._nodes_at(state) for state in served}
        return sorted(served, key=lambda state: (-state.priority, busy[state]))

    def _nodes_at(self, state: JobState) -> int:
        if state.next is not None:
            return 0
        try:
            return 1 + len(self.context.on_job(state, lambda: claimed(state.job)))
        except (JobRemovedError, ResultVanishedError):
            return 0  # then the job comes first, and is closed

    def candidates(self, state: JobState) -> list[Task]:
        """Open tasks of a job that this node should claim, the best first; at most MAX_CANDIDATES."""
        return self.context.on_job(state, lambda: list(islice(self._for_this_node(state), MAX_CANDIDATES)))

    def _for_this_node(self, state: JobState) -> Iterator[Task]:
        for task in state.plan.candidates():
            if self.defers(state, task):
                state.deferred = True
            else:
                yield task

    def claim(self, state: JobState, task: Task) -> Outcome:
        """Try to claim one task."""
        state.asked = self.context.clock()
        return self.context.on_job(state, lambda: state.claims.claim(task))

    def claim_still_held(self, state: JobState, task: Task) -> bool:
        """Whether this node still owns a claimed task.

        A claim that is not fresh is read again: other nodes may have considered this node dead since.
        """
        context = self.context
        if context.clock() - state.asked < POLL_S:
            return True
        context.retry(context.node.check)
        if context.retry(lambda: state.claims.is_ours(state.job.layout.placeholder(task))):
            return True
        state.claims.held.discard(task)
        return False

    def needed_and_failed(self, state: JobState) -> list[str]:
        """Names of the failed tasks that the job needs to finish."""
        failed = self.context.on_job(state, lambda: attempts.failed(state.job))
        return [name for name in failed if Task.from_name(name).kind not in state.plan.optional]

    def defers(self, state: JobState, task: Task) -> bool:
        """Whether to leave a task to other nodes for now: it failed here, and not yet on all of them."""
        context, health = self.context, self.context.health
        job, name = state.job.manifest.id, str(task)
        if job not in health.failures or health.backoff_remaining(job, name, context.clock()) <= 0:
            return False
        others = self._others()
        if not others or not health.failed_here(job, name):
            return bool(others)
        failed_on = {
            node_key(attempt.who)
            for attempt in context.on_job(state, lambda: attempts.attempts_of_task(state.job, task))
        }
        if node_key(context.node.identity.incarnation) not in failed_on:
            health.reset(job, name)
            return False
        return not others <= failed_on

    def _others(self) -> set[str]:
        """The other nodes whose heartbeat changed recently."""
        now = self.context.clock()
        if now - self._counted > 1:
            self._counted = now
            self.context.retry(self.detector.poll)
        names = {
            node_key(name)
            for name in self.detector.nodes()
            if (self.detector.silent_for(name) or 0.0) < 3 * HEARTBEAT_S
        }
        return names - {node_key(self.context.node.identity.incarnation)}
