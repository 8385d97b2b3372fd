"""Print the answers and the log of a command to a stream that may be closed or full."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from shared.log_stream import LogStream
from shared.logs import (
    ContextFilter,
    JSONFormatter,
    LineHandler,
    TextFormatter,
    logging_to,
    message_of,
    set_defaults,
    traceback_of,
    with_traceback,
)
from shared.terminal import drop, nobody_reads

if TYPE_CHECKING:
    from rich.console import Console

PREFIXES = {logging.WARNING: "warning: ", logging.ERROR: "error: ", logging.CRITICAL: "error: "}
STYLES = {logging.DEBUG: "dim", logging.WARNING: "yellow", logging.ERROR: "bold red", logging.CRITICAL: "bold red"}


@dataclass(frozen=True)
class LogSettings:
    """The log level of a command, and whether it logs as JSON."""

    level: int = logging.INFO
    as_json: bool = False

    def words(self) -> list[str]:
        """The options of a node that logs like this command. A quiet command does not make its nodes quiet."""
        words = ["--verbose"] if self.level <= logging.DEBUG else []
        return words + (["--log-format", "json"] if self.as_json else [])


def tell(line: str, err: bool = False) -> None:
    """Print a line of a command's answer. It is dropped if the stream is closed or its disk is full.

    If the command logs as JSON, the line becomes a JSON record, whatever the log level.
    """
    if _handler is not None and isinstance(_handler.formatter, JSONFormatter):
        level, handler = logging.INFO, _handler
        if err:
            level, handler = logging.ERROR, LineHandler(LogStream("stderr"), JSONFormatter())
        handler.handle(logging.LogRecord("fav.answer", level, __file__, 0, "%s", (line.removeprefix("error: "),), None))
        return
    try:
        click.echo(line, err=err)
    except OSError as error:
        stream = sys.stderr if err else sys.stdout
        if nobody_reads(error, stream):
            drop(stream)


def _flush() -> None:
    """Flush the standard streams. One that cannot be flushed is dropped: Python would report it again at its end."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            drop(stream)


# ---- the log
class PeopleFormatter(logging.Formatter):
    """The message, with a prefix for warnings and errors."""

    def format(self, record: logging.LogRecord) -> str:
        return with_traceback(PREFIXES.get(record.levelno, "") + message_of(record), record)


class TerminalHandler(logging.Handler):
    """Writes records to a terminal: the time, and the message in the color of its level.

    Lines are not wrapped, so that paths can be copied.

    Args:
        stream: a stream to a terminal.
    """

    def __init__(self, stream: LogStream):
        from rich.console import Console

        super().__init__()
        self.console = Console(file=stream)  # pyright: ignore[reportArgumentType]  # it writes and flushes, no more
        self.addFilter(ContextFilter())

    def emit(self, record: logging.LogRecord) -> None:
        from rich.text import Text

        try:
            time = logging.Formatter().formatTime(record, "%H:%M:%S")
            line = Text.assemble((time, "dim"), " ", _styled(record))
            self.console.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        pass  # a broken terminal must not stop the work


def _styled(record: logging.LogRecord) -> tuple[str, str]:
    lines = [PREFIXES.get(record.levelno, "") + message_of(record), *traceback_of(record)]
    return "\n    ".join(lines), STYLES.get(record.levelno, "")


_handler: logging.Handler | None = None  # of the running command


@contextmanager
def command_log(settings: LogSettings) -> Iterator[None]:
    """Log to stdout inside the context, together with the command's answers."""
    stream = LogStream()
    with _logging(settings, stream, PeopleFormatter()):
        yield


@contextmanager
def node_log(settings: LogSettings, job: str | None = None) -> Iterator[None]:
    """Log to stdout like a node inside the context: messages only to a terminal, otherwise lines with all fields.

    A stream that blocks does not block the node.

    Args:
        settings: of the log.
        job: the job that the node serves; None for all.
    """
    stream = LogStream(background=True)
    set_defaults(job=job)
    try:
        with _logging(settings, stream, TextFormatter()):
            yield
    finally:
        stream.close()
        set_defaults(node=None, job=None)


@contextmanager
def _logging(settings: LogSettings, stream: LogStream, text: logging.Formatter) -> Iterator[None]:
    global _handler
    before = _handler
    if settings.as_json:
        _handler = LineHandler(stream, JSONFormatter())
    elif stream.isatty():
        _handler = TerminalHandler(stream)
    else:
        _handler = LineHandler(stream, text)
    try:
        with logging_to(_handler, settings.level):
            yield
    finally:
        _handler = before


def begin_log(settings: LogSettings, record: logging.LogRecord, always: bool = False) -> None:
    """Write the first record of a log. On a terminal, only --verbose shows it.

    Args:
        settings: of the log.
        record: the first record.
        always: write it even if the command is quiet.
    """
    usual = logging.DEBUG if isinstance(_handler, TerminalHandler) else logging.INFO
    if _handler is not None and (settings.level <= usual or always and usual == logging.INFO):
        _handler.handle(record)


def terminal_console() -> "Console":
    """The `rich` console of the log. A progress bar must use it, so that log lines appear above the bar."""
    from rich.console import Console

    return _handler.console if isinstance(_handler, TerminalHandler) else Console()
