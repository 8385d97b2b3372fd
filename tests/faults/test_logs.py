"""Logs that lie in the share: read without waiting and without end of memory, and added to only where they are ours."""

import errno
import os
import shlex
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from fav.launch import dask_client, remote_process
from fav.launch.hosts_file import Host, read_hosts
from fav.launch.local_launcher import HEAD, log_at
from fav.monitor.progress import FINAL_POLLS, MAX_LINES, STEP, LogTail, ProgressTracker, follow
from shared.filesystem import process_start
from shared.logs import LOG_HEAD
from tests.helpers.job_system import make_share
from tests.helpers.odd_files import bind, dangling, link, look
from tests.helpers.video_jobs import create
from tests.helpers.waiting import wait_for


@pytest.fixture
def share(root):
    """An empty share, by the clock of the world."""
    return make_share(root)


def to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


NO_LOGS = {
    "FIFO": os.mkfifo,
    "link": link,
    "endless link": to_zero,
    "dangling link": dangling,
    "directory": Path.mkdir,
    "socket": bind,
}
no_logs = pytest.mark.parametrize("make", NO_LOGS.values(), ids=NO_LOGS)


@pytest.fixture
def logs(tmp_path) -> Path:
    (room := tmp_path / "logs").mkdir()
    return room


# ---- reading
def told(talk: LogTail) -> list[str]:
    return [line.message for line in talk.lines()]


@no_logs
def test_what_is_no_log_is_told_once_and_left_out(logs, make):
    talk = LogTail([log := logs / "film.0.log", other := logs / "film.1.log"])
    assert told(talk) == []
    make(log)
    other.write_text("12:00:00 hello\n")
    said = told(talk)
    assert len(said) == 2 and said[0].startswith(f"{log}: expected a log, got a") and said[1] == "hello"
    with open(other, "a") as file:
        file.write("12:00:01 bye\n")
    assert told(talk) == ["bye"]


@pytest.mark.parametrize("make", [os.mkfifo, to_zero], ids=["FIFO", "endless link"])
def test_fifo_as_log_does_not_stop_run(share, clip, style, logs, make, caplog):
    job, rounds = create(share, clip, style), iter([True, True])
    talk = LogTail([logs / "film.0.log"])
    make(logs / "film.0.log")
    began = time.monotonic()
    follow(job, lambda: next(rounds, False), talk)
    assert time.monotonic() - began < 10 and caplog.text.count("expected a log, got") == 1


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOENT])
def test_share_that_does_not_answer_when_all_nodes_have_ended_is_no_error_of_run(
    share, clip, style, logs, monkeypatch, caplog, number
):
    job, rounds, polls, count = create(share, clip, style), iter([True]), iter([True]), ProgressTracker._count

    def late(tracker: ProgressTracker) -> tuple:
        if not next(polls, False):
            raise OSError(number, os.strerror(number))
        return count(tracker)

    caplog.set_level("INFO")
    monkeypatch.setattr(ProgressTracker, "_count", late)
    follow(job, lambda: next(rounds, False), LogTail([]))
    assert caplog.messages == ["nodes are getting ready", "0 of ? frames"]


def test_long_log_is_read_on_in_steps_with_little_memory(logs):
    (log := logs / "film.0.log").write_text("")
    talk = LogTail([log])
    line = b"x" * 99 + b"\n"
    with open(log, "wb") as file:
        file.truncate(200 << 20)  # a line of 200 MiB
        file.seek(0, 2)
        file.write(b"\n" + line * (3 * STEP // len(line)) + b"12:00:00 the end\n")
    tracemalloc.start()
    said, looks = [], 0
    while looks == 0 or talk.behind:
        said += told(talk)
        looks += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert said[-2:] == ["x" * 99, "the end"] and looks > 200 and peak < 20 * STEP


def test_what_was_said_is_remembered_for_a_while_alone(logs):
    (log := logs / "film.0.log").write_text("")
    talk = LogTail([log])
    with open(log, "w") as file:
        file.writelines(f"{number}\n" for number in range(2 * MAX_LINES))
    assert len(talk.lines()) == 2 * MAX_LINES and len(talk._shown) == MAX_LINES


def test_log_that_grows_without_end_does_not_keep_the_command(share, clip, style, logs, monkeypatch):
    monkeypatch.setattr("fav.monitor.progress.STEP", 8)
    (log := logs / "film.0.log").write_text("")
    talk, looks = LogTail([log]), []

    def lines():
        with open(log, "a") as file:
            file.write("abcdefg\n" * 2)
        looks.append(1)
        return LogTail.lines(talk)

    monkeypatch.setattr(talk, "lines", lines)
    follow(create(share, clip, style), lambda: False, talk)
    assert len(looks) == FINAL_POLLS


def test_first_line_of_a_log_is_not_told(logs):
    talk = LogTail([log := logs / "film.0.log"])
    log.write_bytes(HEAD + b"12:00:00 hello\n")
    assert told(talk) == ["hello"]


# ---- writing: nodes of this machine
FOREIGN = {**NO_LOGS, "text": lambda path: path.write_text("my notes\n"), "empty file": Path.touch,
           "almost": lambda path: path.write_bytes(HEAD[:-1] + b"s\n")}  # fmt: skip
foreign = pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)


def test_new_log_begins_as_ours_do_and_is_gone_on_with(logs):
    for text in (b"one\n", b"two\n"):
        path, fd = log_at(logs / "film.0.log")
        os.write(fd, text)
        os.close(fd)
    assert path.read_bytes() == HEAD + b"one\ntwo\n" and [*logs.iterdir()] == [path]


@foreign
def test_log_of_another_is_left_alone_and_a_new_one_taken(tmp_path, logs, make):
    make(logs / "film.0.log")
    before = look(tmp_path)
    path, fd = log_at(logs / "film.0.log")
    os.write(fd, b"one\n")
    os.close(fd)
    assert path.read_bytes() == HEAD + b"one\n" and look(tmp_path) == before
    path.unlink()


def test_descriptor_leads_to_the_log_whatever_its_name_leads_to_by_then(tmp_path, logs):
    (victim := tmp_path / "thesis").write_text("precious")
    path, fd = log_at(logs / "film.0.log")
    path.unlink()
    path.symlink_to(victim)
    subprocess.run(["echo", "hello"], stdout=fd, check=True)
    os.close(fd)
    assert victim.read_text() == "precious"


# ---- writing: nodes by ssh
@pytest.fixture
def host(monkeypatch) -> Host:
    """A host on which a shell runs what it gets, as sshd has it run."""

    def run(host: Host, script: str) -> subprocess.CompletedProcess:
        return subprocess.run(["/bin/sh", "-s"], input=script, capture_output=True, text=True, timeout=20)

    monkeypatch.setattr(remote_process.ssh, "run", run)
    return read_hosts("lab", "")[0]


def test_post_begins_a_log_and_goes_on_with_it(tmp_path, logs, host):
    for code in (3, 4):
        remote_process.start(host, str(tmp_path), str(logs), "film.lab.0", ["sh", "-c", f"echo hello; exit {code}"])
        wait_for(
            lambda: (
                remote_process.query(host, str(logs), ["film.lab.0"])
                == {"film.lab.0": remote_process.ProcessState("ended", code)}
            ),
            20,
        )
    lines = (logs / "film.lab.0.log").read_text().splitlines()
    assert lines[0] == LOG_HEAD and lines.count("hello") == 2 and lines[-1].endswith("ended with exit code 4")
    assert sorted(path.name for path in logs.iterdir()) == ["film.lab.0.log", "film.lab.0.state"]


def test_node_whose_end_is_not_recorded_yet_has_not_died(tmp_path, logs, host):
    name, state = "film.lab.0", logs / "film.lab.0.state"
    query = lambda: remote_process.query(host, str(logs), [name])[name]
    (node := subprocess.Popen(["true"])).wait()
    watcher = subprocess.Popen(["sleep", "60"])
    try:
        state.write_text(f"{node.pid} 1\n{watcher.pid} {process_start(watcher.pid)}\n")
        assert query() == remote_process.ProcessState("runs", node.pid)
        remote_process.start(host, str(tmp_path), str(logs), name, ["true"])  # it would have two watchers
        assert query() == remote_process.ProcessState("runs", node.pid)
    finally:
        watcher.kill()
        watcher.wait()
    assert query().how == "died"


def test_end_that_is_recorded_after_the_first_look_is_told(tmp_path, logs, host, monkeypatch):
    state = logs / "film.lab.0.state"
    state.write_text("999999999 1\n999999998 1\n")
    ends = f"kill() {{ echo 'ended 0' > {shlex.quote(str(state))}; false; }}\n"  # as the watcher does before it ends
    monkeypatch.setattr(remote_process, "QUERY_SH", ends + remote_process.QUERY_SH)
    assert remote_process.query(host, str(logs), ["film.lab.0"])["film.lab.0"] == remote_process.ProcessState(
        "ended", 0
    )


@foreign
def test_post_leaves_the_log_of_another_alone(tmp_path, logs, host, make):
    make(logs / "film.lab.0.log")
    before = look(tmp_path)
    with pytest.raises(remote_process.LaunchRefusedError, match="film.lab.0.log: expected a .*; remove it"):
        remote_process.start(host, str(tmp_path), str(logs), "film.lab.0", ["true"])
    assert look(tmp_path) == before


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize("make", [*NO_LOGS.values(), FOREIGN["text"], huge], ids=[*NO_LOGS, "text", "1 TiB"])
def test_post_leaves_the_state_of_another_alone(tmp_path, logs, host, make):
    make(state := logs / "film.lab.0.state")
    before = state.lstat()
    with pytest.raises(remote_process.LaunchRefusedError, match="film.lab.0.state: expected a file"):
        remote_process.start(host, str(tmp_path), str(logs), "film.lab.0", ["true"])
    assert (state.lstat().st_ino, state.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert remote_process.query(host, str(logs), ["film.lab.0"])["film.lab.0"].how in ("none", "died")


# ---- writing: nodes by Dask
@pytest.fixture
def occupy(tmp_path, logs, monkeypatch):
    """What a worker does, up to its node."""
    worker = SimpleNamespace(get_current_task=lambda: "key", status=SimpleNamespace(name="running"))
    there = ModuleType("distributed")
    there.get_worker, there.get_client = lambda: worker, lambda: SimpleNamespace(submit=lambda *words, **more: None)
    monkeypatch.setitem(sys.modules, "distributed", there)
    return lambda *command: dask_client.run_node_on_worker(
        "exit 0", str(tmp_path), list(command), str(logs / "film.dask.log"), LOG_HEAD
    )


def test_worker_begins_a_log_and_goes_on_with_it(logs, occupy):
    assert occupy("echo", "one") == 0 and occupy("echo", "two") == 0
    assert (logs / "film.dask.log").read_bytes() == HEAD + b"one\ntwo\n"


@foreign
def test_worker_leaves_the_log_of_another_alone(tmp_path, logs, occupy, make):
    make(logs / "film.dask.log")
    before = look(tmp_path)
    with pytest.raises(OSError, match="film.dask.log: expected a .*; remove it") as refused:
        occupy("echo", "one")
    assert refused.type is FileExistsError and refused.value.errno in (None, errno.EEXIST) and look(tmp_path) == before
