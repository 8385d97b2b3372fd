"""Log lines: their fields, their text and JSON formats, and a parser for both.

Modules log through `logging.getLogger(__name__)`. `set_defaults` and `log_context` set the fields node, job and task.
Only the formatters sanitize foreign text.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from shared.errors import MAX_LENGTH, sanitize

LOG_HEAD = "the log of a node of fav"  # the first line of our files in the share's `logs`; other files are not ours
STARTED = "started: "  # the beginning of a process's first record
LOGGERS = ("fav", "shared")  # the roots of this program's loggers; of libraries, only warnings are shown, with -v
FIELDS = ("node", "job", "task")
NONE = "-"  # in text, a field without a value

_TEXT = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT[0-9:.]{8,15}[+-]\d\d:\d\d) (?P<level>debug|info|warning|error|critical) "
    r"(?P<node>\S+) (?P<job>\S+) (?P<task>\S+) (?P<message>.*)"
)
_CLOCK = re.compile(
    r"\d\d:\d\d:\d\d (?P<message>.*)"
)  # the format of older versions, and of the shell script that watches a node
_LEVELS = {name.lower(): number for name, number in logging.getLevelNamesMapping().items()}

_context: ContextVar[dict[str, str]] = ContextVar("log_context", default={})  # noqa: B039  (it is never changed)
_defaults: dict[str, str | None] = {}  # of this process
_attached: list[logging.Handler] = []  # by `logging_to`


def set_defaults(**fields: str | None) -> None:
    """Set default fields (`node`, `job`, `task`) for all log lines of this process; a `log_context` overrides them."""
    _defaults.update(fields)


def is_log_of(head: bytes, job: str) -> bool:
    """Whether a file is a log of nodes of that job, by its first bytes: our first line, then a line that names the job."""
    first, _, rest = head.decode(errors="replace").partition("\n")
    return first == LOG_HEAD and (f", job {job}: " in rest or f'"job": "{job}"' in rest)


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Set fields (`job`, `task`, `node`) of the log lines of this thread inside the context."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


class ContextFilter(logging.Filter):
    """Adds the fields `node`, `job` and `task` to each record, None if unknown. Existing values stay."""

    def filter(self, record: logging.LogRecord) -> bool:
        known = _context.get()
        for name in FIELDS:
            if getattr(record, name, None) is None:
                setattr(record, name, known.get(name) or _defaults.get(name))
        return True


def set_level(level: int) -> None:
    """Set the level of this program's loggers."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(level)


def message_of(record: logging.LogRecord) -> str:
    """The sanitized message of a record, in one line."""
    return sanitize(record.getMessage(), MAX_LENGTH)


def traceback_of(record: logging.LogRecord) -> list[str]:
    """The sanitized lines of a record's traceback; empty if there is none."""
    text = record.exc_text or ("".join(traceback.format_exception(*record.exc_info)) if record.exc_info else "")
    return [sanitize(line, MAX_LENGTH) for line in text.splitlines()]


def with_traceback(line: str, record: logging.LogRecord) -> str:
    """A line with the record's traceback below it. The indent distinguishes the traceback from log lines."""
    return "\n".join((line, *(f"    {one}" for one in traceback_of(record))))


def _time_of(record: logging.LogRecord, precision: str) -> str:
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec=precision)


class TextFormatter(logging.Formatter):
    """One line for files: time with UTC offset, level, node, job, task, message. `-` is a field without a value."""

    def format(self, record: logging.LogRecord) -> str:
        fields = (re.sub(r"\s", "_", sanitize(getattr(record, name, None) or NONE)) for name in FIELDS)
        words = (_time_of(record, "seconds"), record.levelname.lower(), *fields, message_of(record))
        return with_traceback(" ".join(words), record)


class JSONFormatter(logging.Formatter):
    """One JSON object per line: `time`, `level`, `logger`, `node`, `job`, `task`, `message`, and `traceback` if any.

    The entries of a record's `facts` (a dictionary) follow. docs/reference/logging.md describes the fields.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": _time_of(record, "milliseconds"), "level": record.levelname.lower(), "logger": record.name}
        fields |= {name: _plain_or_none(getattr(record, name, None)) for name in FIELDS}
        fields["message"] = message_of(record)
        if lines := traceback_of(record):
            fields["traceback"] = "\n".join(lines)
        facts = {
            name: [sanitize(one, MAX_LENGTH) for one in value] if isinstance(value, list) else _plain_or_none(value)
            for name, value in getattr(record, "facts", {}).items()
            if name not in fields
        }
        return json.dumps(fields | facts, ensure_ascii=False)


def _plain_or_none(value: object) -> object:
    return value if value is None or isinstance(value, int) else sanitize(value, MAX_LENGTH)


class LineHandler(logging.StreamHandler):
    """Writes records with their fields to a stream. Errors of the stream never reach the caller of the logger.

    Args:
        stream: a text stream.
        formatter: the format of the lines.
    """

    def __init__(self, stream, formatter: logging.Formatter):
        super().__init__(stream)
        self.setFormatter(formatter)
        self.addFilter(ContextFilter())

    def handleError(self, record: logging.LogRecord) -> None:
        pass  # a log that cannot be written stops no work and prints nothing


def is_for_people(record: logging.LogRecord) -> bool:
    """Whether a record is shown: those of this program always; those of libraries only with -v."""
    own = record.name.partition(".")[0] in LOGGERS
    return own or logging.getLogger(LOGGERS[0]).isEnabledFor(logging.DEBUG)


@contextmanager
def logging_to(handler: logging.Handler, level: int) -> Iterator[None]:
    """Send this program's records to `handler` alone inside the context.

    It gets records from `level` on, and with DEBUG the warnings of libraries. Handlers that other code has added stay.
    """
    root, loggers = logging.getLogger(), [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    others = [one for one in root.handlers if one in _attached]
    for one in others:
        root.removeHandler(one)
    _attached.append(handler)
    handler.addFilter(is_for_people)
    root.addHandler(handler)
    set_level(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.removeFilter(is_for_people)
        _attached.remove(handler)
        for one in others:
            root.addHandler(one)
        for logger, number in zip(loggers, before):
            logger.setLevel(number)


@dataclass(frozen=True)
class LogLine:
    """A parsed line of a log. The message is not sanitized."""

    message: str
    level: int = logging.INFO
    node: str | None = None
    job: str | None = None
    task: str | None = None


def parse(line: str) -> LogLine:
    """Parse a log line of any format. A line of no known format becomes the message."""
    if line.startswith("{"):
        return _parse_json(line)
    if found := _TEXT.fullmatch(line):
        fields = {name: None if found[name] == NONE else found[name] for name in FIELDS}
        return LogLine(found["message"], _LEVELS[found["level"]], **fields)
    found = _CLOCK.fullmatch(line)
    return LogLine(found["message"] if found else line)


def _parse_json(line: str) -> LogLine:
    try:
        found = json.loads(line)
        level = _LEVELS[found["level"]]
        fields = {name: None if found.get(name) is None else str(found[name]) for name in FIELDS}
        return LogLine(str(found["message"]), level, **fields)
    except (ValueError, KeyError, TypeError, RecursionError):
        return LogLine(line)  # not a line of ours


def log_start(program: str, version: str, host: str, pid: int, job: str | None) -> logging.LogRecord:
    """The first record of a process: the program, its version, the host and the command. Handlers show it at any level.

    Args:
        program: name and version of the program.
        version: digits that differ if any source file differs.
        host: name of this machine.
        pid: of this process.
        job: name of the job, if there is one.
    """
    words = f"{program} (sources {version}) on {host}, pid {pid}{f', job {job}' if job else ''}: {' '.join(sys.argv)}"
    record = logging.LogRecord("shared.logs", logging.INFO, __file__, 0, f"{STARTED}%s", (words,), None)
    record.job = job
    record.facts = {"version": program, "sources": version, "host": host, "pid": pid, "command": list(sys.argv)}
    return record
