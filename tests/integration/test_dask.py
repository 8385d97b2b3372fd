"""Running on a Dask cluster: a real scheduler and real workers on loopback, which join, retire and are killed."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from click.testing import CliRunner

import coordinator
from fav.launch import dask_client as engine
from fav.launch import dask_cluster
from fav.launch import dask_launcher as by_dask
from shared import results
from shared.claims import claimed
from shared.heartbeat import temporary_member
from shared.jobs import Job, find_job
from shared.shared_dir import open_share
from tests.helpers.checkout import ROOT
from tests.helpers.video_jobs import create, film_of, make_clip, make_moving, work
from tests.helpers.waiting import runs, wait_for

MISSING = "the package distributed is missing: pip install distributed"
distributed = pytest.importorskip("distributed", reason=MISSING)
HOSTILE = "a \"b\" 'c' $(touch PWNED) `touch PWNED`; touch PWNED #.mp4"
DASK = [sys.executable, "-m", "dask"]


class Cluster:
    """A scheduler, and the workers that were started for one test."""

    def __init__(self, room: Path):
        self.room, self.file = room, room / "scheduler.json"
        self.log = open(room / "log", "ab")
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", self.file)
        wait_for(self.file.exists)
        self.client = distributed.Client(scheduler_file=str(self.file), set_as_default=False)
        self.address = self.client.scheduler.address
        self.workers: list[subprocess.Popen] = []

    def _start(self, *words) -> subprocess.Popen:
        return subprocess.Popen(
            [*DASK, *map(str, words), "--host", "127.0.0.1", "--no-dashboard"],
            cwd=self.room,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def worker(self, *words: str, threads: int = 1) -> subprocess.Popen:
        """A new worker, whose name is its process id."""
        process = self._start("worker", self.address, "--nthreads", threads, "--local-directory", self.room, *words)
        self.workers.append(process)
        return process

    def addresses(self) -> list[str]:
        return list(self.client.nthreads())

    def await_workers(self, count: int) -> None:
        wait_for(lambda: len(self.addresses()) == count, 30)

    def clear(self) -> None:
        """Kill the workers, nannies first, and wait until the scheduler has noticed."""
        for worker in self.workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        self.workers = []
        self.await_workers(0)

    def close(self) -> None:
        self.client.close()
        self.scheduler.kill()
        self.scheduler.wait()
        self.log.close()


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("dask"))
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(network):
    yield network
    network.clear()


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """The small clip, under a name that a shell would like to run."""
    return make_clip(tmp_path_factory.mktemp("clip") / HOSTILE)


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> Path:
    """A clip that keeps two nodes busy for some seconds."""
    return make_moving(tmp_path_factory.mktemp("long") / "long.mp4", 12, 2)


@pytest.fixture(scope="module")
def endless(tmp_path_factory) -> Path:
    """A clip that nobody will see the end of."""
    return make_moving(tmp_path_factory.mktemp("endless") / "endless.mp4", 120, 2)


def processes(like: re.Pattern) -> Iterator[int]:
    """Running processes whose command line, its words parted by NUL, is like this."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if like.search(line) and runs(path.name):
            yield int(path.name)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Wire:
    """A way to a scheduler that can be cut."""

    def __init__(self, to: str):
        host, _, port = to.removeprefix("tcp://").rpartition(":")
        self.to, self.ends, self.open = (host, int(port)), [], True
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            here, _ = self.server.accept()
            if not self.open:
                here.close()
                continue
            there = socket.create_connection(self.to)
            self.ends += here, there
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        self.open = False
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Operator:
    """Someone who types `coordinator.py run SHARED VIDEO STYLE --dask ADDRESS`."""

    def __init__(self, cluster: Cluster, share, output: Path, video: Path, style: Path):
        self.cluster, self.share, self.output, self.video, self.style = cluster, share, output, video, style
        self.typed: list[subprocess.Popen] = []

    @property
    def line(self) -> list[str]:
        words = self.share.layout.root, self.video, self.style, "--name", "film", "--threads", "1", "--dask"
        return ["run", *map(str, words)]

    def start(self, dask: str | None = None) -> subprocess.Popen:
        with open(self.output, "ab") as file:
            line = [sys.executable, str(ROOT / "coordinator.py"), *self.line, dask or self.cluster.address]
            self.typed.append(subprocess.Popen(line, stdout=file, stderr=file))
        return self.typed[-1]

    def in_this_process(self) -> tuple[int, str]:
        done = CliRunner().invoke(coordinator.main, [*self.line, self.cluster.address])
        return done.exit_code, done.output

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def job(self) -> Job | None:
        return find_job(self.share, "film")

    @property
    def running(self) -> list[int]:
        """The processes of nodes."""
        return sorted(processes(re.compile(f"\0node.py\0{re.escape(str(self.share.layout.root))}\0")))

    def frames(self) -> int:
        return results.count(self.job, "frame", range(5000)) if self.job else 0

    def at_work(self, count: int) -> bool:
        """Whether so many nodes run and have joined, and frames are being made."""
        joined = len(list(self.share.layout.nodes.iterdir()))
        return len(self.running) == count and joined >= count and self.frames() >= 2 and bool(claimed(self.job))

    def all_left(self) -> bool:
        guards = processes(re.compile("^/bin/sh\0-c\0read -r _; kill"))
        return not self.running and not list(self.share.layout.nodes.iterdir()) and not list(guards)

    def cancel(self) -> None:
        with temporary_member(self.share) as node:
            self.job.set_flag(node, "cancelled")

    def close(self) -> None:
        for pid in (*(run.pid for run in self.typed if run.poll() is None), *self.running):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def operator(cluster, share, tmp_path, clip, style):
    operator = Operator(cluster, share, tmp_path / "said.txt", clip, style)
    yield operator
    operator.close()


def same_film(job: Job, video: Path, style: Path, room: Path) -> bool:
    """Whether the film is, byte for byte, what one process makes of it in a directory of its own."""
    room.mkdir()
    alone = create(open_share(room), video, style, name="film", threads=1)
    assert work(alone)
    return film_of(alone).read_bytes() == film_of(job).read_bytes()


# ---- as it should be
def test_two_workers_make_the_film_that_one_machine_makes(cluster, operator, clip, style, tmp_path):
    mount = tmp_path / "mount $(touch PWNED) 'point'"
    mount.symlink_to(operator.share.layout.root)
    operator.share = open_share(mount)
    cluster.worker("--nanny"), cluster.worker("--no-nanny", threads=2)
    cluster.await_workers(2)
    assert operator.start(dask=str(cluster.file)).wait(60) == 0, operator.said
    assert "2 node(s) on 2 worker(s)" in operator.said and f"done: {film_of(operator.job)}" in operator.said
    assert same_film(operator.job, clip, style, tmp_path / "alone")
    wait_for(operator.all_left, 20)
    logs = list(operator.share.layout.logs.glob("*.log"))
    places = {address.removeprefix("tcp://").replace(":", "_") for address in cluster.addresses()}
    assert {log.name for log in logs} == {f"film.dask.{place}.log" for place in places}
    assert all("done: " in log.read_text() for log in logs)
    assert not list(tmp_path.rglob("PWNED")) and not list(cluster.room.rglob("PWNED")) and not (ROOT / "PWNED").exists()


# ---- while it works
@pytest.mark.slow
def test_workers_that_are_killed_in_the_midst_cost_nothing(cluster, operator, long, style, tmp_path):
    operator.video = long
    bare = cluster.worker("--no-nanny")
    cluster.worker("--nanny")
    cluster.await_workers(2)
    run = operator.start()
    wait_for(lambda: operator.at_work(2))
    first, second = sorted(operator.running, key=lambda pid: parent(pid) != bare.pid)
    os.kill(bare.pid, signal.SIGKILL)
    wait_for(lambda: not runs(first), 20)
    nursed = parent(second)
    os.kill(nursed, signal.SIGKILL)
    wait_for(lambda: not runs(second), 20)
    wait_for(
        lambda: operator.running and parent(operator.running[0]) != nursed, 30
    )  # the nanny has started another worker
    assert run.wait(90) == 0, operator.said
    assert operator.said.count("the worker is gone; other nodes take over its frame") == 2, operator.said
    assert same_film(operator.job, long, style, tmp_path / "alone") and claimed(operator.job) == {}
    wait_for(operator.all_left, 20)


@pytest.mark.slow
def test_workers_that_join_get_a_node_and_one_that_retires_ends_its_node_after_its_frame(cluster, operator, endless):
    operator.video = endless
    run = operator.start()
    wait_for(lambda: operator.output.exists() and "no workers; waiting for some" in operator.said, 20)
    cluster.worker("--nanny")
    wait_for(lambda: operator.at_work(1))
    cluster.worker("--nanny")
    wait_for(lambda: operator.at_work(2))
    pids = cluster.client.run(os.getpid)
    (leaver,) = (address for address in pids if pids[address] == parent(operator.running[1]))
    stays = operator.running[0]
    cluster.client.retire_workers([leaver], close_workers=True)
    wait_for(lambda: operator.running == [stays], 20)
    (log,) = operator.share.layout.logs.glob(f"*{leaver.rpartition(':')[2]}.log")
    assert "stopping after the current frame" in log.read_text()
    before = operator.frames()
    wait_for(lambda: operator.frames() > before)
    operator.cancel()
    assert run.wait(20) == 1 and "cancelled" in operator.said, operator.said
    wait_for(operator.all_left, 20)


@pytest.mark.slow
def test_nodes_outlive_operator_and_connection_and_are_found_again(cluster, operator, endless):
    operator.video = endless
    cluster.worker("--no-nanny")
    for end, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        run = operator.start()
        wait_for(lambda: operator.at_work(1))
        nodes = operator.running
        run.send_signal(end)
        assert run.wait(20) == code, operator.said
    assert "not following any more; the nodes continue" in operator.said
    before, told, wire = operator.frames(), operator.said.count("1 node(s) on 1 worker(s)"), Wire(cluster.address)
    again = operator.start(dask=wire.address)
    wait_for(lambda: operator.said.count("1 node(s) on 1 worker(s)") > told, 20)
    wire.cut()
    wait_for(lambda: "the Dask scheduler does not answer" in operator.said, 20)
    wire.open = True
    wait_for(lambda: "the Dask scheduler answers again" in operator.said, 20)
    time.sleep(dask_cluster.POLL_INTERVAL_S)
    assert operator.running == nodes and operator.frames() > before
    assert CliRunner().invoke(coordinator.main, ["drain", str(operator.share.layout.root)]).exit_code == 0
    assert again.wait(30) == 1 and "was asked to leave" in operator.said and "not finished" in operator.said, (
        operator.said
    )
    wait_for(operator.all_left, 20)


@pytest.mark.slow
def test_task_of_a_worker_that_is_lost_while_nobody_looks_waits_for_nobody(cluster, operator, endless):
    """It would keep an adaptive cluster from ever being empty."""
    operator.video = endless
    lost = cluster.worker("--no-nanny")
    run = operator.start()
    wait_for(lambda: operator.at_work(1))
    run.send_signal(signal.SIGINT)
    run.wait(20)
    lost.kill()
    wait_for(operator.all_left, 30)
    cluster.worker("--no-nanny")
    cluster.await_workers(1)
    wait_for(lambda: cluster.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0, 20)
    assert operator.running == []


@pytest.mark.slow
def test_adaptive_cluster_grows_for_the_job_and_shrinks_after_it(network, share, endless, style, tmp_path):
    """Two workers for two shots, out of four that there might be; their two threads each are their node's cores."""
    kept = patch.dict(os.environ)  # a nanny in this process sets OMP_NUM_THREADS and more, and leaves them so
    with (
        kept,
        distributed.LocalCluster(n_workers=0, threads_per_worker=2, host="127.0.0.1", dashboard_address=":0") as local,
    ):
        local.adapt(minimum=0, maximum=4, interval="500ms")
        operator = Operator(network, share, tmp_path / "said.txt", endless, style)
        run = operator.start(dask=local.scheduler_address)
        wait_for(lambda: operator.at_work(2), 60)
        time.sleep(5)
        assert len(local.scheduler_info["workers"]) == len(operator.running) == 2
        operator.cancel()
        assert run.wait(20) == 1
        wait_for(lambda: not local.scheduler_info["workers"] and operator.all_left(), 30)


# ---- what can be wrong
def test_what_is_no_scheduler_is_one_line_before_a_job_is_made(cluster, operator, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "CONNECT_S", 1)
    nothing, other = tmp_path / "nothing.json", tmp_path / "other.json"
    other.write_text('{"address": 5}')
    cluster.worker("--no-nanny")
    cluster.await_workers(1)
    reasons = {str(nothing): "No such file", str(other): "scheduler-file", "": "got nothing", "tls://127.0.0.1:1": "TLS",
               "tcp://127.0.0.1:1": "found none within 1 s", "nowhere.invalid:8786": "found none",
               "x://y:1": "unknown address scheme", cluster.addresses()[0]: "(Worker)"}  # fmt: skip
    for word, reason in reasons.items():
        done = CliRunner().invoke(coordinator.main, [*operator.line, word])
        said = done.output
        assert done.exit_code == 2 and said.startswith("error: ") and reason in said and said.count("\n") == 1, said
    for words in (["--nodes", "2"], ["--slurm", "2"], ["--hosts", "hosts.txt"]):
        done = CliRunner().invoke(coordinator.main, [*operator.line, cluster.address, *words])
        assert done.exit_code == 2 and "--dask" in done.output, done.output
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, said = operator.in_this_process()
    assert code == 2 and "pip install distributed" in said and operator.job is None, said


def test_worker_that_is_not_fit_is_one_line(cluster, operator, share, clip, style, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "POLL_INTERVAL_S", 0.2)
    cluster.worker("--no-nanny")
    cluster.await_workers(1)
    other = tmp_path / "other version"
    for part in ("fav", "shared"):
        shutil.copytree(ROOT / part, other / part, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "fav" / "warp.py").write_text("# changed")
    create(share, clip, style, name="film", threads=1)
    (address,) = cluster.addresses()
    for path, python, words in ((tmp_path / "missing", sys.executable, "expected the checkout there"),
                                (other, sys.executable, "another version"),
                                (ROOT, tmp_path / "no python", "expected Python there")):  # fmt: skip
        monkeypatch.setattr(by_dask, "PATH", str(path))
        monkeypatch.setattr(by_dask, "PYTHON", str(python))
        code, said = operator.in_this_process()
        (line,) = (line for line in said.splitlines() if line.startswith(f"warning: {address}"))
        assert code == 1 and words in line and "not finished, and no node started" in said, said
    assert not list(share.layout.logs.glob("*.log")) and operator.frames() == 0


def test_node_that_dies_again_and_again_is_given_up(cluster, operator, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "POLL_INTERVAL_S", 0.2)
    cluster.worker("--no-nanny")
    cluster.await_workers(1)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -m ] && exec {sys.executable} "$@"\necho I die\nkill -9 $$\n')
    python.chmod(0o755)
    monkeypatch.setattr(by_dask, "PYTHON", str(python))
    code, said = operator.in_this_process()
    assert code == 1 and "(3 of 3 times)" in said and "giving up" in said, said
    (log,) = operator.share.layout.logs.glob("*.log")
    assert log.read_text().count("I die") == 4 and str(log) in said
