"""The stream that a log is written to: a terminal, a pipe or a file that may be full, away or gone while work goes on."""

import os
import sys
import threading
from collections import deque

from shared.terminal import drop, nobody_reads

MOST_LINES = 10_000  # that wait for room; beyond them the oldest are lost
AGAIN_S = 2.0  # after which a stream that took nothing is tried again


class LogStream:
    """Writes to a standard stream and never raises: what finds no room waits for the next try, and keeps its order.

    Where nobody reads any more (the end of a pipe is closed, a terminal is gone), lines lead to nowhere.

    Args:
        name: `stdout` or `stderr`; what `sys` has by that name when a line is written.
        background: write from a thread, so that a stream which blocks (a pipe that nobody reads, Ctrl-S) holds nobody up.
    """

    def __init__(self, name: str = "stdout", background: bool = False):
        self.name = name
        self._lines: deque[bytes] = deque()
        self._torn = False  # whether the first line was written in part
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True) if background else None
        if self._thread:
            self._thread.start()

    @property
    def _stream(self):
        stream = getattr(sys, self.name)
        return getattr(stream, "rich_proxied_file", stream)  # while rich shows progress: what it stands before

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        try:
            return self._stream.isatty()
        except (AttributeError, ValueError):
            return False

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Take a text, which `flush` or the thread writes."""
        if not text:
            return 0
        with self._changed:
            self._lines.append(text.encode(self.encoding, "backslashreplace"))
            if len(self._lines) > MOST_LINES:
                del self._lines[self._torn]  # never the one that is written in part
            self._changed.notify()
        return len(text)

    def flush(self) -> None:
        """Write what was taken, as far as the stream takes it."""
        if self._thread is None:
            with self._writing:
                self._write_all()

    def close(self, patience: float = 2.0) -> None:
        """Write what is left, for at most `patience` seconds."""
        if self._thread is None:
            self.flush()
            return
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(patience)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closing:
                    self._changed.wait()
            if not self._write_all():
                with self._changed:
                    if not self._closing:
                        self._changed.wait(AGAIN_S)
            with self._changed:
                if self._closing:
                    break
        self._write_all()

    def _write_all(self) -> bool:
        """Write all lines; whether none is left."""
        while self._lines:
            line = self._lines[0]
            try:
                written = _put(self._stream, line)
            except OSError as error:
                if not nobody_reads(error, self._stream):
                    return False  # no room, or a server that is away: both pass
                drop(self._stream)
                written = len(line)
            except (ValueError, AttributeError):
                written = len(line)  # the stream was closed, or there is none
            with self._changed:
                self._torn = written < len(line)
                if self._torn:
                    self._lines[0] = line[written:]
                else:
                    self._lines.popleft()
        return True


def _put(stream, data: bytes) -> int:
    """Write to a stream, past its buffer where it is a file: what a full disk did not take must not stay there.

    Returns:
        How many bytes were written.
    """
    stream.flush()
    try:
        fd = stream.fileno()
    except (OSError, ValueError, AttributeError):  # a stand-in for a stream, in memory
        stream.write(data.decode(stream.encoding or "utf-8", "replace"))
        stream.flush()
        return len(data)
    return os.write(fd, data)
