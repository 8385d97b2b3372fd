"""What is logged, for tests: collected in this process, or taken out of what a node has printed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from shared.logs import STARTED, LineHandler, TextFormatter, logging_to, parse


class Lines(list):
    """Lines that a handler writes, as a stream."""

    def write(self, text: str) -> None:
        self.append(text.removesuffix("\n"))

    def flush(self) -> None: ...


@contextmanager
def logged() -> Iterator[Lines]:
    """Collect what is logged, in lines as a node writes them."""
    lines = Lines()
    with logging_to(LineHandler(lines, TextFormatter()), logging.INFO):
        yield lines


def without_start(text: str) -> str:
    """What a node has printed, without the line that says what was started."""
    return "".join(line for line in text.splitlines(keepends=True) if STARTED not in line)


def messages(text: str) -> list[str]:
    """The messages of a node's log, without its first line; those of errors after `error: `."""
    lines = map(parse, without_start(text).splitlines())
    return ["error: " * (line.level == logging.ERROR) + line.message for line in lines]
