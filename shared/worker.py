"""The loop of one worker: claim a task, run it, publish its result, release it, until all jobs are done.

A `TaskPlan` per job knows the tasks and how to run them.
"""

import errno
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from shared import attempts, results
from shared.claims import Outcome, claimed
from shared.command_names import command
from shared.errors import (
    EvictedError,
    InputChangedError,
    JobQueueError,
    JobRemovedError,
    NodeUnhealthyError,
    ResultVanishedError,
    SourcesReplaced,
    StopRequested,
    UserError,
    sanitize,
)
from shared.failure_detector import FailureDetector
from shared.filesystem import TRANSIENT_ERRNOS
from shared.job_state import JobState
from shared.jobs import TERMINAL_FLAGS, Job, all_jobs, find_job
from shared.logs import log_context
from shared.membership import Node
from shared.node_health import NodeHealth
from shared.notify import ChangeNotifier
from shared.paths import Task
from shared.protocols import TaskPlan, WorkerEvents
from shared.recovery import Recovery
from shared.scheduling import MAX_CANDIDATES, Scheduler
from shared.self_test import SelfTest
from shared.worker_context import WorkerContext

logger = logging.getLogger(__name__)

WAIT_S = 2.0  # after which a waiting node polls without a notification
WAIT_STEPS = 4  # after each of them, it checks whether a node of this machine has died
POLL_INTERVAL_S = 2.0  # how often a busy node checks for flags and new jobs
MIN_POLL_INTERVAL_S = 0.2  # how often a waiting node does, at most, when others notify it
RECHECK_S = 60.0  # how often a job with a changed input is checked again: the input may be restored
MAX_VANISHED_INPUTS = 10  # in a row, before that counts as a failed attempt
MAX_LISTED = 3  # failed tasks that the last message about a job names


class Worker:
    """One process that works on one job (`only`) or on every job of the directory."""

    def __init__(
        self,
        node: Node,
        plan_for: Callable[[Job, Node], TaskPlan],
        events: WorkerEvents,
        stop: threading.Event,
        only: str | None = None,
        forever: bool = False,
        health: NodeHealth | None = None,
        updated: Callable[[], bool] = lambda: False,
    ):
        self.context = WorkerContext(node, events, stop, health or NodeHealth(), updated)
        self.node = node
        self.plan_for = plan_for
        self.events = events
        self.only = only
        self.forever = forever
        self.states: dict[str, JobState] = {}
        self.notifier = ChangeNotifier(node)
        detector = FailureDetector(node.share, node.identity)
        self.recovery = Recovery(node, detector)
        self.scheduler = Scheduler(self.context, detector)
        self.self_test = SelfTest(self.context)
        self._looked = self._recovered = float("-inf")
        self._warned: set[str] = set()

    # ---- the loop
    def run(self) -> bool:
        """Work until all served jobs are done. Returns whether all of them ended well.

        Raises:
            StopRequested: the worker was asked to stop.
        """
        try:
            while True:
                self.context.check_stop()
                self.context.retry(self._refresh_jobs)
                found = self._next()
                if found:
                    with self._contain_job_errors(found[0]), log_context(task=str(found[1])):
                        if self.scheduler.claim_still_held(*found):
                            self._run_task(*found)
                elif self._all_over():
                    if all(not state.served and state.ended_as in TERMINAL_FLAGS for state in self.states.values()):
                        self._log_multi_job(
                            "there are no jobs to work on; with --forever this node would wait for some"
                        )
                    well = ("finished",) if self.only else ("finished", "cancelled")
                    return all(state.ended_as in well for state in self.states.values())
                else:
                    self.events.waiting()
                    self._wait()
        finally:
            self.notifier.close()
            for state in self.states.values():
                try:
                    state.claims.abandon_all()
                except OSError:
                    pass  # the job is gone, or the supervisor or another node will release them

    def _all_over(self) -> bool:
        ends = [state.ended_as for state in self.states.values()]
        return all(ends) and (not self.forever or "unhealthy" in ends)

    def _refresh_jobs(self) -> None:
        clock = self.context.clock()
        if clock - self._looked < POLL_INTERVAL_S:
            return
        for job in self._jobs():
            if job.manifest.id not in self.states:
                with log_context(job=job.name):
                    self._open_job(job)
        for state in list(self.states.values()):
            if state.ended_as in (None, "failed", "cancelled", "finished"):
                with self._contain_job_errors(state):
                    self._refresh_job(state)
            elif state.ended_as == "changed" and clock - state.since > RECHECK_S:
                del self.states[state.job.manifest.id]
        self._recover()
        self._looked = clock

    def _jobs(self) -> list[Job]:
        if self.only is None:
            return all_jobs(self.node.share, self._warn_once)
        job = find_job(self.node.share, self.only)
        if job is None and not any(state.job.name == self.only for state in self.states.values()):
            raise JobQueueError(f"{self.only}: there is no job with that name; {command('status')} lists them")
        return [job] if job else []

    def _warn_once(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            logger.warning("%s", line)

    def _open_job(self, job: Job) -> None:
        plan, over = None, None
        try:
            flags = job.flags()
            job.check_directories()
            over = next(iter(flags & TERMINAL_FLAGS), None)
            if over is None:
                plan = self.plan_for(job, self.node)
                self._log_multi_job("working on %s", job.name)
                if job.source_mismatch:
                    self._warn_once(
                        f"{job.name}: {job.source_mismatch}; its frames may differ; install the same version on all "
                        f"machines"
                    )
            elif over == "cancelled" and self.only is not None:
                logger.info("%s: cancelled; %s continues it", job.name, command("retry"))
        except (EvictedError, StopRequested):
            raise
        except JobRemovedError as gone:
            over = "gone"
            logger.warning("%s", gone)
        except Exception as error:
            self.context.check_sources()
            if self.only is not None or isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
                raise
            over = _end_state(error)  # the other jobs continue
            self._warn_once(f"{job.name}: cannot be served here: {sanitize(error, 500) or type(error).__name__}")
        self.states[job.manifest.id] = JobState(self.node, job, plan, over)

    def _refresh_job(self, state: JobState) -> None:
        try:
            flags = state.job.flags()
            if not state.ended_as:
                state.job.check_directories()
        except JobRemovedError as gone:
            if state.ended_as != "finished":
                self._close_job(state, "gone", str(gone))
            elif self.only is None:
                del self.states[state.job.manifest.id]  # removed after it had finished
            return
        if state.ended_as:
            # The job was reopened: its failed tasks, or a finished job for repair.
            if not flags & TERMINAL_FLAGS and (state.ended_as == "finished" or not attempts.failed(state.job)):
                del self.states[state.job.manifest.id]
        elif "cancelled" in flags:
            self._close_job(state, "cancelled", f"{state.job.name}: cancelled", logging.INFO)
        elif "finished" in flags:
            self._on_finished(state, state.job.flag_text("finished"))
        else:
            state.priority = state.job.priority(flags)
            self._pause_job(state, "paused" in flags)

    def _pause_job(self, state: JobState, paused: bool) -> None:
        if paused and not state.paused:
            self._abandon_next(state)
            logger.info("%s: paused; %s continues it", state.job.name, command("resume"))
        elif state.paused and not paused:
            logger.info("%s: resumed", state.job.name)
        state.paused = paused

    def _abandon_next(self, state: JobState) -> None:
        """Give up the task that is claimed and not begun."""
        task, state.next = state.next, None
        if task is not None:
            self.context.retry(lambda: state.claims.abandon(task))

    def _on_finished(self, state: JobState, text: str | None) -> None:
        self._close_job(state, "finished", None)
        self._log_multi_job("%s: finished: %s", state.job.name, text)

    def _log_multi_job(self, message: str, *arguments: object) -> None:
        """Log at INFO if this node serves all jobs, else at DEBUG."""
        logger.log(logging.INFO if self.only is None else logging.DEBUG, message, *arguments)

    def _close_job(
        self,
        state: JobState,
        how: str,
        line: str | None,
        level: int = logging.WARNING,
        error: Exception | None = None,
    ) -> None:
        state.ended_as = how
        state.next = None
        if line:
            logger.log(level, "%s", line, exc_info=error)
        if how != "gone":
            self.context.retry(state.claims.abandon_all)

    def _next(self) -> tuple[JobState, Task] | None:
        for state in self.scheduler.by_priority(self.states.values()):
            if state.next is not None:
                task, state.next = state.next, None
                return state, task
            task = None
            with self._contain_job_errors(state):
                try:
                    task = self._claim_one(state)
                except JobRemovedError as gone:
                    self._close_job(state, "gone", str(gone))
                except ResultVanishedError:
                    state.plan.invalidate_cache()
            if task is not None:
                for other in self.states.values():
                    self._abandon_next(other)  # of a less urgent job
                return state, task
        return None

    @contextmanager
    def _contain_job_errors(self, state: JobState) -> Iterator[None]:
        """Turn an error in one job's files into the end of this node's work on that job; other jobs continue."""
        try:
            with log_context(job=state.job.name):
                yield
        except (EvictedError, StopRequested, NodeUnhealthyError, SourcesReplaced):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
                raise
            self.context.check_sources()
            line = f"{state.job.name}: cannot be served here: {sanitize(error, 500) or type(error).__name__}"
            known = isinstance(error, OSError | UserError)
            if self.only is not None and known:
                raise JobQueueError(line) from error
            if self.only is not None:
                raise
            with suppress(OSError, JobQueueError), log_context(job=state.job.name):
                self._close_job(state, _end_state(error), line, logging.ERROR, None if known else error)

    def _claim_one(self, state: JobState) -> Task | None:
        """Claim the best open task of a job. If there is none, check whether the job is done."""
        learned = True
        failed: list[str] = []
        while learned:  # each round learns of at least one result, so the loop ends
            self.context.check_stop()
            if self.context.health.suspicions.get(state.job.manifest.id):
                reason = self.self_test.run(state)
                if reason:
                    self._leave_job(state, reason)
                    return None
            text = self.context.on_job(state, state.plan.finalize)
            if text is not None:
                self.context.on_job(state, partial(state.job.set_flag, self.node, "finished", text))
                if not self._still_all_there(state):
                    # A node that removes results clears the flag afterwards, perhaps before this node set it.
                    self.context.on_job(state, lambda: state.job.clear_flag("finished"))
                    continue
                self.notifier.notify()
                self._on_finished(state, text)
                return None
            state.deferred, failed = False, self.scheduler.needed_and_failed(state)
            state.failed = failed
            if len(failed) > attempts.MAX_FAILED_TASKS:
                break
            learned, lost = False, 0
            tasks = self.scheduler.candidates(state)
            for task in tasks:
                outcome = self.scheduler.claim(state, task)
                if outcome is Outcome.WON:
                    state.idle = 0
                    return task
                if outcome is Outcome.DONE:
                    self.context.on_job(state, lambda: state.plan.published(task, ours=False))
                    learned = True
                    break  # the plan may have learned of others, too
                lost += outcome is Outcome.LOST
            learned = learned or lost > 0 and len(tasks) == MAX_CANDIDATES  # there may be more candidates
        # Two idle polls are needed: between a node's release and its next claim, no placeholder is visible.
        state.idle = 0 if state.deferred or self.context.on_job(state, lambda: claimed(state.job)) else state.idle + 1
        if failed and state.idle >= 2:
            why = self.context.on_job(
                state, lambda: "; ".join(attempts.why(state.job, name) for name in failed[:MAX_LISTED])
            )
            self._close_job(
                state,
                "failed",
                f"{state.job.name}: failed, {len(failed)} task(s) used up their attempts: {why}; "
                f"{command('status')} shows all, {command('retry')} opens them again",
                logging.ERROR,
            )
        return None

    def _still_all_there(self, state: JobState) -> bool:
        try:
            return self.context.on_job(state, state.plan.finalize) is not None
        except ResultVanishedError:
            state.plan.invalidate_cache()
            return False

    def _leave_job(self, state: JobState, line: str) -> None:
        """Leave a job to other nodes because this one is unhealthy. Its failed attempts do not count."""
        for name in self.context.health.failures.get(state.job.manifest.id, ()):
            self.context.on_job(state, lambda: attempts.ignore_attempts(self.node, state.job, Task.from_name(name)))
        self._close_job(state, "unhealthy", line, logging.ERROR)
        self.notifier.notify()

    # ---- one task
    def _run_task(self, state: JobState, task: Task) -> None:
        self.events.begin(state.job, task)
        logger.debug("%s: %s begun", state.job.name, task)
        try:
            output = self.context.retry(lambda: state.plan.run(task, self.context.report_progress))
            if isinstance(output, Path):
                self.context.retry(lambda: self.node.share.system.sync(output))
                ours = self.context.retry(lambda: results.publish(self.node, state.job, task, output))
            else:
                ours = self.context.retry(lambda: results.publish_bytes(self.node, state.job, task, output))
        except ResultVanishedError as error:
            state.plan.invalidate_cache()
            state.vanished += 1
            if state.vanished >= MAX_VANISHED_INPUTS:
                state.vanished = 0
                self._failed(state, task, f"the input vanished {MAX_VANISHED_INPUTS} times: {error}")
            else:
                self.context.retry(lambda: state.claims.abandon(task))
        except (StopRequested, EvictedError):
            raise
        except InputChangedError:
            self.events.end()
            raise
        except JobRemovedError as gone:
            self._close_job(state, "gone", str(gone))
        except Exception as error:
            self.context.check_sources()
            if (
                isinstance(error, OSError) and error.errno == errno.EFBIG
            ):  # a limit of this machine, not an error of the task
                self.events.end()
                raise JobQueueError(
                    f"{error.filename or task}: the file is too large for this machine ({error.strerror}); raise this "
                    f"node's limit (ulimit -f), or use a file system without one, then start it again"
                ) from error
            self.context.retry(self.node.check)  # not a failure if others removed this node's temporary directory
            self._failed(state, task, traceback.format_exc())
        else:
            state.vanished = 0
            self.events.end()
            if self.context.health.self_test_passed(state.job.manifest.id, task.kind):
                self.events.store_health(self.context.health)
            self._after_publish(state, task, ours)
            return
        self.events.end()

    def _after_publish(self, state: JobState, task: Task, ours: bool) -> None:
        """After publishing: claim the next task of the chain, then release this one."""
        logger.debug("%s: %s %s", state.job.name, task, "published" if ours else "was published by another node before")
        try:
            self.context.on_job(state, lambda: state.plan.published(task, ours))
            following = (
                None
                if self.context.stop.is_set()
                else self.context.on_job(state, lambda: state.plan.next_in_chain(task))
            )
            if (
                following is not None
                and str(following) not in state.failed
                and not self.scheduler.defers(state, following)
            ):
                outcome = self.scheduler.claim(state, following)
                if outcome is Outcome.WON:
                    state.next = following
                elif outcome is Outcome.DONE:
                    self.context.on_job(state, lambda: state.plan.published(following, ours=False))
        except ResultVanishedError:
            state.plan.invalidate_cache()
        except JobRemovedError as gone:
            self._close_job(state, "gone", str(gone))
            return
        self.context.retry(lambda: state.claims.release(task))
        if self.recovery.detector.nodes() != [self.node.identity.incarnation]:  # else no other node at the last poll
            self.notifier.notify()

    def _failed(self, state: JobState, task: Task, detail: str) -> None:
        cause = detail.strip().splitlines()[-1]
        logger.warning("%s: %s failed here: %s", state.job.name, task, cause)
        self.context.health.failed(state.job.manifest.id, str(task), cause, self.context.clock())
        self.events.store_health(self.context.health)
        nonce = attempts.nonce()
        try:
            self.context.retry(lambda: attempts.record(self.node, state.job, task, "raised", detail, nonce))
        except JobRemovedError as gone:
            self._close_job(state, "gone", str(gone))
            return
        state.plan.invalidate_cache()
        self.context.retry(lambda: state.claims.abandon(task))

    # ---- waiting and recovery
    def _wait(self) -> None:
        """Wait until another node notifies this one, a task is recovered, or `WAIT_S` have passed."""
        for _ in range(WAIT_STEPS):
            notified = self.notifier.wait(WAIT_S / WAIT_STEPS)
            if notified and self.context.clock() - self._looked > MIN_POLL_INTERVAL_S:
                self._looked = float("-inf")  # there may be a new job
            if notified or self._recover():
                return

    def _recover(self) -> int:
        """Recover tasks of dead nodes if a pass is due. Returns how many."""
        clock = self.context.clock()
        # One step early, so that waiting does not make a gap longer than POLL_S, which would count in part only.
        due = self.recovery.due - WAIT_S / WAIT_STEPS
        if clock - self._recovered < due and not self.recovery.local_peer_died():
            return 0
        self._recovered = clock
        try:
            jobs = {state.job: state.claims.held for state in self.states.values() if not state.ended_as}
            count = self.recovery.run(jobs)
            if count:
                logger.info("recovered %d task(s) of dead nodes", count)
            return count
        except OSError:
            return 0  # a failed pass declares no node dead; the next one comes soon


def _end_state(error: Exception) -> str:
    """The end state of a job that this node cannot serve because of an error."""
    return "changed" if isinstance(error, InputChangedError) else "refused"
