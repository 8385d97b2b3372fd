"""The terminal: streams that may be closed or gone, and the signals that come from it.

A node may outlive its terminal, the reader of its pipe and the room on the disk of its log.
"""

import errno
import os
import signal
import stat
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))
# How strongly each signal asks a node to leave: after its task, or at once. A terminal that closes sends SIGHUP twice.
LEAVE = {signal.SIGINT: 1, signal.SIGTERM: 1, signal.SIGHUP: 1, signal.SIGQUIT: 2}
HALT = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)  # Ctrl-Z, and what a terminal does to who is in the background


def open_streams() -> None:
    """Open those of the standard streams that are closed, to nowhere.

    Else the next file that is opened has the number of one, and what a library says is written into it.
    """
    for number, name, mode in STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False, errors="backslashreplace"))


def nobody_reads(error: OSError, stream: TextIO | None) -> bool:
    """Whether writing to a stream failed for good: the reader of the pipe or the terminal is gone."""
    if error.errno != errno.EIO or stream is None:
        return error.errno in (errno.EPIPE, errno.EBADF, errno.ENXIO)
    try:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)  # a file may be on a disk that stumbles
    except (OSError, ValueError, AttributeError):
        return False


def drop(stream: TextIO | None) -> None:
    """Let a stream lead to nowhere from now on, with what it could not write."""
    if stream is None:
        return
    try:
        number = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, number)
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        pass  # it is no file, as in tests


def leave_terminal() -> None:
    """Drop the streams that lead to a terminal that is gone; to be called when SIGHUP came, before more is written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            termios.tcgetattr(stream.fileno())
        except termios.error as error:
            if error.args[0] == errno.EIO:
                drop(stream)
        except (OSError, ValueError, AttributeError):
            pass  # it is no file


def is_ignored(number: int) -> bool:
    """Whether this process was started with the signal ignored, as `nohup` and a shell's `&` do."""
    return signal.getsignal(number) is signal.SIG_IGN


class Ended(KeyboardInterrupt):
    """A signal other than that of Ctrl-C asked the process to end. `number` is that of the signal."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end what runs as Ctrl-C does, so that it takes its unfinished files away: `Ended`.

    One that was ignored when the process began (`nohup`) stays so. A terminal that closes sends SIGHUP twice: once it is
    ending, that changes nothing.
    """
    ending = False

    def end(number: int, frame: object) -> None:
        nonlocal ending
        if number == signal.SIGHUP:
            leave_terminal()
            if ending:
                return
        ending = True
        raise Ended(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP) if not is_ignored(number)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def halt(number: int) -> None:
    """Stop this process as the signal would without a handler. Returns when the process is continued."""
    if not _has_terminal():  # then somebody sent it, and will send SIGCONT
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
    """The exit code of a command that was ended by a signal, as a shell has it."""
    return 128 + (asked.number if isinstance(asked, Ended) else signal.SIGINT)
