"""Poisoned tasks, which fail wherever they are tried, and sick nodes, on which tasks fail that others can do."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import coordinator
from fav import flow as flows
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.plan import VideoPlan
from fav.pipeline.progress import blocked
from fav.pipeline.task_names import flow_task, frame_task, index_task
from fav.util.images import decode_png
from shared import attempts, results
from shared.claims import Claims, claimed
from shared.errors import NodeUnhealthyError, ResultVanishedError, StopRequested
from shared.heartbeat import temporary_member
from shared.identity import Identity, node_key
from shared.jobs import Job
from shared.membership import Node
from shared.node_health import BACKOFF_S, KIND_BACKOFF_S, LAST_BACKOFF_S, NodeHealth
from shared.notify import ChangeNotifier
from shared.paths import Task
from shared.shared_dir import SharedDir, open_share
from shared.worker import Worker
from tests.helpers import toy_plan as toy
from tests.helpers.checkout import ROOT
from tests.helpers.toy_plan import RecordingEvents, link_task
from tests.helpers.video_jobs import CUT, FRAMES, create, film_of, work
from tests.helpers.waiting import wait_for


# ---- real processes
def start(share: SharedDir, *words: str, sick: str = "") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *(words or ("-m", "tests.helpers.toy_plan")), str(share.layout.root), "toy"],
        cwd=ROOT,
        text=True,
        env={**os.environ, "FAV_TOY_SICK": sick},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def is_clean(job: Job) -> bool:
    layout = job.share.layout
    return claimed(job) == {} and not any(list(room.iterdir()) for room in (layout.nodes, layout.tmp, layout.notify))


@pytest.fixture
def real(root: Path) -> SharedDir:
    root.mkdir(exist_ok=True)
    return open_share(root)


@pytest.mark.parametrize(
    "spec, why, cause",
    [
        ({"poison": 3}, "raised", "ValueError: this link is poison"),
        pytest.param({"deadly": 3}, "crashed", "killed by SIGKILL, out of memory?", marks=pytest.mark.slow),
        ({"deadly": 3, "signal": int(signal.SIGSEGV)}, "crashed", "killed by SIGSEGV"),
    ],
    ids=["raises", "killed for memory", "crashes the interpreter"],
)
def test_task_that_fails_everywhere_is_tried_on_three_different_nodes_and_the_others_are_done(real, spec, why, cause):
    job = toy.create(real, chains=3, length=5, gate=0, **spec)
    nodes = [start(real) for _ in range(3)]
    wait_for(lambda: len(claimed(job)) == 3)  # one each
    (job.layout.inputs / "go").touch()
    outputs = [node.communicate(timeout=120)[0] for node in nodes]
    tries = attempts.attempts_of_task(job, link_task(3))
    assert [(attempt.why, attempt.cause) for attempt in tries] == [(why, cause)] * 3, outputs
    assert len({node_key(attempt.who) for attempt in tries}) == 3 and all(
        attempt.host == os.uname().nodename for attempt in tries
    )
    assert [node.returncode for node in nodes] == [1, 1, 1]
    for output in outputs:
        (last,) = [line for line in output.splitlines() if "used up their attempts" in line]
        assert cause in last and all(attempt.who in last for attempt in tries) and "retry" in last
    assert results.completed_in_shard(job, "link", 0) == {0, 1, 2, *range(5, 15)} and attempts.failed(job) == [
        "link.0000003"
    ]
    assert is_clean(job)


@pytest.mark.slow
def test_lone_node_that_a_first_task_takes_down_again_and_again_does_all_the_others(real):
    job = toy.create(real, chains=2, length=3, deadly=0)
    output, _ = (node := start(real)).communicate(timeout=60)
    assert node.returncode == 1 and "link.0000000: killed by SIGKILL" in output and "giving up" not in output
    assert results.completed_in_shard(job, "link", 0) == {3, 4, 5} and attempts.failed(job) == ["link.0000000"]
    assert is_clean(job)


@pytest.mark.parametrize(
    "sickness, cause",
    [
        pytest.param("raise", "MemoryError: no memory for any link", marks=pytest.mark.slow),
        ("kill", "killed by SIGKILL"),
    ],
)
def test_sick_node_takes_itself_out_and_costs_no_task_an_attempt(real, sickness, cause):
    job = toy.create(real, chains=6, length=8, gate=1)
    well = [start(real) for _ in range(2)]
    wait_for(lambda: results.count(job, "link", range(48)) == 2)
    sick = start(real, sick=sickness)
    told = sick.communicate(timeout=60)[0]
    assert sick.returncode == 1, told
    (line,) = [line for line in told.splitlines() if "this node is unhealthy" in line]
    assert cause in line and "start it again" in line
    (job.layout.inputs / "go").touch()
    outputs = [node.communicate(timeout=60)[0] for node in well]
    assert [node.returncode for node in well] == [0, 0], outputs
    assert results.read(job, toy.SUM) == toy.expected(6, 8)
    tries = [attempt for number in range(48) for attempt in attempts.attempts_of_task(job, link_task(number))]
    assert tries and not any(attempt.counts for attempt in tries) and attempts.failed(job) == []
    assert is_clean(job)


EXAMINED = """
import sys
from pathlib import Path
from shared.shared_dir import open_share
from shared.supervisor import Supervisor
from tests.helpers.toy_plan import log_to_stdout
log_to_stdout()
node = Supervisor(open_share(Path(sys.argv[1])), "tests.helpers.toy_plan:ToyPlan", sys.argv[2])
node.health.self_test = "job", "link"
sys.exit(node.run())
"""


@pytest.mark.slow
def test_task_that_crashes_after_an_examination_was_broken_off_is_counted(real):
    job = toy.create(real, chains=1, length=1, deadly=0)
    output, _ = (node := start(real, "-c", EXAMINED)).communicate(timeout=60)
    assert (
        node.returncode == 1
        and [attempt.why for attempt in attempts.attempts_of_task(job, link_task(0))] == ["crashed"] * 3
    ), output


HANGS = """
import sys
from pathlib import Path
from shared import task_monitor
from shared.shared_dir import open_share
from shared.supervisor import Supervisor
from tests.helpers.toy_plan import log_to_stdout
log_to_stdout()
task_monitor.FIRST_TASK_TIMEOUT_S = 1.0
sys.exit(Supervisor(open_share(Path(sys.argv[1])), "tests.helpers.toy_plan:ToyPlan", sys.argv[2]).run())
"""


def test_task_that_hangs_is_killed_and_counted(real):
    job = toy.create(real, chains=1, length=2, deadly=0, signal=int(signal.SIGSTOP))
    output, _ = (node := start(real, "-c", HANGS)).communicate(timeout=60)
    tries = attempts.attempts_of_task(job, link_task(0))
    assert node.returncode == 1 and [attempt.why for attempt in tries] == ["hung"] * 3, output
    assert output.count("crashed its worker (no progress for ") == 3


class Poisoned(VideoPlan):
    """A frame fails as long as there is a file of this name among the inputs."""

    def run(self, task: Task, report_progress):
        if task == frame_task(5) and "poison" in self.job.share.system.list(self.job.layout.inputs):
            raise ValueError("this frame is poison")
        return super().run(task, report_progress)


class Deadly(VideoPlan):
    """Who paints frame 5 is gone, also ahead of its turn, whatever else it is at."""

    def __init__(self, *words, **options):
        super().__init__(*words, **options)
        paint = self.stylizer.next

        def painted(frame: int, *words):
            if frame == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return paint(frame, *words)

        self.stylizer.next = painted


FILM_NODE = """
import sys
from pathlib import Path
from shared.shared_dir import open_share
from shared.supervisor import Supervisor
from tests.helpers.toy_plan import log_to_stdout
log_to_stdout()
sys.exit(Supervisor(open_share(Path(sys.argv[1])), "tests.faults.test_poison:%s").run())
"""


def status(job: Job, *words: str) -> str:
    result = CliRunner().invoke(coordinator.main, ["status", str(job.share.layout.root), *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_film_with_a_poisoned_frame_shows_what_waits_for_it_and_retry_finishes_the_same_film(
    real, clip, style, tmp_path_factory
):
    job = create(real, clip, style)
    plain = create(open_share(tmp_path_factory.mktemp("plain")), clip, style)
    assert work(plain)
    (job.layout.inputs / "poison").touch()
    output, _ = (node := start(real, "-c", FILM_NODE % "Poisoned")).communicate(timeout=120)
    assert node.returncode == 1 and "frame.0000005: ValueError: this frame is poison (3 times raised on " in output, (
        output
    )
    assert results.completed_in_shard(job, "frame", 0) == {*range(5), *range(CUT, FRAMES)}
    told = status(job)
    assert (
        "frame.0000005 failed after 3 attempts: ValueError: this frame is poison" in told
        and told.count("raised on node") == 3
    )
    assert f"{CUT - 6} frames wait for frame 5, which failed" in told
    (state,) = json.loads(status(job, "--json"))["jobs"]
    assert (
        state["state"] == "failed"
        and [attempt["why"] for attempt in state["attempts"]["frame.0000005"]] == ["raised"] * 3
    )
    (job.layout.inputs / "poison").unlink()
    assert "1 failed task" in CliRunner().invoke(coordinator.main, ["retry", str(real.layout.root)]).output
    assert work(job)
    assert film_of(job).read_bytes() == film_of(plain).read_bytes()


@pytest.mark.slow
def test_frame_that_takes_down_whoever_begins_it_ahead_is_the_one_that_fails(real, clip, style):
    job = create(real, clip, style)
    output, _ = (node := start(real, "-c", FILM_NODE % "Deadly")).communicate(timeout=120)
    assert node.returncode == 1, output
    assert attempts.failed(job) == [str(frame_task(5))], output
    assert results.completed_in_shard(job, "frame", 0) == {*range(5), *range(CUT, FRAMES)}


# ---- one worker in this process; whatever time it takes is the clock's
class Company:
    """Other nodes, which do something whenever the worker waits; and a plan that fails as it is told."""

    def __init__(self, share: SharedDir, monkeypatch):
        self.share, self.others, self.waited = share, [], 0.0
        self.steps = []
        monkeypatch.setattr(ChangeNotifier, "wait", lambda notifier, seconds: self.step(seconds))
        monkeypatch.setattr(os, "fsync", lambda fd: None)

    def step(self, seconds: float) -> None:
        self.share.system.sleep(seconds)
        self.waited += seconds
        if self.waited > 5000:
            pytest.fail("it waits for ever")
        for node in self.others:
            node.renew()
            os.utime(node.heartbeat_file, ns=(0, int(self.waited * 1e9)))  # whatever the file system's grain
        for step in list(self.steps):
            step()

    def join(self) -> Node:
        """One more node, of another name than this process's nodes have."""
        identity = replace(Identity.here(), incarnation=f"other-{len(self.others)}-0123abcd")
        self.others.append(Node(self.share, identity))
        self.others[-1].join()
        return self.others[-1]


@pytest.fixture
def company(share, monkeypatch) -> Company:
    return Company(share, monkeypatch)


class Failing(toy.ToyPlan):
    """`fails(task)` is what a link raises, None where it does not."""

    fails = staticmethod(lambda task: None)

    def run(self, task: Task, report_progress):
        error = self.fails(task) if task.kind == "link" else None
        if error:
            raise error
        return super().run(task, report_progress)


def serve(node: Node, fails, health: NodeHealth | None = None, forever: bool = False) -> tuple[bool, RecordingEvents]:
    plan = type("Plan", (Failing,), {"fails": staticmethod(fails)})
    report = RecordingEvents()
    well = Worker(node, plan, report, threading.Event(), "toy", forever, health).run()
    return well, report


def poisons(number: int):
    return lambda task: ValueError("poison") if task.number == number else None


def test_lone_node_tries_a_task_that_failed_again_at_once(share, node, company, caplog):
    job = toy.create(share, chains=2, length=3)
    well, report = serve(node, poisons(4))
    assert not well and len(attempts.attempts_of_task(job, link_task(4))) == 3 and company.waited < 10
    assert results.completed_in_shard(job, "link", 0) == {0, 1, 2, 3}
    # After each failure it shows, once, that it can do what is done: it is the task.
    assert [int(name[-1]) for name in report.tasks] == [0, 1, 2, 3, 4, 1, 4, 1, 4, 1]
    assert not any("unhealthy" in line for line in caplog.messages)


def test_node_leaves_a_failed_task_to_one_that_never_takes_it_for_a_while_and_not_for_ever(share, node, company):
    job = toy.create(share, chains=2, length=3)
    company.join()
    seen = []
    company.steps.append(lambda: seen.append((company.waited, len(attempts.attempts_of_task(job, link_task(1))))))
    assert not serve(node, poisons(1))[0]
    after = [next(when for when, count in seen if count >= number) for number in (1, 2, 3)]
    assert (
        after[0] < 10
        and BACKOFF_S <= after[1] < BACKOFF_S + 10
        and BACKOFF_S + LAST_BACKOFF_S <= after[2] < BACKOFF_S + LAST_BACKOFF_S + 20
    )
    assert results.completed_in_shard(job, "link", 0) == {0, 3, 4, 5}


def test_node_does_not_wait_for_one_that_has_died(share, node, company):
    toy.create(share, lease=1000, chains=1, length=3)
    company.join()
    company.steps.append(company.others.clear)  # no heartbeat from now on
    assert not serve(node, poisons(1))[0] and company.waited < BACKOFF_S


def test_node_leaves_a_failed_task_to_one_that_joined_a_moment_ago(share, node, company):
    job, seen = toy.create(share, chains=1, length=3), []

    def fails(task):
        if task.number == 1 and not company.others:
            company.join()
            return ValueError("poison")

    company.steps.append(lambda: seen.append(results.is_done(job, link_task(1))))
    assert serve(node, fails)[0] and company.waited >= BACKOFF_S and seen[-1] is False


def test_many_tasks_that_are_left_to_others_do_not_hide_the_open_ones(share, node, company):
    job, _ = toy.create(share, chains=30, length=2), company.join()

    def over():
        raise StopRequested

    company.steps.append(over)  # as soon as it waits
    with pytest.raises(StopRequested):
        serve(node, lambda task: ValueError("poison") if task.number < 44 and task.number % 2 else None)
    assert results.count(job, "link", range(60)) == 60 - 22 and attempts.failed(job) == []


def test_job_with_a_failed_task_is_not_over_for_a_node_that_leaves_another_task_to_others(share, node, company):
    job, other = toy.create(share, chains=2, length=3), company.join()
    for _ in range(attempts.MAX_FAILURES):
        attempts.record(other, job, link_task(4), "raised", "ValueError", attempts.nonce())
    company.steps.append(lambda: company.waited > 30 and results.publish_bytes(other, job, link_task(1), b"1 0\n"))
    assert not serve(node, poisons(1))[0] and results.is_done(job, link_task(2))


def test_job_that_is_sick_as_a_whole_is_over_though_a_task_is_left_to_others(share, node, company, monkeypatch):
    monkeypatch.setattr(attempts, "MAX_FAILED_TASKS", 0)
    job, other = toy.create(share, chains=2, length=3), company.join()

    def fail():
        if company.waited > 10 and not attempts.failed(job):
            for _ in range(attempts.MAX_FAILURES):
                attempts.record(other, job, link_task(5), "raised", "ValueError", attempts.nonce())

    company.steps.append(fail)
    assert not serve(node, poisons(1))[0] and company.waited < BACKOFF_S


def test_node_does_not_wait_for_those_on_which_it_failed_as_well(share, node, company):
    job, other = toy.create(share, chains=1, length=3), company.join()
    before_it_went_down = Node(share, replace(other.identity, incarnation=other.identity.incarnation[:-1] + "1"))
    attempts.record(before_it_went_down, job, link_task(1), "crashed", "killed by SIGKILL", attempts.nonce())
    assert not serve(node, poisons(1))[0] and company.waited < 10
    assert len(attempts.attempts_of_task(job, link_task(1))) == 3


def test_task_that_somebody_opened_anew_is_tried_at_once(share, node, company):
    job = toy.create(share, chains=1, length=3)
    company.join()
    (tries := []).append(lambda task: ValueError("once") if task.number == 1 and len(tries) == 1 else None)

    def reopen():
        if company.waited > 10 and len(tries) == 1:
            tries.append(job.share.system.rename(job.layout.attempts_of(link_task(1)), job.layout.attempts / "before"))

    company.steps.append(reopen)
    assert serve(node, tries[0])[0] and company.waited < BACKOFF_S


def test_sick_node_that_came_before_any_result_waits_for_one_then_steps_out_and_takes_its_attempts_back(
    share, node, company, caplog
):
    job = toy.create(share, chains=9, length=3)
    other, third = company.join(), company.join()
    first = lambda: attempts.attempts_of_task(job, link_task(0))

    def others():
        if company.waited < 10 and len(first()) == 1:
            for sick in (other, third):  # together with ours the third attempt: the task is failed
                attempts.record(sick, job, link_task(0), "raised", "MemoryError: nor here", attempts.nonce())
            assert attempts.failed(job) == [str(link_task(0))]
        if 10 <= company.waited < KIND_BACKOFF_S:
            results.publish_bytes(other, job, link_task(24), b"24 0\n")

    company.steps.append(others)
    fails, health = lambda task: MemoryError("nothing left"), NodeHealth()
    with pytest.raises(
        NodeUnhealthyError, match="failed at link.*, and at the finished task link.0000024 .MemoryError: nothing left"
    ):
        serve(node, fails, health)
    assert len(list(job.layout.attempts.rglob("*.*"))) == 5  # on three links, not on each of nine
    well, report = serve(node, fails, health)  # a fresh process
    assert not well and company.waited < KIND_BACKOFF_S and claimed(job) == {}
    (line,) = [line for line in caplog.messages if "is unhealthy" in line]
    assert "MemoryError: nothing left" in line
    assert [attempt.counts for attempt in first() if node_key(attempt.who) == node_key(node.identity.incarnation)] == [
        False
    ]
    assert attempts.failed(job) == [] and len(first()) == 3


def test_process_that_a_task_has_spoiled_is_not_taken_for_a_sick_node(share, node, company):
    job, health, spoiled = toy.create(share, chains=2, length=4), NodeHealth(), []

    def fails(task):
        if task.number == 2:
            spoiled.append(task)
        return RuntimeError("the device is in a bad state") if spoiled else None

    for _ in range(attempts.MAX_FAILURES):
        spoiled.clear()
        with pytest.raises(NodeUnhealthyError):
            serve(node, fails, health)
    spoiled.clear()
    assert not serve(node, fails, health)[0]  # the job is failed, not the node
    assert results.completed_in_shard(job, "link", 0) == {0, 1, 4, 5, 6, 7}
    assert [attempt.counts for attempt in attempts.attempts_of_task(job, link_task(2))] == [True] * 3


def test_node_that_falls_sick_when_it_is_alone_leaves_the_rest_of_the_job_open(share, node, company, caplog):
    job, health = toy.create(share, chains=9, length=3), NodeHealth()
    fails = lambda task: (
        RuntimeError("the device is lost") if task.number > 4 or results.is_done(job, link_task(4)) else None
    )
    with pytest.raises(NodeUnhealthyError):
        serve(node, fails, health)
    well, report = serve(node, fails, health)
    assert not well and attempts.failed(job) == [] and sum("is unhealthy" in line for line in caplog.messages) == 1
    assert serve(node, lambda task: None)[0]


def test_node_that_is_sick_ends_though_it_was_to_wait_for_ever(share, node, company):
    job, health = toy.create(share, chains=2, length=3), NodeHealth()
    fails = lambda task: MemoryError() if results.is_done(job, link_task(3)) else None
    with pytest.raises(NodeUnhealthyError):
        serve(node, fails, health)
    assert not serve(node, fails, health, forever=True)[0]


def test_examination_whose_input_vanishes_shows_nothing_and_does_not_hold_the_node_up(share, node, company):
    job, seen = toy.create(share, chains=2, length=3), []

    def fails(task):
        if task.number == 1 and results.is_done(job, link_task(1)):
            return ResultVanishedError("gone")
        if task.number == 2:
            seen.append(task)
            return ValueError("poison")

    assert not serve(node, fails)[0] and len(seen) == 3 and company.waited < 10
    assert results.completed_in_shard(job, "link", 0) == {0, 1, 3, 4, 5}


def test_failed_mark_that_a_sick_node_makes_untrue_while_it_is_written_goes_again(
    share, node, job, company, monkeypatch
):
    sick, task = company.join(), link_task(0)
    for _ in range(attempts.MAX_FAILURES - 1):
        attempts.record(sick, job, task, "raised", "MemoryError", attempts.nonce())
    calm = share.system.write_new

    def overtaken(path, data):
        if path == job.layout.failure(task):
            monkeypatch.setattr(share.system, "write_new", calm)
            attempts.ignore_attempts(sick, job, task)
        calm(path, data)

    monkeypatch.setattr(share.system, "write_new", overtaken)
    attempts.record(node, job, task, "raised", "ValueError", attempts.nonce())
    assert (
        attempts.failed(job) == []
        and [attempt.counts for attempt in attempts.attempts_of_task(job, task)].count(True) == 1
    )


# ---- a film's plan
def test_film_node_proves_itself_on_a_frame_that_needs_what_the_failed_one_needs(real, clip, style):
    job = create(real, clip, style, frames=CUT + 4)
    with temporary_member(real) as node:
        plan = VideoPlan(job, node)
        assert plan.self_test_task(index_task(0)) is None
        results.publish_bytes(node, job, index_task(0), plan.run(index_task(0), lambda: None))
        assert plan.self_test_task(index_task(1)) == index_task(0) and plan.self_test_task(frame_task(0)) is None
        for frame in (0, 1):
            results.publish_bytes(node, job, frame_task(frame), plan.run(frame_task(frame), lambda: None))
        assert plan.self_test_task(frame_task(CUT)) == frame_task(0)
        assert plan.self_test_task(frame_task(CUT + 2)) == frame_task(1) and plan.self_test_task(
            flow_task(CUT + 2)
        ) == flow_task(1)
        assert plan.self_test_task(frame_task(1)) is None and plan.self_test_task(Task("stitch", 0, ".mp4")) is None
        again = decode_png(plan.run(plan.self_test_task(frame_task(CUT + 2)), lambda: None))
        artifacts = JobArtifacts(job)
        artifacts.load_new_segments()
        assert np.array_equal(again, artifacts.frame(1))
        assert blocked(artifacts, ["frame.0000003", f"frame.{CUT + 2:07d}", f"frame.{CUT + 3:07d}"]) == [
            f"{CUT - 4} frames wait for frame 3, which failed",
            f"1 frame waits for frame {CUT + 2}, which failed",
        ]
        assert blocked(artifacts, ["index.0000001"]) == [
            f"all frames from {CUT + 4} on wait for index segment 1, which failed"
        ]


def test_node_that_can_make_no_flow_steps_out_though_flow_may_fail(share, node, company, clip, style, monkeypatch):
    monkeypatch.setitem(flows.METHODS, "dis", replace(flows.METHODS["dis"], is_expensive=True))
    job, painter = create(share, clip, style, no_cuts=True), company.join()
    plan = VideoPlan(job, painter)
    for task in (index_task(0), frame_task(0), frame_task(1)):
        results.publish_bytes(painter, job, task, plan.run(task, lambda: None))
        plan.published(task, True)
    Claims(painter, job).claim(frame_task(2))

    class NoFlow(VideoPlan):
        def _flow(self, task, report_progress):
            raise MemoryError("not for flow")

    def helps() -> bool:
        return Worker(
            node,
            lambda job, node: NoFlow(job, node),
            RecordingEvents(),
            threading.Event(),
            job.name,
            health=health,
        ).run()

    health = NodeHealth()
    with pytest.raises(NodeUnhealthyError, match="failed at flow.0000004, and at the finished task flow.0000001"):
        helps()
    assert not helps() and [attempt.counts for attempt in attempts.attempts_of_task(job, flow_task(4))] == [False]
    assert list(claimed(job)) == [str(frame_task(2))]


def test_status_tells_every_attempt_and_verbose_its_traceback(share, node, clip, style):
    job = create(share, clip, style)
    for why in ("raised", "crashed", "raised"):
        attempts.record(
            node, job, frame_task(7), why, "Traceback\n  in the depths\nMemoryError: no room", attempts.nonce()
        )
    told = status(job)
    assert told.count(f"on node {node.identity.incarnation} of {node.identity.host}: MemoryError: no room") == 3
    assert "in the depths" not in told and status(job, "--verbose").count("in the depths") == 3
    with temporary_member(share) as later:
        attempts.ignore_attempts(node, job, frame_task(7))
        attempts.record(later, job, frame_task(7), "raised", "ValueError: here", attempts.nonce())
    assert attempts.failed(job) == [] and "failed after" not in status(job)


@pytest.mark.parametrize("words", [["retry"], ["submit"]])
def test_retry_and_the_same_line_again_open_a_failed_task_anew(share, node, clip, style, words):
    job = create(share, clip, style)
    for _ in range(attempts.MAX_FAILURES):
        attempts.record(node, job, frame_task(7), "raised", "MemoryError", attempts.nonce())
    line = [*words, str(share.layout.root), *([str(clip), str(style)] if words == ["submit"] else [])]
    assert "1 failed task(s) reopened" in CliRunner().invoke(coordinator.main, line).output
    assert attempts.failed(job) == [] and attempts.attempts_of_task(job, frame_task(7)) == []
