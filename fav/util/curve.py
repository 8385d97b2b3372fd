"""A number that changes over time, as a user types it: `0:0,5:1:ease,40:0.3`; pure."""

import re
from dataclasses import dataclass
from itertools import pairwise

from fav.errors import FavError, sanitize

LINEAR, EASE, HOLD = "linear", "ease", "hold"
WAYS = (LINEAR, EASE, HOLD)
FORM = "TIME:VALUE,TIME:VALUE,… with at least two times, in seconds (5 or 5s) or in frames (120f)"
MAX_POINTS = 1000
_NUMBER = r"(?:[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})"
_POINT = re.compile(rf"({_NUMBER})([sf]?):({_NUMBER})(?::({'|'.join(WAYS)}))?")


@dataclass(frozen=True)
class Point:
    """A value at a time. `way` is the interpolation from the point before: one of WAYS."""

    time: float
    value: float
    way: str = LINEAR


@dataclass(frozen=True)
class Curve:
    """A number over the time of a video.

    Before the first point it has that point's value, after the last one that one's.

    Attributes:
        points: at least one, in the order of their times.
        in_frames: whether times are numbers of frames, counted from 0; otherwise they are seconds from the first frame.
    """

    points: tuple[Point, ...]
    in_frames: bool = False

    @classmethod
    def constant(cls, value: float) -> "Curve":
        return cls((Point(0, value),))

    @classmethod
    def of(cls, value: "float | str") -> "Curve":
        """The curve of an option's value: a number, or the text of a curve. Raises FavError if the text is not valid."""
        return parse(value) if isinstance(value, str) else cls.constant(value)

    @property
    def values(self) -> tuple[float, ...]:
        """The values of all points; the curve never leaves their range."""
        return tuple(point.value for point in self.points)

    @property
    def end(self) -> float:
        """The time of the last point, in seconds or frames."""
        return self.points[-1].time

    @property
    def is_constant(self) -> bool:
        return len(set(self.values)) == 1

    def is_always(self, value: float) -> bool:
        """Whether the curve has this value at all times."""
        return all(each == value for each in self.values)

    def at(self, frame: int, seconds: float) -> float:
        """The value at a frame, which is shown `seconds` after the first frame of the video.

        It only adds, subtracts, multiplies and divides, so all machines get the same bits.
        """
        time = frame if self.in_frames else seconds
        if time <= self.points[0].time:
            return self.points[0].value
        for before, after in pairwise(self.points):
            if time < after.time:
                return _between(before, after, time)
        return self.points[-1].value

    @property
    def typed(self) -> "float | str":
        """The value of an option that gives this curve: a number, if it has one point."""
        return str(self) if len(self.points) > 1 else self.values[0]

    def __str__(self) -> str:
        """The curve as it is typed. Equal curves have equal texts."""
        unit = "f" if self.in_frames else ""
        return ",".join(
            f"{_digits(point.time)}{unit}:{_digits(point.value)}{'' if point.way == LINEAR else f':{point.way}'}"
            for point in self.points
        )


def is_curve(text: str) -> bool:
    """Whether a text is meant as a curve, not as a number. It may still not be valid."""
    return ":" in text or "," in text


def parse(text: str, least: float = 0, most: float = 1) -> Curve:
    """Parse a curve.

    Args:
        text: As in FORM; `:ease` or `:hold` may follow a value.
        least: The smallest allowed value.
        most: The largest allowed value.

    Raises:
        FavError: It has another form, times do not ascend, or a value is out of range.
    """
    shown = repr(sanitize(text, 80))
    parts = [part.strip() for part in text.split(",", MAX_POINTS)]
    if len(parts) > MAX_POINTS:
        raise FavError(f"expected at most {MAX_POINTS} times, got more")
    found = [_POINT.fullmatch(part) for part in parts]
    matches = [match for match in found if match]
    if len(matches) < len(found) or len(matches) < 2:
        raise FavError(f"expected {FORM}, got {shown}")
    in_frames = any(match[2] == "f" for match in matches)
    points = []
    for match in matches:
        time, unit, value, way = match.groups()
        if in_frames and unit != "f" and float(time) != 0:  # 0 is the same time in both
            raise FavError(f"expected all times in seconds or all in frames, got {shown}")
        if in_frames and not float(time).is_integer():
            raise FavError(f"expected whole numbers of frames, got {time}f")
        points.append(Point(float(time), float(value), way or LINEAR))
    for before, after in pairwise(points):
        if after.time <= before.time:
            raise FavError(
                f"expected times in ascending order, got {_digits(after.time)} after {_digits(before.time)}; sort them"
            )
    for point in points:
        if not least <= point.value <= most:
            raise FavError(f"expected values from {least:g} to {most:g}, got {_digits(point.value)}")
    return Curve(tuple(points), in_frames)


def _between(before: Point, after: Point, time: float) -> float:
    """The value of a curve at a time between two of its points."""
    if after.way == HOLD:
        return before.value
    share = (time - before.time) / (after.time - before.time)
    if after.way == EASE:
        share = share * share * (3 - 2 * share)  # it begins and ends slowly
    value = before.value + (after.value - before.value) * share
    return min(max(value, min(before.value, after.value)), max(before.value, after.value))


def _digits(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
