"""A node's place in the shared directory: its heartbeat file and its private directory."""

import secrets
from pathlib import Path

from shared.errors import EvictedError
from shared.identity import Identity
from shared.ownership import remove_notice, remove_temporary
from shared.shared_dir import SharedDir

JOIN_TRIES = 3


class Node:
    """This process's place in the shared directory: its heartbeat file and its private directory."""

    def __init__(self, share: SharedDir, identity: Identity):
        self.share = share
        self.identity = identity
        self.heartbeat_file = share.layout.heartbeat(identity.incarnation)
        self.tmp_dir = share.layout.tmp_of(identity.incarnation)

    def join(self) -> None:
        """Show the first sign of life; until then the node may claim nothing."""
        for left in reversed(range(JOIN_TRIES)):
            try:
                return self._publish_heartbeat()
            except (
                FileExistsError,
                FileNotFoundError,
            ):  # away for a lease, its directory was swept: it had no heart yet
                if not left:
                    raise

    def _publish_heartbeat(self) -> None:
        self.share.check()  # a node that was cut off may join again: it must not make rooms where nothing is mounted
        self.share.system.make_dirs(self.heartbeat_file.parent)
        self.share.system.make_dirs(self.tmp_dir)
        draft = self.temp_path()
        self.share.system.write_new(draft, self.identity.to_bytes())
        self.share.system.record_node(self.identity.token)
        try:
            self.share.publish_no_replace(draft, self.heartbeat_file)
        except (FileExistsError, FileNotFoundError):  # it happened, only the reply was lost: nobody else has this name
            if not self.share.system.exists(self.heartbeat_file):
                raise
        self.share.system.unlink(draft)

    def renew(self) -> None:
        """Renew every claim of this node at once. EvictedError where others took the node for dead."""
        try:
            self.share.system.touch(self.heartbeat_file)
        except FileNotFoundError:
            self.check()

    def check(self) -> None:
        """EvictedError if the heartbeat file is gone, or the private directory; looks into the directories themselves.

        JobQueueError where the shared directory itself is gone.
        """
        system = self.share.system
        if self.heartbeat_file.name not in system.list(self.share.layout.nodes) or not system.exists(self.tmp_dir):
            self.share.check()
            raise EvictedError(f"{self.identity.incarnation} was taken for dead by the other nodes")

    def temp_path(self) -> Path:
        """A new private path, never used again. NotADirectoryError where the private directory was replaced by a link."""
        self.share.system.refuse_symlink(self.tmp_dir)
        return self.tmp_dir / secrets.token_hex(8)

    def leave(self) -> None:
        """Remove what is private, the heartbeat file last; all claims must be released by now."""
        remove_node(self.share, self.identity.incarnation)


def remove_node(share: SharedDir, incarnation: str) -> None:
    """Remove all traces of a node that has left or died and holds no placeholder any more; the heartbeat file last."""
    if remove_temporary(share, incarnation).failed:
        return  # whoever comes next tries again
    for name in share.system.list(share.layout.notify):
        if name.rpartition(".")[0] == incarnation:
            remove_notice(share, name)
    share.system.unlink(share.layout.heartbeat(incarnation))
