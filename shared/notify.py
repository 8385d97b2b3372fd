"""The bell: how a node that waits learns at once that another one has published something.

Each node has one file in `bell/`, and renames it to the next count when it has published. That
directory stays as small as the number of nodes, whatever a job's size, which a polling watcher
(it looks at every entry) needs; and a new *name* is seen over NFS where a new mtime is not.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer as NativeObserver
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from shared.heartbeat import temporary_member
from shared.membership import Node
from shared.mount import mount_of
from shared.shared_dir import SharedDir


class ChangeNotifier(FileSystemEventHandler):
    """One node's end of the rope, and its ear."""

    def __init__(self, node: Node):
        self.node = node
        self.heard = threading.Event()
        self._count = 0
        self._rope = self._path()
        self._watcher: BaseObserver | None = None

    def _path(self) -> Path:
        return self.node.share.layout.bell / f"{self.node.identity.incarnation}.{self._count:09d}"

    def ring(self) -> None:
        """Tell the others that something is published. Best effort: waiters look by themselves, too."""
        before = self._rope
        self._count += 1
        self._rope = self._path()
        try:
            self.node.share.system.rename(before, self._rope)
        except FileNotFoundError:
            try:
                self.node.share.system.write_new(self._rope, b"")
            except OSError:
                pass
        except OSError:
            pass

    def wait(self, seconds: float) -> bool:
        """Wait until another node rings, `wake` is called, or the time is over; whether it rang."""
        if self._watcher is None:
            self._watch()
        rang = self.node.share.system.wait(self.heard, seconds)
        self.heard.clear()
        return rang

    def wake(self) -> None:
        self.heard.set()

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in ("created", "moved") and self.node.identity.incarnation not in os.fsdecode(
            event.src_path
        ):
            self.heard.set()

    def _watch(self) -> None:
        directory = self.node.share.layout.bell
        mount = mount_of(
            directory
        )  # elsewhere than on a local file system, the kernel reports no other machine's changes
        try:
            self._watcher = self._watching(NativeObserver() if mount and mount.local else PollingObserver(timeout=1.0))
        except OSError:  # no inotify instances or watches left on this machine
            with suppress(OSError):  # the directory is gone: who waits looks by itself
                self._watcher = self._watching(PollingObserver(timeout=1.0))

    def _watching(self, watcher: BaseObserver) -> BaseObserver:
        watcher.daemon = True
        watcher.schedule(self, str(self.node.share.layout.bell))
        watcher.start()
        return watcher

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()


@contextmanager
def ringing(share: SharedDir) -> Iterator[Node]:
    """A node for one errand, which rings when that is done, so that nodes that wait look at once."""
    with temporary_member(share) as node:
        yield node
        ChangeNotifier(node).ring()


def ring(share: SharedDir) -> None:
    """Let nodes that wait look at once."""
    with ringing(share):
        pass
