"""Which nodes are alive.

A node renews its heartbeat file by `utime`. That time is never compared with a clock: an owner is dead when its
heartbeat has not *changed* for one lease on the observer's own clock.
"""

import time
from collections.abc import Mapping

from shared.filesystem import RETRYABLE_ERRNOS
from shared.identity import Identity, identities
from shared.paths import is_incarnation
from shared.settings import HEARTBEAT_S, POLL_S
from shared.shared_dir import SharedDir

SURE_S = 3 * HEARTBEAT_S  # of silence, after which a pid that this machine does not have counts as gone


class FailureDetector:
    """Measures for how long each node has been silent, on this process's own monotonic clock.

    Only gaps between two successful polls count, each for at most `longest_gap`. So an observer that was suspended or
    disconnected declares no node dead.
    """

    def __init__(self, share: SharedDir, me: Identity | None = None):
        self.share = share
        self.me = me or Identity.here()
        self.longest_gap = POLL_S  # seconds until the next poll, as it is planned
        self.gap = 0.0  # seconds between the last two polls, as far as they count
        self._last_look: float | None = None
        self._last_change: dict[str, tuple[int, float]] = {}  # incarnation -> (mtime, seconds of silence)

    def poll(self) -> None:
        """Read every heartbeat once. Raises OSError if the directory cannot be read."""
        system = self.share.system
        now = system.monotonic()
        heard = {}
        gap = 0.0 if self._last_look is None else min(now - self._last_look, self.longest_gap)
        for name in filter(is_incarnation, system.list(self.share.layout.nodes)):
            try:
                mtime = system.mtime(self.share.layout.heartbeat(name))
            except OSError as error:
                if error.errno in RETRYABLE_ERRNOS:
                    raise
                continue  # the node has left, or this is no heartbeat file
            before, silence = self._last_change.get(name, (mtime, -gap))
            heard[name] = mtime, silence + gap if mtime == before else 0.0
        self._last_change = heard
        self._last_look, self.gap = now, gap

    def nodes(self) -> list[str]:
        """Incarnations that had a heartbeat file at the last poll."""
        return list(self._last_change)

    def silent_for(self, incarnation: str) -> float | None:
        """Seconds for which a heartbeat has not changed, None if there is no heartbeat file."""
        found = self._last_change.get(incarnation)
        return found[1] if found else None

    def renewed_at(self, incarnation: str) -> float | None:
        """When a heartbeat was renewed, at the last poll: seconds since 1970 on the share's clock. For display only."""
        found = self._last_change.get(incarnation)
        return found[0] / 1e9 if found else None

    def now(self, known: Mapping[str, Identity] | None = None) -> float:
        """An estimate of the share's clock without writing to it, in seconds since 1970. For display only.

        A live node of this machine has renewed its heartbeat some seconds ago: then it is the newest heartbeat.
        Otherwise it is this machine's clock, unless a heartbeat is newer.

        Args:
            known: the nodes that have a heartbeat file; None reads these files.
        """
        newest = max((mtime for mtime, _ in self._last_change.values()), default=0) / 1e9
        local = [
            identity
            for identity in (identities(self.share) if known is None else known).values()
            if identity.same_boot(self.me)
        ]
        if any(not self.process_gone(identity) for identity in local if identity.incarnation in self._last_change):
            return newest
        return max(newest, time.time())

    def process_gone(self, identity: Identity) -> bool:
        """Whether a node ran on this machine, in this boot, and its process is gone.

        A clone of a running machine has the same host name, boot and pids. So the process table counts only for a node
        that was certainly started here, or whose heartbeat is silent.
        """
        system = self.share.system
        return (
            identity.same_boot(self.me)
            and system.process_gone(identity.pid, identity.start)
            and (system.started_here(identity.token) or (self.silent_for(identity.incarnation) or 0.0) >= SURE_S)
        )

    def is_dead(self, identity: Identity, lease: float) -> bool:
        """Whether an owner of placeholders that were listed *before* the last poll is dead."""
        silence = self.silent_for(identity.incarnation)
        if silence is None:  # it has left; or it joined a moment ago, after the list of nodes was read
            return not (
                identity.incarnation in self.share.system.list(self.share.layout.nodes)
                or self.share.system.exists(self.share.layout.heartbeat(identity.incarnation))
            )
        return silence >= lease or self.process_gone(identity)
