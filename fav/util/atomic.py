"""Write output files atomically: complete and synced under their name, or absent. Files of other programs are never replaced.

A file is created under a random temporary name beside its final one, with O_CREAT, O_EXCL and O_NOFOLLOW. The writer gets
a path through its descriptor, so a link that is put under the temporary name has no effect. At the end the file gets
its final name in one step. If anything fails, it is removed; commands turn signals into exceptions for this
(`one_line_errors`).

A file is synced before it gets its name; its directory is not. So after a power loss, a name has the complete new file,
the complete old one, or none.
"""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fav.errors import FavError, file_type

MARK_BYTES = 1 << 18  # at the beginning and at the end of a file that are searched for a mark
MAX_NAMES = 1000  # numbers that are tried
MAX_BYTES = 255  # of a name, on most file systems
DESCRIPTORS = "/proc/self/fd/"
SAFE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class CannotWriteError(FavError):
    """This user has no permission to create a file there."""


class PathTakenError(FavError):
    """The name is taken by a file that this program did not write."""


@dataclass
class Draft:
    """A file that is being written.

    Attributes:
        file: the path to write to.
        out: its final name.
        fd: its descriptor.
        private: its temporary name.
    """

    file: Path
    out: Path
    fd: int
    private: Path


@contextmanager
def new_file(out: Path) -> Iterator[Draft]:
    """Write a new file `out` that replaces nothing. Raises FavError at once if that is impossible.

    If the name is taken meanwhile, a number is added to it (`Draft.out`), so that no work is lost.
    """
    check_new(out)
    with _draft(out) as draft:
        yield draft
        _ready(draft)
        draft.out = next(name for name in _numbered(out) if take_name(draft.private, name))


@contextmanager
def own_file(out: Path, mark: str) -> Iterator[Draft]:
    """Write a file `out`. It may replace an earlier file that contains `mark`, a text which identifies its writer.

    The new file must contain the mark, too, near its beginning or end. Raises FavError, at once or at the end, if another
    file has the name.
    """
    check_own(out, mark)
    with _draft(out) as draft:
        yield draft
        _ready(draft)
        check_own(out, mark)
        os.replace(draft.private, out)


@contextmanager
def new_directory(out: Path, empty: bool = False) -> Iterator[Path]:
    """Write a new directory `out` that replaces nothing; yields the path to write to.

    With `empty`, an empty directory may have the name. Raises FavError at once if writing is impossible, and at the end
    if the name was taken meanwhile.
    """
    check_new_directory(out, empty)
    private = private_name(out)
    with _errors_name(out, private):
        os.mkdir(private, 0o700)  # closed to other users, so plain names are safe there
        fd = os.open(private, os.O_RDONLY | os.O_DIRECTORY | SAFE_FLAGS)
        try:
            directory = _by_descriptor(fd, private)
            yield directory
            for file in filter(Path.is_file, directory.rglob("*")):
                _sync(file)
            _check_private(fd, private)
            try:
                made = not (empty and os.path.lexists(out))
                if made:
                    os.mkdir(out)  # reserves the name: a rename would replace any empty directory
            except FileExistsError:
                raise _taken(out) from None
            with suppress(OSError):  # a file system without modes refuses it
                os.fchmod(fd, stat.S_IMODE(os.lstat(out).st_mode))
            try:
                os.rename(private, out)
            except BaseException as error:
                if isinstance(error, OSError) and error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise _taken(out) from None  # another program created something there
                if made:
                    os.rmdir(out)
                raise
        finally:
            if _is(fd, private):
                shutil.rmtree(private)
            os.close(fd)


@contextmanager
def exclusive(path: Path) -> Iterator[Path]:
    """Create a file with exactly this name; yields the path to write to. It is removed if an exception is raised.

    Raises FileExistsError if the name is taken, also by a link.
    """
    fd = _make(path)
    try:
        yield _by_descriptor(fd, path)
    except BaseException as error:
        _remove(fd, path)
        _set_name(error, path)
        raise
    finally:
        os.close(fd)


def check_new(out: Path) -> Path:
    """Return `out`. Raises FavError if the name is taken, or its directory is missing or cannot be written to."""
    if not out.parent.is_dir():
        raise FavError(f"{out}: expected an existing directory to write to, but there is no {out.parent}")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise FavError(
            f"{out}: expected a directory that this user may write to, got {out.parent}; choose another, or correct its "
            f"permissions or mount"
        )
    if kind_of(out):
        raise _taken(out)
    return out


def check_new_directory(out: Path, empty: bool = False) -> Path:
    """Like `check_new`, for a directory. With `empty`, an empty directory may have the name."""
    if empty and out.is_dir() and not out.is_symlink() and not any(out.iterdir()):
        return out
    return check_new(out)


def check_own(out: Path, mark: str) -> None:
    """Raise PathTakenError if the name is taken by anything but a file with the mark."""
    kind = kind_of(out)
    if kind == file_type(stat.S_IFREG) and not os.access(out, os.R_OK):
        raise PathTakenError(
            f"{out}: expected a free name, or a file that this user may read, got one without permission; correct its "
            f"permissions, or choose another name"
        )
    if kind and not has_mark(out, mark):
        raise PathTakenError(
            f"{out}: expected a free name for a file, got {kind} that this program did not write for this; "
            f"move it away, or choose another name"
        )


def private_name(out: Path) -> Path:
    """A random name beside `out`, with the same suffix, because some libraries choose the format by it."""
    return out.with_name(f".{secrets.token_hex(8)}{out.suffix[:20]}")


def take_name(private: Path, name: Path) -> bool:
    """Give a finished file its name in one step. Returns False, and changes nothing, if the name is taken."""
    try:
        os.link(private, name, follow_symlinks=False)
        return True
    except FileExistsError:
        return os.path.samestat(os.lstat(private), os.lstat(name))  # then only the reply was lost
    except OSError:
        pass  # a file system without hard links
    try:
        claim = _make(name)
    except FileExistsError:
        return False
    try:
        os.replace(private, name)
    except BaseException:
        _remove(claim, name)
        raise
    finally:
        os.close(claim)
    return True


def has_mark(path: Path, mark: str) -> bool:
    """Whether this is a regular file with a mark near its beginning or end. Never blocks, and follows no link."""
    try:
        fd = os.open(path, os.O_RDONLY | SAFE_FLAGS)
    except OSError:
        return False
    try:
        info = os.fstat(fd)
        offsets = {0, max(info.st_size - MARK_BYTES, 0)} if stat.S_ISREG(info.st_mode) else ()
        return any(mark.encode() in os.pread(fd, MARK_BYTES, offset) for offset in offsets)
    finally:
        os.close(fd)


def kind_of(path: Path) -> str | None:
    """Describe the type of a directory entry, such as `a file`; None if there is no entry.

    Raises FavError if no entry can have this name, because it is too long.
    """
    try:
        return file_type(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise FavError(f"{path}: expected a shorter name for a file, got {len(os.fsencode(path.name))} bytes") from None


@contextmanager
def _draft(out: Path) -> Iterator[Draft]:
    private = private_name(out)
    with _errors_name(out, private):
        fd = _make(private)
        try:
            yield Draft(_by_descriptor(fd, private), out, fd, private)
        finally:
            _remove(fd, private)
            os.close(fd)


@contextmanager
def _errors_name(out: Path, private: Path) -> Iterator[None]:
    """Let errors name `out` instead of its temporary name. Raises CannotWriteError if no file can be created."""
    try:
        yield
    except OSError as error:
        if str(error.filename) == str(private) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise CannotWriteError(
                f"{out}: expected a directory that this user may write to, got one without permission "
                f"({error.strerror}); choose another, or correct its permissions"
            ) from None
        if str(error.filename) == str(private) and error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise FavError(f"{out}: expected an existing directory to write to, but there is no {out.parent}") from None
        _set_name(error, out, private)
        raise


def _set_name(error: BaseException, out: Path, private: Path | None = None) -> None:
    """Replace a temporary name in an error by the final one. Errors of PyAV are replaced: their names cannot be set."""
    if not isinstance(error, OSError):
        return
    if isinstance(getattr(type(error), "filename", None), property):
        if str(error.filename).startswith((DESCRIPTORS, str(private))):
            raise OSError(error.errno, error.strerror, str(out)) from error
        return
    if str(error.filename).startswith((DESCRIPTORS, str(private))):
        error.filename = str(out)
    if error.filename2 is not None and str(error.filename2).startswith((DESCRIPTORS, str(private))):
        error.filename2 = str(out)


def _make(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFE_FLAGS, 0o666)


def _by_descriptor(fd: int, path: Path) -> Path:
    """A path to an open file or directory through its descriptor; its name, if the system has no such paths."""
    by_descriptor = Path(f"{DESCRIPTORS}{fd}")
    return by_descriptor if by_descriptor.exists() else path


def _is(fd: int, path: Path) -> bool:
    """Whether the name belongs to the open file or directory."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except OSError:
        return False


def _remove(fd: int, path: Path) -> None:
    if _is(fd, path):
        with suppress(OSError):  # the first error is more useful
            os.unlink(path)


def _check_private(fd: int, path: Path) -> None:
    if not _is(fd, path):
        raise FavError(
            f"{path}: expected the file that is being written, got something else; does another program write there?"
        )


def _ready(draft: Draft) -> None:
    os.fsync(draft.fd)
    _check_private(draft.fd, draft.private)


def _sync(file: Path) -> None:
    fd = os.open(file, os.O_RDONLY | SAFE_FLAGS)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _numbered(out: Path) -> Iterator[Path]:
    yield out
    for number in range(2, MAX_NAMES):
        stem, ending = out.stem, f"-{number}{out.suffix}"
        while len(stem) > 1 and len(os.fsencode(stem + ending)) > MAX_BYTES:
            stem = stem[:-1]
        yield out.with_name(f"{stem}{ending}")
    raise _taken(out)


def _taken(out: Path) -> FavError:
    kind = kind_of(out)
    exists = "the file exists" if kind == "a file" else f"{kind} of that name is there"
    return FavError(f"{out}: expected a new name, but {exists}; choose another, or remove it first")
