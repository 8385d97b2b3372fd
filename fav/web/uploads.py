"""Files that a browser sends in pieces, into a directory that this program made for them in the shared one.

The shared directory remembers how far an upload is: its unfinished file has that many bytes, under a name that follows from
what is sent. So it goes on after a break, a restart, or at another server. A finished file is looked at, and takes its name in one
step, never over another one.
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
CHUNK = 8 << 20  # bytes of a piece, at most
SPARE = 256 << 20  # bytes that an upload leaves free: nodes work on the same disk
PICTURE_LIMIT = 64 << 20  # bytes of a picture
MOST_NAMES = 1000
FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OffsetError(FavError):
    """A piece does not go on where the last one ended. `offset` is where it would have to."""

    def __init__(self, offset: int):
        super().__init__(f"upload: expected the piece that begins at byte {offset}; go on from there")
        self.offset = offset


@dataclass(frozen=True)
class Upload:
    """What is sent: a name, a size in bytes, and when the browser says that the file was changed."""

    name: str
    size: int
    changed: int = 0

    @classmethod
    def of(cls, fields: object) -> "Upload":
        """What a browser announces; FavError where it is not as it should be."""
        if not isinstance(fields, dict):
            raise FavError("upload: expected a name and a size")
        name, size, changed = fields.get("name"), fields.get("size"), fields.get("changed", 0)
        if not isinstance(name, str) or not 0 < len(name) <= 500 or type(size) is not int or type(changed) is not int:
            raise FavError("upload: expected a name of at most 500 letters and a size in bytes")
        kind = kind_of(name)
        if kind not in ("video", "picture"):
            raise FavError(f"{sanitize(name)}: expected a video or a picture, got a file of another kind by its name")
        if size <= 0 or kind == "picture" and size > PICTURE_LIMIT:
            most = f"at most {format_bytes(PICTURE_LIMIT)}" if size > 0 else "at least one byte"
            raise FavError(f"{sanitize(name)}: expected a {kind} of {most}, got {size} bytes")
        return cls(name, size, changed)

    @property
    def id(self) -> str:
        """What the unfinished file is called: the same file has the same one, so that it can go on."""
        said = "\0".join((self.name, str(self.size), str(self.changed)))
        return hashlib.blake2b(said.encode(errors="replace"), digest_size=16).hexdigest()

    @property
    def safe_name(self) -> str:
        """The name that the file gets: letters that neither a shell nor a terminal takes for something else."""
        path = Path(self.name.replace("\\", "/"))
        stem = tame(path.stem).strip("._-").encode()[:100].decode(errors="ignore").strip("._-") or "upload"
        return f"{stem}{path.suffix.lower()}"


def directory(share: SharedDir, make: bool = True) -> Path | None:
    """The directory of uploads, which bears our mark; None where there is none yet and it is not to be made."""
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
    """Where an upload begins or goes on, in bytes. FavError where there is no room for it."""
    offset = _offset(_part(share, upload))
    free = share.system.free_bytes(share.layout.root)
    if upload.size - offset + SPARE > free:
        raise FavError(
            f"{sanitize(upload.name)}: expected room for {format_bytes(upload.size - offset)} and {format_bytes(SPARE)} to "
            f"spare, got {format_bytes(free)}; remove finished jobs (Clean up), or free space"
        )
    return offset


def append(share: SharedDir, upload: Upload, offset: int, data: bytes) -> int:
    """Add a piece; how many bytes there are now. OffsetError where it does not follow, FavError where it is too much."""
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
    """Give a whole upload its name; its key.

    FavError where bytes are missing, or `check` finds that it is not what it should be.
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
    """Whether it is a directory, no link to one, that bears our mark."""
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
    """The unfinished file, opened to write by one at a time."""
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
            pass  # a file system without locks: the offset is checked all the same
        yield fd
    finally:
        os.close(fd)
