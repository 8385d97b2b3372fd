"""Nodes of the job system, in this process and as processes, and a clock that a test steps."""

import subprocess
import sys
from pathlib import Path

from shared.filesystem import FileSystem
from shared.identity import Identity
from shared.membership import Node, remove_node
from shared.recovery import Recovery
from shared.settings import POLL_S
from shared.shared_dir import SharedDir, open_share
from tests.helpers.checkout import ROOT
from tests.helpers.waiting import wait_for


class Clock(FileSystem):
    """The real file system with a clock that a test steps."""

    def __init__(self):
        super().__init__()
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def make_share(root: Path) -> SharedDir:
    """A shared directory by the clock of the world, made where there is none."""
    root.mkdir(exist_ok=True)
    return open_share(root)


def join(share: SharedDir, host: str = "", label: str = "") -> Node:
    """A node that has joined; with `host`, one of another machine, which the operator calls `label`."""
    identity = Identity.here(label=label)
    if host:
        identity = Identity(**{**vars(identity), "host": host, "boot": f"boot of {host}"})
    node = Node(share, identity)
    node.join()
    return node


def start(root: Path, *arguments: str) -> subprocess.Popen:
    """A node that works on toy jobs, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.toy_plan", str(root), *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def evict(share: SharedDir, incarnation: str) -> None:
    """Remove a node that lives, as others do after a lease of silence; again, as long as it writes meanwhile."""
    wait_for(lambda: (remove_node(share, incarnation), not share.layout.heartbeat(incarnation).exists())[1])


def is_clean(share) -> bool:
    return not any(list(room.iterdir()) for room in (share.layout.nodes, share.layout.tmp, share.layout.notify))


def watch(recovery: Recovery, job, clock, seconds: float, owner: Node | None = None) -> int:
    """Let time pass in polls; `owner` beats meanwhile. Returns how many orphans were recovered."""
    count = recovery.run({job: set()})
    while seconds > 0:
        clock.now += min(POLL_S, seconds)
        seconds -= POLL_S
        if owner:
            system = owner.share.system
            before = system.mtime(owner.heartbeat_file)
            while (
                system.mtime(owner.heartbeat_file) == before
            ):  # the clock of a server ticks a hundred times a second, or more often
                owner.renew()
        count += recovery.run({job: set()})
    return count
