"""Lattice, stroke width, palette distance and edge width, on pictures whose answers are known."""

import cv2
import numpy as np
import pytest
import torch

from fav.evaluation import perceptual_metrics
from fav.evaluation.lattice import flat_blocks, lattice
from fav.evaluation.motion import motion_error
from fav.evaluation.sharpness import edge_width
from fav.evaluation.strokes import stroke_width
from fav.perceptual.loss import as_tensor
from fav.perceptual.palette import colors, even_directions
from tests.helpers.training_material import picture

HEIGHT, WIDTH = 192, 256
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]


def palette_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return perceptual_metrics.palette_distance(one, colors(other))


def shown(luma: np.ndarray) -> np.ndarray:
    return np.repeat(luma.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def plain(level: int = 128) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def stripes(width: float, angle: float = 0, low: float = 88, high: float = 168) -> np.ndarray:
    """Dark and bright stripes of so many pixels, at an angle in degrees to the columns."""
    across = COLUMNS * np.cos(np.radians(angle)) + ROWS * np.sin(np.radians(angle))
    return shown(np.where(np.floor(across / width) % 2 == 0, low, high))


@pytest.mark.parametrize("cells, amplitude", [(1, 6), (2, 6)])
def test_a_checkerboard_has_its_amplitude(cells, amplitude):
    board = np.where((ROWS // cells + COLUMNS // cells) % 2, amplitude, -amplitude)
    assert lattice(shown(128 + board), plain()) == pytest.approx(amplitude, rel=0.05)


def test_a_tone_of_four_pixels_has_its_amplitude_by_the_root_of_two():
    assert lattice(shown(128 + 20 * np.sin(COLUMNS * np.pi / 2)), plain()) == pytest.approx(20 / 2**0.5, rel=0.05)


def test_a_weave_counts_and_strokes_of_eight_pixels_do_not():
    woven = 10 * np.sin(ROWS * np.pi / 2 + COLUMNS * np.pi / 4)  # 4 pixels down, 8 across
    assert lattice(shown(128 + woven), plain()) == pytest.approx(10 / 2**0.5, rel=0.05)
    assert lattice(shown(128 + 20 * np.sin(ROWS * np.pi / 4)), plain()) < 0.5


def test_grain_and_strokes_are_no_lattice():
    noise = np.random.default_rng(0).normal(0, 10, (HEIGHT, WIDTH))
    assert lattice(plain(), plain()) == 0
    assert lattice(shown(128 + noise), plain()) < 2.5
    strokes = cv2.GaussianBlur(noise, (0, 0), 4, sigmaY=1.2)
    assert strokes.std() * 4 > 5 and lattice(shown(128 + 4 * strokes), plain()) < 1.5
    woven = shown(128 + noise + 8 * (-1.0) ** (ROWS + COLUMNS))
    assert lattice(woven, plain()) == pytest.approx(8, abs=1)


def test_a_lattice_counts_where_the_source_is_flat():
    source = plain()
    source[:, WIDTH // 2 :] = shown(np.random.default_rng(0).uniform(0, 255, (HEIGHT, WIDTH)))[:, WIDTH // 2 :]
    board = np.where((ROWS + COLUMNS) % 2, 6, -6)
    left, right = (shown(128 + board * side) for side in (COLUMNS < WIDTH // 2, COLUMNS >= WIDTH // 2 + 32))
    assert len(flat_blocks(source)) == round(11 * 15 / 4)
    assert lattice(left, source) == pytest.approx(6, rel=0.1) and lattice(right, source) < 0.5


@pytest.mark.parametrize("width", [4, 6, 10])
@pytest.mark.parametrize("angle", [0, 45])
def test_stripes_have_their_width(width, angle):
    assert stroke_width(stripes(width, angle)) == pytest.approx(width, rel=0.15)


def test_wider_strokes_are_wider_and_grain_is_fine():
    noise = np.random.default_rng(0).normal(0, 30, (HEIGHT, WIDTH))
    widths = [stroke_width(shown(128 + cv2.GaussianBlur(noise, (0, 0), s) * 2 * s)) for s in (1, 2, 3)]
    assert widths == sorted(widths) and widths[2] > 2 * widths[0]
    assert stroke_width(shown(128 + noise)) < 3


def test_what_the_source_shows_is_no_stroke():
    source = picture(5, HEIGHT, WIDTH)
    drawn = cv2.add(cv2.addWeighted(source, 0.5, plain(0), 0, 40), stripes(6, 30, 0, 60))
    assert stroke_width(drawn, source) == pytest.approx(6, rel=0.15)
    assert stroke_width(source, source) is None and stroke_width(plain()) is None
    assert stroke_width(plain()[:40]) is None and lattice(plain()[:20], plain()[:20]) is None


def test_a_shift_of_the_colors_is_the_palette_distance():
    one = as_tensor(picture(1, 160, 160))
    for shift in ((30, 0, 0), (0, -12, 0), (3, 4, 12)):
        moved = one + torch.tensor(shift, dtype=torch.float32).view(1, 3, 1, 1)
        assert palette_distance(moved, one) == pytest.approx(np.linalg.norm(shift), rel=1e-3)
    assert palette_distance(one, one) == 0


def test_the_palette_does_not_see_where_colors_are_nor_the_border():
    one = as_tensor(picture(1, 160, 160))
    turned = one.flip(3)
    framed = one.clone()
    framed[..., :8] = 255
    assert palette_distance(turned, one) < 0.5 and palette_distance(framed, one) < 0.5


def test_two_colors_against_one_have_their_deviation():
    halves = torch.full((1, 3, 160, 160), 100.0)
    halves[..., 80:] = 140
    assert palette_distance(halves, torch.full((1, 3, 160, 160), 120.0)) == pytest.approx(20 * 3**0.5, rel=0.02)


def test_directions_are_even():
    axes = even_directions()
    torch.testing.assert_close(axes @ axes.T, torch.eye(3) * axes.shape[1] / 3, atol=1e-5, rtol=0)
    assert axes.shape == (3, 16)


def test_strokes_that_stick_have_the_motion_of_things():
    moves, sticks = np.full((20, 30, 2), (3, -1), np.float32), np.zeros((20, 30, 2), np.float32)
    trusted = np.zeros((20, 30), np.uint8)
    trusted[:, :10] = 1
    half = np.where(np.arange(30)[:, None] < 10, moves, sticks)
    assert motion_error(sticks, moves, np.ones((20, 30))) == 4
    assert motion_error(half, moves, trusted) == 0 and motion_error(half, moves, 1 - trusted) == 4
    assert motion_error(half, moves, 0 * trusted) is None


@pytest.mark.parametrize("blur", [1, 1.5, 2])
@pytest.mark.parametrize("contrast", [40, 160])
def test_a_blurred_edge_has_the_width_of_its_blur(blur, contrast):
    step = np.where(COLUMNS // 32 % 2, 128 + contrast / 2, 128 - contrast / 2)
    blurred = cv2.GaussianBlur(step, (0, 0), blur)
    assert edge_width(shown(blurred)) == pytest.approx(blur * (2 * np.pi) ** 0.5, rel=0.1)
    assert edge_width(shown(step)) == pytest.approx(1)


def test_one_color_has_no_edges():
    assert edge_width(plain()) is None
