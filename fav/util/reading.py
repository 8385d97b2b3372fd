"""Read files of the user completely, with a size limit, and without blocking.

Opening a FIFO blocks, and a device may have no end. So files are opened with O_NONBLOCK, and their type is checked first.
"""

import errno
import os
import select
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fav.errors import TYPES_BY_ERRNO, FavError, file_type

BLOCK = 1 << 16
WRITER_S = 5.0  # maximum wait for a writer of a pipe
NOTICE_S = 5.0  # time without data before a message is printed
SILENT_S = 600.0  # maximum time without data: a program that detects cuts in a long film writes only at its end


@contextmanager
def opened(path: Path | str, what: str) -> Iterator[BinaryIO]:
    """Open a regular file for reading.

    Raises:
        FavError: It is not a regular file. The message begins with `what`.
        OSError: As `open` raises it.
    """
    fd = _open(path, what)
    try:
        kind = os.fstat(fd).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(kind):
            raise FavError(_type_message(what, kind))
    except BaseException:
        os.close(fd)
        raise
    with os.fdopen(fd, "rb") as file:
        yield file


def check_file(path: Path | str, what: str) -> None:
    """Raise FavError unless this is a readable regular file. The message begins with `what`."""
    try:
        with opened(path, what):
            pass
    except OSError as error:
        raise FavError(f"{what}: expected a readable file, got an error: {error.strerror}") from error


def read_file(path: Path | str, what: str, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        FavError: It is not a regular file, or too large. The message begins with `what`.
        OSError: As `open` raises it.
    """
    with opened(path, what) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise FavError(f"{what}: expected at most {limit} bytes, got {size}")
        return file.read(size)


def read_once(path: Path | str, what: str, limit: int) -> bytes:
    """Like `read_file`, but also reads a pipe (`<(program)`, /dev/stdin) to its end. Prints a line if it has to wait.

    Raises:
        FavError: The pipe has no writer, or the writer sends nothing for ten minutes.
    """
    fd = _open(path, what)
    try:
        kind = os.fstat(fd).st_mode
        if stat.S_ISFIFO(kind):
            return _join_limited(_read_pipe(fd, what), what, limit)
    finally:
        os.close(fd)
    return read_file(path, what, limit)


def _open(path: Path | str, what: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):
            raise FavError(_type_message(what, TYPES_BY_ERRNO[error.errno])) from None
        raise
    except ValueError:  # the name contains NUL
        raise FavError(f"{what}: expected the name of a file, got {str(path)[:80]!r}") from None


def _type_message(what: str, mode: int) -> str:
    cure = "; save its output as a file first" if stat.S_ISFIFO(mode) else ""
    return f"{what}: expected a file, got {file_type(mode)}{cure}"


def _join_limited(blocks: Iterator[bytes], what: str, limit: int) -> bytes:
    parts, size = [], 0
    for block in blocks:
        size += len(block)
        if size > limit:
            raise FavError(f"{what}: expected at most {limit} bytes, got more")
        parts.append(block)
    return b"".join(parts)


def _read_pipe(fd: int, what: str) -> Iterator[bytes]:
    """Yield the content of a pipe that was opened with O_NONBLOCK, up to its end."""
    pipe, start, noticed = select.poll(), time.monotonic(), False
    pipe.register(fd, select.POLLIN)
    last, received = start, False
    while True:
        events = pipe.poll(200)
        now = time.monotonic()
        try:
            block = os.read(fd, BLOCK)
        except BlockingIOError:  # the pipe has a writer, but no data
            if now - last > SILENT_S:
                raise FavError(f"{what}: expected the end of the pipe, got no data for {SILENT_S:.0f} s") from None
            if not noticed and now - last > NOTICE_S:
                noticed = True
                print(f"waiting for {what}: the pipe has sent no data yet", file=sys.stderr, flush=True)
            continue
        if block:
            last, received = now, True
            yield block
        elif received or events:
            return
        elif now - start > WRITER_S:
            raise FavError(f"{what}: expected a pipe that a program writes to, got a pipe without a writer")
        else:
            time.sleep(0.05)
