"""The self-test of a node at which tasks failed: can it do a task that another node has done?"""

import traceback
from pathlib import Path

from shared.errors import (
    EvictedError,
    InputChangedError,
    JobRemovedError,
    NodeUnhealthyError,
    ResultVanishedError,
    StopRequested,
)
from shared.job_state import JobState
from shared.node_health import MOST_EXAMS
from shared.paths import Task
from shared.worker_context import WorkerContext


class SelfTest:
    """Runs tasks that are done once more on this node, and throws their results away."""

    def __init__(self, context: WorkerContext):
        self.context = context

    def run(self, state: JobState) -> str | None:
        """Test each kind of task that failed here; the reason to leave the job, or None.

        Raises:
            NodeUnhealthyError: the node failed the test, and is to take it again in a fresh process.
        """
        name = state.job.name
        for kind, doubt in list(self.context.health.doubts[state.job.manifest.id].items()):
            if doubt.exams < MOST_EXAMS:
                sample = self.context.on_job(state, lambda: state.plan.sample(Task.from_name(doubt.task)))
                if sample is None or not self._fails(state, kind, sample):
                    continue
                line = f"{name}: this node failed at {doubt.task}, and at {sample}, which is done ({doubt.why})"
                if doubt.exams < MOST_EXAMS:
                    raise NodeUnhealthyError(f"{line}; trying once more in a fresh process")
            return (
                f"{name}: this node is sick and leaves the job to the others: it failed at {doubt.task}, and at tasks "
                f"that are done: {doubt.why}; mend that (is there memory? is the device free?), then start it again"
            )
        return None

    def _fails(self, state: JobState, kind: str, sample: Task) -> bool:
        """Whether this node fails at a task that is done."""
        context, job = self.context, state.job.manifest.id
        context.health.exam = job, kind
        context.events.remember(context.health)
        context.events.start(state.job, sample)
        try:
            output = context.retry(lambda: state.plan.run(sample, context.tick))
            if isinstance(output, Path):
                context.retry(lambda: context.node.share.system.unlink(output))
            context.health.proved(job, kind)
        except ResultVanishedError:
            state.plan.forget()  # that shows nothing
        except (StopRequested, EvictedError, JobRemovedError, InputChangedError):
            raise
        except Exception as error:
            context.check_sources()
            context.retry(context.node.check)
            context.health.flunked(traceback.format_exception_only(error)[-1].strip())
            return True
        finally:
            context.health.exam = None
            context.events.end()
            context.events.remember(context.health)
        return False
