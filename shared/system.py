"""The one seam to the file system, the clock and the process table.

Everything in `shared` that touches the world goes through a `System`, so that a test can stand in
for it. Each method is one step that may fail on its own; all paths are absolute.
"""

import errno
import os
import shutil
import stat
import time
from contextlib import contextmanager
from pathlib import Path

from .errors import ShareError

FULL = {errno.ENOSPC, errno.EDQUOT}
PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ENOLCK}
NO_LINKS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}

RECORD_LIMIT = 1 << 20  # no identity, manifest or attempt of ours comes near 1 MiB


class System:
    """The real world. Modes and group are the share's, so that colleagues can link and rename our files."""

    def __init__(self):
        self.file_mode = 0o600
        self.dir_mode = 0o700
        self.group: int | None = None  # None: as the file system decides

    # ---- the clock
    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    # ---- reading
    @contextmanager
    def _opened(self, directory: Path):
        """A directory, opened. An NFS client asks the server again about the names in a directory that was just
        opened; without it, a name that was missing once stays missing for up to a minute. That holds for the
        directory's own name as well, so it is asked for again from above."""
        fd = self._open(directory)
        try:
            yield fd
        finally:
            os.close(fd)

    def _open(self, directory: Path) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            return os.open(directory, flags)
        except FileNotFoundError:
            if directory.parent == directory:
                raise
            with self._opened(directory.parent) as above:
                return os.open(directory.name, flags, dir_fd=above)

    def read(self, path: Path, limit: int = RECORD_LIMIT) -> bytes:
        """The content of a regular file of at most `limit` bytes; never follows a link or waits on a FIFO."""
        with self._opened(path.parent) as directory:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            try:
                fd = os.open(path.name, flags, dir_fd=directory)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise ShareError(f"{path}: expected a regular file, got a symbolic link; remove it") from None
                raise
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(fd)  # open() refuses a directory's, and leaves it open
            raise ShareError(f"{path}: expected a regular file, got something else; remove it")
        with open(fd, "rb") as file:
            if info.st_size > limit:
                raise ShareError(f"{path}: expected at most {limit} bytes, got {info.st_size}; remove it")
            return file.read(info.st_size)  # a file object would set `limit` bytes aside

    def exists(self, path: Path) -> bool:
        """Whether the name is there now, asked of the server and not of a cache."""
        try:
            with self._opened(path.parent) as directory:
                os.stat(path.name, dir_fd=directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def list(self, directory: Path) -> list[str]:
        """The names in a directory, sorted; none if it does not exist."""
        try:
            with self._opened(directory) as fd:
                return sorted(name for name in os.listdir(fd) if not name.startswith(".nfs"))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def mtime(self, path: Path) -> int:
        """The modification time in ns, through a fresh open: stat alone may show one that is 10 s old."""
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.fstat(fd).st_mtime_ns
        finally:
            os.close(fd)

    def same_file(self, a: Path, b: Path) -> bool:
        try:
            return os.path.samestat(os.stat(a, follow_symlinks=False), os.stat(b, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def free_bytes(self, path: Path) -> int:
        info = os.statvfs(path)
        return info.f_bavail * info.f_frsize

    # ---- writing
    def write_new(self, path: Path, data: bytes) -> None:
        """A new file with this content, synced; on failure no file stays behind."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self.file_mode)
        try:
            try:
                self._give(fd, self.file_mode)
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view):]
                os.fsync(fd)  # where a full disk shows over NFS
            finally:
                os.close(fd)
        except BaseException:
            self.unlink(path)
            raise

    def sync(self, path: Path) -> None:
        """Make a finished private file durable and the colleagues' to link."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._give(fd, self.file_mode)
            os.fsync(fd)
        finally:
            os.close(fd)

    def link(self, old: Path, new: Path) -> None:
        os.link(old, new, follow_symlinks=False)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a name; it is no error if it is gone."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def touch(self, path: Path) -> None:
        os.utime(path)

    def make_dirs(self, path: Path) -> None:
        """The directory and its parents, with the share's mode; it is no error if it is there."""
        try:
            os.mkdir(path, self.dir_mode)
        except FileNotFoundError:
            self.make_dirs(path.parent)
            self.make_dirs(path)
            return
        except FileExistsError:  # also after a lost reply
            info = os.stat(path)
            if not stat.S_ISDIR(info.st_mode):
                raise
            if info.st_uid != os.getuid():
                return  # a colleague's, who sets its mode
        self._give(path, self.dir_mode)

    def _give(self, target: int | Path, mode: int) -> None:
        """Give a file or directory of ours to the share's group, as far as this user may."""
        info = os.stat(target)
        if self.group is not None and info.st_gid != self.group:
            try:
                os.chown(target, -1, self.group)
            except PermissionError:
                pass  # not a member of it
        if stat.S_IMODE(info.st_mode) & 0o777 != mode & 0o777:  # the umask may have taken what the group needs
            os.chmod(target, mode)

    def remove_tree(self, path: Path) -> None:
        """Remove a directory and all in it, as far as that goes; others may be removing it, too."""
        shutil.rmtree(path, ignore_errors=True)

    # ---- processes
    def process_gone(self, pid: int, start: int) -> bool:
        """Whether no process of this host and pid namespace has this pid and this start time (in ticks)."""
        try:
            return process_start(pid) != start
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            pass  # where /proc hides the processes of others (hidepid), the kernel still tells of them
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            pass
        return False


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks after boot, None for a dead one that its parent has not buried.

    FileNotFoundError or ProcessLookupError where there is none, or it is hidden from us.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
