"""Files that a browser sends in pieces, into a directory of the shared directory that this program made for them.

The name of the unfinished file follows from the upload, and its size is the offset of the next piece. So an upload continues
after an interruption, a restart, or with another server. A complete file is checked. Then it gets its name in one atomic
step, and never replaces another file.
"""

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fav.errors import FavError, sanitize
from fav.util.atomic import take_name
from fav.util.text import format_bytes
from fav.web.places import kind_of
from shared.paths import tame
from shared.shared_dir import SharedDir

NAME = "uploads"
MARK_FILE = ".made-by-fav-web"
MARK = b"Files that were sent to `fav web`. Unfinished ones end in .part.\n"
CHUNK = 8 << 20  # maximum bytes of a piece
SPARE = 256 << 20  # bytes that an upload leaves free, because nodes work on the same disk
PICTURE_LIMIT = 64 << 20  # maximum bytes of a picture
MOST_NAMES = 1000
FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OffsetError(FavError):
    """A piece does not begin where the last one ended. `offset` is where it must begin."""

    def __init__(self, offset: int):
        super().__init__(f"upload: expected the piece that begins at byte {offset}; continue there")
        self.offset = offset


@dataclass(frozen=True)
class Upload:
    """A file to send: its name, its size in bytes, and its time of change according to the browser."""

    name: str
    size: int
    changed: int = 0

    @classmethod
    def of(cls, fields: object) -> "Upload":
        """Parse the fields of a request. Raises FavError if they are not valid."""
        if not isinstance(fields, dict):
            raise FavError("upload: expected a name and a size")
        name, size, changed = fields.get("name"), fields.get("size"), fields.get("changed", 0)
        if not isinstance(name, str) or not 0 < len(name) <= 500 or type(size) is not int or type(changed) is not int:
            raise FavError("upload: expected a name of at most 500 characters and a size in bytes")
        kind = kind_of(name)
        if kind not in ("video", "picture"):
            raise FavError(f"{sanitize(name)}: expected a video or a picture, got a file of another kind by its name")
        if size <= 0 or kind == "picture" and size > PICTURE_LIMIT:
            most = f"at most {format_bytes(PICTURE_LIMIT)}" if size > 0 else "at least one byte"
            raise FavError(f"{sanitize(name)}: expected a {kind} of {most}, got {size} bytes")
        return cls(name, size, changed)

    @property
    def id(self) -> str:
        """The name of the unfinished file. The same upload always has the same name, so that it can be continued."""
        said = "\0".join((self.name, str(self.size), str(self.changed)))
        return hashlib.blake2b(said.encode(errors="replace"), digest_size=16).hexdigest()

    @property
    def safe_name(self) -> str:
        """The name of the complete file, without characters that are special in a shell or a terminal."""
        path = Path(self.name.replace("\\", "/"))
        stem = tame(path.stem).strip("._-").encode()[:100].decode(errors="ignore").strip("._-") or "upload"
        return f"{stem}{path.suffix.lower()}"


def directory(share: SharedDir, make: bool = True) -> Path | None:
    """The directory of uploads, which has our marker file; None if there is none and `make` is False."""
    for number in range(1, 10):
        place = share.layout.root / (NAME if number == 1 else f"{NAME}-{number}")
        if os.path.lexists(place):
            if _is_marked(place):
                return place
        elif make:
            share.system.make_dirs(place)
            with suppress(FileExistsError):
                share.system.write_new(place / MARK_FILE, MARK)
            return place
    if make:
        raise FavError(
            f"{share.layout.root / NAME}: expected a directory for uploads, got others of that name; move one away"
        )
    return None


def begin(share: SharedDir, upload: Upload) -> int:
    """Start or continue an upload; return the offset of the next piece in bytes. Raises FavError if the disk is too full."""
    offset = _offset(_part(share, upload))
    free = share.system.free_bytes(share.layout.root)
    if upload.size - offset + SPARE > free:
        raise FavError(
            f"{sanitize(upload.name)}: expected space for {format_bytes(upload.size - offset)} and {format_bytes(SPARE)} to "
            f"spare, got {format_bytes(free)}; remove finished jobs (Clean up), or free space"
        )
    return offset


def append(share: SharedDir, upload: Upload, offset: int, data: bytes) -> int:
    """Append a piece; return the new size in bytes.

    Raises:
        OffsetError: the piece does not begin where the last one ended.
        FavError: it is too large, or cannot be written.
    """
    if len(data) > CHUNK or offset + len(data) > upload.size:
        raise FavError(f"{sanitize(upload.name)}: expected {upload.size} bytes in pieces of at most {CHUNK}, got more")
    path = _part(share, upload)
    with _opened(path, share) as fd:
        there = os.fstat(fd).st_size
        if there != offset:
            raise OffsetError(there)
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(fd, data[written:], offset + written)
            if offset + written == upload.size:
                os.fsync(fd)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(fd, offset)
            raise FavError(
                f"{sanitize(upload.name)}: the piece could not be written ({error.strerror}); try again"
            ) from None
        return offset + written


def finish(share: SharedDir, upload: Upload, check: Callable[[Path], None]) -> str:
    """Give a complete upload its final name; return its key.

    Raises:
        OffsetError: bytes are missing.
        FavError: `check` raised it, and the upload was discarded; or no name is free.
    """
    path = _part(share, upload)
    if (there := _offset(path)) != upload.size:
        raise OffsetError(there)
    try:
        check(path)
    except FavError:
        discard(share, upload)
        raise
    name = Path(upload.safe_name)
    for number in range(1, MOST_NAMES):
        final = path.with_name(name.name if number == 1 else f"{name.stem}-{number}{name.suffix}")
        if take_name(path, final):
            with suppress(FileNotFoundError):
                share.system.unlink(path)
            return final.relative_to(share.layout.root).as_posix()
    raise FavError(f"{name}: expected a name that is free among {MOST_NAMES}; remove old uploads")


def discard(share: SharedDir, upload: Upload) -> None:
    """Remove an unfinished upload."""
    with suppress(FileNotFoundError):
        share.system.unlink(_part(share, upload))


def _part(share: SharedDir, upload: Upload) -> Path:
    place = directory(share)
    assert place is not None
    return place / f".{upload.id}.part{Path(upload.safe_name).suffix}"


def _is_marked(place: Path) -> bool:
    """Whether a path is a directory, not a link, that has our marker file."""
    try:
        if not stat.S_ISDIR(os.lstat(place).st_mode):
            return False
        fd = os.open(place / MARK_FILE, os.O_RDONLY | FLAGS)
    except OSError:
        return False
    try:
        return os.pread(fd, len(MARK) + 1, 0) == MARK
    finally:
        os.close(fd)


def _offset(path: Path) -> int:
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return 0
    _check_own(path, info)
    return info.st_size


def _check_own(path: Path, info: os.stat_result) -> None:
    """Raise FavError unless it is a regular file with one name: another name of it may be somebody's film."""
    if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
        raise FavError(f"{path}: expected an unfinished upload, got something else; move it away")


@contextmanager
def _opened(path: Path, share: SharedDir) -> Iterator[int]:
    """Open the unfinished file for writing, with a lock."""
    with suppress(FileExistsError):
        share.system.write_new(path, b"")
    try:
        fd = os.open(path, os.O_RDWR | FLAGS)
    except OSError as error:
        raise FavError(f"{path}: expected an unfinished upload, got none ({error.strerror})") from None
    try:
        _check_own(path, os.fstat(fd))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another browser sends the same piece just now
            raise OffsetError(os.fstat(fd).st_size) from None
        except OSError:
            pass  # without locks, the check of the offset must suffice
        yield fd
    finally:
        os.close(fd)
