"""Files of the user, read whole and once: regular ones, of a size that such a file may have, without ever waiting.

Opening a FIFO waits for a writer, and a device need not end: so a file is opened without waiting, and looked at, first.
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
WRITER_S = 5.0  # that a pipe may be without a writer
WORD_S = 5.0  # of silence before somebody is told what is waited for
SILENT_S = 600.0  # a program that looks for cuts in a long film says nothing before it is done


@contextmanager
def opened(path: Path | str, what: str) -> Iterator[BinaryIO]:
    """A regular file, opened to read. FavError, which begins with `what`, for anything else; OSError as for `open`."""
    fd = _open(path, what)
    try:
        kind = os.fstat(fd).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(kind):
            raise FavError(_refusal(what, kind))
    except BaseException:
        os.close(fd)
        raise
    with os.fdopen(fd, "rb") as file:
        yield file


def check_file(path: Path | str, what: str) -> None:
    """FavError, which begins with `what`, unless it is a regular file that can be read."""
    try:
        with opened(path, what):
            pass
    except OSError as error:
        raise FavError(f"{what}: expected a file, got none that can be read: {error.strerror}") from error


def read_file(path: Path | str, what: str, most: int) -> bytes:
    """The content of a regular file of at most so many bytes. FavError, which begins with `what`, for anything else;
    OSError as for `open`."""
    with opened(path, what) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise FavError(f"{what}: expected at most {most} bytes, got {size}")
        return file.read(size)


def read_once(path: Path | str, what: str, most: int) -> bytes:
    """As `read_file`, but a pipe (`<(program)`, /dev/stdin) is read to its end, too. Whoever waits is told so; FavError where
    nobody writes into the pipe, or its writer is silent for ten minutes."""
    fd = _open(path, what)
    try:
        kind = os.fstat(fd).st_mode
        if stat.S_ISFIFO(kind):
            return _limited(_drained(fd, what), what, most)
    finally:
        os.close(fd)
    return read_file(path, what, most)


def _open(path: Path | str, what: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):
            raise FavError(_refusal(what, TYPES_BY_ERRNO[error.errno])) from None
        raise
    except ValueError:  # a NUL, which no shell can type
        raise FavError(f"{what}: expected the name of a file, got {str(path)[:80]!r}") from None


def _refusal(what: str, mode: int) -> str:
    cure = "; save what comes out of it as a file first" if stat.S_ISFIFO(mode) else ""
    return f"{what}: expected a file, got {file_type(mode)}{cure}"


def _limited(blocks: Iterator[bytes], what: str, most: int) -> bytes:
    parts, size = [], 0
    for block in blocks:
        size += len(block)
        if size > most:
            raise FavError(f"{what}: expected at most {most} bytes, got more")
        parts.append(block)
    return b"".join(parts)


def _drained(fd: int, what: str) -> Iterator[bytes]:
    """What comes out of a pipe that was opened without waiting, up to its end."""
    pipe, began, told = select.poll(), time.monotonic(), False
    pipe.register(fd, select.POLLIN)
    heard, come = began, False
    while True:
        events = pipe.poll(200)
        now = time.monotonic()
        try:
            block = os.read(fd, BLOCK)
        except BlockingIOError:  # somebody has it open to write, and writes nothing now
            if now - heard > SILENT_S:
                raise FavError(
                    f"{what}: expected an end of what is written into the pipe, got nothing for {SILENT_S:.0f} s"
                ) from None
            if not told and now - heard > WORD_S:
                told = True
                print(f"waiting for {what}: nothing comes out of the pipe yet", file=sys.stderr, flush=True)
            continue
        if block:
            heard, come = now, True
            yield block
        elif come or events:
            return
        elif now - began > WRITER_S:
            raise FavError(f"{what}: expected a pipe that a program writes into, got one without any")
        else:
            time.sleep(0.05)
