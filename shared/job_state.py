"""The state of one job in a worker."""

from shared.claims import Claims
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task
from shared.protocols import TaskPlan


class JobState:
    """The state of one job in this worker."""

    def __init__(self, node: Node, job: Job, plan: TaskPlan | None, ended_as: str | None = None):
        self.job = job
        self._plan = plan
        self.claims = Claims(node, job)
        self.next: Task | None = None  # claimed, not begun
        self.asked = float("-inf")  # when the last claim was tried, on the monotonic clock
        self.failed: list[str] = []  # names of failed tasks, at the last poll
        self.deferred = False  # whether open tasks were left to other nodes at the last poll
        self.ended_as = (
            ended_as  # finished, cancelled, failed, gone, refused, changed or unhealthy; None while it is served
        )
        self.since = node.share.system.monotonic()  # when the worker opened the job
        self.paused = False
        self.priority = 0  # nodes serve the job with the largest number first
        self.idle = 0  # polls in a row that found no open and no claimed task
        self.vanished = 0  # inputs in a row that vanished

    @property
    def served(self) -> bool:
        """Whether this worker opened the job, so that there is a plan."""
        return self._plan is not None

    @property
    def plan(self) -> TaskPlan:
        """The tasks of the job. Only for a job that is served."""
        if self._plan is None:
            raise RuntimeError(f"{self.job.name}: expected a job that is served, got one that is over: {self.ended_as}")
        return self._plan
