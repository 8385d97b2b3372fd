"""Parts of a painting that are suggested: inside it, apart from each other, and different."""

import cv2
import numpy as np
import pytest

from fav.perceptual.painting import read_painting
from fav.perceptual.painting_parts import MARGIN, OVERLAP, _overlap, painting_parts
from fav.training.contact_sheet import LABEL_HEIGHT, _captioned
from tests.helpers.training_material import picture


@pytest.mark.parametrize("size", [(400, 640), (900, 500), (1528, 1200), (300, 2000)])
def test_parts_are_inside_without_the_border_and_hardly_overlap(size):
    height, width = size
    parts = painting_parts(picture(5, height, width))
    assert 2 <= len(parts) <= 6
    for x, y, w, h in parts:
        assert int(MARGIN * width) <= x < x + w <= (1 - MARGIN) * width + 1
        assert int(MARGIN * height) <= y < y + h <= (1 - MARGIN) * height + 1
        assert min(w, h) >= 128
    for number, one in enumerate(parts):
        assert all(_overlap(one, other) <= OVERLAP for other in parts[:number])


def test_first_part_is_where_most_is_painted_and_the_next_one_where_it_differs():
    canvas = np.full((600, 800, 3), (170, 190, 200), np.uint8)
    rng = np.random.default_rng(3)
    canvas[320:600, :380] = cv2.resize(rng.integers(0, 256, (28, 38, 3)).astype(np.uint8), (380, 280), interpolation=0)
    (x, y, w, h), other, *_ = painting_parts(canvas)
    assert x < 100 and y + h > 560
    assert _overlap((x, y, w, h), other) == 0 or other[0] > 300 or other[1] < 100


@pytest.mark.parametrize("size", [(100, 900), (64, 64), (200, 180)])
def test_small_picture_has_no_parts(size):
    assert painting_parts(picture(1, *size)) == []


def test_parts_are_suggested_in_words_of_the_option_unless_one_was_chosen(tmp_path):
    file = tmp_path / "meadow.png"
    cv2.imwrite(str(file), picture(2, 600, 800))
    painting = read_painting(file, suggest=True)
    assert painting.suggested_parts and "the contact sheet suggests some" in painting.part
    for words, image in painting.suggested_parts:
        x, y, w, h = map(int, words.split(","))
        chosen = read_painting(file, crop=words, suggest=True)
        assert chosen.crop == words and chosen.suggested_parts == () and "suggests" not in chosen.part
        assert image.shape[1] / image.shape[0] == pytest.approx(w / h, rel=0.02)


@pytest.mark.parametrize("shape", [(300, 100, 3), (100, 390, 3), (50, 40, 3)])
def test_part_on_the_sheet_keeps_its_shape_below_its_numbers(shape):
    image = np.zeros(shape, np.uint8)
    image[:] = 10, 200, 90
    cell = _captioned("0,180,460,334", image, 224)
    rows, columns = np.nonzero((cell == (10, 200, 90)).all(2))
    assert cell.shape == (224, 224, 3) and rows.min() == LABEL_HEIGHT and columns.min() == 0
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(shape[1] / shape[0], rel=0.05)
    assert (cell[:LABEL_HEIGHT] < 100).any()  # text
