"""Let plots show foreign text literally."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib


@contextmanager
def plain_text() -> Iterator[None]:
    """Context in which figures show `$` and backslashes literally, and matplotlib prints no warnings about text."""
    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
