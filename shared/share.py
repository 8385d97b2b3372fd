"""One opened shared directory: its layout, the system it is reached through, and what it can do."""

import os
import secrets
import stat
import time
from pathlib import Path

from .errors import ShareError
from .layout import ShareLayout
from .mount import mount_of
from .system import FULL, NO_LINKS, System


class Share:
    """A shared directory that was looked at and found fit."""

    def __init__(self, layout: ShareLayout, system: System, hard_links: bool, is_new: bool = False):
        self.layout = layout
        self.system = system
        self.hard_links = hard_links
        self.is_new = is_new  # it was no shared directory before

    @property
    def news(self) -> str | None:
        """A line for who has just made a shared directory of it; None where it was one before."""
        if not self.is_new:
            return None
        mount = mount_of(self.layout.root)
        lies = f" ({mount.kind}, {'on this machine' if mount.local else f'from {mount.source}'})" if mount else ""
        return (f"{self.layout.root}: a new shared directory{lies}; where others have worked in it already, it is not the "
                f"same one")

    def check(self) -> None:
        """ShareError where the directory is not there any more, or is another one."""
        if not _is_share(self.system, self.layout.root):
            raise ShareError(f"{self.layout.root}: the shared directory is not there any more; was it unmounted, moved or "
                             f"emptied? put that right, then the same line again goes on")

    def now(self) -> float:
        """Seconds since 1970 by the clock that writes the times of its files: that of the server, if there is one.

        For people: no decision rests on it.
        """
        try:
            self.system.touch(self.layout.private)  # needs no room
            return self.system.mtime(self.layout.private) / 1e9
        except OSError:  # not every file system does that to a directory
            return time.time()

    def appear(self, private: Path, final: Path) -> None:
        """Give a finished private file its final name in one step, never over another.

        The private name stays where hard links are known and goes where they are not (there, the
        step is a rename, which would replace an equal result). FileExistsError where the name is taken.
        """
        if self.hard_links:
            self.system.link(private, final)
        elif self.system.exists(final):
            raise FileExistsError(17, "the name is taken", str(final))
        else:
            self.system.rename(private, final)


def open_share(root: Path, system: System | None = None, hard_links: bool | None = None, new: bool = True) -> Share:
    """Look at a directory, make our rooms in it, and find out whether it knows hard links.

    With `hard_links` it was found fit before, and nothing is written. `new`: it may be one that was no shared directory
    until now. From now on this process makes files that the directory's group may use, whatever its umask was. ShareError
    where the directory is missing, not a directory, not writable, full, or sticky.
    """
    system = system or System()
    root = Path(os.path.abspath(root))
    try:
        info = system.os.stat(root)
        mode = info.st_mode
    except FileNotFoundError:
        raise ShareError(f"{root}: expected the shared directory, found nothing; create or mount it first") from None
    except OSError as error:
        raise ShareError(f"{root}: the shared directory cannot be looked at ({error.strerror})") from None
    if not stat.S_ISDIR(mode):
        raise ShareError(f"{root}: expected a directory that all machines mount, got a file")
    if mode & stat.S_ISVTX:
        raise ShareError(f"{root}: the directory is sticky (like /tmp), so colleagues could not take over each "
                         f"other's tasks; use a directory below it")
    system.group = info.st_gid
    system.file_mode = 0o600 | mode & 0o066
    system.dir_mode = 0o700 | mode & 0o2077
    os.umask(os.umask(0o077) & ~(mode & 0o077))
    layout = ShareLayout(root)
    if hard_links is not None:
        return Share(layout, system, hard_links)
    is_new = not _is_share(system, root)
    if is_new and not new:
        raise ShareError(_no_share(system, root))
    try:
        for room in layout.rooms():
            system.make_dirs(room)
        hard_links = _hard_links(layout, system)
    except OSError as error:
        cure = "mount it writable, or correct its permissions" if error.errno in (1, 13, 30) else "make room or mount it again"
        raise ShareError(f"{root}: the shared directory cannot be written to ({error.strerror}); {cure}") from None
    return Share(layout, system, hard_links, is_new)


def _is_share(system: System, root: Path) -> bool:
    """Whether somebody has worked in a directory: rooms that are never removed are there."""
    return {"names", "jobs"} <= set(_names(system, root))


def _names(system: System, directory: Path) -> list[str]:
    try:
        return system.list(directory)
    except PermissionError:  # who may not look is told so where rooms are made
        return []


def _no_share(system: System, root: Path) -> str:
    found = "one without jobs" if _names(system, root) else "an empty one"
    if _is_share(system, root.parent):
        return f"{root}: expected a shared directory, got {found}; {root.parent} is one"
    return (f"{root}: expected a shared directory, got {found}; is it mounted here, and is that its name? coordinator.py "
            f"submit and run, and node.py with a video, make a new one")


def _hard_links(layout: ShareLayout, system: System) -> bool:
    probe = layout.private / f"probe.{secrets.token_hex(8)}"
    twin = probe.with_suffix(".twin" + probe.suffix)
    try:
        system.write_new(probe, b"Does this directory know hard links?\n")
    except OSError as error:
        if error.errno in FULL and _links_what_is_there(layout, system, twin):
            return True
        raise
    try:
        system.link(probe, twin)
        return True
    except OSError as error:
        if error.errno in NO_LINKS:
            return False
        raise
    finally:
        system.unlink(twin)
        system.unlink(probe)


def _links_what_is_there(layout: ShareLayout, system: System, twin: Path) -> bool:
    """The probe for a disk without room for a new file: there, nodes wait, `status` tells and `clean` makes room."""
    for path in (*map(layout.heart, system.list(layout.nodes)), *map(layout.named_manifest, system.list(layout.names))):
        try:
            system.link(path, twin)
            system.unlink(twin)
            return True
        except OSError:
            pass  # no file, or gone
    return False
