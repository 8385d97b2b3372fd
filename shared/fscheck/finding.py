"""What was found out about a directory, one line a property."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import wraps

from shared.filesystem import NO_SPACE_ERRNOS


class Verdict(Enum):
    OK = "ok"
    NOTE = "note"
    UNFIT = "UNFIT"


@dataclass(frozen=True)
class Finding:
    """The `figure` of the property `what`; where the verdict is not ok, `cure` says what follows.

    `error` is the errno where the property could not be looked at.
    """

    figure: str
    verdict: Verdict = Verdict.OK
    cure: str = ""
    what: str = ""
    error: int | None = None

    def __str__(self) -> str:
        return f"{self.verdict.value:<6}{self.what:<22}{self.figure}"


def ok(figure: str) -> Finding:
    return Finding(figure)


def note(figure: str, cure: str) -> Finding:
    """Worth knowing; nodes can work here."""
    return Finding(figure, Verdict.NOTE, cure)


def unfit(figure: str, cure: str) -> Finding:
    """Claims or results rest on this, and it does not hold."""
    return Finding(figure, Verdict.UNFIT, cure)


Probe = Callable[..., Finding]


def probe(what: str) -> Callable[[Probe], Probe]:
    """Name the property that a function looks into, and make a finding of an error of the file system."""

    def named(look: Probe) -> Probe:
        @wraps(look)
        def looked(*args) -> Finding:
            try:
                return replace(look(*args), what=what)
            except OSError as error:
                return replace(failed(error), what=what)

        return looked

    return named


def failed(error: OSError) -> Finding:
    """What an error of the file system says of it."""
    if error.errno in NO_SPACE_ERRNOS:
        cure = "make room"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        cure = "mount it writable, or correct its permissions"
    else:
        cure = "mount it again, or use another file system"
    return replace(unfit(f"{error.strerror}", cure), what="working here", error=error.errno)
