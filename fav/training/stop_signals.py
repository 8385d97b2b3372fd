"""Handle the signals that stop a training. Work that may be interrupted ends at once; other work is completed first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from shared.terminal import is_ignored, leave_terminal


class StopAskedError(BaseException):
    """A signal arrived during work that may be interrupted. It is no Exception, so that other code does not catch it."""


class StopSignals:
    """A context that handles SIGINT, SIGTERM and SIGHUP. The earlier handlers are restored at its end.

    A second signal raises KeyboardInterrupt. A second SIGHUP does not, because a terminal that closes sends two.

    Attributes:
        asked: The number of the first signal, or None.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._may_end = False
        self._earlier_handlers: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self._earlier_handlers = {
            number: signal.signal(number, self._stop)
            for number in numbers
            if number != signal.SIGHUP or not is_ignored(number)
        }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._earlier_handlers.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]  # as signal.signal returned it

    @contextmanager
    def may_end(self) -> Iterator[None]:
        """A context for work that may be interrupted.

        Raises:
            StopAskedError: A signal arrived, in the context or before it.
        """
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
