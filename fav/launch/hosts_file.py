"""The hosts file: one host per line, then optional `key=value` pairs; `#` begins a comment. Pure functions.

anna@lab1.example.org  nodes=2
render                 gpus=2  path="/opt/artistic videos"      # an alias of ~/.ssh/config
"""

import re
import shlex
from dataclasses import dataclass

from fav.launch.errors import LaunchError
from shared.errors import sanitize

TARGET = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9_][A-Za-z0-9._:%-]*")  # never begins like an option
DEVICE = re.compile(r"auto|cpu|cuda:[0-9]{1,3}")
MAX_NODES = 1000


@dataclass(frozen=True)
class Host:
    """A machine for nodes. None: as on the operator's machine."""

    target: str  # [user@]host, or an alias of OpenSSH's configuration
    port: int | None = None
    devices: tuple[str, ...] = ("auto",)  # the device of each node, as node.py takes it
    python: str | None = None  # by default .venv/bin/python in the checkout
    path: str | None = None  # the checkout there
    share: str | None = None  # where the shared directory is mounted there

    @property
    def name(self) -> str:
        """Its name in tables."""
        return self.target if self.port is None else f"{self.target}:{self.port}"

    @property
    def label(self) -> str:
        """Its name in file names."""
        return re.sub(r"[^A-Za-z0-9.-]", "_", self.name.rpartition("@")[2])


def read_hosts(text: str, where: str) -> list[Host]:
    """Parse a hosts file. No two hosts may have the same label, because their nodes' logs would have the same names.

    Args:
        text: of the file.
        where: name of the file, for messages.

    Raises:
        LaunchError: a line is invalid; the message has its number.
    """
    hosts: dict[str, Host] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
            host = _host(words) if words else None
            if host and host.label in hosts:
                raise ValueError(
                    f"a host that no line above has, got {host.name} again; nodes=N starts several nodes there"
                )
        except ValueError as error:
            raise LaunchError(f"{where}, line {number}: expected {sanitize(error, 300)}") from None
        if host:
            hosts[host.label] = host
    return list(hosts.values())


def _host(words: list[str]) -> Host:
    """Parse the words of a line. Raises ValueError with what was expected."""
    target, *pairs = words
    if not TARGET.fullmatch(target):
        raise ValueError(f"[user@]host or an alias of OpenSSH, got {target!r}")
    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if key not in KEYS or not equals or not value or key in given:
            raise ValueError(f"{', '.join(f'{key}=' for key in KEYS)}, each once and with a value, got {pair!r}")
        given[key] = value
    for key in ("python", "path", "share"):
        if key in given and not (given[key].startswith("/") and given[key].isprintable()):
            raise ValueError(f"{key}= with an absolute path there, got {given[key]!r}")
    port = _number("port", given["port"], 65535) if "port" in given else None
    return Host(target, port, _devices(given), given.get("python"), given.get("path"), given.get("share"))


def _devices(given: dict[str, str]) -> tuple[str, ...]:
    """The device of each node: the GPUs in turn, or `auto`."""
    if "gpus" in given and "devices" in given:
        raise ValueError("gpus=NUMBER or devices=LIST, got both")
    gpus = tuple(f"cuda:{gpu}" for gpu in range(_number("gpus", given["gpus"], 64))) if "gpus" in given else ()
    devices = gpus or tuple(given.get("devices", "auto").split(","))
    if not all(map(DEVICE.fullmatch, devices)):
        raise ValueError(f"devices= with cpu, cuda:0 and so on, separated by commas, got {given['devices']!r}")
    nodes = _number("nodes", given["nodes"], MAX_NODES) if "nodes" in given else len(devices)
    return tuple(devices[number % len(devices)] for number in range(nodes))


def _number(key: str, value: str, most: int) -> int:
    if not (value.isascii() and value.isdigit()) or not 1 <= int(value[:9]) <= most:
        raise ValueError(f"{key}= with a number from 1 to {most}, got {value!r}")
    return int(value)


KEYS = ("port", "nodes", "gpus", "devices", "python", "path", "share")
