"""The types of options on every command line of this program. A bad value gives one form of message: expected, got."""

import math
from collections.abc import Callable

import click

MAX_SHOWN = 80  # letters of a bad value in a message


class NumberType(click.FloatRange):
    """A finite number within a range. `nan` and `inf`, which Python reads as numbers, are refused."""

    name = "number"  # in the help, where click has FLOAT RANGE

    def convert(self, value, param, ctx):
        return _convert(self, value, float, "a number", param, ctx)


class WholeType(click.IntRange):
    """A whole number within a range."""

    name = "integer"

    def convert(self, value, param, ctx):
        return _convert(self, value, int, "a whole number", param, ctx)


class ChoiceType(click.Choice):
    """One of several words."""

    def convert(self, value, param, ctx):
        words = [str(word) for word in self.choices]
        if value not in words:
            *others, last = words
            expected = f"{', '.join(others)} or {last}" if others else last
            self.fail(f"expected {expected}, got {shown(value)}", param, ctx)
        return super().convert(value, param, ctx)


def shown(value: object) -> str:
    """A bad value for a message: quoted, and at most MAX_SHOWN characters long."""
    text = str(value)
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…")


def bounds(numbers: click.FloatRange | click.IntRange) -> str:
    """The range of a type in words, such as ` from 1 to 5`; empty if it has none."""
    least, most = numbers.min, numbers.max
    text = "" if least is None else f" {'above' if numbers.min_open else 'from'} {_plain(least)}"
    if most is None:
        return f"{text} on" if least is not None and not numbers.min_open else text
    if numbers.min_open or numbers.max_open or least is None:
        return f"{text}{',' if text else ''} {'below' if numbers.max_open else 'at most'} {_plain(most)}"
    return f"{text} to {_plain(most)}"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _convert(
    numbers: click.FloatRange | click.IntRange, value: object, parse: Callable, kind: str, param, ctx
) -> float:
    try:
        number = parse(value)
    except (ValueError, OverflowError):  # no number, or a whole number of more digits than Python reads
        number = math.nan
    low, high = numbers.min, numbers.max
    inside = (low is None or (number > low if numbers.min_open else number >= low)) and (
        high is None or (number < high if numbers.max_open else number <= high)
    )
    if number != number or abs(number) == math.inf or not inside:
        numbers.fail(f"expected {kind}{bounds(numbers)}, got {shown(value)}", param, ctx)
    return number
