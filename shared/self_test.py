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
from shared.node_health import MAX_SELF_TESTS
from shared.paths import Task
from shared.worker_context import WorkerContext


class SelfTest:
    """Repeats finished tasks on this node and discards their results."""

    def __init__(self, context: WorkerContext):
        self.context = context

    def run(self, state: JobState) -> str | None:
        """Test each kind of task that failed here.

        Returns:
            The reason to leave the job, or None.

        Raises:
            NodeUnhealthyError: the node failed the test; the next one runs in a fresh process.
        """
        name = state.job.name
        for kind, suspicion in list(self.context.health.suspicions[state.job.manifest.id].items()):
            if suspicion.self_tests < MAX_SELF_TESTS:
                sample = self.context.on_job(state, lambda: state.plan.self_test_task(Task.from_name(suspicion.task)))
                if sample is None or not self._fails(state, kind, sample):
                    continue
                line = (
                    f"{name}: this node failed at {suspicion.task}, and at the finished task {sample} ({suspicion.why})"
                )
                if suspicion.self_tests < MAX_SELF_TESTS:
                    raise NodeUnhealthyError(f"{line}; trying once more in a fresh process")
            return (
                f"{name}: this node is unhealthy and leaves the job to other nodes: it failed at {suspicion.task}, and at "
                f"finished tasks: {suspicion.why}; correct that (enough memory? is the device free?), then start it again"
            )
        return None

    def _fails(self, state: JobState, kind: str, sample: Task) -> bool:
        """Whether this node fails at a finished task."""
        context, job = self.context, state.job.manifest.id
        context.health.self_test = job, kind
        context.events.store_health(context.health)
        context.events.begin(state.job, sample)
        try:
            output = context.retry(lambda: state.plan.run(sample, context.report_progress))
            if isinstance(output, Path):
                context.retry(lambda: context.node.share.system.unlink(output))
            context.health.self_test_passed(job, kind)
        except ResultVanishedError:
            state.plan.invalidate_cache()  # neither passed nor failed
        except (StopRequested, EvictedError, JobRemovedError, InputChangedError):
            raise
        except Exception as error:
            context.check_sources()
            context.retry(context.node.check)
            context.health.self_test_failed(traceback.format_exception_only(error)[-1].strip())
            return True
        finally:
            context.health.self_test = None
            context.events.end()
            context.events.store_health(context.health)
        return False
