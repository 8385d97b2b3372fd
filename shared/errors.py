"""The root of every error that a user reads, and the errors of the job system."""

import errno
import re
import stat
import sys

MAX_LENGTH = 4000  # characters of a message
# Invisible characters that Python counts as printable: with them, two different names look the same.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# A directory entry in words, by its type; and by the error of opening it as a regular file without following links.
FILE_TYPES = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
INSTALL = "bash install.sh, then use .venv/bin/python"
TYPES_BY_ERRNO = {errno.ELOOP: stat.S_IFLNK, errno.ENXIO: stat.S_IFSOCK, errno.ENODEV: stat.S_IFCHR}


def sanitize(text: object, most: int = 200) -> str:
    """Make foreign text safe for one line of a terminal, a page or a plot.

    Control characters, invisible characters, changes of the writing direction and undecodable bytes become `?`.

    Args:
        text: the text, or an object with one.
        most: the number of characters that are kept.
    """
    return INVISIBLE.sub("?", "".join(letter if letter.isprintable() else "?" for letter in str(text)[:most]))


def file_type(mode: int) -> str:
    """A directory entry in words for a message. `mode` is that of `stat`, or the type alone."""
    return FILE_TYPES.get(stat.S_IFMT(mode), "something else")


def missing_dependency_message(error: ImportError) -> str:
    """One line: this Python lacks a library, or cannot load one."""
    return f"{sys.executable}: a library is missing or does not load ({sanitize(error, 300)}); {INSTALL}"


def is_own_module(error: ImportError) -> bool:
    """Whether a module of this program is missing: then the program is broken, not the installation of its libraries."""
    return (error.name or "").partition(".")[0] in ("fav", "shared")


class UserError(Exception):
    """The root of every error that a user reads, in the whole program.

    Its message is one line: where, what was expected, what was there, what to do. Quoted text is sanitized.
    """

    def __str__(self) -> str:
        return sanitize(super().__str__(), MAX_LENGTH)


class JobQueueError(UserError):
    """The shared directory, or a file in it, is not as it should be."""


class OddFileError(JobQueueError):
    """A path is not a regular file, or the file is too large. `got` describes what is there."""

    def __init__(self, message: str, got: str):
        super().__init__(message)
        self.got = got


class EvictedError(JobQueueError):
    """This node's heartbeat file is gone: others considered the node dead, so it has to join again."""


class ResultVanishedError(JobQueueError):
    """A published input that was there before is gone: the state must be read again."""


class InputChangedError(JobQueueError):
    """An input of the job has changed. No attempt has failed, but no node can continue until the input is restored."""


class JobRemovedError(JobQueueError):
    """The job's directory is gone: it was removed while this node worked on it."""


class StopRequested(JobQueueError):
    """The node was asked to stop while it waited."""


class SourcesReplaced(JobQueueError):
    """The program's sources were replaced while it ran: modules loaded later would not fit those loaded before."""


class NodeUnhealthyError(JobQueueError):
    """This node failed its self-test; a second test in a fresh process decides whether the node is unhealthy."""
