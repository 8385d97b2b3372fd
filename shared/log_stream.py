"""The stream of a log: a terminal, a pipe or a file. It may become full, unreachable or closed while work continues."""

import os
import sys
import threading
from collections import deque

from shared.terminal import drop, nobody_reads

MAX_LINES = 10_000  # that wait to be written; beyond them the oldest are dropped
RETRY_S = 2.0  # after which a stream that accepted nothing is tried again


class LogStream:
    """Writes to a standard stream and never raises. Lines that cannot be written wait in order for the next try.

    Without a reader (a closed pipe, a closed terminal), lines are discarded.

    Args:
        name: `stdout` or `stderr`; looked up in `sys` whenever a line is written.
        background: write from a thread, so that a stream that blocks (a pipe without reader, Ctrl-S) blocks no caller.
    """

    def __init__(self, name: str = "stdout", background: bool = False):
        self.name = name
        self._lines: deque[bytes] = deque()
        self._is_partial = False  # whether the first line was partly written
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True) if background else None
        if self._thread:
            self._thread.start()

    @property
    def _stream(self):
        stream = getattr(sys, self.name)
        return getattr(stream, "rich_proxied_file", stream)  # while rich shows progress: the stream behind its proxy

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
        """Queue a text; `flush` or the thread writes it."""
        if not text:
            return 0
        with self._changed:
            self._lines.append(text.encode(self.encoding, "backslashreplace"))
            if len(self._lines) > MAX_LINES:
                del self._lines[self._is_partial]  # never the partly written line
            self._changed.notify()
        return len(text)

    def flush(self) -> None:
        """Write the queue, as far as the stream accepts it."""
        if self._thread is None:
            with self._writing:
                self._write_all()

    def close(self, patience: float = 2.0) -> None:
        """Write the rest, for at most `patience` seconds."""
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
                        self._changed.wait(RETRY_S)
            with self._changed:
                if self._closing:
                    break
        self._write_all()

    def _write_all(self) -> bool:
        """Write all lines. Returns whether the queue is empty."""
        while self._lines:
            line = self._lines[0]
            try:
                written = _put(self._stream, line)
            except OSError as error:
                if not nobody_reads(error, self._stream):
                    return False  # a full disk or an unreachable server: both are temporary
                drop(self._stream)
                written = len(line)
            except (ValueError, AttributeError):
                written = len(line)  # the stream was closed, or there is none
            with self._changed:
                self._is_partial = written < len(line)
                if self._is_partial:
                    self._lines[0] = line[written:]
                else:
                    self._lines.popleft()
        return True


def _put(stream, data: bytes) -> int:
    """Write to a stream, without its buffer if it is a file: bytes that a full disk refused must not stay in it.

    Returns:
        The number of bytes written.
    """
    stream.flush()
    try:
        fd = stream.fileno()
    except (OSError, ValueError, AttributeError):  # a stream in memory
        stream.write(data.decode(stream.encoding or "utf-8", "replace"))
        stream.flush()
        return len(data)
    return os.write(fd, data)
