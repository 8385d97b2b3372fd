"""Running on hosts by ssh, against real servers: the same film, and whatever can be wrong with a host."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

import coordinator
from fav.launch import remote_process, ssh_cluster
from fav.launch.executor import run_job
from fav.launch.hosts_file import read_hosts
from fav.launch.preflight import HostChecker, HostRejected
from fav.launch.ssh_launcher import SSHExecutor
from shared import results
from shared.claims import claimed
from shared.heartbeat import temporary_member
from shared.identity import read_identity
from shared.jobs import Job, find_job
from shared.shared_dir import open_share
from tests.helpers import sshd
from tests.helpers.checkout import ROOT
from tests.helpers.sshd import Network, pids
from tests.helpers.training_material import small_training
from tests.helpers.video_jobs import create, film_of, make_clip, make_moving, work
from tests.helpers.waiting import runs, wait_for

pytestmark = pytest.mark.skipif(sshd.why_not() is not None, reason=str(sshd.why_not()))
HOSTILE = "a \"b\" 'c' $(touch PWNED) `touch PWNED`; touch PWNED #.mp4"


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """The small clip, under a name that a shell would like to run."""
    return make_clip(tmp_path_factory.mktemp("clip") / HOSTILE)


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> Path:
    """A clip that keeps two nodes busy for some seconds."""
    return make_moving(tmp_path_factory.mktemp("long") / "long.mp4", 4)


@pytest.fixture(scope="module")
def endless(tmp_path_factory) -> Path:
    """A clip that nobody will see the end of."""
    return make_moving(tmp_path_factory.mktemp("endless") / "endless.mp4", 120)


@pytest.fixture
def network(tmp_path):
    room = tmp_path / "network"
    room.mkdir()
    network = Network(room)
    yield network
    network.close()


class Operator:
    """Someone who types `coordinator.py run SHARED VIDEO STYLE --hosts FILE`."""

    def __init__(self, network: Network, share, tmp_path: Path, video: Path, style: Path):
        self.network, self.share, self.video, self.style = network, share, video, style
        self.file = tmp_path / "hosts.txt"
        self.output = tmp_path / "said.txt"

    def hosts(self, *lines: str) -> None:
        self.file.write_text("".join(f"{line} python={sys.executable}\n" for line in lines))

    def start(self, *words: str) -> subprocess.Popen:
        line = [
            sys.executable,
            str(ROOT / "coordinator.py"),
            "run",
            str(self.share.layout.root),
            str(self.video),
            str(self.style),
            "--name",
            "film",
            "--hosts",
            str(self.file),
            *words,
        ]
        with open(self.output, "ab") as file:
            return subprocess.Popen(line, stdout=file, stderr=file, env=self.network.environment)

    def run(self, *words: str) -> tuple[int, str]:
        self.output.unlink(missing_ok=True)
        code = self.start(*words).wait(120)
        return code, self.said

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def job(self) -> Job | None:
        return find_job(self.share, "film")

    @property
    def running(self) -> list[int]:
        return pids(self.share.layout.logs)

    def owner(self) -> int:
        """The process that is at work on a frame; 0 where there is none."""
        names = claimed(self.job) if self.job else {}
        owners = [read_identity(self.share, path) for name, path in names.items() if name.startswith("frame")]
        return owners[0].pid if owners and owners[0] else 0

    def frames(self) -> int:
        return results.count(self.job, "frame", range(1000)) if self.job else 0


@pytest.fixture
def operator(network, share, tmp_path, clip, style, monkeypatch):
    monkeypatch.setenv("PATH", network.environment["PATH"])
    monkeypatch.setattr(ssh_cluster, "ROUND_S", 0.3)  # of what runs in this process
    operator = Operator(network, share, tmp_path, clip, style)
    yield operator
    for pid in operator.running:
        os.killpg(pid, signal.SIGKILL) if os.getpgid(pid) == pid else os.kill(pid, signal.SIGKILL)


def same_film(job: Job, video: Path, style: Path, room: Path) -> bool:
    """Whether the film is, byte for byte, what one process makes of it in a directory of its own."""
    room.mkdir()
    alone = create(open_share(room), video, style, name="film")
    assert work(alone)
    return film_of(alone).read_bytes() == film_of(job).read_bytes()


# ---- as it should be
def test_two_hosts_make_the_film_that_one_machine_makes(network, operator, share, clip, style, tmp_path):
    mount = tmp_path / "mount $(touch PWNED) 'point'"
    mount.symlink_to(share.layout.root)
    network.host("anton"), network.host("berta")
    operator.hosts("anton nodes=1", f'berta nodes=1 share="{mount}"  # where it is mounted there')
    code, said = operator.run()
    assert code == 0 and "2 node(s) on 2 host(s)" in said and f"done: {film_of(operator.job)}" in said, said
    assert same_film(operator.job, clip, style, tmp_path / "alone")
    states = [share.layout.logs / f"film.{host}.0.state" for host in ("anton", "berta")]
    wait_for(lambda: all(state.read_text() == "ended 0\n" for state in states), 20)
    told = {path.name for path in share.layout.logs.iterdir()}
    assert told == {f"film.{host}.0.{end}" for host in ("anton", "berta") for end in ("log", "state")}
    assert not operator.running and not list(share.layout.nodes.iterdir())
    assert not list(tmp_path.rglob("PWNED")) and not (ROOT / "PWNED").exists() and not (Path.home() / "PWNED").exists()


@pytest.mark.slow
def test_hosts_learn_a_style(network, operator, share, painting, photos, loss_network):
    network.host("anton"), network.host("berta")
    operator.hosts("anton nodes=1", "berta nodes=1")
    words = [*small_training(painting, photos, loss_network), "--seeds", "2", "--hosts", str(operator.file)]
    line = [sys.executable, "-m", "fav", "train", str(share.layout.root), *words]
    done = subprocess.run(line, cwd=ROOT, env=network.environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and f"done: {share.layout.root}/stripes.safetensors" in done.stdout, done
    assert "2 node(s) on 2 host(s)" in done.stdout
    chains = {path.name for path in share.layout.logs.iterdir()}
    assert chains == {f"train--stripes.{host}.0.{end}" for host in ("anton", "berta") for end in ("log", "state")}


# ---- what the preflight tells
@pytest.mark.slow
def test_one_table_tells_what_is_wrong_where_and_nothing_starts(network, operator, share):
    _, refuses, changed = network.host("good"), network.host("refuses"), network.host("changed")
    refuses.kill()
    changed.change_key()
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hangs = f"127.0.0.1 port={silent.getsockname()[1]}"
        operator.hosts("good", "refuses", "changed", "nowhere.invalid", hangs)
        code, said = operator.run()
    assert code == 2 and "4 of 5 that failed" in said and "--skip-failed-hosts" in said, said
    told = {line.split("│")[1].strip(): line.split("│")[2] for line in said.splitlines() if line.count("│") == 3}
    assert (
        "nothing" in told["good"] and "refuses the connection" in told["refuses"] and "ssh-keygen -R" in told["changed"]
    ), said
    assert (
        "no host with that name" in told["nowhere.invalid"]
        and "no answer within 10 s" in told[hangs.replace(" port=", ":")]
    )
    assert operator.running == [] and list(share.layout.logs.iterdir()) == []


def wrong(operator: Operator, line: str) -> str:
    """What the preflight has against a host."""
    job = operator.job or create(operator.share, operator.video, operator.style, name="film")
    hosts = read_hosts(line, "hosts.txt")
    found = HostChecker(job, "auto").check(hosts)[hosts[0]]
    return "\n".join(found.wrong) if isinstance(found, HostRejected) else ""


@pytest.mark.slow
def test_what_a_host_lacks_is_told_with_its_cure(network, operator, share, clip, style, tmp_path):
    network.host("anton")
    stranger, other = tmp_path / "another share", tmp_path / "other version"
    stranger.mkdir()
    for part in ("fav", "shared"):
        shutil.copytree(ROOT / part, other / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("node.py", "coordinator.py"):
        shutil.copy(ROOT / file, other)
    anton = f"anton python={sys.executable}"
    assert wrong(operator, f'{anton} path="{other}"') == ""  # the same sources in another place
    (other / "fav" / "warp.py").write_text("# changed")
    for setting, words in {f'share="{tmp_path}/missing"': ["found nothing", "share="], f'share="{stranger}"': ["got another one"],
                           f'path="{other}"': ["another version", "the same version"], "path=/missing": ["/missing", "path="],
                           "gpus=1": ["cuda:0"]}.items():  # fmt: skip
        told = wrong(operator, f"{anton} {setting}")
        assert all(word in told for word in words) and "\n" not in told, told
    assert list(stranger.iterdir()) == []
    assert "install.sh" in wrong(operator, "anton python=/nowhere/python")
    assert "install.sh" in wrong(operator, "anton python=/usr/bin/python3 path=/usr")
    spec = operator.job.manifest.spec
    (share.layout.root / spec["video"]).unlink()
    (share.layout.root / spec["video"]).write_bytes(clip.read_bytes() + b"x")
    (share.layout.root / spec["style"]).unlink()
    told = wrong(operator, anton)
    assert "the job's video, got another content" in told and "the job's style cannot be read (No such file" in told, (
        told
    )
    network.key.with_suffix(".pub").write_text((network.room / "anton" / "host.pub").read_text())
    assert "none of your keys is accepted there" in wrong(operator, anton)


@pytest.mark.parametrize("line", ["anton python='/x; touch PWNED'", "anton share='/$(touch PWNED)'", "anton path=/`touch${IFS}PWNED`",
                                  "anton python=\"/'$(touch PWNED)\"", "anton share='/-rf \\'"])  # fmt: skip
def test_hostile_settings_run_nothing(network, operator, tmp_path, line):
    network.host("anton")
    assert "expected" in wrong(operator, line)
    assert not list(tmp_path.rglob("PWNED")) and not (ROOT / "PWNED").exists() and not (Path.home() / "PWNED").exists()


def test_bad_hosts_file_is_one_line_before_a_job_is_made(operator):
    for text, word in (("-oProxyCommand=touch${IFS}PWNED\n", "line 1"), ("# nobody\n", "got none")):
        operator.file.write_text(text)
        code, said = operator.run()
        assert (
            code == 2 and said.startswith("error: ") and word in said and said.count("\n") == 1 and operator.job is None
        ), said


# ---- while it works
@pytest.mark.slow
def test_host_that_dies_in_the_midst_costs_nothing(network, operator, long, style, tmp_path):
    operator.video = long
    servers = {name: network.host(name) for name in ("anton", "berta")}
    network.host("off").kill()
    operator.hosts(*servers, "off")
    run = operator.start("--skip-failed-hosts")
    wait_for(lambda: len(operator.running) == 2 and operator.frames() >= 3 and operator.owner(), 60)
    victim = operator.owner()
    for name, server in servers.items():
        if pids(operator.share.layout.logs, f"film.{name}.0") == [victim]:
            server.kill()
    os.kill(victim, signal.SIGKILL)
    assert run.wait(120) == 0, operator.said
    assert sum(server.process.poll() is not None for server in servers.values()) == 1
    assert same_film(operator.job, long, style, tmp_path / "alone") and claimed(operator.job) == {}


class Following(threading.Thread):
    """`run --hosts` in this process, on a job that is there."""

    def __init__(self, operator: Operator, job: Job):
        super().__init__(daemon=True)
        self.operator, self.job = operator, job
        self.start()

    def run(self) -> None:
        run_job(self.job, SSHExecutor(self.operator.file, "auto", skip_failed_hosts=False))

    def cancel(self) -> None:
        with temporary_member(self.operator.share) as node:
            self.job.set_flag(node, "cancelled")
        self.end()

    def end(self) -> None:
        self.join(90)
        assert not self.is_alive(), "it did not end"


@pytest.mark.slow
def test_nodes_outlive_operator_and_connection_and_are_found_again(network, operator, endless, caplog):
    operator.video = endless
    anton = network.host("anton")
    operator.hosts("anton")
    run = operator.start()
    wait_for(lambda: operator.frames() >= 2)
    (node,) = operator.running
    run.send_signal(signal.SIGINT)
    assert run.wait(20) == 130 and "drain" in operator.said and runs(node), operator.said
    again = Following(operator, operator.job)
    for _ in range(3):
        time.sleep(1)
        assert operator.running == [node]
    os.kill(node, signal.SIGKILL)
    wait_for(lambda: operator.running not in ([], [node]))
    anton.kill()
    before = operator.frames()
    wait_for(lambda: operator.frames() > before)
    assert CliRunner().invoke(coordinator.main, ["drain", str(operator.share.layout.root)]).exit_code == 0
    wait_for(lambda: not operator.running and claimed(operator.job) == {})
    again.cancel()
    assert "starting it again (1 of 3 times)" in caplog.text


def test_two_operators_who_type_the_line_at_once_start_one_node(network, share, monkeypatch):
    monkeypatch.setenv("PATH", network.environment["PATH"])
    network.host("lab")
    (host,), logs, name = read_hosts("lab", ""), str(share.layout.logs), "film.lab.0"
    remote_process.start(host, str(ROOT), logs, name, ["sleep", "60"])
    (first,) = pids(share.layout.logs)
    try:
        remote_process.start(
            host, str(ROOT), logs, name, ["sleep", "60"]
        )  # who saw that nobody stands there, a moment ago
        assert pids(share.layout.logs) == [first] and remote_process.query(host, logs, [name]) == {
            name: remote_process.ProcessState("runs", first)
        }
    finally:
        os.kill(first, signal.SIGKILL)
    wait_for(lambda: remote_process.query(host, logs, [name])[name].how == "ended")


@pytest.mark.slow
def test_node_that_dies_again_and_again_is_given_up(network, operator, clip, style, caplog, tmp_path):
    network.host("anton")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -m ] && exec {sys.executable} "$@"\nkill -9 $$\n')
    python.chmod(0o755)
    operator.file.write_text(f"anton python={python}\n")
    following = Following(operator, create(operator.share, clip, style, name="film"))
    following.end()
    said = caplog.text
    assert "(3 of 3 times)" in said and "too often; giving up" in said, said
    assert (operator.share.layout.logs / "film.anton.0.log").read_text().count("ended with exit code 137") == 4


@pytest.mark.slow
def test_hosts_are_added_and_drained_while_it_works(network, operator, endless, style, caplog):
    network.host("anton"), network.host("berta")
    operator.hosts("anton")
    job, logs = create(operator.share, endless, style, name="film"), operator.share.layout.logs
    following = Following(operator, job)
    wait_for(operator.owner)
    operator.hosts("berta")
    wait_for(lambda: (logs / "film.anton.0.state").read_text() == "ended 130\n")
    wait_for(lambda: [operator.owner()] == pids(logs, "film.berta.0"))
    following.cancel()
    said = caplog.text
    assert "anton: no longer in the hosts file" in said and "berta: joins" in said, said


@pytest.mark.long
def test_host_that_is_cut_off_for_longer_than_a_lease_changes_nothing(network, operator, long, style, tmp_path):
    operator.video = long
    anton = network.host("anton")
    operator.hosts("anton")
    run = operator.start("--lease", "15")
    wait_for(lambda: operator.frames() >= 2 and operator.owner(), 60)
    (node,) = operator.running
    group = [anton.process.pid, node, *map(int, Path(f"/proc/{node}/task/{node}/children").read_text().split())]
    for pid in group:
        os.kill(pid, signal.SIGSTOP)
    before, began = operator.frames(), time.monotonic()
    network.host("berta")
    operator.hosts("anton", "berta")
    wait_for(lambda: operator.job.flag_text("finished"), 90)
    assert time.monotonic() - began > 13 and operator.frames() > before
    for pid in group:
        os.kill(pid, signal.SIGCONT)
    assert run.wait(60) == 0, operator.said
    wait_for(lambda: not operator.running, 30)
    assert same_film(operator.job, long, style, tmp_path / "alone") and claimed(operator.job) == {}
