"""One opened shared directory: its paths, its file system, and whether it supports hard links."""

import os
import secrets
import stat
import time
from pathlib import Path

from shared.command_names import command
from shared.errors import JobQueueError
from shared.filesystem import NO_LINKS, NO_SPACE_ERRNOS, FileSystem
from shared.marker import Marker, is_unmarked_share, read_marker, refuse_old_layout, remove_drafts, write_marker
from shared.mount import is_mount_point, mount_of
from shared.paths import JobFiles, SharedDirPaths

NO_FILES = JobFiles()
PROBE = b"Does this directory know hard links?\n"


class SharedDir:
    """An opened shared directory.

    Attributes:
        layout: its paths.
        system: access to its files.
        hard_links: whether it supports them.
        is_new: it was not a shared directory before.
        id: the random one of its marker, None without a marker.
        read_only: opened by a command that changes nothing.
        files: the names of its jobs' files.
    """

    def __init__(
        self,
        layout: SharedDirPaths,
        system: FileSystem,
        hard_links: bool,
        is_new: bool = False,
        id: str | None = None,
        read_only: bool = False,
        files: JobFiles = NO_FILES,
    ):
        self.layout = layout
        self.system = system
        self.hard_links = hard_links
        self.is_new = is_new
        self.id = id
        self.read_only = read_only
        self.files = files

    @property
    def creation_notice(self) -> str | None:
        """A line for the user who has just made it a shared directory; None if it was one before."""
        if not self.is_new:
            return None
        mount = mount_of(self.layout.root)
        mounted = f" ({mount.kind}, {'on this machine' if mount.local else f'from {mount.source}'})" if mount else ""
        return (
            f"{self.layout.root}: made a new shared directory{mounted}; if you expected one with jobs, this is another "
            f"directory: check the mount"
        )

    def check(self) -> None:
        """Raise JobQueueError if the directory is gone, is another one, or a link replaced one of its subdirectories."""
        root, cure = self.layout.root, "correct that, then run the same command again"
        marker = read_marker(self.system, self.layout)
        if marker is None and not _has_jobs(self.system, self.layout):
            raise JobQueueError(f"{root}: the shared directory is gone; was it unmounted, moved or emptied? {cure}")
        if marker is not None and self.id is not None and marker.id != self.id:
            raise JobQueueError(f"{root}: another shared directory is there now; was something else mounted? {cure}")
        self.system.drop_directory_cache()
        _require_subdirectories(self.layout, self.system)

    def now(self) -> float:
        """Seconds since 1970 on the clock that sets the times of its files: the server's, if there is one.

        For display only. If the share was opened read-only, it is this machine's clock.
        """
        if self.read_only:
            return time.time()
        try:
            self.system.touch(self.layout.tmp)  # needs no free space
            return self.system.mtime(self.layout.tmp) / 1e9
        except OSError:  # not every file system allows that for a directory
            return time.time()

    def publish_no_replace(self, private: Path, final: Path) -> None:
        """Give a finished temporary file its final name in one step, without replacing another file.

        With hard links, the temporary name stays. Without them the step is a rename, and the temporary name is gone.

        Raises:
            FileExistsError: the name is taken.
        """
        if self.hard_links:
            self.system.link(private, final)
        elif self.system.exists(final):
            raise FileExistsError(17, "the name is taken", str(final))
        else:
            self.system.rename(private, final)


def open_share(
    root: Path,
    system: FileSystem | None = None,
    hard_links: bool | None = None,
    new: bool = True,
    read_only: bool = False,
    files: JobFiles = NO_FILES,
) -> SharedDir:
    """Open a shared directory: check and mark it, make its subdirectories, and test for hard links.

    Unless `read_only`, it also changes this process's umask, so that the directory's group may use new files.

    Args:
        root: the directory.
        system: access to it; a new `FileSystem` by default.
        hard_links: the known answer to the test for hard links: then nothing is checked or written.
        new: it may become a shared directory now. Then none of our names may exist in it.
        read_only: nothing is written; the directory may be read-only, or another user's.
        files: names of the jobs' files.

    Raises:
        JobQueueError: the directory is missing, no directory, has other files, is not writable, full, or sticky.
    """
    system = system or FileSystem()
    root = Path(os.path.abspath(root))
    layout = SharedDirPaths(root)
    try:
        info = system.os.stat(root)
        mode = info.st_mode
    except FileNotFoundError:
        raise JobQueueError(f"{root}: expected the shared directory, found nothing; create or mount it first") from None
    except OSError as error:
        raise JobQueueError(f"{root}: the shared directory cannot be read ({error.strerror})") from None
    if not stat.S_ISDIR(mode):
        raise JobQueueError(f"{root}: expected a directory that all machines mount, got a file")
    system.root = root
    system.drop_directory_cache()
    system.group = info.st_gid
    system.file_mode = 0o600 | mode & 0o066
    if read_only:
        return _open_read_only(layout, system, files)
    if mode & stat.S_ISVTX:
        raise JobQueueError(
            f"{root}: the directory is sticky (like /tmp), so users could not take over each "
            f"other's tasks; use a directory below it"
        )
    system.dir_mode = 0o700 | mode & 0o2077
    os.umask(os.umask(0o077) & ~(mode & 0o077))
    if hard_links is not None:
        marker = read_marker(system, layout)
        return SharedDir(layout, system, hard_links, id=marker.id if marker else None, files=files)
    try:
        is_new, marker = _ensure_marked(layout, system, new)
        for directory in layout.subdirectories():
            system.make_dirs(directory)
        hard_links = _hard_links(layout, system)
    except OSError as error:
        cure = (
            "mount it writable, or correct its permissions"
            if error.errno in (1, 13, 30)
            else "free some space or mount it again"
        )
        raise JobQueueError(f"{root}: the shared directory cannot be written to ({error.strerror}); {cure}") from None
    return SharedDir(layout, system, hard_links, is_new, marker.id if marker else None, files=files)


def _open_read_only(layout: SharedDirPaths, system: FileSystem, files: JobFiles) -> SharedDir:
    """Open a shared directory without changing anything."""
    try:
        marker = read_marker(system, layout)
        names = system.list(layout.root)
        if marker is None:
            refuse_old_layout(layout, names)
        _require_subdirectories(layout, system)
        if marker is None and not is_unmarked_share(system, layout):
            raise JobQueueError(_no_share(system, layout, names))
    except OSError as error:
        raise JobQueueError(
            f"{layout.root}: the shared directory cannot be read ({error.strerror}); correct its permissions, or "
            f"mount it again"
        ) from None
    return SharedDir(layout, system, hard_links=True, id=marker.id if marker else None, read_only=True, files=files)


def _ensure_marked(layout: SharedDirPaths, system: FileSystem, new: bool) -> tuple[bool, Marker | None]:
    """Make the directory a shared one if it is not. Returns whether it was not, and its marker.

    On a full disk, an existing one without a marker stays without: `clean`, which frees space, must work there.
    """
    names, marker = system.list(layout.root), read_marker(system, layout)
    if marker is None:
        refuse_old_layout(layout, names)
    taken = [path.name for path in layout.reserved_names() if path.name in names and path != layout.marker]
    is_new = marker is None and not (taken and is_unmarked_share(system, layout))
    if is_new and taken:
        marker = read_marker(system, layout)  # another node may have marked the directory after our first look
        is_new = marker is None
    if is_new and not new:
        raise JobQueueError(_no_share(system, layout, names))
    if is_new and taken:
        raise JobQueueError(
            f"{layout.root}: expected a directory in which the names of a shared one are free, got one with "
            f"{_listed(taken)}, which this program did not make; use another directory, such as "
            f"{layout.root / 'shared'}"
        )
    if is_new and (above := _inside_of(system, layout)):
        raise JobQueueError(
            f"{layout.root}: expected a directory for a new shared one, got a part of the shared directory {above}; "
            f"use that one"
        )
    _require_subdirectories(layout, system)
    for directory in layout.subdirectories():
        if is_mount_point(directory):
            raise JobQueueError(
                f"{directory}: expected a part of the shared directory, got a mount point; nodes rename files between "
                f"these directories, which is impossible across mounts: use a shared directory on that disk"
            )
    if marker is None:
        try:
            marker = write_marker(system, layout)
        except OSError as error:
            if is_new or error.errno not in NO_SPACE_ERRNOS:
                raise
    if marker is not None:
        remove_drafts(system, layout, names)
    return is_new, marker


def _require_subdirectories(layout: SharedDirPaths, system: FileSystem) -> None:
    """Raise JobQueueError if one of our subdirectories is a link or a file."""
    for directory in (*layout.subdirectories(), layout.control):
        system.require_directory(directory)


def _inside_of(system: FileSystem, layout: SharedDirPaths) -> Path | None:
    """The shared directory that has this directory below one of its subdirectories; None if there is none."""
    below = layout.root
    for above in layout.root.parents:
        outer = SharedDirPaths(above)
        if below in outer.reserved_names() and read_marker(system, outer) is not None:
            return above
        below = above
    return None


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _has_jobs(system: FileSystem, layout: SharedDirPaths) -> bool:
    """Whether the subdirectories that are never removed are there."""
    return {layout.by_name.name, layout.jobs.name} <= set(system.list(layout.root))


def _no_share(system: FileSystem, layout: SharedDirPaths, names: list[str]) -> str:
    root = layout.root
    found = "one without jobs" if names else "an empty one"
    outer = SharedDirPaths(root.parent)
    if read_marker(system, outer) is not None or is_unmarked_share(system, outer):
        return f"{root}: expected a shared directory, got {found}; {root.parent} is one"
    return (
        f"{root}: expected a shared directory, got {found}; is it mounted here, and is that its name? "
        f"{command('submit')} makes a new one"
    )


def _hard_links(layout: SharedDirPaths, system: FileSystem) -> bool:
    probe = layout.tmp / f"probe.{secrets.token_hex(8)}"
    twin = probe.with_suffix(".twin" + probe.suffix)
    try:
        system.write_new(probe, PROBE)
    except OSError as error:
        if error.errno in NO_SPACE_ERRNOS and _can_link_existing(layout, system, twin):
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


def _can_link_existing(layout: SharedDirPaths, system: FileSystem, twin: Path) -> bool:
    """The test for hard links on a full disk, with existing files. Nodes wait there; `status` and `clean` must work."""
    for path in (
        *map(layout.heartbeat, system.list(layout.nodes)),
        *map(layout.named_manifest, system.list(layout.by_name)),
    ):
        try:
            system.link(path, twin)
            system.unlink(twin)
            return True
        except OSError:
            pass  # not a file, or gone
    return False
