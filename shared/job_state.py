"""One job, as a worker that serves it sees it."""

from shared.claims import Claims
from shared.jobs import Job
from shared.membership import Node
from shared.paths import Task
from shared.protocols import TaskPlan


class JobState:
    """One job as this worker serves it."""

    def __init__(self, node: Node, job: Job, plan: TaskPlan | None, ended_as: str | None = None):
        self.job = job
        self._plan = plan
        self.claims = Claims(node, job)
        self.next: Task | None = None  # claimed, not begun
        self.asked = float("-inf")  # when the last claim was asked for, by the monotonic clock
        self.failed: list[str] = []  # names of failed tasks, as of the last look
        self.deferred = False  # whether open tasks were left to other nodes at the last look
        self.ended_as = (
            ended_as  # finished, cancelled, failed, gone, refused, changed or sick; only then there may be no plan
        )
        self.since = node.share.system.monotonic()  # it was taken on
        self.paused = False
        self.priority = 0  # nodes serve the job with the largest first
        self.idle = 0  # looks in a row at which nothing was open and nothing claimed
        self.vanished = 0

    @property
    def served(self) -> bool:
        """Whether this worker has taken the job on, so that there is a plan."""
        return self._plan is not None

    @property
    def plan(self) -> TaskPlan:
        """The tasks of the job; only of one that is served."""
        if self._plan is None:
            raise RuntimeError(f"{self.job.name}: expected a job that is served, got one that is over: {self.ended_as}")
        return self._plan
