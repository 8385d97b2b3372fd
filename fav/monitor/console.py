"""Print lines to a terminal that may be closed or full: what a command answers, and what is logged on the way to it."""

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
    """How a command logs: from which level on, and in which form."""

    level: int = logging.INFO
    as_json: bool = False

    def words(self) -> list[str]:
        """The options with which a node logs so. Its log has all that a node tells, though the command be quiet."""
        words = ["--verbose"] if self.level <= logging.DEBUG else []
        return words + (["--log-format", "json"] if self.as_json else [])


def tell(line: str, err: bool = False) -> None:
    """Print a line. Where nobody reads it any more (a terminal that is closed, the end of a pipe) or there is no room for it,
    work goes on without. Where the command logs as JSON, the line is a record, too, whatever the level is."""
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
    """Write what was not written yet; what cannot be, Python would complain of once more when it ends."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            drop(stream)


# ---- what is logged
class PeopleFormatter(logging.Formatter):
    """The message, and before it the level where that is not usual."""

    def format(self, record: logging.LogRecord) -> str:
        return with_traceback(PREFIXES.get(record.levelno, "") + message_of(record), record)


class TerminalHandler(logging.Handler):
    """Writes records to a terminal: the time, and the message in the color of its level.

    Lines are not folded, so that paths can be copied.

    Args:
        stream: that leads to a terminal.
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
        pass  # work goes on without a word


def _styled(record: logging.LogRecord) -> tuple[str, str]:
    lines = [PREFIXES.get(record.levelno, "") + message_of(record), *traceback_of(record)]
    return "\n    ".join(lines), STYLES.get(record.levelno, "")


_handler: logging.Handler | None = None  # of the command that runs


@contextmanager
def command_log(settings: LogSettings) -> Iterator[None]:
    """Write what is logged to stdout, among what the command answers, until the context ends."""
    stream = LogStream()
    with _logging(settings, stream, PeopleFormatter()):
        yield


@contextmanager
def node_log(settings: LogSettings, job: str | None = None) -> Iterator[None]:
    """Write what is logged to stdout as a node does: to a terminal for people, to anything else with all fields.

    A stream that blocks holds nobody up. `job` is the one that the node serves; None for all.
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
    """Write the record that a log begins with. A terminal is no log: there, only --verbose shows it.

    Args:
        settings: of the log.
        record: the first one.
        always: write it though the command be quiet.
    """
    usual = logging.DEBUG if isinstance(_handler, TerminalHandler) else logging.INFO
    if _handler is not None and (settings.level <= usual or always and usual == logging.INFO):
        _handler.handle(record)


def terminal_console() -> "Console":
    """The console of `rich` that lines go to; what shows progress there needs it, so that lines come above it."""
    from rich.console import Console

    return _handler.console if isinstance(_handler, TerminalHandler) else Console()
