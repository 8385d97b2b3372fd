"""Reading whole files that may be anybody's: regular ones alone, within a limit, and without waiting."""

import errno
import os
import stat
from pathlib import Path

MOST_BYTES = 1 << 30  # of a picture, a style, or a network


def read_file(path: Path, limit: int = MOST_BYTES) -> bytes:
    """The content of a file of at most `limit` bytes; links are followed. OSError where it is larger, or no regular file."""
    _check(path, os.stat(path), limit)  # before it is opened, by which some devices do things
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        info = os.fstat(file.fileno())
        _check(path, info, limit)
        return file.read(info.st_size)  # and not what is added meanwhile


def _check(path: Path, info: os.stat_result, limit: int) -> None:
    if stat.S_ISDIR(info.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(info.st_mode):
        raise OSError(errno.EINVAL, "expected a regular file, got something else", str(path))
    if info.st_size > limit:
        raise OSError(errno.EFBIG, f"expected at most {limit} bytes, got {info.st_size}", str(path))
