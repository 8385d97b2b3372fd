"""The logs of real nodes and commands: their options, their fields, streams that are gone, workers that are killed."""

import fcntl
import json
import logging
import os
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest

import coordinator
from fav.monitor.console import LogSettings, command_log, tell
from fav.monitor.progress import LogTail, follow
from shared.logs import STARTED, TextFormatter, parse
from tests.helpers import toy_plan as toy
from tests.helpers.chatty_plan import LINES
from tests.helpers.checkout import ROOT
from tests.helpers.commands import call, refused
from tests.helpers.job_system import make_share
from tests.helpers.video_jobs import FRAMES, create, film_of, start_node

FIELDS = ["time", "level", "logger", "node", "job", "task", "message"]
logger = logging.getLogger("fav.test")


@pytest.fixture
def share(root):
    """An empty share, by the clock of the world."""
    return make_share(root)


# ---- fields
def test_every_line_of_a_node_is_json_and_tells_node_job_and_task(share, clip, style):
    job = create(share, clip, style)
    film_of(job).write_text("somebody else's")
    said, _ = (node := start_node(share, "--job", job.name, "--log-format", "json", "--verbose")).communicate(
        timeout=120
    )
    assert node.returncode == 0, said
    first, *rest = [json.loads(line) for line in said.splitlines()]
    assert all(list(line)[: len(FIELDS)] == FIELDS for line in (first, *rest))
    assert first["message"].startswith(STARTED) and first["pid"] == node.pid and first["job"] == job.name
    assert first["command"][1:] == node.args[2:] and first["version"].startswith("fav ") and len(first["sources"]) == 12
    names = {line["node"] for line in rest}
    assert len(names) == 1 and f"-{node.pid}-" in names.pop() and {line["job"] for line in rest} == {job.name}
    begun = [line["task"] for line in rest if line["message"] == f"{job.name}: {line['task']} begun"]
    assert begun.count("stitch.0000000") == 1 and sum(task.startswith("frame.") for task in begun) == FRAMES
    assert [line["level"] for line in rest if "another file has taken this name" in line["message"]] == ["warning"]
    assert rest[-1]["message"].startswith("done: ") and rest[-1]["level"] == "info"


@pytest.mark.slow
def test_quiet_node_logs_its_first_line_and_warnings_alone(share):
    (share.layout.jobs / "notes.txt").touch()
    command = [sys.executable, str(ROOT / "node.py"), str(share.layout.root), "-q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    first, warning = map(parse, done.stdout.splitlines())  # and not that there are no jobs
    assert done.returncode == 0 and first.message.startswith(STARTED)
    assert warning.level == logging.WARNING and "did not make it: jobs/notes.txt" in warning.message


def test_verbose_and_quiet_exclude_each_other(share):
    for command in ("run", "submit"):
        result = call(coordinator.main, command, share.layout.root, "video", "style", "-v", "-q")
        assert result.exit_code == 2 and "expected one of them, got both" in result.output


def test_answers_and_errors_of_a_command_are_json_where_its_log_is(share, clip, style):
    words = ("submit", share.layout.root, clip, style, "--log-format", "json")
    made, again = call(coordinator.main, *words), call(coordinator.main, *words, "--quiet")
    assert [json.loads(line)["message"] for line in again.stdout.splitlines()] == ["joined job clip--tiny"]
    assert json.loads(made.stdout.splitlines()[0])["message"] == "created job clip--tiny"
    other = ("--name", "clip--tiny", "--strength", "0.5")
    wrong = call(coordinator.main, *words, *other)
    line = json.loads(wrong.stderr)
    assert wrong.exit_code == 2 and line["level"] == "error" and line["message"].startswith("job clip--tiny exists")
    refused(call(coordinator.main, *words[:-2], *other), "exists with other options")


@pytest.mark.slow
def test_run_passes_the_form_of_the_log_to_its_nodes_and_repeats_what_they_log(share, clip, style):
    command = [sys.executable, str(ROOT / "coordinator.py"), "run", str(share.layout.root), str(clip), str(style)]
    done = subprocess.run([*command, "--log-format", "json", "-v"], capture_output=True, text=True, timeout=120)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and done.stderr == "" and lines[-1]["message"].startswith("done: ")
    assert any(line["message"].endswith("frame.0000003 published") and line["node"] for line in lines)
    (log,) = share.layout.logs.glob("*.log")
    head, *rest = log.read_text().splitlines()
    assert head == "the log of a node of fav" and all(json.loads(line)["time"] for line in rest)


# ---- streams
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", "> /dev/full 2>&1"])
def test_node_whose_streams_are_closed_or_full_works(share, closed):
    job = toy.create(share, chains=1, length=1)
    node = [sys.executable, "-c", TOY_NODE, str(share.layout.root)]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *node], capture_output=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0 and "finished" in job.flags() and b"Traceback" not in done.stderr, done


TOY_NODE = """
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from shared.startup import checked_imports
with checked_imports():
    pass
from fav.monitor.console import LogSettings, node_log
from shared.shared_dir import open_share
from shared.supervisor import Supervisor
plan = sys.argv[2] if len(sys.argv) > 2 else "tests.helpers.toy_plan:ToyPlan"
with node_log(LogSettings(10)):
    code = Supervisor(open_share(Path(sys.argv[1])), plan).run()
sys.exit(code)
"""


def test_node_whose_output_nobody_reads_is_not_held_up(share):
    job = toy.create(share, chains=1, length=8)
    reading, writing = os.pipe()
    size = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"x" * size)
    node = subprocess.Popen([sys.executable, "-c", TOY_NODE, str(share.layout.root)], cwd=ROOT, stdout=writing)
    try:
        assert node.wait(60) == 0 and "finished" in job.flags()
    finally:
        node.kill()
        os.close(reading)
        os.close(writing)


# ---- workers
def test_worker_that_is_killed_loses_no_line_that_it_has_logged(share):
    job = toy.create(share, chains=1, length=1)
    node = [sys.executable, "-c", TOY_NODE, str(share.layout.root), "tests.helpers.chatty_plan:ChattyPlan"]
    done = subprocess.run(node, capture_output=True, text=True, cwd=ROOT, timeout=60)
    lines = list(map(parse, done.stdout.splitlines()))
    chat = [line for line in lines if line.message.startswith("line ")]
    assert [line.message for line in chat] == [f"line {number}" for number in range(LINES)] and done.returncode == 0
    assert {(line.job, line.task) for line in chat} == {(job.name, "link.0000000")}
    assert all(line.node for line in lines) and any("crashed its worker" in line.message for line in lines)


# ---- a terminal
@contextmanager
def terminal(monkeypatch):
    """Let `sys.stdout` be a terminal; a function that reads what it shows."""
    master, slave = os.openpty()
    os.set_blocking(master, False)

    def read() -> str:
        shown = b""
        with suppress(BlockingIOError):
            while True:
                shown += os.read(master, 1 << 16)
        return shown.decode()

    with monkeypatch.context() as patched:
        patched.setenv("TERM", "xterm")
        patched.delenv("NO_COLOR", raising=False)
        patched.setattr(sys, "stdout", open(slave, "w", closefd=False))
        yield read
    os.close(master)
    os.close(slave)


def test_lines_on_a_terminal_are_whole_and_move_nothing(monkeypatch):
    path = "/mnt/" + "a/" * 100 + "film.mp4"
    with terminal(monkeypatch) as read, command_log(LogSettings()):
        logger.info("done: %s", path)
        logger.warning("\x1b[2Jcleared\x07 [red]markup[/red] :smile:")
        tell("an answer")
        shown = read()
    assert path in shown and "warning: ?[2Jcleared? [red]markup[/red] :smile:" in shown and "an answer" in shown
    assert "\x1b[2J" not in shown and "\x07" not in shown and "\x1b[33m" in shown and len(shown.splitlines()) == 3


def test_lines_come_above_the_bar_that_shows_progress(share, clip, style, tmp_path, monkeypatch):
    job, log = create(share, clip, style), tmp_path / "a.log"
    talk, rounds = LogTail([log]), iter([True, True])
    said = logger.makeRecord("fav", logging.WARNING, "", 0, "from a node", (), None)
    log.write_text(f"{TextFormatter().format(said)}\n")

    def running() -> bool:
        logger.info("from the launcher")
        return next(rounds, False)

    with terminal(monkeypatch) as read, command_log(LogSettings()):
        follow(job, running, talk)
        shown = read()
    assert shown.count("from the launcher") == 3 and shown.count("warning: from a node") == 1 and "clip--tiny" in shown
