"""Directories of this user on this machine, for lock files, and for the record of the nodes that were started here.

Correctness does not depend on them: without such a directory, nodes work, too.
"""

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from shared.mount import mount_of

NODES = "fav-nodes"  # tokens of the nodes that were started here, one per line
MAX_BYTES = 1 << 17  # of that file; beyond it the older part is removed
LOCK_S, LOCK_PAUSE_S = 1.0, 0.01
SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def lock_file(name: str) -> Path | None:
    """The path of a lock file for this user's processes on this machine; None if there is no directory for it."""
    place = next(_places(make=True), None)
    return place / f"fav-{name}.lock" if place else None


def record_node(token: str) -> None:
    """Record that the node with this token was started on this machine."""
    for place in _places(make=True):
        mount = mount_of(place)
        if mount is None or not mount.local:  # other machines would read it as their own
            continue
        with suppress(OSError):
            fd = os.open(place / NODES, os.O_RDWR | os.O_CREAT | os.O_APPEND | SAFE, 0o600)
            with open(fd, "r+b", buffering=0) as file:
                if _is_file(fd):
                    _lock(fd, fcntl.LOCK_EX)  # another process may shorten it at this moment
                    if os.fstat(fd).st_size > MAX_BYTES:
                        kept = file.read(2 * MAX_BYTES)[-MAX_BYTES // 2 :].partition(b"\n")[2]
                        file.truncate(0)
                        file.write(kept)
                    file.write(f"{token}\n".encode())


def started_here(token: str) -> bool:
    """Whether the node with this token was started on this machine, as far as that was recorded."""
    for place in _places(make=False):
        with suppress(OSError):
            fd = os.open(place / NODES, os.O_RDONLY | SAFE)
            with open(fd, "rb") as file:
                if not _is_file(fd):
                    continue
                _lock(fd, fcntl.LOCK_SH)
                if f"{token}\n".encode() in file.read(2 * MAX_BYTES):
                    return True
    return False


def _lock(fd: int, how: int) -> None:
    """Lock an open file until it is closed; after LOCK_S go on without, as the holder may be suspended."""
    for _ in range(round(LOCK_S / LOCK_PAUSE_S)):
        try:
            return fcntl.flock(fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_S)


def _places(make: bool) -> Iterator[Path]:
    """Directories that no other user can write to: the system's runtime directory, and one among the temporary files."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and os.path.isabs(given) and _is_ours(Path(given)):
        yield Path(given)
    with suppress(OSError):  # there may be no writable directory for temporary files
        place = Path(tempfile.gettempdir(), f"fav-{os.getuid()}")
        if make:
            with suppress(FileExistsError):
                place.mkdir(mode=0o700)
        if _is_ours(place):  # another user may have made something with this name
            yield place


def _is_ours(place: Path) -> bool:
    try:
        info = os.lstat(place)
    except (OSError, ValueError):  # missing; or not a valid path
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o077


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)
