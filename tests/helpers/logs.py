"""What is logged, for tests: collected in this process, or taken out of what a node has printed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from shared.logs import LineHandler, TextFormatter, logging_to, parse


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


def messages(text: str) -> list[str]:
    """The messages of a node's log, without its first line, the one that says what was started."""
    found = [parse(line).message for line in text.splitlines()]
    return [message for message in found if not message.startswith("started: ")]
