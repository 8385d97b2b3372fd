"""Capture what FFmpeg logs while a call runs: some is told nowhere else, such as what a demuxer skips."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import av.logging
from av.container import InputContainer

_lock, _captures, _level_before = Lock(), 0, None
av.logging.set_skip_repeated(False)  # else a message that equals the last one of another file would be left out
logging.getLogger("libav").setLevel(logging.CRITICAL + 1)  # of threads that capture nothing


@contextmanager
def ffmpeg_errors(level: int = av.logging.ERROR) -> Iterator[list[tuple[int, str, str]]]:
    """Capture the messages of FFmpeg in this thread up to a level, as (level, name, line). Threads may overlap."""
    with _messages(level) as messages:
        try:
            yield messages
        finally:
            messages[:] = [message for message in messages if message[0] <= level]


def late_streams(container: InputContainer) -> list[str]:
    """Streams that FFmpeg found only while it read the file, which PyAV does not know: "2 (audio)"."""
    with _messages(av.logging.INFO):
        # PyAV's own types lack this method.
        described: str = container.dumps_format()  # pyright: ignore[reportAttributeAccessIssue]
        found = re.findall(r"^ *Stream #0:(\d+)[^:]*: (\w+)", described, re.MULTILINE)
    return [f"{number} ({kind.lower()})" for number, kind in found if int(number) >= len(container.streams)]


@contextmanager
def _messages(level: int) -> Iterator[list[tuple[int, str, str]]]:
    global _captures, _level_before
    with _lock:
        if not _captures:
            _level_before = av.logging.get_level()
        _captures += 1
        # What another thread captures at the same time may get more than it asked for.
        av.logging.set_level(level if _captures == 1 else max(level, av.logging.get_level() or level))
    try:
        with av.logging.Capture() as messages:
            yield messages
    finally:
        with _lock:
            _captures -= 1
            if not _captures:
                av.logging.set_level(_level_before)
