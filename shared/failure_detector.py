"""Which nodes are alive.

A node renews its heartbeat file by `utime`. Nobody compares that time with a clock: an owner is dead when its heartbeat
has not *changed* for one lease of the observer's own clock.
"""

import time
from collections.abc import Mapping

from shared.filesystem import RETRYABLE_ERRNOS
from shared.identity import Identity, identities
from shared.paths import is_incarnation
from shared.settings import HEARTBEAT_S, POLL_S
from shared.shared_dir import SharedDir

SURE_S = 3 * HEARTBEAT_S  # of silence, after which a process that is not on this machine is believed to be gone


class FailureDetector:
    """Who is silent, and for how long, by this process's own monotonic clock.

    Only gaps between two successful looks count, each at most `POLL_S`, so that an observer that
    slept or was cut off judges nobody.
    """

    def __init__(self, share: SharedDir, me: Identity | None = None):
        self.share = share
        self.me = me or Identity.here()
        self.gap = 0.0  # seconds between the last two looks, as far as they count
        self._last_look: float | None = None
        self._last_change: dict[str, tuple[int, float]] = {}  # incarnation -> (mtime, seconds of silence)

    def poll(self) -> None:
        """Look at every heartbeat once; OSError where the directory cannot be looked at."""
        system = self.share.system
        now = system.monotonic()
        heard = {}
        gap = 0.0 if self._last_look is None else min(now - self._last_look, POLL_S)
        for name in filter(is_incarnation, system.list(self.share.layout.nodes)):
            try:
                mtime = system.mtime(self.share.layout.heartbeat(name))
            except OSError as error:
                if error.errno in RETRYABLE_ERRNOS:
                    raise
                continue  # it has left, or is no heartbeat file at all
            before, silence = self._last_change.get(name, (mtime, -gap))
            heard[name] = mtime, silence + gap if mtime == before else 0.0
        self._last_change = heard
        self._last_look, self.gap = now, gap

    def nodes(self) -> list[str]:
        """Incarnations that have a heartbeat file, as of the last look."""
        return list(self._last_change)

    def silent_for(self, incarnation: str) -> float | None:
        """Seconds for which its heartbeat has not changed, None where it has no heartbeat file."""
        found = self._last_change.get(incarnation)
        return found[1] if found else None

    def renewed_at(self, incarnation: str) -> float | None:
        """When its heartbeat was renewed, as of the last look: seconds since 1970 by the clock of the share. For people."""
        found = self._last_change.get(incarnation)
        return found[0] / 1e9 if found else None

    def now(self, known: Mapping[str, Identity] | None = None) -> float:
        """Seconds since 1970 by the clock of the share, as far as that can be told without writing to it; for people.

        `known` are the nodes that have a heartbeat file, None to read these files. A node of this machine whose process lives has renewed its heartbeat some seconds ago. Where there is none, this
        machine's clock counts, unless a heartbeat is newer.
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
        """Whether it lived on this machine, in this boot, and its process is gone.

        A machine that was copied while it ran has the name, the boot and the process table of its twin. So the process
        table is believed only about a node that was started here for certain, or one whose heart is silent.
        """
        system = self.share.system
        return (
            identity.same_boot(self.me)
            and system.process_gone(identity.pid, identity.start)
            and (system.started_here(identity.token) or (self.silent_for(identity.incarnation) or 0.0) >= SURE_S)
        )

    def is_dead(self, identity: Identity, lease: float) -> bool:
        """Whether an owner of placeholders that were listed *before* the last look is dead."""
        silence = self.silent_for(identity.incarnation)
        if silence is None:  # it has left, or joined a moment ago and the list of nodes was an old one
            return not (
                identity.incarnation in self.share.system.list(self.share.layout.nodes)
                or self.share.system.exists(self.share.layout.heartbeat(identity.incarnation))
            )
        return silence >= lease or self.process_gone(identity)
