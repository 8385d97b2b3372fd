"""Real SSH servers on loopback, each standing for a host: own configuration, own keys, unprivileged ports."""

import getpass
import os
import shlex
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path

from tests.helpers.waiting import runs, wait_for

SSHD = "/usr/sbin/sshd"


def why_not() -> str | None:
    """Why no server can run here, None where one can."""
    if not os.access(SSHD, os.X_OK):
        return "there is no sshd on this machine: apt install openssh-server"
    if os.getuid() == 0:
        if subprocess.run(["getent", "passwd", "sshd"], capture_output=True).returncode:
            return "there is no user sshd, which a server that root starts needs"
        os.makedirs(
            "/run/sshd", mode=0o755, exist_ok=True
        )  # a package that was installed and never started has not made it
    return None


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


class Network:
    """What the operator has: a key, known hosts, a configuration with aliases, and a client on PATH that uses them."""

    def __init__(self, room: Path):
        self.room = room
        self.key = make_key(room / "user")
        self.known, self.config = room / "known_hosts", room / "config"
        self.hosts: list[Server] = []
        self.known.touch()
        self.config.write_text(f'Host *\n  IdentityFile "{self.key}"\n  IdentitiesOnly yes\n  UserKnownHostsFile "{self.known}"\n'
                               "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n")  # fmt: skip
        client = room / "bin" / "ssh"
        client.parent.mkdir()
        client.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {shlex.quote(str(self.config))} "$@"\n')
        client.chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{client.parent}:{os.environ['PATH']}", "COLUMNS": "200"}

    def host(self, name: str) -> "Server":
        """A new host, known by its key, and by this alias."""
        server = Server(self, name)
        self.hosts.append(server)
        return server

    def close(self) -> None:
        for server in self.hosts:
            server.kill()


class Server:
    """One sshd and what is told of it."""

    def __init__(self, network: Network, name: str):
        self.network, self.name, self.port = network, name, free_port()
        self.room = network.room / name
        self.room.mkdir()
        self.host_key = make_key(self.room / "host")
        self.know()
        with open(network.config, "a") as file:
            file.write(f"Host {name}\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n")
        (self.room / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.host_key}\nAuthorizedKeysFile {network.key}.pub\nPidFile none\n"
            f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        )
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(self.room / "sshd_config")],
            stderr=open(self.room / "log", "ab"),
            start_new_session=True,
        )
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", self.port)) == 0, 10)

    def know(self) -> None:
        """Let the operator know its key as it is now."""
        kind, key, *_ = self.host_key.with_suffix(".pub").read_text().split()
        with open(self.network.known, "a") as file:
            file.write(f"[127.0.0.1]:{self.port} {kind} {key}\n")

    def change_key(self) -> None:
        """Another machine, or a new system, answers under this name from now on."""
        self.kill()
        for path in (self.host_key, self.host_key.with_suffix(".pub")):
            path.unlink()
        make_key(self.host_key)
        self.start()

    def kill(self) -> None:
        """Down at once, with all connections."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def pids(share_logs: Path, post: str = "*") -> list[int]:
    """The processes of nodes that the posts' states name and that run."""
    words = [path.read_text().split() for path in sorted(share_logs.glob(f"{post}.state"))]
    return [
        int(first) for first, *_ in filter(None, words) if first.isdigit() and runs(first)
    ]  # one may just be written
