"""Signals as a terminal, a shell and a scheduler send them, to real nodes on a job without pictures."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fav.cli.common import one_line_errors
from shared import attempts, results
from shared import terminal as terminals
from shared.claims import claimed
from shared.startup import checked_imports
from tests.helpers import toy_plan as toy
from tests.helpers.checkout import ROOT
from tests.helpers.job_system import make_share
from tests.helpers.waiting import runs, wait_for


@pytest.fixture
def share(root):
    return make_share(root)


@pytest.fixture
def start(share):
    """Starts nodes, and ends those that a test leaves behind."""
    nodes = []

    def start(**how) -> subprocess.Popen:
        nodes.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.helpers.toy_plan", str(share.layout.root), "toy"],
                cwd=ROOT,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                **how,
            )
        )
        return nodes[-1]

    yield start
    for node in nodes:
        if node.poll() is None:
            node.kill()
            node.communicate()


def begun(job, count: int = 1) -> bool:
    return results.count(job, "link", range(1000)) >= count


def left_nothing(job) -> bool:
    layout = job.share.layout
    return claimed(job) == {} and not any(list(room.iterdir()) for room in (layout.nodes, layout.tmp, layout.notify))


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def worker_of(node: subprocess.Popen) -> int:
    children = [int(pid) for pid in Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()]
    return next(pid for pid in children if os.getpgid(pid) == pid)  # in a group of its own


def terminal() -> tuple[int, int, dict]:
    """Both ends of a terminal, and how a process is started in it, alone."""
    master, slave = os.openpty()
    enter = lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    return master, slave, {"stdin": slave, "start_new_session": True, "preexec_fn": enter}


def test_terminal_that_is_closed_lets_a_node_leave_like_sigterm(share, start):
    job = toy.create(share, chains=1, length=1000, slow=0.05)
    master, slave, inside = terminal()
    node = start(**inside)
    os.close(slave)
    wait_for(lambda: begun(job))
    os.close(master)
    output, _ = node.communicate(timeout=20)
    assert node.returncode == 130 and "stopping after the current frame" in output, output
    assert left_nothing(job) and list(attempts.attempts_of_job(job)) == []


def test_second_sighup_of_a_terminal_does_not_break_off_the_task_at_hand(share, start):
    job = toy.create(share, chains=1, length=1, slow=1.5)
    node = start()
    wait_for(lambda: claimed(job))
    for _ in range(3):
        node.send_signal(signal.SIGHUP)
        time.sleep(0.1)
    output, _ = node.communicate(timeout=20)
    assert node.returncode == 130 and results.is_done(job, toy.link_task(0)), output
    assert left_nothing(job)


def test_node_under_nohup_outlives_its_terminal(share, start):
    job = toy.create(share, chains=1, length=6, slow=0.2)
    node = start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_for(lambda: begun(job))
    node.send_signal(signal.SIGHUP)
    assert node.wait(20) == 0 and results.is_done(job, toy.SUM)


def test_sigquit_ends_a_node_at_once_and_leaves_nothing(share, start):
    job = toy.create(share, chains=1, length=2, slow=60)
    node = start()
    wait_for(lambda: claimed(job))
    node.send_signal(signal.SIGQUIT)
    node.communicate(timeout=10)
    assert node.returncode == 130 and left_nothing(job) and list(attempts.attempts_of_job(job)) == []


def test_ctrl_z_stops_the_worker_with_its_supervisor_and_both_go_on(share, start):
    job = toy.create(share, chains=1, length=12, slow=0.1, gate=11)
    node = start()
    wait_for(lambda: begun(job))
    worker = worker_of(node)
    node.send_signal(signal.SIGTSTP)
    wait_for(lambda: state(node.pid) == state(worker) == "T")
    before = results.count(job, "link", range(12))
    time.sleep(0.5)
    assert results.count(job, "link", range(12)) == before < 12
    (job.layout.inputs / "go").touch()
    node.send_signal(signal.SIGCONT)
    output, _ = node.communicate(timeout=20)
    assert node.returncode == 0 and results.read(job, toy.SUM) == toy.expected(1, 12), output
    assert left_nothing(job) and list(attempts.attempts_of_job(job)) == []


def test_ctrl_z_in_a_terminal_without_a_shell_stops_nobody(share, start):
    job = toy.create(share, chains=1, length=8, slow=0.1)
    master, slave, inside = terminal()
    node = start(**inside)
    os.close(slave)
    wait_for(lambda: begun(job))
    os.write(master, b"\x1a")
    assert node.wait(20) == 0 and results.is_done(job, toy.SUM)  # nobody could have continued it
    os.close(master)


def test_worker_of_a_stopped_supervisor_that_is_killed_ends(share, start):
    job = toy.create(share, chains=1, length=1000, slow=0.1)
    node = start()
    wait_for(lambda: begun(job))
    worker = worker_of(node)
    node.send_signal(signal.SIGTSTP)
    wait_for(lambda: state(worker) == "T")
    node.kill()
    node.communicate()
    wait_for(lambda: not runs(worker), 10)


STARTING = """
import os, signal, sys
from multiprocessing.context import SpawnProcess
from pathlib import Path
from shared.shared_dir import open_share
from shared.supervisor import Supervisor
from tests.helpers.toy_plan import log_to_stdout

def start(process, really=SpawnProcess.start):
    meant = os.getpid() if sys.argv[2] == "node" else None
    if meant:
        os.kill(meant, signal.SIGTERM)
    really(process)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT)[: 1 if meant else 4]:
        os.kill(meant or process.pid, number)

SpawnProcess.start = start
log_to_stdout()
sys.exit(Supervisor(open_share(Path(sys.argv[1])), "tests.helpers.toy_plan:ToyPlan", "toy").run())
"""


@pytest.mark.parametrize("meant, code", [("node", 130), ("worker", 0)])
def test_signal_while_a_worker_starts_is_heard_by_its_node_alone(share, meant, code):
    job = toy.create(share, chains=1, length=20, slow=0.05)
    node = [sys.executable, "-c", STARTING, str(share.layout.root), meant]
    done = subprocess.run(node, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == code and "crashed" not in done.stdout, done
    assert results.is_done(job, toy.SUM) == (code == 0) and left_nothing(job)


HALTED = """
import subprocess, sys, time
from fav.launch.local_launcher import _halting
node = subprocess.Popen([sys.executable, "-m", "tests.helpers.toy_plan", *sys.argv[1:]], start_new_session=True, stdout=subprocess.DEVNULL)
with _halting([node]):
    print(node.pid, flush=True)
    sys.exit(node.wait())
"""


def test_ctrl_z_on_run_stops_and_continues_its_nodes(share):
    job = toy.create(share, chains=1, length=12, slow=0.1, gate=11)
    run = subprocess.Popen(
        [sys.executable, "-c", HALTED, str(share.layout.root), "toy"], cwd=ROOT, text=True, stdout=subprocess.PIPE
    )
    node = int(run.stdout.readline())
    wait_for(lambda: begun(job))
    run.send_signal(signal.SIGTSTP)
    wait_for(lambda: state(run.pid) == state(node) == "T")
    (job.layout.inputs / "go").touch()
    run.send_signal(signal.SIGCONT)
    run.communicate(timeout=20)
    assert run.returncode == 0 and results.is_done(job, toy.SUM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_command_that_is_told_to_end_takes_its_unfinished_file_away(tmp_path, number):
    @click.command()
    @one_line_errors
    def command() -> None:
        try:
            (tmp_path / "unfinished").touch()
            for _ in range(2 if number == signal.SIGHUP else 1):
                os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)  # a terminal sends it again, in the midst of cleaning up
            (tmp_path / "unfinished").unlink()

    before = signal.getsignal(number)
    result = CliRunner().invoke(command)
    assert result.exit_code == 128 + number and result.output == "stopped\n", result
    assert not list(tmp_path.iterdir()) and signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_during_an_import_is_not_lost_and_leaves_no_half_module(tmp_path, monkeypatch, number):
    """Some libraries drop every error of what they import, KeyboardInterrupt as well, and miss half of their names."""
    (tmp_path / "dropping.py").write_text(
        f"import os\ntry:\n    os.kill(os.getpid(), {int(number)})\n    for _ in range(1000):\n        pass\n"
        "    whole = True\nexcept BaseException:\n    whole = False\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "dropping", raising=False)

    @click.command()
    @one_line_errors
    def command() -> None:
        import dropping  # pyright: ignore[reportMissingImports]

        click.echo(f"whole: {dropping.whole}")
        time.sleep(5)

    result = CliRunner().invoke(command)
    assert result.exit_code == 128 + number and result.output == "whole: True\nstopped\n", result.output


def test_signal_that_waits_for_an_import_says_so_and_a_second_ctrl_c_does_not_wait(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(terminals, "IMPORT_SILENCE_S", 0.1)
    (tmp_path / "slow.py").write_text(
        "import os, time\nos.kill(os.getpid(), 2)\ntime.sleep(0.4)\nos.kill(os.getpid(), 2)\ntime.sleep(9)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), terminals.ended_by_signals():
        import slow  # noqa: F401  # pyright: ignore[reportMissingImports]
    assert 0.3 < time.monotonic() - began < 5 and capfd.readouterr().err.count("Ctrl-C stops at once") == 1


@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_while_a_command_starts_shows_no_traceback(ignored):
    body = (
        "import os, signal\nfrom shared.startup import checked_imports\n"
        + "signal.signal(signal.SIGINT, signal.SIG_IGN)\n" * ignored
        + "with checked_imports():\n    os.kill(os.getpid(), signal.SIGINT)\n    for _ in range(1000):\n        pass\n"
        "print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    )
    ended = subprocess.run([sys.executable, "-c", body], cwd=ROOT, capture_output=True, text=True)
    expected = (0, "True\n") if ignored else (-signal.SIGINT, "")
    assert (ended.returncode, ended.stdout) == expected and not ended.stderr, ended


def test_ctrl_c_raises_again_after_the_imports_of_a_command():
    before = signal.getsignal(signal.SIGINT)
    with checked_imports():
        pass
    assert signal.getsignal(signal.SIGINT) == before


def test_training_ends_after_its_iteration_when_the_terminal_goes():
    from fav.training.stop_signals import StopSignals

    with StopSignals() as signals:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
        assert signals.asked == signal.SIGHUP
