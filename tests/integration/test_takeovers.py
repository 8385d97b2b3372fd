"""A node without any other task continues the chain of a slower node."""

import threading
import time

import pytest

from fav.pipeline import takeovers
from fav.pipeline.task_names import frame_task
from fav.util.images import png_text
from shared import attempts, results
from shared.claims import Claims, Outcome, claimed
from shared.errors import ResultVanishedError
from shared.worker import Worker
from tests.helpers.fake_video_job import LimitedPlan, make_film
from tests.helpers.job_system import join
from tests.helpers.toy_plan import RecordingEvents


class Painter:
    """A node with a plan, which knows that its frames take so many seconds; None: it does not know."""

    def __init__(self, share, job, seconds: float | None):
        self.node, self.job = join(share), job
        self.plan, self.claims = LimitedPlan(job, self.node, 10**6), Claims(self.node, job)
        next(self.plan.candidates(), None)  # it has read the index
        if seconds is not None:
            self.plan._takeovers.measured(seconds)

    def say(self, seconds: float) -> "Painter":
        """Let its results say that each frame took so many seconds."""
        self.plan._metadata = lambda measured=None: {"seconds": f"{seconds:.3f}"}
        return self

    def paint(self, task) -> None:
        """Stylize a frame that is claimed, and claim the next one, as a worker does."""
        data = self.plan.run(task, lambda: None)
        self.plan.published(task, results.publish_bytes(self.node, self.job, task, data))

    def go_on(self, task) -> Outcome:
        """What becomes of the claim on the next frame of the chain, before a frame is released."""
        outcome = self.claims.claim(self.plan.next_in_chain(task))
        self.claims.release(task)
        return outcome


@pytest.fixture
def job(share):
    return make_film(share, 60, 60)


@pytest.fixture
def slow(share, job):
    """A node that has stylized three frames of four seconds, and has claimed the fourth."""
    painter = Painter(share, job, 4.0).say(4.0)
    painter.claims.claim(frame_task(0))
    for number in range(3):
        painter.paint(frame_task(number))
        assert painter.go_on(frame_task(number)) is Outcome.WON
    return painter


def test_faster_node_goes_on_where_the_slower_one_finds_its_frame_taken(share, job, slow):
    fast = Painter(share, job, 1.0)
    assert list(fast.plan.candidates()) == [frame_task(5)]
    assert fast.claims.claim(frame_task(5)) is Outcome.WON
    assert list(Painter(share, job, 0.5).plan.candidates()) == []  # one is enough
    slow.paint(frame_task(3))
    assert slow.go_on(frame_task(3)) is Outcome.WON
    waiting = threading.Thread(target=fast.paint, args=(frame_task(5),))
    waiting.start()
    slow.paint(frame_task(4))
    assert slow.go_on(frame_task(4)) is Outcome.LOST and list(slow.plan.candidates()) == []
    waiting.join(10)
    assert not waiting.is_alive() and fast.plan.next_in_chain(frame_task(5)) == frame_task(6)
    assert float(png_text(results.read(job, frame_task(5)))["seconds"]) < 1  # the wait is not its time


@pytest.mark.parametrize("mine", [None, 3.0, 4.0, 9.0])
def test_nodes_that_are_not_faster_or_do_not_know_leave_the_chain(share, job, slow, mine):
    assert list(Painter(share, job, mine).plan.candidates()) == []


def test_end_of_a_chain_is_left_to_its_node(share):
    job = make_film(share, 8, 8)
    painter, fast = Painter(share, job, 4.0).say(4.0), Painter(share, job, 1.0)
    painter.claims.claim(frame_task(0))
    offered = {}
    for number in range(7):
        offered[number] = [str(task) for task in fast.plan.candidates()]
        painter.paint(frame_task(number))
        painter.go_on(frame_task(number))
    assert offered == {0: [], 1: [], 2: ["frame.0000004"], 3: ["frame.0000005"], 4: [], 5: [], 6: []}


def test_taker_gives_up_when_no_node_is_at_the_frames_before(share, job, slow):
    fast = Painter(share, job, 1.0)
    assert fast.claims.claim(frame_task(5)) is Outcome.WON
    slow.claims.abandon(frame_task(3))  # as the recovery of a dead node does
    with pytest.raises(ResultVanishedError, match=r"frame\.0000004: no node stylizes it any more"):
        fast.plan.run(frame_task(5), lambda: None)
    fast.plan.invalidate_cache()
    fast.claims.abandon(frame_task(5))
    assert next(fast.plan.candidates()) == frame_task(3)


def test_taker_does_not_wait_long_for_a_node_that_may_be_dead_and_leaves_the_chain_to_recovery(
    share, job, slow, monkeypatch
):
    monkeypatch.setattr(takeovers, "MARGIN_S", 0.2)
    monkeypatch.setattr(takeovers, "PATIENCE", 0)
    fast = Painter(share, job, 1.0)
    assert list(fast.plan.candidates()) == [frame_task(5)] and fast.claims.claim(frame_task(5)) is Outcome.WON
    with pytest.raises(ResultVanishedError, match=r"frame\.0000004: its node takes too long"):
        fast.plan.run(frame_task(5), lambda: None)
    fast.plan.invalidate_cache()
    fast.claims.abandon(frame_task(5))
    assert list(fast.plan.candidates()) == []
    slow.claims.abandon(frame_task(3))  # recovered
    assert list(fast.plan.candidates()) == [frame_task(3)]


def test_two_workers_share_a_chain_and_no_frame_counts_as_failed(share):
    """The slow one begins both shots' work; the fast one finishes its own, then takes the other."""
    job, stop = make_film(share, 80, 40), threading.Event()

    class Paced(LimitedPlan):
        def __init__(self, job, node, seconds):
            super().__init__(job, node, 10**6)
            self.seconds = seconds
            self._encoding.candidates = lambda *words: iter(())

        def run(self, task, report_progress):
            data = super().run(task, report_progress)
            time.sleep(self.seconds)
            return data

        def _metadata(self, seconds=None):
            return {**super()._metadata(seconds), "seconds": f"{self.seconds:.3f}"}

        def published(self, task, ours):
            super().published(task, ours)
            if results.count(job, "frame", range(80)) == 80:
                stop.set()

    def work(seconds: float) -> None:
        node = join(share)
        events = RecordingEvents()
        told[seconds] = events.tasks
        try:
            Worker(node, lambda job, node: Paced(job, node, seconds), events, stop, only="film").run()
        except Exception as error:
            ends.append(type(error).__name__)

    told, ends = {}, []
    threads = [threading.Thread(target=work, args=(seconds,), daemon=True) for seconds in (0.1, 0.005)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert ends == ["StopRequested"] * 2 and results.count(job, "frame", range(80)) == 80
    frames = {seconds: [name for name in names if name.startswith("frame")] for seconds, names in told.items()}
    assert len(frames[0.1]) < 38 and len(frames[0.1]) + len(frames[0.005]) <= 82  # 40 and 40 without a takeover
    assert not list(job.layout.attempts.rglob("*.*")) and attempts.failed(job) == [] and claimed(job) == {}
