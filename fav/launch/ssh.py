"""Run one shell script on one host, through the OpenSSH client on PATH.

OpenSSH and its configuration handle keys, agents, known hosts and jump hosts. It asks no questions here, so this
program never sees a password. The script goes through standard input to `sh`, so the login shell does not matter.
"""

import os
import shlex
import signal
import subprocess

from fav.launch.errors import LaunchError
from fav.launch.hosts_file import Host
from shared.errors import sanitize

CONNECT_S = 10  # maximum wait for a connection
LIMIT_S = 60.0  # maximum for the whole script: a host may accept a connection and then hang
SETTINGS = ("BatchMode=yes", f"ConnectTimeout={CONNECT_S}", "ServerAliveInterval=5", "ServerAliveCountMax=3", "ClearAllForwardings=yes",
            "RemoteCommand=none", "LogLevel=ERROR")  # fmt: skip
OPTIONS = ("-T", "-x", "-a", *(word for setting in SETTINGS for word in ("-o", setting)))
EXIT_SSH = 255  # of the client itself, if it could not run the shell

# A message of the client -> our message with the cure.
REASONS = {
    "host identification has changed": "its host key differs from the known one; find out why; if it was reinstalled, "
    "ssh-keygen -R '{host}' and log in once by hand",
    "host key verification failed": "its host key is not known here; log in once by hand: ssh {target}",
    "permission denied": "none of your keys is accepted there, and passwords are not used; ssh-copy-id {target}, or ssh-add",
    "connection refused": "it refuses the connection; does sshd run there, and on this port?",
    "timed out": f"no answer within {CONNECT_S} s; is it on and reachable?",
    "could not resolve": "there is no host with that name",
    "no route to host": "it cannot be reached; is it on?",
}


class UnreachableError(LaunchError):
    """The host did not answer, so it is unknown what runs there."""


def run(host: Host, script: str, limit: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    """Run a POSIX shell script on a host. Values in it must be quoted (`quoted`).

    Returns:
        Its exit code and output.

    Raises:
        UnreachableError: no connection, or the script did not end within `limit` seconds. The message has no host name.
    """
    port = () if host.port is None else ("-p", str(host.port))
    command = ["ssh", *OPTIONS, *port, "--", host.target, "exec /bin/sh -s"]
    try:
        # In a new session: this program handles Ctrl-C, and ssh has no terminal on which to ask for a password.
        client = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
            start_new_session=True,
        )
    except FileNotFoundError:
        raise UnreachableError(
            "expected ssh on PATH, found none; on Debian and Ubuntu: sudo apt install openssh-client"
        ) from None
    try:
        out, err = client.communicate(script, timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(client.pid, signal.SIGKILL)
        client.communicate()
        raise UnreachableError(f"no answer within {limit:.0f} s; is it overloaded, or is a disk unreachable?") from None
    if client.returncode == EXIT_SSH:
        raise UnreachableError(_reason(host, err))
    return subprocess.CompletedProcess(command, client.returncode, out, err)


def quoted(*words: object) -> str:
    """Quote words for a shell."""
    return shlex.join(map(str, words))


def _reason(host: Host, said: str) -> str:
    for key, reason in REASONS.items():
        if key in said.lower():
            port = f" -p {host.port}" if host.port else ""
            name = host.target.rpartition("@")[2]
            return reason.format(
                host=f"[{name}]:{host.port}" if host.port else name, target=f"{port} {host.target}".strip()
            )
    lines = said.strip().splitlines()
    return f"ssh failed: {sanitize(lines[-1]) if lines else 'it did not say why'}"
