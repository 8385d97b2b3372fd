"""Signals that ask a training to stop: at once where nothing can be left half done, else as soon as that is over."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from shared.terminal import is_ignored, leave_terminal


class StopAskedError(BaseException):
    """A signal came where work may be broken off; not an Exception, which code in between might catch."""


class StopSignals:
    """SIGINT, SIGTERM and SIGHUP within a `with`; the handlers of before come back behind it.

    `asked` is the number of the first one that came, None before. A second one interrupts at once, but not a second SIGHUP:
    a terminal that closes sends two.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._may_end = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self._before = {
            number: signal.signal(number, self._stop)
            for number in numbers
            if number != signal.SIGHUP or not is_ignored(number)
        }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]  # as signal.signal returned it

    @contextmanager
    def may_end(self) -> Iterator[None]:
        """What is done within may be broken off. Raises StopAskedError, at its beginning, too, once a signal has come."""
        self._may_end = True
        try:
            if self.asked is not None:
                raise StopAskedError
            yield
        finally:
            self._may_end = False

    def _stop(self, number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            leave_terminal()
            if self.asked is not None:
                return
        if self.asked is not None:
            raise KeyboardInterrupt
        self.asked = number
        if self._may_end:
            self._may_end = False
            raise StopAskedError
