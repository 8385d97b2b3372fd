"""The measures of steadiness, on pictures that can be checked in the head."""

import numpy as np
import pytest

from fav.evaluation.metrics import (
    ColorStats,
    boundary_zscore,
    compute_metrics,
    drift,
    local_contrast,
    mean_and_95th,
    tone,
    warping_error,
)
from fav.flow.field import FlowField

SHAPE = (12, 16)


def plain(blue: int, green: int | None = None, red: int | None = None) -> np.ndarray:
    return np.full((*SHAPE, 3), (blue, blue if green is None else green, blue if red is None else red), np.uint8)


def still(reliable: float = 1) -> FlowField:
    """No motion; the left part of the picture, so large, is reliable."""
    trusted = np.zeros(SHAPE, np.uint8)
    trusted[:, : round(reliable * SHAPE[1])] = 1
    return FlowField(np.zeros((*SHAPE, 2), np.float32), trusted)


def test_one_gray_level_everywhere_is_its_square():
    error = warping_error(plain(101), plain(100), still())
    assert error.reliable == pytest.approx(1 / 255**2) and error.everywhere == error.reliable


def test_one_color_of_three_counts_a_third():
    assert warping_error(plain(100, 100, 103), plain(100), still()).reliable == pytest.approx(3 / 255**2)


def test_by_all_pixels_the_sum_over_the_reliable_ones_is_divided_by_all():
    error = warping_error(plain(110), plain(100), still(0.25))
    assert error.reliable == pytest.approx((10 / 255) ** 2) and error.everywhere == pytest.approx((10 / 255) ** 2 / 4)


def test_what_is_not_reliable_does_not_count():
    picture = plain(100)
    picture[:, 8:] = 255
    assert warping_error(picture, plain(100), still(0.5)) == warping_error(plain(100), plain(100), still(0.5))
    nothing = warping_error(picture, plain(100), still(0))
    assert nothing.reliable is None and nothing.everywhere == 0


def test_error_is_measured_along_the_flow():
    earlier = np.repeat(np.arange(16, dtype=np.uint8)[None, :, None] * 10, 12, axis=0).repeat(3, axis=2)
    moved = np.roll(earlier, 2, axis=1)  # what was at column 5 is at column 7 now
    trusted = np.ones(SHAPE, np.uint8)
    trusted[:, :2] = 0
    follow = FlowField(np.full((*SHAPE, 2), (-2, 0), np.float32), trusted)
    assert warping_error(moved, earlier, follow).reliable == 0
    assert warping_error(moved, earlier, still()).reliable > 0.006


def test_one_color_has_no_local_contrast():
    assert local_contrast(plain(137)) == 0 == local_contrast(plain(30, 90, 200))


def test_chequered_floor_has_the_contrast_of_its_tiles():
    y, x = np.mgrid[:60, :80]
    floor = np.repeat((np.uint8(100) + 20 * ((x + y) % 2).astype(np.uint8))[..., None], 3, axis=2)
    assert local_contrast(floor) == pytest.approx(10, rel=0.01)  # 100 and 120 by turns
    assert local_contrast((floor // 2).astype(np.uint8)) == pytest.approx(5, rel=0.01)


def test_broad_and_smooth_shade_has_little_local_contrast():
    ramp = np.repeat(np.tile(np.arange(0, 240, 2, dtype=np.uint8), (60, 1))[..., None], 3, axis=2)
    assert tone(ramp).contrast > 60 and local_contrast(ramp) < 6  # within nine columns: 2 * sqrt(60 / 9) = 5.2


def test_tone_is_the_mean_of_each_color_and_the_spread_of_the_luma():
    half = plain(10, 20, 30)
    half[:, 8:] = (110, 120, 130)
    seen = tone(half)
    assert (seen.blue, seen.green, seen.red) == (60, 70, 80) and seen.contrast == pytest.approx(50, abs=0.5)


def test_drift_of_one_gray_level_a_frame_is_found_with_that_slope():
    offsets = [ColorStats(n, 5, -2 * n, 0) for n in range(30)]
    slope, furthest = drift(offsets, [0] * 30)
    assert (slope.blue, slope.green, slope.red, slope.contrast) == pytest.approx((1, 0, -2, 0))
    assert furthest == ColorStats(29, 0, 58, 0)


def test_another_level_in_another_shot_is_no_drift():
    offsets = [ColorStats(n, 0, 0, 7) for n in range(10)] + [ColorStats(100 + n, 50, 0, -7) for n in range(20)]
    slope, furthest = drift(offsets, [0] * 10 + [1] * 20)
    assert (slope.blue, slope.green, slope.red, slope.contrast) == pytest.approx((1, 0, 0, 0))
    assert furthest == ColorStats(19, 0, 0, 0)


def test_shots_of_one_frame_do_not_drift():
    assert drift([ColorStats(1, 2, 3, 4), ColorStats(9, 9, 9, 9)], [0, 1]) == (
        ColorStats(0, 0, 0, 0),
        ColorStats(0, 0, 0, 0),
    )


def test_wander_and_return_has_no_slope_but_a_furthest():
    away = [ColorStats(value, 0, 0, 0) for value in (0, 4, 8, 4, 0)]
    slope, furthest = drift(away, [0] * 5)
    assert slope.blue == pytest.approx(0) and furthest.blue == 8


def test_seam_stands_out_in_the_spread_of_its_neighbours():
    errors = [1.0, 3.0] * 20  # mean 2, spread 1
    errors[20] = 6.0
    assert boundary_zscore(errors, [0] * 40, 20) == pytest.approx(4)
    assert boundary_zscore(errors, [0] * 40, 8) == pytest.approx(-1, abs=0.7)


def test_seam_is_compared_with_twelve_to_each_side_of_its_own_shot():
    errors = [50.0] * 8 + [1.0, 3.0] * 6 + [6.0] + [1.0, 3.0] * 6 + [50.0] * 8
    assert boundary_zscore(errors, [0] * 41, 20) == pytest.approx(4)  # 8 to 32, itself left out
    shots = [0] * 20 + [1] * 21  # the shot begins at 20, whose error is that of a cut
    assert boundary_zscore([None if at == 20 else error for at, error in enumerate(errors)], shots, 20) is None
    assert boundary_zscore([100.0] * 15 + errors[15:], [0] * 15 + [1] * 26, 20) == pytest.approx(4, abs=0.2)


def test_seam_with_too_few_neighbours_has_no_score():
    assert boundary_zscore([1.0, 2.0, 9.0, 1.0, 2.0], [0] * 5, 2) is None


def test_rounding_is_no_spread():
    # Where everything is still, a seam of one gray level is far above what rounding makes, and the score is finite.
    errors = [0.0] * 25
    errors[12] = 1 / 255**2
    assert boundary_zscore(errors, [0] * 25, 12) == pytest.approx(12)
    assert boundary_zscore([0.0] * 25, [0] * 25, 12) == 0


def test_mean_and_95th_percentile_leave_out_what_is_not_defined():
    assert mean_and_95th([None, *range(101)]) == (50, 95)
    assert mean_and_95th([None, None]) is None and mean_and_95th([]) is None


def test_first_frame_of_a_shot_has_no_error():
    alone = compute_metrics(plain(100, 110, 120))
    assert alone.warping_error is alone.warping_error_all is alone.long_term_error is alone.long_term_error_all is None
    assert alone.tone == ColorStats(100, 110, 120, 0) and alone.style_loss is None
    later = compute_metrics(plain(110), (plain(100), still(0.5)), (plain(90), still()), losses=(3.0, 4.0))
    assert later.warping_error == pytest.approx((10 / 255) ** 2)
    assert later.warping_error_all == pytest.approx((10 / 255) ** 2 / 2)
    assert later.long_term_error == pytest.approx((20 / 255) ** 2)
    assert (later.style_loss, later.content_loss) == (3, 4)
