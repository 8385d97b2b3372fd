"""Findings about a directory, one line per property."""

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
    """One property of the directory.

    Attributes:
        figure: the result in words.
        verdict: ok, note or unfit.
        cure: what to do, if the verdict is not ok.
        what: name of the property.
        error: the errno, if the property could not be checked.
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
    """A finding that users should know; nodes can work here."""
    return Finding(figure, Verdict.NOTE, cure)


def unfit(figure: str, cure: str) -> Finding:
    """A finding that makes claims or results unsafe."""
    return Finding(figure, Verdict.UNFIT, cure)


Probe = Callable[..., Finding]


def probe(what: str) -> Callable[[Probe], Probe]:
    """Decorator: name the property that a function checks, and turn an error of the file system into a finding."""

    def decorate(check: Probe) -> Probe:
        @wraps(check)
        def checked(*args) -> Finding:
            try:
                return replace(check(*args), what=what)
            except OSError as error:
                return replace(failed(error), what=what)

        return checked

    return decorate


def failed(error: OSError) -> Finding:
    """The finding for an error of the file system."""
    if error.errno in NO_SPACE_ERRNOS:
        cure = "free some space"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        cure = "mount it writable, or correct its permissions"
    else:
        cure = "mount it again, or use another file system"
    return replace(unfit(f"{error.strerror}", cure), what="working here", error=error.errno)
