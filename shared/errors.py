"""The root of every error that a user reads, and what the job system reports."""

import errno
import re
import stat
import sys
from contextlib import contextmanager

from shared.terminal import open_streams

MIN_PYTHON = (3, 11)  # of Python
MAX_LENGTH = 4000  # letters of a message
# Letters that show nothing, though Python calls them printable: with them two names look the same that are not.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# What has a name, in words, by its type; and by the error of opening it as a regular file, without following links.
FILE_TYPES = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
TYPES_BY_ERRNO = {errno.ELOOP: stat.S_IFLNK, errno.ENXIO: stat.S_IFSOCK, errno.ENODEV: stat.S_IFCHR}
INSTALL = "bash install.sh, then use .venv/bin/python"


def sanitize(text: object, most: int = 200) -> str:
    """What somebody wrote, fit for one line of a terminal, a page or a plot: at most so many letters, each of which is seen.

    Control characters, those that turn the direction of a line or have no width, and bytes that were no text become `?`.
    """
    return INVISIBLE.sub("?", "".join(letter if letter.isprintable() else "?" for letter in str(text)[:most]))


def file_type(mode: int) -> str:
    """What has a name, in words for a message, by its mode as `stat` tells it, or by its type alone."""
    return FILE_TYPES.get(stat.S_IFMT(mode), "something else")


def missing_dependency_message(error: ImportError) -> str:
    """In one line, that this Python lacks a library, or one does not load in it."""
    return f"{sys.executable}: a library is missing or does not load ({sanitize(error, 300)}); {INSTALL}"


def is_own_module(error: ImportError) -> bool:
    """Whether it is a part of this program that is missing: then something is wrong with it, and not with the machine."""
    return (error.name or "").partition(".")[0] in ("fav", "shared")


@contextmanager
def checked_imports():
    """For a command's imports: they end it in one line with its cure where this Python is too old, or lacks a library.

    Standard streams that are closed are opened first.
    """
    open_streams()
    wrong = None
    if sys.version_info < MIN_PYTHON:
        wrong = f"{sys.executable}: expected Python {MIN_PYTHON[0]}.{MIN_PYTHON[1]} or newer, got {sys.version.split()[0]}; {INSTALL}"
    try:
        if wrong is None:
            yield
    except ImportError as error:
        if is_own_module(error):
            raise
        wrong = missing_dependency_message(error)
    if wrong is not None:
        print(f"error: {wrong}", file=sys.stderr)
        sys.exit(2)


class UserError(Exception):
    """The root of every error that a user reads, of the whole program.

    Its message is one line: where, what was expected, what was there, what to do. It is plain, whatever it quotes.
    """

    def __str__(self) -> str:
        return sanitize(super().__str__(), MAX_LENGTH)


class JobQueueError(UserError):
    """The shared directory, or what lies in it, is not as it should be."""


class OddFileError(JobQueueError):
    """What is no regular file, or too large a one, has the place of a file. `got` says in words what it is."""

    def __init__(self, message: str, got: str):
        super().__init__(message)
        self.got = got


class EvictedError(JobQueueError):
    """This node's heartbeat file is gone: others took it for dead, so it has to join again."""


class ResultVanishedError(JobQueueError):
    """A published input that was seen is not there any more: read the state again."""


class InputChangedError(JobQueueError):
    """An input of the job is not what it was made for: no attempt has failed, and nobody can go on until it is put back."""


class JobRemovedError(JobQueueError):
    """The job's directory is gone: it was cleaned while this node worked on it."""


class StopRequested(JobQueueError):
    """The node was asked to stop while it waited."""


class SourcesReplaced(JobQueueError):
    """The program's sources were replaced while it ran: what it would load from now on does not go with what it has loaded."""


class NodeUnhealthyError(JobQueueError):
    """This node fails at what is done already: a fresh process is to show whether the node is sick."""
