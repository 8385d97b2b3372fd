"""Toy jobs whose sum is delivered as a film is."""

from fav.pipeline.delivery import deliver
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import stitch_task
from shared import results
from tests.helpers import toy_plan as toy

SPEC = JobSpec(video="v.mp4", video_hash="", style="s", style_hash="", width=8, height=8, out="films/my film.mp4")


class Premiere(toy.ToyPlan):
    """A toy job, the sum of which is shown as if it were a film."""

    def finalize(self):
        if super().finalize() is None:
            return None
        film = self.job.layout.result(stitch_task(SPEC))
        if not film.exists():
            film.parent.mkdir(parents=True)
            film.write_bytes(results.read(self.job, toy.SUM))
        return deliver(self.node, self.job, SPEC)
