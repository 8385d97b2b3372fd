"""The paintings made by program: the marks they are made of, and that the committed files are what the program paints."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fav.errors import FavError
from fav.synthetic.paintings import album
from fav.synthetic.paintings.marks import (
    FINE,
    HEIGHT,
    WIDTH,
    closed,
    curve,
    fill,
    noise,
    path,
    reduced,
    ribbon,
    spaced_lines,
    taper,
)

COMMITTED = Path(__file__).resolve().parents[2] / "styles" / "paintings"


def test_each_painting_is_committed_in_its_size_and_small_enough():
    for name in album.PAINTINGS:
        path = COMMITTED / f"{name}.jpg"
        assert cv2.imread(str(path)).shape == (HEIGHT, WIDTH, 3)
        assert path.stat().st_size < 400_000


def test_no_painting_has_an_empty_half_or_a_single_tone():
    for name in album.PAINTINGS:
        gray = cv2.imread(str(COMMITTED / f"{name}.jpg"), cv2.IMREAD_GRAYSCALE).astype(np.float32)
        assert np.percentile(gray, 97) - np.percentile(gray, 3) > 120, name
        detail = np.abs(gray - cv2.GaussianBlur(gray, (0, 0), 8))
        quarters = [detail[down : down + 400, right : right + 512].mean() for down in (0, 400) for right in (0, 512)]
        assert min(quarters) > 3, name


@pytest.mark.slow
@pytest.mark.parametrize("name", album.PAINTINGS)
def test_the_program_paints_what_is_committed(name):
    committed = cv2.imread(str(COMMITTED / f"{name}.jpg")).astype(int)
    painted = cv2.imdecode(
        cv2.imencode(".jpg", album.PAINTINGS[name](), [cv2.IMWRITE_JPEG_QUALITY, album.QUALITY])[1], cv2.IMREAD_COLOR
    )
    assert np.abs(painted.astype(int) - committed).mean() < 0.5


def test_paintings_are_written_and_never_over_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(album, "PAINTINGS", {"gray": lambda: np.full((8, 8, 3), 90, np.uint8)})
    (written,) = album.write_paintings(tmp_path / "new")
    assert abs(cv2.imread(str(written)).mean() - 90) < 2
    before = written.read_bytes()
    with pytest.raises(FavError, match=r"gray\.jpg: expected no file"):
        album.write_paintings(tmp_path / "new")
    assert written.read_bytes() == before


def test_lines_keep_their_distance_and_stay_inside():
    inside = np.zeros((120, 160), bool)
    inside[20:100, 30:130] = True
    lines = spaced_lines(np.random.default_rng(0), np.zeros((120, 160)), np.full((120, 160), 10.0), inside, longest=300)
    heights = np.array([line[0, 1] for line in lines])
    assert all(np.ptp(line[:, 1]) == 0 and line[:, 0].min() >= 30 and line[:, 0].max() <= 130 for line in lines)
    for one, height in enumerate(heights):
        for other in range(one):
            apart = (
                lines[one][:, 0].min() > lines[other][:, 0].max() or lines[other][:, 0].min() > lines[one][:, 0].max()
            )
            assert apart or abs(height - heights[other]) >= 9
    assert len(lines) >= 5


def test_a_ribbon_is_as_wide_as_asked_and_its_edge_is_smooth():
    line = curve(path("100,100 300,107"))
    image = np.zeros((HEIGHT * FINE, WIDTH * FINE), np.uint8)
    fill(image, ribbon(line, 9.5), 255)
    band = reduced(image)[:, 150:250] / 255
    assert abs(band.sum(axis=0).mean() - 9.5) < 0.8
    assert len(np.unique(band)) > 2  # more than paper and ink
    assert taper(9)[0] == taper(9)[-1] == 0 and taper(9).max() == 1


def test_a_closed_curve_comes_home_through_all_its_points():
    square = ((10, 10), (90, 10), (90, 90), (10, 90))
    outline = closed(square)
    assert all(np.linalg.norm(outline - corner, axis=1).min() < 1e-9 for corner in square)
    assert np.linalg.norm(outline[0] - outline[-1]) < 6
    area = cv2.contourArea(outline.astype(np.float32))
    assert 80**2 < area < np.pi * 2 * 40**2  # rounder than the square, within the circle around it


def test_noise_is_smooth_and_has_about_unit_strength():
    values = noise(np.random.default_rng(1), 20)
    assert values.shape == (HEIGHT, WIDTH) and abs(values.mean()) < 0.1 and 0.7 < values.std() < 1.3
    assert np.abs(np.diff(values)).mean() < 0.12
