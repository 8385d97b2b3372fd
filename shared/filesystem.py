"""The only access of `shared` to the file system, the clock and the process table.

A `FileSystem` touches files only through `self.os`: the `os` module, or a replacement in tests. All paths are absolute.
"""

import errno
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shared import local
from shared.errors import TYPES_BY_ERRNO, JobQueueError, OddFileError, file_type

NO_SPACE_ERRNOS = {errno.ENOSPC, errno.EDQUOT}
RETRYABLE_ERRNOS = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EAGAIN,
    errno.EINTR,
    errno.EBUSY,
    errno.ENOLCK,
    errno.ENOTCONN,
    errno.EHOSTDOWN,
}  # the last two: from FUSE and SMB when their server does not answer
READ_ONLY_ERRNOS = {errno.EROFS}  # mounted read-only while nodes work
TRANSIENT_ERRNOS = NO_SPACE_ERRNOS | RETRYABLE_ERRNOS | READ_ONLY_ERRNOS
NO_MODES = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # vfat, some FUSE
NO_LINKS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
BOOT_CLOCK = getattr(
    time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC
)  # runs on while the machine is suspended, because a claim ages then, too
SILLY_RENAME = re.compile(r"\.nfs[0-9a-f]{8,}")  # what an NFS client calls a file that was removed while it was open
RECORD_LIMIT = 1 << 20  # no identity, manifest or attempt of ours comes near 1 MiB


@dataclass
class Removal:
    """The result of `FileSystem.remove`.

    Attributes:
        foreign: entries that were left because this program did not make them.
        failed: whether an entry of this program could not be removed.
        freed: bytes of the removed files. A file that has another hard link frees none.
    """

    foreign: list[Path] = field(default_factory=list)
    failed: bool = False
    freed: int = 0

    def add(self, other: "Removal") -> None:
        self.foreign += other.foreign
        self.failed |= other.failed
        self.freed += other.freed


class FileSystem:
    """Access to the real file system. Files get the share's modes and group, so that others can link and rename them.

    Below `root`, the shared directory, no symbolic link is followed: a link in the place of a directory is an error
    (NotADirectoryError). Modes and groups are set only on files that this process has just created.
    """

    def __init__(self, os=os):
        self.os = os
        self.file_mode = 0o600
        self.dir_mode = 0o700
        self.group: int | None = None  # None: as the file system decides
        self.root: Path | None = None  # the shared directory; None: links are followed everywhere
        self._real: set[str] = set()  # directories below the root that are known not to be links

    # ---- the clock
    def monotonic(self) -> float:
        return time.clock_gettime(BOOT_CLOCK)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for an event for at most `seconds`. Returns whether it is set."""
        return event.wait(seconds)

    # ---- links
    def refuse_symlink(self, directory: Path) -> None:
        """Raise NotADirectoryError if a directory below the root, or one of its parents there, is a symbolic link.

        The answer is cached for real directories until `drop_directory_cache`.
        """
        if not self._is_below_root(directory) or os.fspath(directory) in self._real:
            return
        self.refuse_symlink(directory.parent)
        try:
            mode = self.os.stat(directory, follow_symlinks=False).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return  # the caller's next step on this path gets the same error
        if stat.S_ISLNK(mode):
            raise NotADirectoryError(errno.ENOTDIR, "expected a directory, got a symbolic link", os.fspath(directory))
        if stat.S_ISDIR(mode):
            self._real.add(os.fspath(directory))

    def drop_directory_cache(self) -> None:
        """Check every directory again: one may have been replaced by a link."""
        self._real = set()

    def _is_below_root(self, path: Path) -> bool:
        return self.root is not None and os.fspath(path).startswith(os.path.join(self.root, ""))

    def require_directory(self, path: Path) -> None:
        """Raise JobQueueError if the path is anything but a directory; it may be missing. Cached like `refuse_symlink`."""
        if os.fspath(path) in self._real:
            return
        try:
            mode = self.os.stat(path, follow_symlinks=False).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
        if not stat.S_ISDIR(mode):
            raise JobQueueError(
                f"{path}: expected a directory, got {file_type(mode)}; move it away, and the directory itself back (no link is "
                f"followed here; for more space, use a shared directory on another disk)"
            )

    # ---- reading
    @contextmanager
    def _open_dir(self, directory: Path):
        """Open a directory.

        An NFS client asks the server again about names in a directory that was just opened. Otherwise a name that
        was missing once stays missing for up to a minute. That holds for the directory's own name, too: on
        FileNotFoundError it is opened through its parent.
        """
        fd = self._open(directory)
        try:
            yield fd
        finally:
            self.os.close(fd)

    def _open(self, directory: Path) -> int:
        self.refuse_symlink(directory)
        flags = DIRECTORY | (os.O_NOFOLLOW if self._is_below_root(directory) else 0)
        try:
            return self.os.open(directory, flags)
        except FileNotFoundError:
            if directory.parent == directory:
                raise
            with self._open_dir(directory.parent) as above:
                return self._open_in(above, directory.name, flags)

    def _open_in(self, directory: int, name: str, flags: int) -> int:
        """Open a name in a directory that was just opened."""
        try:
            return self.os.open(name, flags, dir_fd=directory)
        except FileNotFoundError:
            # NFS v3, two changes of a directory within one tick of the server: a client that looked in between does
            # not find the second name until it lists the directory.
            if name not in self.os.listdir(directory):
                raise
            return self.os.open(name, flags, dir_fd=directory)

    def read(self, path: Path, limit: int = RECORD_LIMIT) -> bytes:
        """The content of a regular file of at most `limit` bytes; never follows a link or waits on a FIFO."""
        with self._regular(path) as (fd, info):
            if info.st_size > limit:
                raise OddFileError(
                    f"{path}: expected at most {limit} bytes, got {info.st_size}; move it away", f"{info.st_size} bytes"
                )
            return self._bytes(fd, info.st_size)

    def head(self, path: Path, size: int) -> tuple[bytes, float]:
        """The first `size` bytes of a regular file, and its modification time in seconds since 1970, as for `read`."""
        with self._regular(path) as (fd, info):
            return self._bytes(fd, size), info.st_mtime_ns / 1e9

    def ends(self, path: Path, head: int, tail: int) -> tuple[bytes, bytes]:
        """The first `head` and the last `tail` bytes of a regular file, as for `read`; fewer if it is shorter."""
        with self._regular(path) as (fd, info):
            return self.os.pread(fd, head, 0), self.os.pread(fd, tail, max(info.st_size - tail, 0))

    def parts(self, path: Path, size: int = 1 << 20) -> Iterator[bytes]:
        """The content of a regular file of any size, `size` bytes at a time, as for `read`."""
        with self._regular(path) as (fd, _):
            while part := self.os.read(fd, size):
                yield part

    @contextmanager
    def _regular(self, path: Path) -> Iterator[tuple[int, os.stat_result]]:
        """Open a regular file to read, with its stat. Raises JobQueueError if it is not one, or may not be read."""
        with self._open_dir(path.parent) as directory:
            try:
                fd = self._open_in(directory, path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno in TYPES_BY_ERRNO:
                    raise _no_file(path, TYPES_BY_ERRNO[error.errno]) from None
                if error.errno == errno.EACCES:
                    raise JobQueueError(
                        f"{path}: expected a file that this user may read; correct its permissions"
                    ) from None
                raise
        try:
            info = self.os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise _no_file(path, info.st_mode)
            yield fd, info
        finally:
            self.os.close(fd)

    def _bytes(self, fd: int, size: int) -> bytes:
        parts = []
        while size > 0 and (part := self.os.read(fd, size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def exists(self, path: Path) -> bool:
        """Whether the name exists now, according to the server, not a cache."""
        try:
            with self._open_dir(path.parent) as directory:
                self.os.stat(path.name, dir_fd=directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def entries(self, directory: Path) -> list[str]:
        """All names in a directory, sorted; none if it does not exist."""
        try:
            with self._open_dir(directory) as fd:
                return sorted(self.os.listdir(fd))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def list(self, directory: Path) -> list[str]:
        """The names in a directory, sorted; none if it does not exist. Without those that NFS gives to removed files."""
        return [name for name in self.entries(directory) if not name.startswith(".nfs")]

    def mtime(self, path: Path) -> int:
        """The modification time in ns. Opens the file: over NFS, stat alone may give a time that is 10 s old."""
        self.refuse_symlink(path.parent)
        fd = self.os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return self.os.fstat(fd).st_mtime_ns
        finally:
            self.os.close(fd)

    def same_file(self, a: Path, b: Path) -> bool:
        try:
            return os.path.samestat(self.os.stat(a, follow_symlinks=False), self.os.stat(b, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def free_bytes(self, path: Path) -> int:
        info = self.os.statvfs(path)
        return info.f_bavail * info.f_frsize

    def free_files(self, path: Path) -> int | None:
        """The number of free inodes; None if the file system does not count them."""
        info = self.os.statvfs(path)
        return info.f_favail if info.f_files else None

    # ---- writing
    def write_new(self, path: Path, data: bytes) -> None:
        """Create a file with this content and sync it. On failure, no file stays behind."""
        self.refuse_symlink(path.parent)
        fd = self.os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self.file_mode)
        try:
            try:
                self._set_owner_mode(fd, self.file_mode)
                view = memoryview(data)
                while view:
                    view = view[self.os.write(fd, view) :]
                self.os.fsync(fd)  # over NFS, a full disk is reported here
            finally:
                self.os.close(fd)
        except BaseException:
            self.unlink(path)
            raise

    def sync(self, path: Path) -> None:
        """Sync a finished temporary file, and set its group and mode so that other users can link it."""
        self.refuse_symlink(path.parent)
        fd = self.os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._set_owner_mode(fd, self.file_mode)
            self.os.fsync(fd)
        finally:
            self.os.close(fd)

    def share_with_users(self, fd: int) -> None:
        """Give a file that this process is writing the group and mode of the shared directory."""
        self._set_owner_mode(fd, self.file_mode)

    def append(self, path: Path, data: bytes) -> None:
        """Append to a file; creates it if it is missing. Only one process may do so at a time."""
        self.refuse_symlink(path.parent)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = self.os.open(path, flags, self.file_mode)
        try:
            view = memoryview(data)
            while view:
                view = view[self.os.write(fd, view) :]
            self.os.fsync(fd)
        finally:
            self.os.close(fd)

    def link(self, old: Path, new: Path) -> None:
        self.refuse_symlink(new.parent)
        self.os.link(old, new, follow_symlinks=False)

    def rename(self, old: Path, new: Path) -> None:
        self.refuse_symlink(old.parent)
        self.refuse_symlink(new.parent)
        self.os.rename(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a name. A missing name is no error."""
        try:
            self.refuse_symlink(path.parent)
            self.os.unlink(path)
        except FileNotFoundError:
            pass

    def touch(self, path: Path) -> None:
        self.refuse_symlink(path.parent)
        self.os.utime(path)

    def make_dirs(self, path: Path, below: Path | None = None) -> None:
        """Create a directory and its parents, with the share's mode. An existing one is no error.

        Args:
            path: the directory.
            below: a parent that is not created.

        Raises:
            FileNotFoundError: `below` is missing.
        """
        if path == below:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        self.refuse_symlink(path)
        try:
            try:
                self.os.mkdir(path, self.dir_mode)
            except FileNotFoundError:
                if path.parent == path:
                    raise
                self.make_dirs(path.parent, below)
                self.os.mkdir(path, self.dir_mode)  # no third try: some directories allow no subdirectory
        except FileExistsError:  # also after a lost reply: then the mode is the one after the umask
            self.refuse_symlink(path)
            if not stat.S_ISDIR(self.os.stat(path).st_mode):
                raise
            return
        fd = self.os.open(path, DIRECTORY | os.O_NOFOLLOW)
        try:
            self._set_owner_mode(fd, self.dir_mode)
        finally:
            self.os.close(fd)

    def _set_owner_mode(self, fd: int, mode: int) -> None:
        """Set mode and group of a file or directory that this process has just made, as far as this user may.

        A file system without modes (vfat, exFAT, SMB) gives every file those of its mount, and refuses others.
        """
        info = self.os.stat(fd)
        try:
            if self.group is not None and info.st_gid != self.group:
                self.os.chown(fd, -1, self.group)
        except OSError as error:
            if error.errno not in NO_MODES:  # also where this user is not a member of the group
                raise
        try:
            if stat.S_IMODE(info.st_mode) & 0o777 != mode & 0o777:  # the umask may have removed those of the group
                self.os.chmod(fd, mode)
        except OSError as error:
            if error.errno not in NO_MODES:
                raise

    def remove(self, path: Path, is_ours: Callable[[Path, bool], bool]) -> Removal:
        """Remove a file, or a directory with its content, as far as it is ours. Follows no link.

        Links, FIFOs and other special files are never ours. A directory is removed when it is empty. Other nodes may
        remove it at the same time.

        Args:
            path: the file or directory.
            is_ours: called with each path and whether it is a directory, a directory before its content.
        """
        removal = Removal()
        try:
            with self._descended(path.parent) as above:
                self._remove(above, path, is_ours, removal)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:
            removal.failed = True
        return removal

    @contextmanager
    def _descended(self, directory: Path) -> Iterator[int]:
        """Open a directory name by name from the root, so that none of them can become a link meanwhile."""
        if not self._is_below_root(directory):
            with self._open_dir(directory) as fd:
                yield fd
            return
        with self._descended(directory.parent) as above:
            fd = self._open_in(above, directory.name, DIRECTORY | os.O_NOFOLLOW)
        try:
            yield fd
        finally:
            self.os.close(fd)

    def _remove(self, above: int, path: Path, is_ours: Callable[[Path, bool], bool], removal: Removal) -> None:
        try:
            info = self.os.stat(path.name, dir_fd=above, follow_symlinks=False)
            mode = info.st_mode
            is_directory = stat.S_ISDIR(mode)
            if stat.S_ISREG(mode) and SILLY_RENAME.fullmatch(path.name):
                removal.failed = True  # a file that was removed while open: it disappears when it is closed
            elif not (is_directory or stat.S_ISREG(mode)) or not is_ours(path, is_directory):
                removal.foreign.append(path)
            elif is_directory:
                fd = self.os.open(path.name, DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
                before = len(removal.foreign)
                try:
                    for name in sorted(self.os.listdir(fd)):
                        self._remove(fd, path / name, is_ours, removal)
                finally:
                    self.os.close(fd)
                if len(removal.foreign) == before:
                    self.os.rmdir(path.name, dir_fd=above)
            else:
                self.os.unlink(path.name, dir_fd=above)
                removal.freed += info.st_size if info.st_nlink == 1 else 0
        except FileNotFoundError:
            pass
        except OSError:
            removal.failed = True

    # ---- processes
    def record_node(self, token: str) -> None:
        """Record that the node with this token was started on this machine."""
        local.record_node(token)

    def started_here(self, token: str) -> bool:
        """Whether the node with this token was started on this machine, as far as that was recorded."""
        return local.started_here(token)

    def process_gone(self, pid: int, start: int) -> bool:
        """Whether no process of this host and pid namespace has this pid and this start time (in ticks)."""
        try:
            return process_start(pid) != start
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            pass  # /proc may hide the processes of others (hidepid); the kernel still answers `kill`
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            pass
        return False


def _no_file(path: Path, mode: int) -> OddFileError:
    got = file_type(mode)
    return OddFileError(f"{path}: expected a regular file, got {got}; move it away", got)


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks after boot, None for a zombie.

    Raises:
        FileNotFoundError: there is no such process, or it is hidden from this user.
        ProcessLookupError: likewise.
    """
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # the name before it may be any bytes
    return None if fields[0] in b"ZX" else int(fields[19])
