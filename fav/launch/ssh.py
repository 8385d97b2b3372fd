"""One shell script on one host, through the OpenSSH client on PATH.

Keys, agents, known hosts and jump hosts are the business of OpenSSH and its configuration; it asks no question here, so
no password ever comes through us. The script goes in through standard input to `sh`: the login shell there, whatever it
is, sees none of it.
"""

import os
import shlex
import signal
import subprocess

from fav.launch.errors import LaunchError
from fav.launch.hosts_file import Host
from shared.errors import sanitize

CONNECT_S = 10  # to an answer of the host
LIMIT_S = 60.0  # for all of it: a host may accept a connection and then hang
SETTINGS = ("BatchMode=yes", f"ConnectTimeout={CONNECT_S}", "ServerAliveInterval=5", "ServerAliveCountMax=3", "ClearAllForwardings=yes",
            "RemoteCommand=none", "LogLevel=ERROR")  # fmt: skip
OPTIONS = ("-T", "-x", "-a", *(word for setting in SETTINGS for word in ("-o", setting)))
EXIT_SSH = 255  # of the client itself, where it came to no shell there

# What the client says -> what that means here, and the cure.
REASONS = {
    "host identification has changed": "its host key is not the one that is known; find out why; if it was set up anew, "
    "ssh-keygen -R '{host}' and log in once by hand",
    "host key verification failed": "its host key is not known here; log in once by hand: ssh {target}",
    "permission denied": "no key of yours is let in there, and no password is asked for; ssh-copy-id {target}, or ssh-add",
    "connection refused": "it refuses the connection; does sshd run there, and on this port?",
    "timed out": f"no answer within {CONNECT_S} s; is it on, and the way to it open?",
    "could not resolve": "there is no host of that name",
    "no route to host": "there is no way to it; is it on?",
}


class UnreachableError(LaunchError):
    """The host gave no answer: nothing is known of what runs there."""


def run(host: Host, script: str, limit: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    """Run a POSIX shell script there and return what it said, and its exit code. Values in it must be quoted (`quoted`).

    UnreachableError, in one line without the host's name, where it did not come that far or did not end within `limit` seconds.
    """
    port = () if host.port is None else ("-p", str(host.port))
    command = ["ssh", *OPTIONS, *port, "--", host.target, "exec /bin/sh -s"]
    try:
        # A session of its own: Ctrl-C is ours to answer, and no terminal is there to be asked for a password.
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
        raise UnreachableError(f"no answer within {limit:.0f} s; is it overloaded, or its disk away?") from None
    if client.returncode == EXIT_SSH:
        raise UnreachableError(_reason(host, err))
    return subprocess.CompletedProcess(command, client.returncode, out, err)


def quoted(*words: object) -> str:
    """Words of a command, each of which a shell takes as it is."""
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
