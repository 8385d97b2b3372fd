"""What a machine may lack: open streams, room in /dev/shm, a temporary directory, names in UTF-8, the sources of yesterday."""

import errno
import fcntl
import io
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fav.cli.common import one_line_errors
from fav.monitor.console import LogSettings, command_log, node_log, tell
from shared import attempts, local, results
from shared.claims import Claims, claimed
from shared.errors import JobQueueError, SourcesReplaced
from shared.failure_detector import SURE_S, FailureDetector
from shared.filesystem import process_start
from shared.identity import Identity
from shared.membership import Node
from shared.recovery import Recovery
from shared.settings import POLL_S
from shared.shared_dir import open_share
from shared.source_hash import Sources, version
from shared.worker import Worker
from tests.helpers import toy_plan as toy
from tests.helpers.checkout import ROOT
from tests.helpers.job_system import join, watch
from tests.helpers.waiting import wait_for


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Makes this process one of a machine with other places for temporary files."""

    def move(name: str) -> Path:
        place = tmp_path / name
        place.mkdir()
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.setenv("TMPDIR", str(place))
        monkeypatch.setattr(tempfile, "tempdir", None)
        return place / f"fav-{os.getuid()}"

    return move


# ---- streams
STREAMS = """
import os, sys
from shared.startup import checked_imports
with checked_imports():
    pass
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.write(2, b"what a library says of errors")
print("what we say")
print("and of errors", file=sys.stderr)
sys.stdin.read()
sys.exit(not (fd > 2 and os.fstat(fd).st_size == 0))
"""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_file_never_gets_the_number_of_a_stream_that_was_closed(tmp_path, closed):
    shell = f'exec "$@" {closed}'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-c", STREAMS, str(tmp_path / "file")],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_command_without_a_stream_runs(monkeypatch, name):
    ran = []

    @one_line_errors
    def command() -> None:
        tell("a line")
        tell("another", err=True)
        ran.append(True)

    monkeypatch.setattr(sys, name, None)
    command()
    assert ran


@contextmanager
def written_to(monkeypatch, fd: int):
    stream = io.TextIOWrapper(io.FileIO(fd, "w", closefd=False), write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    yield stream


def a_pipe_that_nobody_reads() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def a_terminal_that_is_gone() -> int:
    master, slave = os.openpty()
    os.close(master)
    return slave


@pytest.mark.parametrize("gone", [a_pipe_that_nobody_reads, a_terminal_that_is_gone])
def test_work_goes_on_where_nobody_reads_what_is_said(monkeypatch, gone):
    fd = gone()
    with written_to(monkeypatch, fd) as stream:
        with pytest.raises(OSError):
            os.write(fd, b"x")
        tell("a line")
        os.write(fd, b"leads to nowhere now")
        for log in (command_log, node_log):
            os.dup2(gone(), fd)
            with log(LogSettings()):
                logging.getLogger("fav").info("a line")
            os.write(fd, b"leads to nowhere now")
        stream.flush()
    os.close(fd)


def test_full_disk_under_the_output_is_one_line(monkeypatch, capfd):
    @one_line_errors
    def command() -> None:
        click.echo("a line")

    fd = os.open("/dev/full", os.O_WRONLY)
    with written_to(monkeypatch, fd), pytest.raises(SystemExit) as ended:
        command()
    told = capfd.readouterr().err
    assert ended.value.code == 2 and told.startswith("error: ") and "no space" in told and len(told.splitlines()) == 1
    os.close(fd)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN], ids=errno.errorcode.get)
def test_a_server_that_does_not_answer_is_one_line(capfd, number):
    @one_line_errors
    def command() -> None:
        raise OSError(number, os.strerror(number), "/mnt/film/nodes")

    with pytest.raises(SystemExit) as ended:
        command()
    told = capfd.readouterr().err
    assert ended.value.code == 2 and told.startswith("error: /mnt/film/nodes: ") and "server" in told
    assert len(told.splitlines()) == 1


# ---- a machine without /dev/shm, without a temporary directory
def node_where(share, script: str) -> subprocess.CompletedProcess:
    """A node on a machine that a shell script has changed, seen by it alone."""
    script = f'{script}; cd /proc && exec "$@"'
    command = [sys.executable, "-m", "tests.helpers.toy_plan", str(share.layout.root), "toy"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SHARE": str(share.layout.root)},
        timeout=30,
    )
    if done.returncode == 77 or done.stderr.startswith("unshare:"):
        pytest.skip("this machine lets nobody mount anything")
    return done


READ_ONLY = "mount --bind {0} {0} && mount -o remount,bind,ro {0} || exit 77; "
WRITABLE = 'mount --bind "$SHARE" "$SHARE" && mount -o remount,bind,rw "$SHARE" || exit 77'


@pytest.mark.parametrize("directories", [["/dev/shm"], ["/dev/shm", "/tmp", "/var/tmp", "/usr/tmp"]])
def test_node_works_where_nothing_but_the_share_can_be_written_to(root, directories):
    root.mkdir(exist_ok=True)
    share = open_share(root)
    job = toy.create(share, chains=1, length=3)
    done = node_where(
        share, "".join(READ_ONLY.format(directory) for directory in directories if os.path.isdir(directory)) + WRITABLE
    )
    assert done.returncode == 0 and results.is_done(job, toy.SUM), done


def test_places_that_somebody_else_could_write_to_are_not_used_and_not_touched(places, tmp_path):
    place = places("tmp")
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "elsewhere")
    assert local.lock_file("x") is None and not local.started_here("0" * 32)
    local.record_node("0" * 32)
    assert not list((tmp_path / "elsewhere").iterdir())
    place.unlink()
    place.mkdir()
    place.chmod(0o770)
    assert local.lock_file("x") is None and place.stat().st_mode & 0o777 == 0o770
    place.rmdir()
    place.touch()
    assert local.lock_file("x") is None


def test_odd_file_at_the_name_of_the_notes_stops_nobody(places):
    place = places("tmp")
    assert local.lock_file("x").parent == place and place.stat().st_mode & 0o777 == 0o700
    os.mkfifo(place / local.NODES)
    local.record_node("0" * 32)
    assert not local.started_here("0" * 32)
    (place / local.NODES).unlink()
    (place / local.NODES).mkdir()
    local.record_node("0" * 32)
    assert not local.started_here("0" * 32)


def test_notes_do_not_grow_without_end_and_the_last_ones_stay(places):
    place = places("tmp")
    for number in range(2 * local.MAX_BYTES // 33):
        if number == 1:
            (place / local.NODES).write_bytes(b"".join(b"%032x\n" % n for n in range(local.MAX_BYTES // 33 + 1)))
        if number < 3:
            local.record_node("f" * 31 + str(number))
    assert all(local.started_here("f" * 31 + str(number)) for number in (1, 2)) and not local.started_here(f"{0:032x}")
    assert (place / local.NODES).stat().st_size <= local.MAX_BYTES


def test_note_that_is_written_while_another_process_shortens_the_notes_stays(places):
    notes = places("tmp") / local.NODES
    local.record_node("0" * 32)
    writer = threading.Thread(target=local.record_node, args=("1" * 32,))
    with open(notes, "r+b", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        kept = other.read()
        writer.start()
        writer.join(0.1)
        other.truncate(0)
        other.seek(0)
        other.write(kept)
    writer.join()
    assert local.started_here("0" * 32) and local.started_here("1" * 32)


def test_process_that_is_suspended_while_it_shortens_the_notes_holds_nobody_up(places, monkeypatch):
    monkeypatch.setattr(local, "LOCK_S", 0.05)
    notes = places("tmp") / local.NODES
    local.record_node("0" * 32)
    with open(notes, "rb") as suspended:
        fcntl.flock(suspended, fcntl.LOCK_EX)
        local.record_node("1" * 32)
        assert local.started_here("1" * 32)


@pytest.mark.parametrize("odd", ["nothing", "a directory", "a link", "a FIFO"])
def test_odd_file_at_the_name_of_a_lock_keeps_nobody_from_submitting(places, share, odd):
    from fav.pipeline.submit import _submit_lock

    places("tmp")
    with _submit_lock(share, "film"):
        (path,) = [path for path in local.lock_file("x").parent.iterdir() if path.suffix == ".lock"]
    assert not path.exists()  # they do not pile up
    {
        "nothing": lambda: None,
        "a directory": path.mkdir,
        "a link": lambda: path.symlink_to("/nowhere/at/all"),
        "a FIFO": lambda: os.mkfifo(path),
    }[odd]()
    entered = []
    with _submit_lock(share, "film"):
        entered.append(True)
    assert entered


# ---- a file that is larger than a process may write
@contextmanager
def file_size_limit(size: int):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class LargePlan(toy.ToyPlan):
    def run(self, task, report_progress):
        return b"x" * 100_000


@pytest.mark.parametrize("only", ["toy", None])
def test_file_size_limit_of_a_node_costs_no_attempt_and_is_one_line(share, only, caplog):
    job, report = toy.create(share, chains=1, length=2), toy.RecordingEvents()
    node = join(share)
    worker = Worker(node, LargePlan, report, threading.Event(), only)
    with file_size_limit(20_000):
        if only:
            with pytest.raises(JobQueueError) as raised:
                worker.run()
            logging.getLogger().error("%s", raised.value)
        else:
            assert worker.run() is False
    (line,) = [line for line in caplog.messages if "ulimit -f" in line]
    assert len(line.splitlines()) == 1 and "Traceback" not in line
    assert list(attempts.attempts_of_job(job)) == [] and claimed(job) == {} and not list(node.tmp_dir.iterdir())


def test_file_size_limit_is_one_line_of_a_command(tmp_path):
    @click.command()
    @one_line_errors
    def command() -> None:
        with open(tmp_path / "file", "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 1000)

    with file_size_limit(5000):
        result = CliRunner().invoke(command)
    assert result.exit_code == 2 and result.output.startswith("error: ") and "ulimit -f" in result.output


# ---- names that are not UTF-8
@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\n'\""])
def test_process_whose_name_is_no_text_is_known_to_live(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    shutil.copy(shutil.which("sleep"), path)
    process = subprocess.Popen([path, b"30"])
    try:
        wait_for(
            lambda: (
                Path(f"/proc/{process.pid}/comm").read_bytes().strip() == name.replace(b"\n", b"\\n").strip()
                or name in Path(f"/proc/{process.pid}/comm").read_bytes()
            ),
            5,
        )
        assert process_start(process.pid) > 0
    finally:
        process.kill()
        process.wait()


def test_mount_whose_name_is_no_text_stops_no_node(root):
    root.mkdir(exist_ok=True)
    share = open_share(root)
    job = toy.create(share, chains=1, length=1)
    mount = f"import mount_of; print(mount_of(__import__('pathlib').Path({str(root)!r})).kind)"
    script = (
        'there=$(dirname "$SHARE")/$(printf "caf\\351"); mkdir "$there" && mount -t tmpfs none "$there" || exit 77; '
        f'PYTHONPATH={ROOT} {sys.executable} -c "from shared.mount {mount}"'
    )
    done = node_where(share, script)
    assert done.returncode == 0 and results.is_done(job, toy.SUM) and "Traceback" not in done.stderr, done


def test_lock_of_a_share_whose_name_is_no_text(tmp_path):
    from fav.pipeline.submit import _submit_lock

    for name in (b"caf\xe9", b"a\n\xff"):
        os.mkdir(os.path.join(os.fsencode(tmp_path), name))
        with _submit_lock(open_share(tmp_path / os.fsdecode(name)), "film"):
            pass


# ---- copies of a machine that runs
def twin(share, places) -> Node:
    """A node on a copy of this machine, made while it ran: the same name, boot and pids, another process table, other notes."""
    places("on the copy")
    gone = subprocess.Popen(["true"])
    gone.wait()
    node = Node(share, Identity(**{**vars(Identity.here()), "pid": gone.pid, "start": 1}))
    node.join()
    places("here")
    return node


def test_living_node_of_a_copy_of_this_machine_is_never_evicted(share, clock, places):
    job, other = toy.create(share, chains=1, length=3), twin(share, places)
    Claims(other, job).claim(toy.link_task(0))
    node = join(share)
    recovery = Recovery(node, FailureDetector(share, node.identity))
    assert watch(recovery, job, clock, 10 * toy.LEASE_S, other) == 0
    other.renew()
    assert other.heartbeat_file.exists() and claimed(job) and not recovery.local_peer_died()


def test_node_that_only_looks_does_not_call_the_other_copy_dead(share, places):
    other = twin(share, places)
    detector = FailureDetector(share)
    detector.poll()
    assert not detector.process_gone(other.identity)


def test_silent_node_of_a_copy_is_recovered_before_its_lease(share, clock, places):
    job, other = toy.create(share, chains=1, length=3, lease=600.0), twin(share, places)
    Claims(other, job).claim(toy.link_task(0))
    node = join(share)
    recovery = Recovery(node, FailureDetector(share, node.identity))
    assert watch(recovery, job, clock, SURE_S - POLL_S) == 0
    assert watch(recovery, job, clock, 2 * POLL_S) == 1


def test_process_that_was_started_here_and_is_gone_is_dead_at_once(share, places):
    places("here")
    gone = subprocess.Popen(["true"])
    gone.wait()
    node = Node(share, Identity(**{**vars(Identity.here()), "pid": gone.pid, "start": 1}))
    node.join()
    assert FailureDetector(share).process_gone(node.identity)


# ---- sources that are replaced under a node
def test_sources_count_as_replaced_where_one_is_changed_or_gone(tmp_path):
    (tmp_path / "shared").mkdir()
    one = tmp_path / "shared" / "one.py"
    one.write_text("x = 1\n")
    (tmp_path / "node.py").write_text("")
    (tmp_path / ".#node.py").symlink_to("nobody@nowhere")  # as Emacs leaves it
    sources = Sources(tmp_path)
    assert not sources.replaced() and version(tmp_path)
    os.utime(one, (1, 1))
    (tmp_path / "shared" / "more.py").write_text("y = 1\n")
    (tmp_path / os.fsdecode(b"caf\xe9.py")).write_text("")
    assert not sources.replaced() and version(tmp_path)
    one.write_text("x = 2\n")
    assert sources.replaced()
    one.write_text("x = 1\n")
    assert not sources.replaced()
    one.unlink()
    assert sources.replaced()


def test_failure_under_replaced_sources_is_no_attempt(share):
    job, report = toy.create(share, chains=1, length=3, poison=1), toy.RecordingEvents()
    worker = Worker(
        join(share),
        toy.ToyPlan,
        report,
        threading.Event(),
        "toy",
        updated=lambda: True,
    )
    with pytest.raises(SourcesReplaced):
        worker.run()
    assert list(attempts.attempts_of_job(job)) == [] and claimed(job) == {} and results.is_done(job, toy.link_task(0))


SOON = "import sys; from shared import source_hash; source_hash.POLL_INTERVAL_S = 0.2; sys.argv[:1] = ['toy']; import runpy; runpy.run_module('tests.helpers.toy_plan', run_name='__main__')"


@pytest.fixture
def checkout(tmp_path):
    for room in ("shared", "tests"):
        shutil.copytree(ROOT / room, tmp_path / "checkout" / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "checkout"


@pytest.mark.parametrize("worker_dies", [False, True])
def test_node_whose_program_is_updated_finishes_its_task_and_says_so(share, checkout, worker_dies):
    job = toy.create(share, chains=1, length=1000, slow=0.3)
    program = ["-m", "tests.helpers.toy_plan"] if worker_dies else ["-c", SOON]
    node = subprocess.Popen(
        [sys.executable, *program, str(share.layout.root), "toy"],
        cwd=checkout,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(lambda: results.count(job, "link", range(1000)) > 0)
    path = checkout / "shared" / "supervisor.py"
    sources = path.read_text()
    assert "def _worker_main(" in sources
    path.write_text(sources.replace("def _worker_main(", "def _worker_main(another, "))
    if worker_dies:
        children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
        os.kill(next(int(pid) for pid in children if os.getpgid(int(pid)) == int(pid)), signal.SIGKILL)
    output, _ = node.communicate(timeout=20)
    assert node.returncode == 76 and "the program was updated; start this node again" in output, output
    assert "Traceback" not in output and claimed(job) == {} and not list(share.layout.nodes.iterdir())
    assert worker_dies or list(attempts.attempts_of_job(job)) == []


# ---- a training without room to share
SHARES = "from fav.training.dataloader import can_have_workers; import sys; sys.exit(can_have_workers())"


@pytest.mark.slow
def test_training_sees_that_its_processes_cannot_share_memory():
    from fav.training.dataloader import can_have_workers

    assert can_have_workers()
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            READ_ONLY.format("/dev/shm") + 'exec "$@"',
            "sh",
            sys.executable,
            "-c",
            SHARES,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or done.stderr.startswith("unshare:"):
        pytest.skip("this machine lets nobody mount anything")
    assert done.returncode == 0, done
