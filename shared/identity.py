"""Who a node is: the content of its heartbeat file and of its placeholders."""

import json
import os
import re
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.errors import JobQueueError, sanitize
from shared.filesystem import process_start
from shared.paths import is_incarnation
from shared.shared_dir import SharedDir

VERSION = 1
DECODE_ERRORS = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)  # what decoding foreign JSON can raise


@dataclass(frozen=True)
class Identity:
    """One incarnation of a node: a process, not a host. `token` is random and never used again."""

    incarnation: str
    token: str
    host: str
    boot: str
    pid_ns: str
    pid: int
    start: int
    about: str = ""  # numeric class and device, for people
    label: str = ""  # the operator's name of its host, if it differs from the host name
    version: int = VERSION

    @classmethod
    def here(cls, about: str = "", label: str = "") -> "Identity":
        """A new incarnation of the calling process, which is named after its label, or its host."""
        host = socket.gethostname()
        readable = re.sub(r"[^A-Za-z0-9-]", "_", label or host.split(".")[0])[:40] or "host"
        return cls(
            incarnation=f"{readable}-{os.getpid()}-{secrets.token_hex(4)}",
            token=secrets.token_hex(16),
            host=host,
            boot=_first_line("/proc/sys/kernel/random/boot_id"),
            pid_ns=_link("/proc/self/ns/pid"),
            pid=os.getpid(),
            start=_own_start(),
            about=about,
            label=label,
        )

    @property
    def host_names(self) -> set[str]:
        """What its host may be called: its name, the part before the first dot, its label."""
        return {self.host, self.host.partition(".")[0], self.label} - {""}

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: Path) -> "Identity":
        """Parse an identity. Raises JobQueueError if it is not valid."""
        try:
            fields = json.loads(data)
            if fields["version"] > VERSION:
                raise JobQueueError(f"{where}: written by a newer version of this program; update this machine")
            fields = {"label": "", **fields}  # which versions before did not write
            identity = cls(**{name: kind(fields[name]) for name, kind in cls.__annotations__.items()})
        except DECODE_ERRORS as error:
            raise JobQueueError(
                f"{where}: expected the identity of a node, got {data[:40]!r} ({sanitize(error, 100)})"
            ) from None
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", identity.incarnation) or not re.fullmatch(
            r"[0-9a-f]{32}", identity.token
        ):
            raise JobQueueError(f"{where}: expected the identity of a node, got a name that no node has")
        if not all(
            text == sanitize(text, 1000)
            for text in (identity.host, identity.boot, identity.pid_ns, identity.about, identity.label)
        ):
            raise JobQueueError(f"{where}: expected the identity of a node, got one with unprintable text")
        return identity

    def same_boot(self, other: "Identity") -> bool:
        """Whether both are processes of one boot of one machine and see each other's pids."""
        return bool(self.boot) and (self.host, self.boot, self.pid_ns) == (other.host, other.boot, other.pid_ns)


def node_key(incarnation: str) -> str:
    """The part that all incarnations of one `node.py` share: its host and process id."""
    return incarnation.rpartition("-")[0]


def _own_start() -> int:
    try:
        return process_start(os.getpid()) or 0
    except OSError:  # not Linux
        return 0


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def read_identity(share: SharedDir, path: Path) -> Identity | None:
    """Read a heartbeat file or a placeholder. None if the file is gone or still empty."""
    try:
        data = share.system.read(path, limit=4096)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise JobQueueError(f"{path}: expected a file that this user may read; correct its permissions") from None
    return Identity.from_bytes(data, path) if data else None


def find_identity(share: SharedDir, name: str) -> Identity | None:
    """Read the heartbeat file with that name. OSError as for `read_identity`.

    None if it is gone, empty, unreadable, or has another name inside: then this program did not make it.
    """
    try:
        identity = read_identity(share, share.layout.heartbeat(name))
    except JobQueueError:
        return None
    return identity if identity is not None and identity.incarnation == name else None


def identities(share: SharedDir) -> dict[str, Identity]:
    """The nodes that have a heartbeat file, by incarnation. Other files are ignored."""
    found = {}
    for name in filter(is_incarnation, share.system.list(share.layout.nodes)):
        try:
            identity = find_identity(share, name)
        except OSError:
            continue
        if identity is not None:
            found[name] = identity
    return found
