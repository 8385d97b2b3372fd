"""A node's place in the shared directory: its heartbeat file and its private directory."""

import secrets
from pathlib import Path

from shared.errors import EvictedError
from shared.identity import Identity
from shared.ownership import remove_notice, remove_private
from shared.shared_dir import SharedDir

JOIN_TRIES = 3


class Node:
    """This process's place in the shared directory: its heartbeat file and its private directory."""

    def __init__(self, share: SharedDir, identity: Identity):
        self.share = share
        self.identity = identity
        self.heart = share.layout.heart(identity.incarnation)
        self.private = share.layout.private_of(identity.incarnation)

    def join(self) -> None:
        """Show the first sign of life; until then the node may claim nothing."""
        for left in reversed(range(JOIN_TRIES)):
            try:
                return self._appear()
            except (
                FileExistsError,
                FileNotFoundError,
            ):  # away for a lease, its directory was swept: it had no heart yet
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
        """Renew every claim of this node at once. EvictedError where others took the node for dead."""
        try:
            self.share.system.touch(self.heart)
        except FileNotFoundError:
            self.check()

    def check(self) -> None:
        """EvictedError if the heartbeat file is gone, or the private directory; looks into the directories themselves.

        JobQueueError where the shared directory itself is gone.
        """
        system = self.share.system
        if self.heart.name not in system.list(self.share.layout.nodes) or not system.exists(self.private):
            self.share.check()
            raise EvictedError(f"{self.identity.incarnation} was taken for dead by the other nodes")

    def draft(self) -> Path:
        """A new private path, never used again. NotADirectoryError where the private directory was replaced by a link."""
        self.share.system.follow_no_link(self.private)
        return self.private / secrets.token_hex(8)

    def leave(self) -> None:
        """Remove what is private, the heartbeat file last; all claims must be released by now."""
        sweep(self.share, self.identity.incarnation)


def sweep(share: SharedDir, incarnation: str) -> None:
    """Remove all traces of a node that has left or died and holds no placeholder any more; the heartbeat file last."""
    if remove_private(share, incarnation).failed:
        return  # whoever comes next tries again
    for name in share.system.list(share.layout.bell):
        if name.rpartition(".")[0] == incarnation:
            remove_notice(share, name)
    share.system.unlink(share.layout.heart(incarnation))
