import cv2
import numpy as np
import pytest

from fav.errors import FavError
from fav.flow.warp import warp

RNG = np.random.default_rng(0)
PICTURES = {
    "reliability": RNG.random((37, 53), np.float32),
    "flow": RNG.normal(0, 9, (37, 53, 2)).astype(np.float32),
    "frame": RNG.integers(0, 256, (37, 53, 3), np.uint8),
    "float frame": RNG.random((37, 53, 3), np.float32),
}


def shift(shape, x, y):
    return np.broadcast_to(np.float32([x, y]), (*shape[:2], 2)).copy()


def fetched_by_hand(image, flow):
    """Bilinear, with the border repeated, pixel by pixel in float64."""
    height, width = image.shape[:2]
    result = np.zeros(image.shape)
    for y in range(height):
        for x in range(width):
            px, py = (np.float32([x, y]) + flow[y, x]).astype(float)
            left, top = int(np.floor(px)), int(np.floor(py))
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = (1 - abs(py - top - i)) * (1 - abs(px - left - j))
                result[y, x] += weight * image[np.clip(top + i, 0, height - 1), np.clip(left + j, 0, width - 1)]
    return result


@pytest.mark.parametrize("image", PICTURES.values(), ids=PICTURES)
def test_a_flow_of_zeros_returns_the_image_exactly(image):
    moved = warp(image, shift(image.shape, 0, 0))
    assert moved.dtype == image.dtype
    assert np.array_equal(moved, image)


@pytest.mark.parametrize("image", PICTURES.values(), ids=PICTURES)
def test_a_whole_shift_fetches_from_the_right_and_below(image):
    assert np.array_equal(warp(image, shift(image.shape, 5, 2))[:-2, :-5], image[2:, 5:])


@pytest.mark.parametrize("image", PICTURES.values(), ids=PICTURES)
def test_warping_is_exactly_bilinear(image):
    flow = RNG.normal(0, 8, (*image.shape[:2], 2)).astype(np.float32)
    tolerance = 0.501 if image.dtype == np.uint8 else 1e-4
    assert np.abs(warp(image, flow) - fetched_by_hand(image, flow)).max() < tolerance


def test_a_ramp_is_fetched_at_a_hundredth_of_a_pixel():
    ramp = np.tile(np.arange(40, dtype=np.float32), (8, 1))
    both = np.dstack([ramp, -ramp])
    assert np.allclose(warp(ramp, shift(ramp.shape, 0.01, 0))[:, :-1], ramp[:, :-1] + 0.01, atol=1e-5)
    assert np.allclose(warp(both, shift(ramp.shape, 0.01, 0))[:, :-1, 1], -ramp[:, :-1] - 0.01, atol=1e-5)


def test_beyond_the_border_the_border_is_fetched():
    ramp = np.tile(np.arange(10, dtype=np.uint8), (4, 1))
    assert (warp(ramp, shift(ramp.shape, 100, -100)) == 9).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (7, 1, 2), (2, 2)])
def test_tiny_pictures_keep_their_shape(shape):
    image = RNG.random(shape).astype(np.float32)
    assert np.array_equal(warp(image, shift(shape, 0, 0)), image)


def test_the_number_of_threads_changes_no_bit():
    image, flow = RNG.integers(0, 256, (300, 400, 3), np.uint8), RNG.normal(0, 8, (300, 400, 2)).astype(np.float32)
    threads, results = cv2.getNumThreads(), []
    try:
        for number in (1, 2, 3):
            cv2.setNumThreads(number)
            results.append((warp(image, flow).tobytes(), warp(flow, flow).tobytes()))
    finally:
        cv2.setNumThreads(threads)
    assert len(set(results)) == 1


def test_a_flow_that_does_not_fit_is_refused():
    with pytest.raises(FavError, match=r"expected a flow \(4, 6, 2\) float32, got \(6, 4, 2\) float32"):
        warp(np.zeros((4, 6, 3), np.uint8), np.zeros((6, 4, 2), np.float32))
    with pytest.raises(FavError, match="float64"):
        warp(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6, 2)))
