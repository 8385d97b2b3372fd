"""Numbers over time: what is typed, what is refused, and the values between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fav.errors import FavError
from fav.util.curve import Curve, parse


def values(text: str, *times: float) -> list[float]:
    curve = parse(text)
    return [curve.at(time, time) for time in times]


def test_curve_is_a_straight_line_between_points_and_level_outside():
    assert values("10:0,20:1,40:0.5", 0, 10, 15, 20, 30, 40, 99) == [0, 0, 0.5, 1, 0.75, 0.5, 0.5]


def test_eased_curve_begins_and_ends_slowly_and_held_one_jumps():
    assert values("0:0,4:1:ease", 1, 2, 3) == [0.15625, 0.5, 0.84375]
    assert values("0:0.2,4:1:hold", 0, 3.999, 4) == [0.2, 0.2, 1]


def test_frames_and_seconds_are_different_times():
    frames, seconds = parse("0f:0,100f:1"), parse("0:0,4s:1")
    assert (frames.at(50, 2.0), seconds.at(50, 2.0)) == (0.5, 0.5)
    assert (frames.at(50, 1.0), seconds.at(50, 1.0)) == (0.5, 0.25)


@pytest.mark.parametrize(
    "typed, text",
    [
        ("0:0,5:1", "0:0,5:1"),
        (" 0s:0.0, 5s:1.00 ", "0:0,5:1"),
        ("0:0,120f:.5", "0f:0,120f:0.5"),
        ("0:1,1.250:0.25:ease,3:1:linear", "0:1,1.25:0.25:ease,3:1"),
    ],
)
def test_equal_curves_have_one_text(typed, text):
    assert str(parse(typed)) == text == str(parse(text))


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("5:1", "at least two times"),
        ("0:0,5", "got '0:0,5'"),
        ("0:0,5:1,", "got '0:0,5:1,'"),
        ("0:0,-5:1", "TIME:VALUE"),
        ("0:0,5:nan", "TIME:VALUE"),
        ("0:0,5:1:fast", "TIME:VALUE"),
        ("0:0,٥:1", "TIME:VALUE"),
        ("5:0,0:1", "expected times in ascending order, got 0 after 5; sort them"),
        ("0:0,5:1,5:0", "got 5 after 5"),
        ("0:0,5:1.5", "expected values from 0 to 1, got 1.5"),
        ("0:0,5s:1,200f:0", "all times in seconds or all in frames"),
        ("0:0,1.5f:1", "expected whole numbers of frames, got 1.5f"),
        (",".join(f"{time}:1" for time in range(1001)), "at most 1000 times"),
    ],
)
def test_what_is_no_curve_is_refused_with_the_reason(text, complaint):
    with pytest.raises(FavError, match="expected") as refusal:
        parse(text)
    assert complaint in str(refusal.value) and "\n" not in str(refusal.value)


@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.integers(0, 1000), st.sampled_from(["", ":ease", ":hold"])), min_size=2
    ),
    st.floats(0, 2),
)
def test_value_is_never_outside_of_the_points_and_text_reads_back(points, time):
    points = sorted({time: (value, way) for time, value, way in points}.items())
    if len(points) < 2:
        return
    curve = parse(",".join(f"{time / 1000}:{value / 1000}{way}" for time, (value, way) in points))
    assert min(curve.values) <= curve.at(0, time) <= max(curve.values)
    assert parse(str(curve)) == curve


def test_number_is_the_curve_that_never_changes():
    assert Curve.of(0.25).at(7, 0.3) == 0.25 and Curve.of(0.25).typed == 0.25
    assert Curve.of("0:0,5:1").typed == "0:0,5:1"
