"""The loop of one worker: claim a task, run it, publish its result, release it, until all jobs are over.

What the tasks are and how they run is the business of a `TaskPlan`, one for each job.
"""

import errno
import threading
import traceback
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Callable, Iterator, TypeVar

from shared import attempts, results
from shared.claims import Outcome, claimed
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
    plain,
)
from shared.failure_detector import FailureDetector
from shared.filesystem import TRANSIENT_ERRNOS
from shared.identity import node_key
from shared.job_state import JobState
from shared.jobs import OVER, Job, all_jobs, find_job
from shared.membership import Node
from shared.node_health import MOST_EXAMS, NodeHealth
from shared.notify import ChangeNotifier
from shared.paths import Task
from shared.protocols import TaskPlan, WorkerEvents
from shared.recovery import Recovery
from shared.retry import retry_transient
from shared.settings import HEARTBEAT_S, POLL_S

WAIT_S = 2.0  # a waiter that no bell woke looks by itself
WAIT_STEPS = 4  # in between, it sees whether a node of this machine has died
LOOK_S = 2.0  # how often a busy node looks for marks and new jobs
LOOK_SOON_S = 0.2  # how often one does that waits, while others ring
ASK_AGAIN_S = 60.0  # how often a job with an input that was changed is looked at: somebody may have put it back
MOST_VANISHED_INPUTS = 10  # in a row, before that counts as a failed attempt
MOST_CANDIDATES = 20  # of a look; where others were faster at one of so many, the next look leaves that out
TOLD = 3  # failed tasks that the last word of a job names

T = TypeVar("T")


class Worker:
    """One process that works on one job (`only`) or on every job of the directory."""

    def __init__(self, node: Node, plan_for: Callable[[Job, Node], TaskPlan], report: WorkerEvents, stop: threading.Event,
                 only: str | None = None, forever: bool = False, health: NodeHealth | None = None,
                 updated: Callable[[], bool] = lambda: False):
        self.node = node
        self.plan_for = plan_for
        self.report = report
        self.stop = stop
        self.only = only
        self.forever = forever
        self.health = health or NodeHealth()
        self.updated = updated  # tells whether the program's sources were replaced: then a failure is nobody's
        self.boards: dict[str, JobState] = {}
        self.bell = ChangeNotifier(node)
        self.recovery = Recovery(node, FailureDetector(node.share, node.identity), self._complain)
        self._looked = self._recovered = self._counted = float("-inf")
        self._complained: set[str] = set()

    # ---- the loop
    def run(self) -> bool:
        """Work until every job served is over; whether all of them ended well. StopRequested when asked to."""
        try:
            while True:
                self._check_stop()
                self._weathered(self._look_around)
                found = self._next()
                if found:
                    with self._serving(found[0]):
                        if self._stands(*found):
                            self._do(*found)
                elif self._all_over():
                    if all(board.plan is None and board.over in OVER for board in self.boards.values()):
                        self._tell("there are no jobs to work on; with --forever this node would wait for some")
                    well = ("finished",) if self.only else ("finished", "cancelled")
                    return all(board.over in well for board in self.boards.values())
                else:
                    self.report.wait()
                    self._wait()
        finally:
            self.bell.close()
            for board in self.boards.values():
                try:
                    board.claims.withdraw_all()
                except OSError:
                    pass  # the job is gone, or the supervisor or another node will see to it

    def _all_over(self) -> bool:
        ends = [board.over for board in self.boards.values()]
        return all(ends) and (not self.forever or "sick" in ends)

    def _look_around(self) -> None:
        clock = self.node.share.system.monotonic()
        if clock - self._looked < LOOK_S:
            return
        for job in self._jobs():
            if job.manifest.id not in self.boards:
                self._take_on(job)
        for board in list(self.boards.values()):
            if board.over in (None, "failed", "cancelled", "finished"):
                with self._serving(board):
                    self._look_at(board)
            elif board.over == "changed" and clock - board.since > ASK_AGAIN_S:
                del self.boards[board.job.manifest.id]
        self._recover()
        self._looked = clock

    def _jobs(self) -> list[Job]:
        if self.only is None:
            return all_jobs(self.node.share, self._complain)
        job = find_job(self.node.share, self.only)
        if job is None and not any(board.job.name == self.only for board in self.boards.values()):
            raise JobQueueError(f"{self.only}: there is no job of that name; coordinator.py status lists them")
        return [job] if job else []

    def _complain(self, line: str) -> None:
        if line not in self._complained:
            self._complained.add(line)
            self.report.say(line)

    def _take_on(self, job: Job) -> None:
        plan, over = None, None
        try:
            marks = job.marks()
            job.check_directories()
            over = next(iter(marks & OVER), None)
            if over is None:
                plan = self.plan_for(job, self.node)
                self._tell(f"working on {job.name}")
                if job.made_elsewise:
                    self._complain(f"{job.name}: {job.made_elsewise}; its frames may differ; bring the same sources to all "
                                   f"machines")
            elif over == "cancelled" and self.only is not None:
                self.report.say(f"{job.name}: cancelled; coordinator.py retry goes on with it")
        except (EvictedError, StopRequested):
            raise
        except JobRemovedError as gone:
            over = "gone"
            self.report.say(str(gone))
        except Exception as error:
            self._check_sources()
            if self.only is not None or isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
                raise
            over = _refusal(error)  # the other jobs go on
            self._complain(f"{job.name}: cannot be served here: {plain(error, 500) or type(error).__name__}")
        self.boards[job.manifest.id] = JobState(self.node, job, plan, over)

    def _look_at(self, board: JobState) -> None:
        try:
            marks = board.job.marks()
            if not board.over:
                board.job.check_directories()
        except JobRemovedError as gone:
            if board.over != "finished":
                self._close(board, "gone", str(gone))
            elif self.only is None:
                del self.boards[board.job.manifest.id]  # cleaned; that is no trouble
            return
        if board.over:
            # Somebody opened it anew: its failed tasks, or one that was finished and is to be repaired.
            if not marks & OVER and (board.over == "finished" or not attempts.failed(board.job)):
                del self.boards[board.job.manifest.id]
        elif "cancelled" in marks:
            self._close(board, "cancelled", f"{board.job.name}: cancelled")
        elif "finished" in marks:
            self._finished(board, board.job.word("finished"))
        else:
            board.priority = board.job.priority(marks)
            self._pause_job(board, "paused" in marks)

    def _pause_job(self, board: JobState, paused: bool) -> None:
        if paused and not board.paused:
            self._lay_down(board)
            self.report.say(f"{board.job.name}: paused; coordinator.py resume goes on")
        elif board.paused and not paused:
            self.report.say(f"{board.job.name}: goes on")
        board.paused = paused

    def _lay_down(self, board: JobState) -> None:
        """Give the task that is claimed and not begun to the others."""
        task, board.next = board.next, None
        if task is not None:
            self._weathered(lambda: board.claims.withdraw(task))

    def _finished(self, board: JobState, word: str | None) -> None:
        self._close(board, "finished", None)
        self._tell(f"{board.job.name}: finished: {word}")

    def _tell(self, line: str) -> None:
        """Say what a node of many jobs wants to be seen doing; one of a single job says less."""
        if self.only is None:
            self.report.say(line)

    def _close(self, board: JobState, how: str, line: str | None) -> None:
        board.over = how
        board.next = None
        if line:
            self.report.say(line)
        if how != "gone":
            self._weathered(board.claims.withdraw_all)

    def _next(self) -> tuple[JobState, Task] | None:
        for board in self._in_turn():
            if board.next is not None:
                task, board.next = board.next, None
                return board, task
            task = None
            with self._serving(board):
                try:
                    task = self._claim_one(board)
                except JobRemovedError as gone:
                    self._close(board, "gone", str(gone))
                except ResultVanishedError:
                    board.plan.forget()
            if task is not None:
                for other in self.boards.values():
                    self._lay_down(other)  # of a job that is less urgent
                return board, task
        return None

    def _in_turn(self) -> list[JobState]:
        """The jobs to serve, the most urgent first; of equally urgent ones the one that is begun here, then those at which
        the fewest nodes are."""
        boards = [board for board in self.boards.values() if not board.over and not board.paused]
        if len(boards) < 2:
            return boards
        busy = {board: self._nodes_at(board) for board in boards}
        return sorted(boards, key=lambda board: (-board.priority, busy[board]))

    def _nodes_at(self, board: JobState) -> int:
        if board.next is not None:
            return 0
        try:
            return 1 + len(self._on_job(board, lambda: claimed(board.job)))
        except (JobRemovedError, ResultVanishedError):
            return 0  # it is the next to be looked at, and closed

    @contextmanager
    def _serving(self, board: JobState) -> Iterator[None]:
        """What is wrong with the files of one job ends this node's work on that job, and not on the others."""
        try:
            yield
        except (EvictedError, StopRequested, NodeUnhealthyError, SourcesReplaced):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
                raise
            self._check_sources()
            line = f"{board.job.name}: cannot be served here: {plain(error, 500) or type(error).__name__}"
            known = isinstance(error, OSError | UserError)
            if self.only is not None and known:
                raise JobQueueError(line) from error
            if self.only is not None:
                raise
            with suppress(OSError, JobQueueError):
                if not known:
                    traceback.print_exc()
                self._close(board, _refusal(error), line)

    def _claim_one(self, board: JobState) -> Task | None:
        """Claim the best open task of a job; where there is none, see whether the job is over."""
        learned = True
        while learned:  # each round learns of a result at least, so there is an end
            self._check_stop()
            if self.health.doubts.get(board.job.manifest.id):
                self._examine(board)
                if board.over:
                    return None
            word = self._on_job(board, board.plan.finish)
            if word is not None:
                self._on_job(board, lambda: board.job.mark(self.node, "finished", word))
                if not self._still_all_there(board):
                    # Who takes results away takes the mark away afterwards, perhaps before we set it: then we have to.
                    self._on_job(board, lambda: board.job.unmark("finished"))
                    continue
                self.bell.ring()
                self._finished(board, word)
                return None
            board.leaves, failed = False, self._on_job(board, lambda: self._needed_and_failed(board))
            board.failed = failed
            if len(failed) > attempts.MOST_FAILED_TASKS:
                break
            learned, lost = False, 0
            tasks = self._on_job(board, lambda: list(islice(self._for_us(board), MOST_CANDIDATES)))
            for task in tasks:
                outcome = self._claim(board, task)
                if outcome is Outcome.WON:
                    board.idle = 0
                    return task
                if outcome is Outcome.DONE:
                    self._on_job(board, lambda: board.plan.published(task, ours=False))
                    learned = True
                    break  # the plan may have learned of others, too
                lost += outcome is Outcome.LOST
            learned = learned or lost > 0 and len(tasks) == MOST_CANDIDATES  # there may be more than those
        # Twice: between the last release of one node and its next claim there is nothing to be seen, either.
        board.idle = 0 if board.leaves or self._on_job(board, lambda: claimed(board.job)) else board.idle + 1
        if failed and board.idle >= 2:
            why = self._on_job(board, lambda: "; ".join(attempts.why(board.job, name) for name in failed[:TOLD]))
            self._close(board, "failed", f"{board.job.name}: failed, {len(failed)} task(s) used up their attempts: {why}; "
                        f"coordinator.py status shows all, coordinator.py retry opens them anew")
        return None

    def _still_all_there(self, board: JobState) -> bool:
        try:
            return self._on_job(board, board.plan.finish) is not None
        except ResultVanishedError:
            board.plan.forget()
            return False

    def _claim(self, board: JobState, task: Task) -> Outcome:
        board.asked = self.node.share.system.monotonic()
        return self._on_job(board, lambda: board.claims.claim(task))

    def _stands(self, board: JobState, task: Task) -> bool:
        """Whether a claim may be acted on. Looked at again where it is not fresh: we may have been taken for dead since."""
        if self.node.share.system.monotonic() - board.asked < POLL_S:
            return True
        self._weathered(self.node.check)
        if self._weathered(lambda: board.claims.is_ours(board.job.layout.placeholder(task))):
            return True
        board.claims.held.discard(task)
        return False

    def _needed_and_failed(self, board: JobState) -> list[str]:
        return [name for name in attempts.failed(board.job) if Task.named(name).kind not in board.plan.optional]

    # ---- what failed here
    def _for_us(self, board: JobState) -> Iterator[Task]:
        """The candidates that are not left to the other nodes."""
        for task in board.plan.candidates():
            if self._leaves(board, task):
                board.leaves = True
            else:
                yield task

    def _leaves(self, board: JobState, task: Task) -> bool:
        """Whether to leave a task to the other nodes for now, since it failed here and not yet on all of them."""
        job, name = board.job.manifest.id, str(task)
        if job not in self.health.failures or self.health.patience(job, name, self.node.share.system.monotonic()) <= 0:
            return False
        others = self._others()
        if not others or not self.health.failed_here(job, name):
            return bool(others)
        failed_on = {node_key(attempt.who) for attempt in self._on_job(board, lambda: attempts.of_task(board.job, task))}
        if node_key(self.node.identity.incarnation) not in failed_on:
            self.health.reopened(job, name)
            return False
        return not others <= failed_on

    def _others(self) -> set[str]:
        """The other nodes that were heard lately."""
        observer, now = self.recovery.observer, self.node.share.system.monotonic()
        if now - self._counted > 1:
            self._counted = now
            self._weathered(observer.look)
        names = {node_key(name) for name in observer.nodes() if observer.silence(name) < 3 * HEARTBEAT_S}
        return names - {node_key(self.node.identity.incarnation)}

    def _examine(self, board: JobState) -> None:
        """Where tasks failed here, see whether this node can do one that is done; if not, it steps out of the job.

        NodeUnhealthyError where a fresh process is to try that again.
        """
        job = board.job.manifest.id
        for kind, doubt in list(self.health.doubts[job].items()):
            if doubt.exams < MOST_EXAMS:
                sample = self._on_job(board, lambda: board.plan.sample(Task.named(doubt.task)))
                if sample is None or not self._flunks(board, kind, sample):
                    continue
                line = f"{board.job.name}: this node failed at {doubt.task}, and at {sample}, which is done ({doubt.why})"
                if doubt.exams < MOST_EXAMS:
                    raise NodeUnhealthyError(f"{line}; trying once more in a fresh process")
            self._step_out(board, f"{board.job.name}: this node is sick and leaves the job to the others: it failed at "
                                  f"{doubt.task}, and at tasks that are done: {doubt.why}; mend that (is there memory? is the "
                                  f"device free?), then start it again")
            return

    def _flunks(self, board: JobState, kind: str, sample: Task) -> bool:
        """The examination, the result of which is thrown away; whether this node failed."""
        self.health.exam = board.job.manifest.id, kind
        self.report.remember(self.health)
        self.report.start(board.job, sample)
        try:
            output = self._weathered(lambda: board.plan.run(sample, self._tick))
            if isinstance(output, Path):
                self._weathered(lambda: self.node.share.system.unlink(output))
            self.health.proved(board.job.manifest.id, kind)
        except ResultVanishedError:
            board.plan.forget()  # that shows nothing
        except (StopRequested, EvictedError, JobRemovedError, InputChangedError):
            raise
        except Exception as error:
            self._check_sources()
            self._weathered(self.node.check)
            self.health.flunked(traceback.format_exception_only(error)[-1].strip())
            return True
        finally:
            self.health.exam = None
            self.report.end()
            self.report.remember(self.health)
        return False

    def _step_out(self, board: JobState, line: str) -> None:
        for name in self.health.failures.get(board.job.manifest.id, ()):
            self._on_job(board, lambda: attempts.take_back(self.node, board.job, Task.named(name)))
        self._close(board, "sick", line)
        self.bell.ring()

    def _on_job(self, board: JobState, step: Callable[[], T]) -> T:
        """A step on the files of a job, retry_transient; JobRemovedError where they are gone."""
        try:
            return self._weathered(step)
        except FileNotFoundError as error:
            self._weathered(self.node.check)
            self._weathered(board.job.marks)
            raise ResultVanishedError(str(error)) from error

    # ---- one task
    def _do(self, board: JobState, task: Task) -> None:
        self.report.start(board.job, task)
        try:
            output = self._weathered(lambda: board.plan.run(task, self._tick))
            if isinstance(output, Path):
                self._weathered(lambda: self.node.share.system.sync(output))
                ours = self._weathered(lambda: results.publish(self.node, board.job, task, output))
            else:
                ours = self._weathered(lambda: results.publish_bytes(self.node, board.job, task, output))
        except ResultVanishedError as error:
            board.plan.forget()
            board.vanished += 1
            if board.vanished >= MOST_VANISHED_INPUTS:
                board.vanished = 0
                self._failed(board, task, f"the input vanished {MOST_VANISHED_INPUTS} times: {error}")
            else:
                self._weathered(lambda: board.claims.withdraw(task))
        except (StopRequested, EvictedError):
            raise
        except InputChangedError:
            self.report.end()
            raise
        except JobRemovedError as gone:
            self._close(board, "gone", str(gone))
        except Exception as error:
            self._check_sources()
            if isinstance(error, OSError) and error.errno == errno.EFBIG:  # this machine's limit: nothing is wrong with the task
                self.report.end()
                raise JobQueueError(f"{error.filename or task}: larger than a file may be here ({error.strerror}); raise this node's "
                                    f"limit (ulimit -f), or use a file system without one, then start it again") from error
            self._weathered(self.node.check)  # a node whose private directory was swept under it has not failed
            self._failed(board, task, traceback.format_exc())
        else:
            board.vanished = 0
            self.report.end()
            if self.health.proved(board.job.manifest.id, task.kind):
                self.report.remember(self.health)
            self._carry_on(board, task, ours)
            return
        self.report.end()

    def _carry_on(self, board: JobState, task: Task, ours: bool) -> None:
        """After publishing: claim the task that follows before this one is released."""
        try:
            self._on_job(board, lambda: board.plan.published(task, ours))
            following = None if self.stop.is_set() else self._on_job(board, lambda: board.plan.follow(task))
            if following is not None and str(following) not in board.failed and not self._leaves(board, following):
                outcome = self._claim(board, following)
                if outcome is Outcome.WON:
                    board.next = following
                elif outcome is Outcome.DONE:
                    self._on_job(board, lambda: board.plan.published(following, ours=False))
        except ResultVanishedError:
            board.plan.forget()
        except JobRemovedError as gone:
            self._close(board, "gone", str(gone))
            return
        self._weathered(lambda: board.claims.release(task))
        if self.recovery.observer.nodes() != [self.node.identity.incarnation]:  # else there was nobody at the last look
            self.bell.ring()

    def _failed(self, board: JobState, task: Task, detail: str) -> None:
        cause = detail.strip().splitlines()[-1]
        self.report.say(f"{board.job.name}: {task} failed here: {cause}")
        self.health.failed(board.job.manifest.id, str(task), cause, self.node.share.system.monotonic())
        self.report.remember(self.health)
        nonce = attempts.nonce()
        try:
            self._weathered(lambda: attempts.record(self.node, board.job, task, "raised", detail, nonce))
        except JobRemovedError as gone:
            self._close(board, "gone", str(gone))
            return
        board.plan.forget()
        self._weathered(lambda: board.claims.withdraw(task))

    def _tick(self) -> None:
        self._check_stop()
        self.report.tick()

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise StopRequested("asked to stop")

    def _check_sources(self) -> None:
        """SourcesReplaced where the sources were replaced: a part that is loaded late does not go with those loaded before."""
        if self.updated():
            raise SourcesReplaced

    # ---- weather and the dead
    def _weathered(self, step: Callable[[], T]) -> T:
        return retry_transient(step, self.node.share, self.report.say, self._pause)

    def _pause(self, seconds: float) -> None:
        self.report.wait()
        self.node.share.system.wait(self.stop, seconds)
        self._check_stop()

    def _wait(self) -> None:
        """Until a bell rings, a dead node's task is open again, or it is time to look; never longer than `WAIT_S`."""
        for _ in range(WAIT_STEPS):
            rung = self.bell.wait(WAIT_S / WAIT_STEPS)
            if rung and self.node.share.system.monotonic() - self._looked > LOOK_SOON_S:
                self._looked = float("-inf")  # it may have rung for a new job
            if rung or self._recover():
                return

    def _recover(self) -> int:
        """Recover tasks of the dead, if that is due; how many."""
        clock = self.node.share.system.monotonic()
        # A step early, so that waiting does not stretch a gap beyond POLL_S: what is more does not count as silence.
        due = self.recovery.due - WAIT_S / WAIT_STEPS
        if clock - self._recovered < due and not self.recovery.neighbour_died():
            return 0
        self._recovered = clock
        try:
            jobs = {board.job: board.claims.held for board in self.boards.values() if not board.over}
            count = self.recovery.run(jobs)
            if count:
                self.report.say(f"recovered {count} task(s) of nodes that are gone")
            return count
        except OSError:
            return 0  # a look that failed judges nobody; the next one comes soon


def _refusal(error: Exception) -> str:
    """How a job is over for a node that cannot serve it because of this error."""
    return "changed" if isinstance(error, InputChangedError) else "refused"
