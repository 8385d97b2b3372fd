import cv2
import numpy as np
import pytest

from fav.errors import FavError
from fav.flow import make
from fav.flow.consistency import flat_tolerance, inside_image, min_eigenvalue, reliability, round_trip_error
from tests.helpers.material import material

RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 256, (40, 56, 3), np.uint8)


def still(height=40, width=56):
    return np.zeros((height, width, 2), np.float32)


def by_hand(flow_bwd, flow_fwd, frame, min_filter):
    """The rule of the paper, pixel by pixel, in float64."""
    height, width = frame.shape[:2]
    picture = frame.astype(float)
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / 3.0) ** 2)
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2

    def clamped(y, x):
        return picture[min(max(y, 0), height - 1), min(max(x, 0), width - 1)]

    products = np.zeros((height, width, 3))
    for y in range(height):
        for x in range(width):
            across, down = clamped(y, x + 1) - clamped(y, x - 1), clamped(y + 1, x) - clamped(y - 1, x)
            products[y, x] = across @ across, across @ down, down @ down
    padded = np.pad(products, ((12, 12), (12, 12), (0, 0)), mode="symmetric")
    smaller = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            xx, xy, yy = (padded[y : y + 25, x : x + 25] * kernel[..., None]).sum((0, 1))
            smaller[y, x] = np.linalg.eigvalsh([[xx, xy], [xy, yy]])[0]
    smaller /= smaller.max()
    half = smaller.mean() / 2

    trusted = np.zeros((height, width), np.uint8)
    margins = np.full((height, width), np.inf)
    for y in range(height):
        for x in range(width):
            bx, by = x + float(flow_bwd[y, x, 0]), y + float(flow_bwd[y, x, 1])
            if not (0 <= bx <= width - 1 and 0 <= by <= height - 1):
                continue
            left, top = int(bx), int(by)
            right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
            home = (1 - by + top) * ((1 - bx + left) * flow_fwd[top, left] + (bx - left) * flow_fwd[top, right])
            home = home + (by - top) * (
                (1 - bx + left) * flow_fwd[bottom, left] + (bx - left) * flow_fwd[bottom, right]
            )
            there = flow_bwd[y, x].astype(float)
            gap = ((there + home) ** 2).sum()
            allowed = (
                0.01 * ((there**2).sum() + (home**2).sum()) + 4 / smaller.mean() * max(0, half - smaller[y, x]) + 0.5
            )
            margins[y, x] = gap - allowed
            trusted[y, x] = gap < allowed
    reach = min_filter // 2
    filtered = np.zeros_like(trusted)
    for y in range(height):
        for x in range(width):
            filtered[y, x] = trusted[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].min()
    assert np.abs(margins).min() > 1e-4, "a pixel on the edge of the rule would test the rounding, not the rule"
    return filtered


@pytest.mark.parametrize("min_filter", [1, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_the_rule_is_that_of_the_paper(seed, min_filter):
    rng = np.random.default_rng(seed)

    def smooth(scale):
        return scale * cv2.GaussianBlur(rng.normal(0, 1, (28, 36, 2)).astype(np.float32), (0, 0), 6)

    frame = cv2.GaussianBlur(rng.integers(0, 256, (28, 36, 3), np.uint8), (0, 0), 1.5)
    frame[:, :14] = frame[:, :14] // 8 + 100
    flow_bwd = smooth(40)
    flow_fwd = -flow_bwd + smooth(10)
    found, expected = reliability(flow_bwd, flow_fwd, frame, min_filter), by_hand(flow_bwd, flow_fwd, frame, min_filter)
    assert 0.02 < expected.mean() < 0.98
    assert np.array_equal(found, expected)


def test_a_still_picture_is_reliable_to_its_borders():
    for frame in (NOISE, np.full_like(NOISE, 77)):
        trusted = reliability(still(), still(), frame)
        assert trusted.dtype == np.uint8 and trusted.all()


def test_what_comes_from_outside_the_picture_is_not_reliable():
    """The camera moves left by 5 pixels: the 5 columns on the left are new, and 3 more fall to the filter."""
    flow_bwd = still() + np.float32([-5, 0])
    assert (reliability(flow_bwd, -flow_bwd, NOISE, min_filter=1).all(0) == (np.arange(56) >= 5)).all()
    assert (reliability(flow_bwd, -flow_bwd, NOISE).all(0) == (np.arange(56) >= 8)).all()


def test_a_hundredth_of_a_pixel_outside_is_outside():
    flow = still()
    flow[0, 0, 0] = flow[1, 0, 1] = -0.01
    flow[39, 55] = 0.01
    assert np.argwhere(~inside_image(flow)).tolist() == [[0, 0], [39, 55]]


def test_what_a_moving_square_uncovers_is_not_reliable():
    """A square of 12 pixels moves right by 6 over a still ground: the 6 columns behind it are new."""
    flow_bwd, flow_fwd = still(), still()
    flow_bwd[10:22, 26:38] = -6, 0
    flow_fwd[10:22, 20:32] = 6, 0
    expected = np.ones((40, 56), np.uint8)
    expected[10:22, 20:26] = 0
    assert np.array_equal(reliability(flow_bwd, flow_fwd, NOISE, min_filter=1), expected)
    expected[7:25, 17:29] = 0
    assert np.array_equal(reliability(flow_bwd, flow_fwd, NOISE, min_filter=7), expected)


def test_long_motion_may_miss_home_by_more():
    """Allowed is |gap|^2 < 0.01 (|there|^2 + |home|^2) + 0.5: for 20 pixels there and 21 back, 1 < 8.91."""
    centre = (20, 28)
    for there, back, trusted in ((0, 0.7, 1), (0, 0.72, 0), (-20, 21, 1), (-20, 22.9, 1), (-20, 23.2, 0)):
        flow_bwd, flow_fwd = still() + np.float32([there, 0]), still() + np.float32([back, 0])
        assert reliability(flow_bwd, flow_fwd, NOISE, min_filter=1)[centre] == trusted


def test_flat_regions_may_miss_home_by_more():
    """The left half has no structure: there a gap of 1.5 pixels is allowed, 2.25 < 2 + 0.5 + 0.01 * 2.25."""
    frame = NOISE.copy()
    frame[:, :28] = 128
    flow_fwd = still() + np.float32([1.5, 0])
    assert reliability(still(), flow_fwd, frame, min_filter=1)[20].tolist()[:15] == [1] * 15
    assert not reliability(still(), flow_fwd, frame, min_filter=1)[:, 29:].any()


def test_structure_is_1_at_its_largest_and_needs_two_directions():
    assert min_eigenvalue(NOISE).max() == 1 and min_eigenvalue(NOISE).min() >= 0
    stripes = np.zeros((40, 56, 3), np.uint8)
    stripes[:, ::4] = 255
    assert min_eigenvalue(stripes).max() == 0
    stripes[20, 28:] = 255
    corner = np.unravel_index(min_eigenvalue(stripes).argmax(), (40, 56))
    assert abs(corner[0] - 20) <= 2 and corner[1] >= 25


def test_slack_goes_from_nothing_to_two():
    assert flat_tolerance(np.float32([[0, 0.25, 0.5, 1.25]])).tolist() == [[2, 0, 0, 0]]
    assert flat_tolerance(np.float32([[0, 0.125, 0.5, 1.375]])).tolist() == [[2, 1, 0, 0]]
    assert flat_tolerance(np.zeros((2, 2), np.float32)).tolist() == [[2, 2], [2, 2]]


def test_the_round_trip_error_is_what_is_missing_to_home():
    flow_bwd = still() + np.float32([-3, 0])
    assert np.allclose(round_trip_error(flow_bwd, -flow_bwd), 0)
    assert np.allclose(round_trip_error(flow_bwd, still()), 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (5, 3)])
def test_tiny_frames_have_a_reliability_too(size):
    flow = still(*size)
    assert reliability(flow, flow, NOISE[: size[0], : size[1]].copy()).all()
    assert not reliability(flow + 20, flow - 20, NOISE[: size[0], : size[1]].copy()).any()


def test_the_number_of_threads_changes_no_bit():
    frame = RNG.integers(0, 256, (240, 320, 3), np.uint8)
    flow = cv2.GaussianBlur(RNG.normal(0, 9, (240, 320, 2)).astype(np.float32), (0, 0), 2)
    threads, results = cv2.getNumThreads(), []
    try:
        for number in (1, 2, 3):
            cv2.setNumThreads(number)
            results.append((reliability(flow, -flow, frame).tobytes(), min_eigenvalue(frame).tobytes()))
    finally:
        cv2.setNumThreads(threads)
    assert len(set(results)) == 1


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(FavError, match="of one size"):
        reliability(still(), still(), NOISE[:-1])
    for side in (0, 2, -3):
        with pytest.raises(FavError, match=f"odd side of 1 pixel or more, got {side}"):
            reliability(still(), still(), NOISE, min_filter=side)


def test_most_of_a_real_film_is_reliable():
    capture = cv2.VideoCapture(str(material("videos/bigbuckbunny.mp4")))
    before, frame = (cv2.resize(capture.read()[1], (320, 180), interpolation=cv2.INTER_AREA) for _ in range(2))
    flow = make("dis")
    assert 0.9 < reliability(flow(frame, before), flow(before, frame), frame).mean() < 1
