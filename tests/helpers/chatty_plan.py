"""A plan whose first worker logs much and is killed; the second one goes on."""

import logging
import os
import signal

from shared.paths import Task
from tests.helpers.toy_plan import ToyPlan

LINES = 500

logger = logging.getLogger("shared.test")


class ChattyPlan(ToyPlan):
    """A toy plan; a file among the job's inputs tells that a worker went down."""

    def run(self, task: Task, report_progress) -> bytes:
        went_down = self.job.layout.inputs / "went down"
        if not went_down.exists():
            went_down.touch()
            for number in range(LINES):
                logger.info("line %d", number)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(task, report_progress)
