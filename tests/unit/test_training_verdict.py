"""Whether a style is ready: the limits, the words, and what the sheet shows."""

import numpy as np
import pytest

from fav.training.contact_sheet import LABEL_HEIGHT, Samples, _draw_head
from fav.training.verdict import measures_of, verdict

GOOD = {"style": 0.2, "content": 0.9, "moving": 0.6, "still": 2.0}


def test_style_whose_measures_are_all_good_is_ready():
    measures = measures_of(GOOD)
    assert verdict(measures, 900) == "ready"
    assert str(measures[0]) == "style loss 0.20 (good: below 0.35)"


@pytest.mark.parametrize("key, value, word", [
    ("style", 0.9, "strokes"), ("content", 1.5, "subjects"), ("moving", 1.4, "flickers"), ("still", 31.1, "drift 31.10"),
    ("style", float("nan"), "strokes")])  # fmt: skip
def test_measure_beyond_its_limit_is_named(key, value, word):
    words = verdict(measures_of(GOOD | {key: value}), 900)
    assert words.startswith("not ready: ") and word in words and words.count(";") == 0


def test_training_that_was_stopped_says_how_much_is_missing():
    assert verdict([], 9, "about 900") == "not ready: 9 of about 900 iterations"
    both = verdict(measures_of(GOOD | {"still": 20.0}), 9, "about 900")
    assert both.startswith("not ready: 9 of about 900 iterations; ") and "drift 20.00" in both
    assert verdict(measures_of(GOOD), 9, "about 900") == "ready"  # its measures say so
    assert verdict([], 900) == "not measured"


def test_model_that_is_made_steady_is_judged_without_the_losses_of_a_painting():
    assert [measure.name for measure in measures_of({"moving": 0.5, "still": 1.0})] == ["flicker", "drift"]


@pytest.mark.parametrize("shape", [(1000, 300, 3), (200, 1600, 3), (40, 50, 3)])
def test_sheet_shows_the_whole_painting_beside_the_measures(shape):
    photos = [np.zeros((96, 96, 3), np.uint8)] * 6
    painting = np.zeros(shape, np.uint8)
    painting[:] = 10, 200, 90
    head = _draw_head(
        Samples(photos, None, None, [("all of it", painting)]),
        ["iteration 7", "style loss 0.20 (good: below 0.35)"],
        6 * 96,
    )
    assert head.shape == (96 + LABEL_HEIGHT, 6 * 96, 3)
    there = (head == (10, 200, 90)).all(2)
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert there[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.05)
    assert (head[:, columns[-1] + 1 :] < 100).any()  # text
