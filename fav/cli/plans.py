"""The plan of a job, by what it makes: a film, or styles. Workers import this module by its name."""

from fav.pipeline.plan import make_plan as plan_of_film
from fav.pipeline.training_job import is_training
from shared.jobs import Job
from shared.membership import Node
from shared.protocols import TaskPlan


def make_plan(job: Job, node: Node, **options) -> TaskPlan:
    """The plan of a job on this node. Raises UserError if this node cannot work on it."""
    if is_training(job):
        from fav.training.job_plan import TrainingPlan  # slow to import, and most nodes make films

        return TrainingPlan(job, node, **options)
    return plan_of_film(job, node, **options)
