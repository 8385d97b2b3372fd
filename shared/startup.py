"""The imports of a command. It imports hardly anything itself, so that it is there before the user can press Ctrl-C."""

import signal
import sys
from contextlib import contextmanager

MIN_PYTHON = (3, 11)


@contextmanager
def checked_imports():
    """Context for a command's imports: exits with one line if this Python is too old or lacks a library.

    Opens closed standard streams first. Ctrl-C ends the process at once, without a traceback: nothing has begun yet.
    """
    interrupt = signal.getsignal(signal.SIGINT)
    ends_at_once = interrupt is signal.default_int_handler and _set_interrupt(signal.SIG_DFL)
    try:
        _open_and_check_python()
        yield
    except ImportError as error:
        from shared.errors import is_own_module, missing_dependency_message

        if is_own_module(error):
            raise
        _exit(missing_dependency_message(error))
    finally:
        if ends_at_once:
            _set_interrupt(interrupt)


def _open_and_check_python() -> None:
    from shared.errors import INSTALL
    from shared.terminal import open_streams

    open_streams()
    if sys.version_info < MIN_PYTHON:
        least = ".".join(map(str, MIN_PYTHON))
        _exit(f"{sys.executable}: expected Python {least} or newer, got {sys.version.split()[0]}; {INSTALL}")


def _exit(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _set_interrupt(handler) -> bool:
    """Set the handler of Ctrl-C. Returns False outside of the main thread, which alone can do so."""
    try:
        signal.signal(signal.SIGINT, handler)
    except ValueError:
        return False
    return True
