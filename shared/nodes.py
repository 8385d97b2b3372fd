"""Nodes: who they are, the sign of life they give, and who is alive.

A node's heartbeat file holds its identity and is renewed by `utime`. Nobody compares its time with a
clock: an owner is dead when its heartbeat has not *changed* for one lease of the observer's own clock.
"""

import json
import os
import re
import secrets
import socket
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Iterator

from shared.errors import Evicted, ShareError, plain
from shared.layout import is_incarnation
from shared.ownership import remove_notice, remove_private
from shared.share import Share
from shared.system import PASSING, process_start

LEASE_S = 180.0  # an NFS client may show an old mtime for 60 s, a rebooting server is away for 90 s
SHORTEST_LEASE_S = 15.0
HEARTBEAT_S = 4.0  # several to the shortest lease
POLL_S = 4.0
SURE_S = 3 * HEARTBEAT_S  # of silence, after which a process that is not on this machine is believed to be gone
JOIN_TRIES = 3
VERSION = 1
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)  # what strangers' JSON leads to


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
    version: int = VERSION

    @classmethod
    def here(cls, about: str = "") -> "Identity":
        """A new incarnation of the calling process."""
        host = socket.gethostname()
        readable = re.sub(r"[^A-Za-z0-9-]", "_", host.split(".")[0])[:40] or "host"
        return cls(
            incarnation=f"{readable}-{os.getpid()}-{secrets.token_hex(4)}",
            token=secrets.token_hex(16),
            host=host,
            boot=_first_line("/proc/sys/kernel/random/boot_id"),
            pid_ns=_link("/proc/self/ns/pid"),
            pid=os.getpid(),
            start=_own_start(),
            about=about,
        )

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: Path) -> "Identity":
        """Raises ShareError where this is not an identity of ours."""
        try:
            fields = json.loads(data)
            if fields["version"] > VERSION:
                raise ShareError(f"{where}: written by a newer version of this program; update this machine")
            identity = cls(**{name: kind(fields[name]) for name, kind in cls.__annotations__.items()})
        except MALFORMED as error:
            raise ShareError(f"{where}: expected the identity of a node, got {data[:40]!r} ({plain(error, 100)})") from None
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", identity.incarnation) or not re.fullmatch(r"[0-9a-f]{32}", identity.token):
            raise ShareError(f"{where}: expected the identity of a node, got a name that no node gives itself")
        if not all(text == plain(text, 1000) for text in (identity.host, identity.boot, identity.pid_ns, identity.about)):
            raise ShareError(f"{where}: expected the identity of a node, got one with words that no terminal shows")
        return identity

    def lived_here(self, other: "Identity") -> bool:
        """Whether both are processes of one boot of one machine and see each other's pids."""
        return bool(self.boot) and (self.host, self.boot, self.pid_ns) == (other.host, other.boot, other.pid_ns)


def lineage(incarnation: str) -> str:
    """What all incarnations of one `node.py` have in common: its host and process id."""
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


class Node:
    """This process's place in the shared directory: its heartbeat file and its private directory."""

    def __init__(self, share: Share, identity: Identity):
        self.share = share
        self.identity = identity
        self.heart = share.layout.heart(identity.incarnation)
        self.private = share.layout.private_of(identity.incarnation)

    def join(self) -> None:
        """Show the first sign of life; until then the node may claim nothing."""
        for left in reversed(range(JOIN_TRIES)):
            try:
                return self._appear()
            except (FileExistsError, FileNotFoundError):  # away for a lease, its directory was swept: it had no heart yet
                if not left:
                    raise

    def _appear(self) -> None:
        self.share.check()  # a node that was cut off may join again: it must not make rooms where nothing is mounted
        self.share.system.make_dirs(self.heart.parent)
        self.share.system.make_dirs(self.private)
        draft = self.draft()
        self.share.system.write_new(draft, self.identity.to_bytes())
        self.share.system.note(self.identity.token)
        try:
            self.share.appear(draft, self.heart)
        except (FileExistsError, FileNotFoundError):  # it happened, only the reply was lost: nobody else has this name
            if not self.share.system.exists(self.heart):
                raise
        self.share.system.unlink(draft)

    def beat(self) -> None:
        """Renew every claim of this node at once. Evicted where others took the node for dead."""
        try:
            self.share.system.touch(self.heart)
        except FileNotFoundError:
            self.check()

    def check(self) -> None:
        """Evicted if the heartbeat file is gone, or the private directory; looks into the directories themselves.

        ShareError where the shared directory itself is gone.
        """
        system = self.share.system
        if self.heart.name not in system.list(self.share.layout.nodes) or not system.exists(self.private):
            self.share.check()
            raise Evicted(f"{self.identity.incarnation} was taken for dead by the other nodes")

    def draft(self) -> Path:
        """A new private path, never used again. NotADirectoryError where the private directory was replaced by a link."""
        self.share.system.follow_no_link(self.private)
        return self.private / secrets.token_hex(8)

    def leave(self) -> None:
        """Remove what is private, the heartbeat file last; all claims must be released by now."""
        sweep(self.share, self.identity.incarnation)


class Heart(threading.Thread):
    """Beats for a node in a thread of its own until `over` is set; `evicted` tells that others took it for dead."""

    def __init__(self, node: Node):
        super().__init__(daemon=True)
        self.node = node
        self.over, self.evicted = threading.Event(), threading.Event()
        self.last = node.share.system.monotonic()  # of the last beat that reached the share

    @property
    def beats(self) -> bool:
        """Whether the share could be reached lately."""
        return self.node.share.system.monotonic() - self.last < 3 * HEARTBEAT_S

    def run(self) -> None:
        system = self.node.share.system
        while not system.wait(self.over, HEARTBEAT_S):
            try:
                self.node.beat()
                self.last = system.monotonic()
            except ShareError:
                self.evicted.set()
                return
            except OSError:
                pass  # the server stumbles; the next beat comes soon


@contextmanager
def visiting(share: Share, about: str = "") -> Iterator[Node]:
    """A node for the time of one errand: joined, its heart beating, and gone afterwards."""
    node = Node(share, Identity.here(about))
    heart = Heart(node)
    try:
        node.join()
        heart.start()
        yield node
    finally:
        heart.over.set()
        node.leave()


def sweep(share: Share, incarnation: str) -> None:
    """Remove all traces of a node that has left or died and holds no placeholder any more; the heartbeat file last."""
    if remove_private(share, incarnation).failed:
        return  # whoever comes next tries again
    for name in share.system.list(share.layout.bell):
        if name.rpartition(".")[0] == incarnation:
            remove_notice(share, name)
    share.system.unlink(share.layout.heart(incarnation))


def read_identity(share: Share, path: Path) -> Identity | None:
    """Who is named in a heartbeat file or placeholder; None where the file is gone or still empty."""
    try:
        data = share.system.read(path, limit=4096)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise ShareError(f"{path}: expected a file that this user may read; correct its permissions") from None
    return Identity.from_bytes(data, path) if data else None


def node_named(share: Share, name: str) -> Identity | None:
    """Who has the heartbeat file of that name; None where it is gone, empty, or a stranger's: one that has another name
    inside, or does not read. OSError as for `read_identity`."""
    try:
        identity = read_identity(share, share.layout.heart(name))
    except ShareError:
        return None
    return identity if identity is not None and identity.incarnation == name else None


def identities(share: Share) -> dict[str, Identity]:
    """The nodes that have a heartbeat file, by incarnation; strangers' files are left out."""
    found = {}
    for name in filter(is_incarnation, share.system.list(share.layout.nodes)):
        try:
            identity = node_named(share, name)
        except OSError:
            continue
        if identity is not None:
            found[name] = identity
    return found


class Observer:
    """Who is silent, and for how long, by this process's own monotonic clock.

    Only gaps between two successful looks count, each at most `POLL_S`, so that an observer that
    slept or was cut off judges nobody.
    """

    def __init__(self, share: Share, me: Identity | None = None):
        self.share = share
        self.me = me or Identity.here()
        self.gap = 0.0  # seconds between the last two looks, as far as they count
        self._last_look: float | None = None
        self._heard: dict[str, tuple[int, float]] = {}  # incarnation -> (mtime, seconds of silence)

    def look(self) -> None:
        """Look at every heartbeat once; OSError where the directory cannot be looked at."""
        system = self.share.system
        now = system.monotonic()
        heard = {}
        gap = 0.0 if self._last_look is None else min(now - self._last_look, POLL_S)
        for name in filter(is_incarnation, system.list(self.share.layout.nodes)):
            try:
                mtime = system.mtime(self.share.layout.heart(name))
            except OSError as error:
                if error.errno in PASSING:
                    raise
                continue  # it has left, or is no heartbeat file at all
            before, silence = self._heard.get(name, (mtime, -gap))
            heard[name] = mtime, silence + gap if mtime == before else 0.0
        self._heard = heard
        self._last_look, self.gap = now, gap

    def nodes(self) -> list[str]:
        """Incarnations that have a heartbeat file, as of the last look."""
        return list(self._heard)

    def silence(self, incarnation: str) -> float | None:
        """Seconds for which its heartbeat has not changed, None where it has no heartbeat file."""
        found = self._heard.get(incarnation)
        return found[1] if found else None

    def now(self) -> float:
        """Seconds since 1970 by the clock of the share, as far as that can be told without writing to it; for people.

        A node of this machine whose process lives has renewed its heartbeat some seconds ago. Where there is none, this
        machine's clock counts, unless a heartbeat is newer.
        """
        if not self.share.read_only:
            return self.share.now()
        newest = max((mtime for mtime, _ in self._heard.values()), default=0) / 1e9
        local = [identity for identity in identities(self.share).values() if identity.lived_here(self.me)]
        if any(not self.process_gone(identity) for identity in local if identity.incarnation in self._heard):
            return newest
        return max(newest, self.share.now())

    def process_gone(self, identity: Identity) -> bool:
        """Whether it lived on this machine, in this boot, and its process is gone.

        A machine that was copied while it ran has the name, the boot and the process table of its twin. So the process
        table is believed only about a node that was started here for certain, or one whose heart is silent.
        """
        system = self.share.system
        return (identity.lived_here(self.me) and system.process_gone(identity.pid, identity.start)
                and (system.started_here(identity.token) or (self.silence(identity.incarnation) or 0.0) >= SURE_S))

    def dead(self, identity: Identity, lease: float) -> bool:
        """Whether an owner of placeholders that were listed *before* the last look is dead."""
        silence = self.silence(identity.incarnation)
        if silence is None:  # it has left, or joined a moment ago and the list of nodes was an old one
            return not (identity.incarnation in self.share.system.list(self.share.layout.nodes)
                        or self.share.system.exists(self.share.layout.heart(identity.incarnation)))
        return silence >= lease or self.process_gone(identity)
