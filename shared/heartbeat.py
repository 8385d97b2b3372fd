"""The thread that renews a node's heartbeat file."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import JobQueueError
from shared.identity import Identity
from shared.membership import Node
from shared.settings import HEARTBEAT_S
from shared.shared_dir import SharedDir


class HeartbeatThread(threading.Thread):
    """Renews a node's heartbeat until `stop_event` is set. `evicted` is set if other nodes considered the node dead."""

    def __init__(self, node: Node):
        super().__init__(daemon=True)
        self.node = node
        self.stop_event, self.evicted = threading.Event(), threading.Event()
        self.last_renewal = node.share.system.monotonic()  # of the last renewal that reached the share

    @property
    def is_reachable(self) -> bool:
        """Whether a recent renewal reached the share."""
        return self.node.share.system.monotonic() - self.last_renewal < 3 * HEARTBEAT_S

    def run(self) -> None:
        system = self.node.share.system
        while not system.wait(self.stop_event, HEARTBEAT_S):
            try:
                self.node.renew()
                self.last_renewal = system.monotonic()
            except JobQueueError:
                self.evicted.set()
                return
            except OSError:
                pass  # a temporary error of the server; the next renewal comes soon


@contextmanager
def temporary_member(share: SharedDir, about: str = "") -> Iterator[Node]:
    """A node for one short action: it joins, has a heartbeat, and leaves afterwards."""
    node = Node(share, Identity.here(about))
    heartbeat = HeartbeatThread(node)
    try:
        node.join()
        heartbeat.start()
        yield node
    finally:
        heartbeat.stop_event.set()
        node.leave()
