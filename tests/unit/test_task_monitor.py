"""What a worker is doing, read by its supervisor: by a clock that is stepped, and beside a real process that dies."""

import multiprocessing
import os
import signal
from types import SimpleNamespace

import pytest

from shared.paths import Task
from shared.supervisor import SupervisorChannel
from shared.task_monitor import FIRST_TASK_TIMEOUT_S, HANG_FACTOR, HANG_S, TaskProgressMonitor, TaskProgressWriter

FRAME = Task("frame", 7)


class Looks:
    """A watch that looks five times a second."""

    def __init__(self, memory):
        self.now = 0.0
        self.watch = TaskProgressMonitor(memory, lambda: self.now)

    def after(self, seconds: float, share_answers: bool = True) -> TaskProgressMonitor:
        for _ in range(round(seconds * 5)):
            self.now += 0.2
            self.watch.poll(share_answers)
        return self.watch


@pytest.fixture
def memory():
    return TaskProgressWriter.memory(multiprocessing.get_context("spawn"))


def test_task_is_seen_while_it_runs_and_what_ended_is_counted(memory):
    worker, looks = TaskProgressWriter(memory), Looks(memory)
    assert looks.after(1).task is None and looks.watch.ended == 0
    worker.begin("film", FRAME, "film.0123456789ab")
    assert looks.after(1).task == ("film", "frame.0000007", "film.0123456789ab")
    worker.end()
    assert looks.after(1).task is None and looks.watch.ended == 1
    for _ in range(3):
        worker.begin("film", FRAME, "film.0123456789ab")
        worker.end()
    assert looks.after(0.2).ended == 4


def test_longest_names_of_job_and_task_have_room(memory):
    name = "n" * 151
    TaskProgressWriter(memory).begin(name, Task("stylization", 10**11), f"{name}.0123456789ab")
    assert Looks(memory).after(0.2).task == (name, f"stylization.{10**11}", f"{name}.0123456789ab")


def test_first_task_of_its_kind_has_hours_and_the_next_many_times_the_longest_silence(memory):
    worker, looks = TaskProgressWriter(memory), Looks(memory)
    worker.begin("film", FRAME, "id")
    assert not looks.after(FIRST_TASK_TIMEOUT_S - 1).is_hung and looks.after(3).is_hung
    worker.report_progress()
    assert not looks.after(0.2).is_hung  # and of its kind, that was the longest silence
    worker.end()
    looks.after(0.2)
    worker.begin("film", Task("flow", 1), "id")
    looks.after(40)
    worker.end()
    worker.begin("film", Task("flow", 2), "id")
    looks.after(0.2)
    assert not looks.after(HANG_FACTOR * 40 - 2).is_hung and looks.after(4).is_hung


def test_fast_tasks_have_ten_minutes(memory):
    worker, looks = TaskProgressWriter(memory), Looks(memory)
    for seconds in (1, HANG_S - 2):
        worker.begin("film", FRAME, "id")
        looks.after(0.2)
        assert not looks.after(seconds).is_hung
        worker.end()
        looks.after(0.2)


def test_waiting_for_the_share_is_no_hanging(memory):
    worker, looks = TaskProgressWriter(memory), Looks(memory)
    worker.begin("film", FRAME, "id")
    assert not looks.after(2 * FIRST_TASK_TIMEOUT_S, share_answers=False).is_hung
    looks.after(FIRST_TASK_TIMEOUT_S - 1)
    worker.waiting()
    assert not looks.after(FIRST_TASK_TIMEOUT_S - 1).is_hung


def _die(memory) -> None:
    TaskProgressWriter(memory).begin("film", FRAME, "id")
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_worker_was_at_is_still_there():
    context = multiprocessing.get_context("spawn")
    memory = TaskProgressWriter.memory(context)
    worker = context.Process(target=_die, args=(memory,))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL and Looks(memory).after(0.2).task == ("film", "frame.0000007", "id")


def test_title_names_the_task_also_while_it_waits_for_the_disk(memory, monkeypatch):
    titles = []
    monkeypatch.setattr("shared.supervisor.setproctitle", titles.append)
    monkeypatch.setattr(SupervisorChannel, "_listen", lambda channel: None)  # it would end this process with its peer
    channel = SupervisorChannel(None, memory)
    job = SimpleNamespace(name="film", manifest=SimpleNamespace(id="film.0123456789ab"))
    channel.waiting()
    channel.begin(job, Task("frame", 12))
    channel.waiting()
    channel.end()
    channel.waiting()
    assert titles == ["fav node waiting", "fav node film frame 12", "fav node waiting"]
