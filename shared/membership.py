"""A node's membership in the shared directory: its heartbeat file and its temporary directory."""

import secrets
from pathlib import Path

from shared.errors import EvictedError
from shared.identity import Identity
from shared.ownership import remove_notice, remove_temporary
from shared.shared_dir import SharedDir

JOIN_TRIES = 3
REMOVAL_TRIES = 3


class Node:
    """This process as a member of the shared directory: its heartbeat file and its temporary directory."""

    def __init__(self, share: SharedDir, identity: Identity):
        self.share = share
        self.identity = identity
        self.heartbeat_file = share.layout.heartbeat(identity.incarnation)
        self.tmp_dir = share.layout.tmp_of(identity.incarnation)

    def join(self) -> None:
        """Publish the heartbeat file. Before that, the node may claim nothing."""
        for left in reversed(range(JOIN_TRIES)):
            try:
                return self._publish_heartbeat()
            except (
                FileExistsError,
                FileNotFoundError,
            ):  # suspended for a lease: its temporary directory, without a heartbeat file, was removed
                if not left:
                    raise

    def _publish_heartbeat(self) -> None:
        self.share.check()  # a node that rejoins must not make directories where nothing is mounted any more
        self.share.system.make_dirs(self.heartbeat_file.parent)
        self.share.system.make_dirs(self.tmp_dir)
        draft = self.temp_path()
        self.share.system.write_new(draft, self.identity.to_bytes())
        self.share.system.record_node(self.identity.token)
        try:
            self.share.publish_no_replace(draft, self.heartbeat_file)
        except (FileExistsError, FileNotFoundError):  # the reply may be lost: no other node uses this name
            if not self.share.system.exists(self.heartbeat_file):
                raise
        self.share.system.unlink(draft)

    def renew(self) -> None:
        """Renew all claims of this node at once. Raises EvictedError if others considered the node dead."""
        try:
            self.share.system.touch(self.heartbeat_file)
        except FileNotFoundError:
            self.check()

    def check(self) -> None:
        """Check that the heartbeat file and the temporary directory exist. Lists the directories, past NFS caches.

        Raises:
            EvictedError: one of them is gone.
            JobQueueError: the shared directory itself is gone.
        """
        system = self.share.system
        if self.heartbeat_file.name not in system.list(self.share.layout.nodes) or not system.exists(self.tmp_dir):
            self.share.check()
            raise EvictedError(f"{self.identity.incarnation} was considered dead by the other nodes")

    def temp_path(self) -> Path:
        """A new temporary path, never used again. Raises NotADirectoryError if the directory was replaced by a link."""
        self.share.system.refuse_symlink(self.tmp_dir)
        return self.tmp_dir / secrets.token_hex(8)

    def leave(self) -> None:
        """Remove the temporary files, then the heartbeat file. All claims must be released before."""
        remove_node(self.share, self.identity.incarnation)


def remove_node(share: SharedDir, incarnation: str) -> None:
    """Remove all files of a node that has left or died, the heartbeat file last. It must hold no placeholder."""
    for _ in range(REMOVAL_TRIES):  # a node that was taken for dead may write a file meanwhile
        if not remove_temporary(share, incarnation).failed:
            break
    else:
        return  # the next recovery pass tries again
    for name in share.system.list(share.layout.notify):
        if name.rpartition(".")[0] == incarnation:
            remove_notice(share, name)
    share.system.unlink(share.layout.heartbeat(incarnation))
