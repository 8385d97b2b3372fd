"""How plots treat words that others wrote: as text, whatever is in them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib


@contextmanager
def plain_text() -> Iterator[None]:
    """Figures that are made, and saved, in here show `$` and backslashes as they are, and no warning reaches the terminal where
    the font lacks a letter, or a word needs all of the room."""
    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
