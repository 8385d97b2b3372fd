"""Files for people: whole and synced under their name, or not there at all, and never in the place of somebody else's.

A file is made under a private name beside its own that nobody can guess, with O_CREAT, O_EXCL and O_NOFOLLOW. Those who write
it get a path that leads to this very file by its descriptor: a link that somebody puts under the private name leads nobody
astray. When all went well, the file takes its name in one step. Whatever else ends the writing, it is removed; signals end it
by an exception, where a command sees to that (`commands.one_line_errors`).

There is one rule of syncing: the content of a file is synced before it takes its name, its directory is not. So after a loss of
power a name holds the whole new file, the whole one before it, or nothing.
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

NEAR = 1 << 18  # bytes at the beginning and at the end of a file in which a mark is looked for
MOST_NAMES = 1000
DESCRIPTORS = "/proc/self/fd/"
UNGUIDED = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class CannotWriteError(FavError):
    """This user cannot make a file there."""


class PathTakenError(FavError):
    """The name is taken by what this program did not write there."""


@dataclass
class Draft:
    """A file that is being written. `file` is the path for who writes it, `out` the name that it takes: in the end, that
    where it lies. `fd` is its descriptor and `private` its name until then."""

    file: Path
    out: Path
    fd: int
    private: Path


@contextmanager
def new_file(out: Path) -> Iterator[Draft]:
    """Write a file that is called `out` afterwards, and replaces nothing. FavError, at once, where that cannot be.

    If somebody takes the name in the meantime, a number is added to it (`Draft.out`), so that no work is lost.
    """
    check_new(out)
    with _draft(out) as draft:
        yield draft
        _ready(draft)
        draft.out = next(name for name in _numbered(out) if take_name(draft.private, name))


@contextmanager
def own_file(out: Path, mark: str) -> Iterator[Draft]:
    """Write a file that is called `out` afterwards, be it in the place of an earlier one of ours, which has `mark` in it.

    The new file must have it, too, near its beginning or its end. FavError, at once and again in the end, where something
    else has the name.
    """
    check_own(out, mark)
    with _draft(out) as draft:
        yield draft
        _ready(draft)
        check_own(out, mark)
        os.replace(draft.private, out)


@contextmanager
def new_directory(out: Path, empty: bool = False) -> Iterator[Path]:
    """Fill a directory that is called `out` afterwards, and replaces nothing; the path for who fills it. FavError, at once,
    where that cannot be, and in the end where somebody has taken the name. With `empty`, an empty directory may have it."""
    check_new_directory(out, empty)
    private = private_name(out)
    with _told_of(out, private):
        os.mkdir(private, 0o700)  # nobody else gets in, so plain names are safe there
        fd = os.open(private, os.O_RDONLY | os.O_DIRECTORY | UNGUIDED)
        try:
            room = _by_descriptor(fd, private)
            yield room
            for file in filter(Path.is_file, room.rglob("*")):
                _sync(file)
            _check_private(fd, private)
            try:
                made = not (empty and os.path.lexists(out))
                if made:
                    os.mkdir(out)  # ours alone; a rename replaces it, and would replace any empty directory
            except FileExistsError:
                raise _taken(out) from None
            os.fchmod(fd, stat.S_IMODE(os.lstat(out).st_mode))
            try:
                os.rename(private, out)
            except BaseException as error:
                if isinstance(error, OSError) and error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise _taken(out) from None  # somebody has put something there
                if made:
                    os.rmdir(out)
                raise
        finally:
            if _is(fd, private):
                shutil.rmtree(private)
            os.close(fd)


@contextmanager
def exclusive(path: Path) -> Iterator[Path]:
    """Make a file under exactly this name, and write it by the path that is given; it is removed where that is broken off.

    FileExistsError where the name is taken, be it by a link.
    """
    fd = _make(path)
    try:
        yield _by_descriptor(fd, path)
    except BaseException as error:
        _remove(fd, path)
        _tell(error, path)
        raise
    finally:
        os.close(fd)


def check_new(out: Path) -> Path:
    """The name itself, if nothing has it; FavError otherwise, or where there is no directory for it."""
    if not out.parent.is_dir():
        raise FavError(f"{out}: expected an existing directory to write to, but there is no {out.parent}")
    if os.path.lexists(out):
        raise _taken(out)
    return out


def check_new_directory(out: Path, empty: bool = False) -> Path:
    """As `check_new`; with `empty`, an empty directory may have the name."""
    if empty and out.is_dir() and not out.is_symlink() and not any(out.iterdir()):
        return out
    return check_new(out)


def check_own(out: Path, mark: str) -> None:
    """PathTakenError where the name is taken, and not by a file that has the mark."""
    if (kind := kind_of(out)) and not bears(out, mark):
        raise PathTakenError(
            f"{out}: expected a place for a file, got {kind} of that name, which this program did not write for this; "
            f"move it away, or choose another name"
        )


def private_name(out: Path) -> Path:
    """A name beside `out` that nobody can guess, with its ending, by which some tell what to write."""
    return out.with_name(f".{secrets.token_hex(8)}{out.suffix[:20]}")


def take_name(private: Path, name: Path) -> bool:
    """Give a finished file its name in one step; False, and nothing is changed, where something has that name."""
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


def bears(path: Path, mark: str) -> bool:
    """Whether this is a regular file with a mark near its beginning or its end; waits for nothing and follows no link."""
    try:
        fd = os.open(path, os.O_RDONLY | UNGUIDED)
    except OSError:
        return False
    try:
        info = os.fstat(fd)
        ends = {0, max(info.st_size - NEAR, 0)} if stat.S_ISREG(info.st_mode) else ()
        return any(mark.encode() in os.pread(fd, NEAR, place) for place in ends)
    finally:
        os.close(fd)


def kind_of(path: Path) -> str | None:
    """What has this name, in words; None for nothing."""
    try:
        return file_type(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def _draft(out: Path) -> Iterator[Draft]:
    private = private_name(out)
    with _told_of(out, private):
        fd = _make(private)
        try:
            yield Draft(_by_descriptor(fd, private), out, fd, private)
        finally:
            _remove(fd, private)
            os.close(fd)


@contextmanager
def _told_of(out: Path, private: Path) -> Iterator[None]:
    """Errors of the private name told of the name that a person knows; CannotWriteError where no file can be made."""
    try:
        yield
    except OSError as error:
        if str(error.filename) == str(private) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise CannotWriteError(
                f"{out}: expected a directory that this user may write to, got one that is closed "
                f"({error.strerror}); choose another, or correct its permissions"
            ) from None
        if str(error.filename) == str(private) and error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise FavError(f"{out}: expected an existing directory to write to, but there is no {out.parent}") from None
        _tell(error, out, private)
        raise


def _tell(error: BaseException, out: Path, private: Path | None = None) -> None:
    """Let an error speak of the name that a person knows."""
    if isinstance(error, OSError) and str(error.filename).startswith((DESCRIPTORS, str(private))):
        error.filename = str(out)


def _make(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | UNGUIDED, 0o666)


def _by_descriptor(fd: int, path: Path) -> Path:
    """A path that leads to what is open, whatever its name leads to; where the system has none, the name."""
    by_descriptor = Path(f"{DESCRIPTORS}{fd}")
    return by_descriptor if by_descriptor.exists() else path


def _is(fd: int, path: Path) -> bool:
    """Whether the name leads to what is open."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except OSError:
        return False


def _remove(fd: int, path: Path) -> None:
    if _is(fd, path):
        with suppress(OSError):  # what has ended the writing is of more interest
            os.unlink(path)


def _check_private(fd: int, path: Path) -> None:
    if not _is(fd, path):
        raise FavError(
            f"{path}: expected the file that is being written, got something else; who else writes to this directory?"
        )


def _ready(draft: Draft) -> None:
    os.fsync(draft.fd)
    _check_private(draft.fd, draft.private)


def _sync(file: Path) -> None:
    fd = os.open(file, os.O_RDONLY | UNGUIDED)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _numbered(out: Path) -> Iterator[Path]:
    yield out
    yield from (out.with_stem(f"{out.stem}-{number}") for number in range(2, MOST_NAMES))
    raise _taken(out)


def _taken(out: Path) -> FavError:
    kind = kind_of(out)
    exists = "the file exists" if kind == "a file" else f"{kind} of that name is there"
    return FavError(f"{out}: expected a new name, but {exists}; choose another, or remove it first")
