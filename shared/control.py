"""Orders: what the operator asks of a running node, through the share, so that it does not matter who started the node.

An order is an empty file named after the node. Nodes look for theirs now and then, all in one listing, whatever they
are doing; no task costs a file operation more.
"""

import threading
from contextlib import suppress
from enum import IntEnum

from shared.ownership import remove_command
from shared.paths import is_incarnation
from shared.shared_dir import SharedDir

POLL_INTERVAL_S = 2.0  # how often a node looks for orders


class ControlCommand(IntEnum):
    """As many signals as would say the same: finish the current task and leave; leave at once, and give the task up."""

    DRAIN = 1
    STOP = 2

    @property
    def verb(self) -> str:
        return self.name.lower()


def send(share: SharedDir, incarnation: str, order: ControlCommand) -> None:
    """Ask it of one node. It follows within a few seconds, over NFS within a minute; doing so twice is no error."""
    share.system.make_dirs(share.layout.control)
    with suppress(FileExistsError):
        share.system.write_new(share.layout.command_file(incarnation, order.verb), b"")


def pending(share: SharedDir) -> dict[str, ControlCommand]:
    """The orders that lie there, by incarnation; of two for one node the stronger."""
    found: dict[str, ControlCommand] = {}
    for name in share.system.list(share.layout.control):
        incarnation, _, verb = name.rpartition(".")
        order = next((order for order in ControlCommand if order.verb == verb), None)
        if order and is_incarnation(incarnation):
            found[incarnation] = max(order, found.get(incarnation, order))
    return found


def clear_commands(share: SharedDir, incarnation: str) -> None:
    """Remove the orders of a node that has left."""
    for order in ControlCommand:
        remove_command(share, incarnation, order.verb)


def remove_stale(share: SharedDir) -> None:
    """Remove the orders of nodes that are not there any more."""
    alive = set(share.system.list(share.layout.nodes))
    for incarnation in set(pending(share)) - alive:
        clear_commands(share, incarnation)


class ControlListener:
    """Listens for the orders of one `node.py` in a thread of its own, in all its incarnations: one that was taken for dead
    and joins again is still meant. A share that is away keeps nobody but that thread waiting."""

    def __init__(self, share: SharedDir):
        self.share = share
        self.signals = 0  # what was ordered so far
        self._names: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def add_name(self, incarnation: str) -> None:
        """Listen for this name, too."""
        self._names.append(incarnation)
        if self._thread.ident is None:
            self._thread.start()

    def acknowledge(self) -> None:
        """Take the orders back that were heard."""
        for name in self._names if self.signals else ():
            clear_commands(self.share, name)

    def _run(self) -> None:
        over = threading.Event()
        while not self.share.system.wait(over, POLL_INTERVAL_S):
            with suppress(OSError):  # the server stumbles, or a stranger's directory: the next look comes soon
                orders = pending(self.share)
                self.signals = max(self.signals, *(orders.get(name, 0) for name in self._names))
