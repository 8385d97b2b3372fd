"""Requests of the operator to a running node. They go through the share, so it does not matter who started the node.

A request is an empty file named after the node. A thread of each node lists the directory of requests every few
seconds; tasks need no additional file operation.
"""

import threading
from contextlib import suppress
from enum import IntEnum

from shared.ownership import remove_command
from shared.paths import is_incarnation
from shared.shared_dir import SharedDir

POLL_INTERVAL_S = 2.0  # how often a node looks for requests
KEEP_S = (
    24 * 3600.0
)  # how long a request to a dead node is kept: it may be suspended, and hear the request when it continues


class ControlCommand(IntEnum):
    """DRAIN: finish the current task, then leave. STOP: leave at once. The value is the number of equivalent signals."""

    DRAIN = 1
    STOP = 2

    @property
    def verb(self) -> str:
        return self.name.lower()


def send(share: SharedDir, incarnation: str, order: ControlCommand) -> None:
    """Send a request to one node. The node reacts within seconds, over NFS within a minute. A repeat is no error."""
    share.system.make_dirs(share.layout.control)
    with suppress(FileExistsError):
        share.system.write_new(share.layout.command_file(incarnation, order.verb), b"")


def pending(share: SharedDir) -> dict[str, ControlCommand]:
    """The pending requests by incarnation; of two for one node, the stronger."""
    found: dict[str, ControlCommand] = {}
    for name in share.system.list(share.layout.control):
        incarnation, _, verb = name.rpartition(".")
        order = next((order for order in ControlCommand if order.verb == verb), None)
        if order and is_incarnation(incarnation):
            found[incarnation] = max(order, found.get(incarnation, order))
    return found


def clear_commands(share: SharedDir, incarnation: str) -> None:
    """Remove the requests to a node that has left."""
    for order in ControlCommand:
        remove_command(share, incarnation, order.verb)


def remove_stale(share: SharedDir) -> None:
    """Remove the requests to nodes that have had no heartbeat file for long."""
    alive, now = set(share.system.list(share.layout.nodes)), share.now()
    for incarnation, order in pending(share).items():
        if incarnation not in alive:
            with suppress(OSError):  # another process removes it
                if now - share.system.mtime(share.layout.command_file(incarnation, order.verb)) / 1e9 > KEEP_S:
                    clear_commands(share, incarnation)


class ControlListener:
    """Polls for the requests to one `node.py`, in a thread: an unreachable share blocks only that thread.

    A request to one of its incarnations counts for the later ones, too.
    """

    def __init__(self, share: SharedDir):
        self.share = share
        self.signals = 0  # the strongest request so far
        self._names: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def add_name(self, incarnation: str) -> None:
        """Poll for requests to this incarnation, too."""
        self._names.append(incarnation)
        if self._thread.ident is None:
            self._thread.start()

    def acknowledge(self) -> None:
        """Remove the requests that were received."""
        for name in self._names if self.signals else ():
            clear_commands(self.share, name)

    def _run(self) -> None:
        over = threading.Event()
        while not self.share.system.wait(over, POLL_INTERVAL_S):
            with suppress(OSError):  # a temporary error of the server, or a directory that is not ours: try again soon
                orders = pending(self.share)
                self.signals = max(self.signals, *(orders.get(name, 0) for name in self._names))
