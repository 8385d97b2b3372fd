"""Change notifications: a waiting node learns at once that another node has published something.

Each node has one file in `notify/` and renames it to the next count after it has published. So the directory has one
entry per node, whatever the size of a job. On network file systems, waiting nodes list it once a second: over NFS, a
new name is seen at once; a new modification time is not.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer as NativeObserver
from watchdog.observers.api import BaseObserver

from shared.heartbeat import temporary_member
from shared.membership import Node
from shared.mount import mount_of
from shared.shared_dir import SharedDir

LOOK_S = 1.0  # between two listings of `notify` where the kernel does not report changes


class ChangeNotifier(FileSystemEventHandler):
    """Sends the notifications of one node, and waits for those of the others."""

    def __init__(self, node: Node):
        self.node = node
        self.changed = threading.Event()
        self._count = 0
        self._marker = self._path()
        self._watcher: BaseObserver | None = None
        self._lists = False  # the directory is listed: the kernel reports no changes
        self._names: set[str] | None = None  # at the last listing
        self._looked = float("-inf")  # when that was

    def _path(self) -> Path:
        return self.node.share.layout.notify / f"{self.node.identity.incarnation}.{self._count:09d}"

    def notify(self) -> None:
        """Tell the others that something is published. Best effort: waiting nodes also poll."""
        before = self._marker
        self._count += 1
        self._marker = self._path()
        try:
            self.node.share.system.rename(before, self._marker)
        except FileNotFoundError:
            try:
                self.node.share.system.write_new(self._marker, b"")
            except OSError:
                pass
        except OSError:
            pass

    def wait(self, seconds: float) -> bool:
        """Wait for a notification or `wake_up`, for at most `seconds`. Returns whether there was one."""
        if self._watcher is None and not self._lists:
            self._watch()
        while True:
            if self._lists:
                self._look()
            step = min(seconds, LOOK_S) if self._lists else seconds
            notified = self.node.share.system.wait(self.changed, step)
            seconds -= step
            if notified:
                self.changed.clear()
            if notified or seconds <= 0:
                return notified  # a notification that comes just now is left for the next call

    def wake_up(self) -> None:
        self.changed.set()

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in ("created", "moved") and self.node.identity.incarnation not in os.fsdecode(
            event.src_path
        ):
            self.changed.set()

    def _watch(self) -> None:
        directory = self.node.share.layout.notify
        mount = mount_of(directory)  # on network file systems, the kernel does not report the changes of other machines
        self._lists = not (mount and mount.local)
        if not self._lists:
            try:
                watcher = NativeObserver()
                watcher.daemon = True
                watcher.schedule(self, str(directory))
                watcher.start()
                self._watcher = watcher
            except OSError:  # no inotify instances or watches left on this machine
                self._lists = True

    def _look(self) -> None:
        """Notice new names of other nodes. No entry is read, and nothing is done while this node works."""
        system = self.node.share.system
        if system.monotonic() - self._looked < LOOK_S:
            return
        self._looked = system.monotonic()
        with suppress(OSError):  # the directory is gone: waiting nodes still poll
            mine = f"{self.node.identity.incarnation}."
            names = {name for name in system.list(self.node.share.layout.notify) if not name.startswith(mine)}
            if self._names is not None and not names <= self._names:
                self.changed.set()
            self._names = names

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()


@contextmanager
def notify_on_exit(share: SharedDir) -> Iterator[Node]:
    """A node for one short action. It notifies waiting nodes at the end."""
    with temporary_member(share) as node:
        yield node
        ChangeNotifier(node).notify()


def notify(share: SharedDir) -> None:
    """Notify all waiting nodes."""
    with notify_on_exit(share):
        pass
