"""The terminal: standard streams that may be closed, and the signals that a terminal sends.

A node may outlive its terminal, the reader of its pipe, and the free space on the disk of its log.
"""

import errno
import os
import signal
import stat
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TextIO

STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))
# Signals that ask a node to leave; 1: after its task, 2: at once. A terminal that closes sends SIGHUP twice.
LEAVE = {signal.SIGINT: 1, signal.SIGTERM: 1, signal.SIGHUP: 1, signal.SIGQUIT: 2}
IMPORT_POLL_S = 0.05  # a signal during an import is sent again after this time
IMPORT_SILENCE_S = 1.0  # after which a line says what a signal waits for
HALT = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)  # Ctrl-Z, and terminal access of a background process


def open_streams() -> None:
    """Open closed standard streams on /dev/null.

    Otherwise the next opened file would get the descriptor of one, and output of libraries would be written into it.
    """
    for number, name, mode in STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free descriptor: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False, errors="backslashreplace"))


def nobody_reads(error: OSError, stream: TextIO | None) -> bool:
    """Whether writing to a stream failed permanently: the reader of the pipe, or the terminal, is gone."""
    if error.errno != errno.EIO or stream is None:
        return error.errno in (errno.EPIPE, errno.EBADF, errno.ENXIO)
    try:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)  # for a file, EIO may be temporary
    except (OSError, ValueError, AttributeError):
        return False


def drop(stream: TextIO | None) -> None:
    """Redirect a stream to /dev/null, with its unwritten buffer."""
    if stream is None:
        return
    try:
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, number)
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        pass  # not a file, as in tests


def leave_terminal() -> None:
    """Drop the streams of a terminal that is gone. To be called after SIGHUP, before anything is written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            termios.tcgetattr(stream.fileno())
        except termios.error as error:
            if error.args[0] == errno.EIO:
                drop(stream)
        except (OSError, ValueError, AttributeError):
            pass  # not a file


def is_ignored(number: int) -> bool:
    """Whether this process was started with the signal ignored, as by `nohup` or a shell's `&`."""
    return signal.getsignal(number) is signal.SIG_IGN


class Ended(KeyboardInterrupt):
    """A signal other than SIGINT asked the process to end. `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt inside the context on Ctrl-C, and `Ended` on SIGTERM and SIGHUP.

    So unfinished files are removed. A signal that was ignored before (`nohup`, a shell's `&`) stays ignored. A terminal
    that closes sends SIGHUP twice; the second one is ignored. While a module is imported, a signal waits for the end of
    the import: some libraries drop an exception there, and go on with half of their names. A second Ctrl-C does not wait.
    """
    ending = resent = told = False
    waiting: dict[int, float] = {}  # since when signals have been waiting for the end of an import

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ending, resent
        impatient = number == signal.SIGINT and number in waiting and not resent
        resent = False
        if _is_importing(frame) and not impatient:
            waiting.setdefault(number, time.monotonic())
            again = threading.Timer(IMPORT_POLL_S, resend, (number,))
            again.daemon = True
            again.start()
            return
        waiting.clear()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGHUP:
            leave_terminal()
            if ending:
                return
        ending = True
        raise Ended(number)

    def resend(number: int) -> None:
        nonlocal resent, told
        if number not in waiting:  # the user repeated it
            return
        if not told and time.monotonic() > waiting[number] + IMPORT_SILENCE_S:
            told = True
            with suppress(OSError):
                os.write(2, b"stopping as soon as the libraries are loaded; Ctrl-C stops at once\n")
        resent = True
        os.kill(os.getpid(), number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, end)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if not is_ignored(number)
    }
    try:
        yield
    finally:
        waiting.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether the interrupted code is part of an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def halt(number: int) -> None:
    """Stop this process as the signal would without a handler. Returns when the process is continued."""
    if not _has_terminal():  # then another process sent it, and will send SIGCONT
        signal.raise_signal(signal.SIGSTOP)
        return
    handler = signal.signal(number, signal.SIG_DFL)  # the kernel knows whether there is a shell that could continue us
    signal.raise_signal(number)
    signal.signal(number, handler)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
        return True
    except OSError:
        return False


def stopped_code(asked: KeyboardInterrupt) -> int:
    """The exit code of a command that a signal ended, as in a shell: 128 + signal number."""
    return 128 + (asked.number if isinstance(asked, Ended) else signal.SIGINT)
