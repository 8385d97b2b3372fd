"""Log lines: their fields and forms, what strangers' text may do to them, and streams that are full, away or gone."""

import errno
import json
import logging
import os
import sys
import threading

import pytest

from shared.log_stream import MAX_LINES, LogStream
from shared.logs import (
    STARTED,
    ContextFilter,
    JSONFormatter,
    LineHandler,
    LogLine,
    TextFormatter,
    log_context,
    log_start,
    logging_to,
    parse,
    set_defaults,
)
from tests.helpers.waiting import wait_for

logger = logging.getLogger("shared.test")
HOSTILE = "\x1b[31mred\x1b]0;title\x07\nerror: forged\r\u202ereversed\u2028\udcff"


def record(message: str = "a message", *words, level: int = logging.INFO, **extra) -> logging.LogRecord:
    made = logger.makeRecord(logger.name, level, __file__, 1, message, words, None, extra=extra)
    ContextFilter().filter(made)
    return made


@pytest.fixture(autouse=True)
def of_no_node():
    set_defaults(node=None, job=None)


@pytest.fixture
def node():
    set_defaults(node="lab3-12-0123abcd")
    yield
    set_defaults(node=None)


# ---- fields and forms
def test_text_line_has_time_level_node_job_and_task_and_reads_back(node):
    with log_context(job="film", task="frame.0000012"):
        line = TextFormatter().format(record("failed: %s", "why", level=logging.WARNING))
    time, level, *fields = line.split(" ", 5)
    assert len(time) == len("2026-11-29T10:44:14+00:00") and time[10] == "T"
    assert [level, *fields] == ["warning", "lab3-12-0123abcd", "film", "frame.0000012", "failed: why"]
    assert parse(line) == LogLine("failed: why", logging.WARNING, "lab3-12-0123abcd", "film", "frame.0000012")


def test_json_line_has_the_same_fields_and_reads_back(node):
    with log_context(job="film"):
        line = JSONFormatter().format(record())
    found = json.loads(line)
    assert list(found) == ["time", "level", "logger", "node", "job", "task", "message"]
    assert found["task"] is None and found["logger"] == "shared.test"
    assert parse(line) == LogLine("a message", logging.INFO, "lab3-12-0123abcd", "film", None)


def test_line_without_node_job_and_task_has_a_dash_for_each():
    line = TextFormatter().format(record())
    assert " info - - - a message" in line and parse(line) == LogLine("a message")


def test_context_ends_with_its_block_and_what_a_record_has_stays():
    with log_context(job="film", task="frame.0000001"):
        with log_context(task="frame.0000002"):
            assert record().task == "frame.0000002" and record(node="other").node == "other"
        assert record().task == "frame.0000001" and record(job="another").job == "another"
    assert record().job is None


def test_contexts_of_two_threads_are_apart():
    seen, met = {}, threading.Barrier(2, timeout=10)

    def work(job: str) -> None:
        with log_context(job=job):
            met.wait()
            seen[job] = record().job

    threads = [threading.Thread(target=work, args=(job,)) for job in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"a": "a", "b": "b"}


@pytest.mark.parametrize("line", ["10:44:14 as nodes wrote before", "as nodes wrote before"])
def test_line_of_an_earlier_version_is_read_without_its_time(line):
    assert parse(line) == LogLine("as nodes wrote before")


@pytest.mark.parametrize(
    "line",
    ["{", "{}", '{"level": "loud", "message": "x"}', '{"level": "info"}', '{"level": []}', "[" * 5000, '{"a":' * 5000],
)
def test_line_of_no_form_is_a_message(line):
    assert parse(line) == LogLine(line)


# ---- strangers' text
@pytest.mark.parametrize("formatter", [TextFormatter(), JSONFormatter()])
def test_no_message_forges_a_line_or_moves_a_terminal(formatter):
    with log_context(job=f"a b{HOSTILE}"):
        line = formatter.format(record("%s", HOSTILE))
    assert line.isprintable() and "forged" in line and len(line.splitlines()) == 1
    assert parse(line).message.startswith("?[31mred") and parse(line).level == logging.INFO


def test_traceback_stands_below_its_line_and_forges_none():
    forged = TextFormatter().format(record("forged", level=logging.ERROR))
    try:
        raise ValueError(f"x\n{forged}\x1b[2J")
    except ValueError:
        failed = logger.makeRecord(logger.name, logging.ERROR, __file__, 1, "it failed", (), sys.exc_info())
    first, *rest = TextFormatter().format(failed).splitlines()
    assert parse(first).message == "it failed" and any("ValueError: x" in line for line in rest)
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert [parse(line).level for line in rest] == [logging.INFO] * len(rest)
    found = json.loads(JSONFormatter().format(failed))
    assert (
        found["message"] == "it failed" and "ValueError: x\n" in found["traceback"] and "\x1b" not in found["traceback"]
    )


# ---- the first line
def test_first_line_tells_version_command_host_pid_and_job(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["node.py", "/mnt/film\n", "--job", "film"])
    begin = log_start("fav 1.2", "0123456789ab", "lab3", 12, "film")
    ContextFilter().filter(begin)
    found = json.loads(JSONFormatter().format(begin))
    assert (
        found["message"].startswith(STARTED)
        and found["job"] == "film"
        and (found["host"], found["pid"]) == ("lab3", 12)
    )
    assert (found["version"], found["sources"]) == ("fav 1.2", "0123456789ab")
    assert found["command"] == ["node.py", "/mnt/film?", "--job", "film"]
    text = TextFormatter().format(begin)
    assert all(
        word in text for word in ("fav 1.2", "0123456789ab", "lab3", "pid 12", "job film", "node.py /mnt/film? --job")
    )


# ---- where lines go
class Collecting(logging.Handler):
    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def test_records_go_to_one_handler_from_a_level_on_and_then_where_they_went_before():
    outer, inner = Collecting(), Collecting()
    with logging_to(outer, logging.WARNING):
        logger.info("not told")
        with logging_to(inner, logging.DEBUG):
            logger.debug("inside")
        logger.warning("outside")
    assert (outer.messages, inner.messages) == (["outside"], ["inside"])


def test_library_tells_warnings_only(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "level", logging.WARNING)
    told = Collecting()
    with logging_to(told, logging.DEBUG):
        logging.getLogger("some.library").info("chatter")
        logging.getLogger("some.library").warning("a warning")
    assert told.messages == ["a warning"]


@pytest.fixture
def out(monkeypatch):
    """Lets `sys.stdout` be a file, by its descriptor."""

    def let(fd: int):
        monkeypatch.setattr(sys, "stdout", open(fd, "w", closefd=False))
        return fd

    return let


def lines_to(stream: LogStream, *messages: str) -> None:
    handler = LineHandler(stream, logging.Formatter("%(message)s"))
    for message in messages:
        handler.handle(record(message))


@pytest.mark.parametrize("background", [False, True])
def test_lines_come_in_order_after_what_was_printed_before(tmp_path, out, background):
    fd = out(os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY))
    stream = LogStream(background=background)
    print("printed")
    lines_to(stream, *map(str, range(100)))
    stream.close()
    assert (tmp_path / "log").read_text().split() == ["printed", *map(str, range(100))]
    os.close(fd)


def test_bad_call_and_closed_stream_stop_nobody(monkeypatch, capfd):
    stream = open(os.devnull, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    stream.close()
    lines_to(LogStream(), "lost")
    monkeypatch.setattr(sys, "stdout", None)
    lines_to(LogStream(), "lost")
    LineHandler(LogStream(), TextFormatter()).handle(record("%d", "no number"))
    assert capfd.readouterr() == ("", "")


def test_pipe_that_nobody_reads_any_more_is_dropped(out, capfd):
    reading, writing = os.pipe()
    os.close(reading)
    lines_to(LogStream(), "one", "two") if out(writing) else None
    os.write(writing, b"it leads to nowhere now")
    assert capfd.readouterr() == ("", "")
    os.close(writing)


def test_lines_that_find_no_room_come_with_the_next_that_does(monkeypatch, tmp_path, out):
    fd = out(os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY))
    room, write = [0], os.write

    def write_a_little(to: int, data: bytes) -> int:
        if to != fd:
            return write(to, data)
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken, room[0] = min(room[0], len(data)), room[0] - min(room[0], len(data))
        return write(to, data[:taken])

    monkeypatch.setattr(os, "write", write_a_little)
    stream = LogStream()
    lines_to(stream, "one", "two")
    room[0] = 6  # "one" and half of "two"
    lines_to(stream, "three")
    assert (tmp_path / "log").read_text() == "one\ntw"
    room[0] = 1000
    lines_to(stream, "four")
    assert (tmp_path / "log").read_text().split() == ["one", "two", "three", "four"]
    os.close(fd)


def test_pipe_that_blocks_holds_nobody_up_and_costs_a_bounded_memory(out):
    reading, writing = os.pipe()
    out(writing)
    stream = LogStream(background=True)
    for number in range(2 * MAX_LINES):
        stream.write(f"{number:0100}\n")
    assert len(stream._lines) <= MAX_LINES + 1
    stream.close(0.05)  # does not wait for ever
    with open(reading) as read:  # what is left comes as soon as somebody reads, in order and in whole lines
        lines = [read.readline() for _ in range(100)]
        assert {len(line) for line in lines} == {101} and lines == sorted({*lines})
        wait_for(lambda: not stream._lines or read.readline())
    os.close(writing)


@pytest.mark.parametrize("level, shown", [(logging.INFO, ["ours"]), (logging.DEBUG, ["ours", "theirs"])])
def test_what_libraries_log_is_shown_with_v_alone(level, shown):
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())
    with logging_to(handler, level):
        logging.getLogger("shared.notify").warning("ours")
        logging.getLogger("watchdog.observers").error("theirs")
    assert seen == shown
