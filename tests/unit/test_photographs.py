"""The built-in photographs: rendered, always the same, and as various as photographs are."""

import numpy as np

from fav.synthetic.photographs import COUNT, SHORT, noise, photograph


def test_built_in_pictures_are_always_the_same_and_of_the_promised_size():
    pictures = [photograph(number) for number in (5, 8)]
    assert all(min(picture.shape[:2]) == SHORT and picture.dtype == np.uint8 for picture in pictures)
    assert np.array_equal(pictures[1], photograph(8)) and not np.array_equal(pictures[1], photograph(8 + 11))


def test_neighbours_differ_in_light_contrast_and_detail():
    pictures = [photograph(number).astype(np.float32) for number in (0, 3, 8, 10, COUNT - 1)]
    means, contrasts = [picture.mean() for picture in pictures], [picture.std() for picture in pictures]
    assert np.ptp(means) > 30 and max(contrasts) > 2 * min(contrasts)


def test_noise_has_the_spectrum_that_was_asked_for():
    values = noise(np.random.default_rng(0), 256, 256, 1.0)
    power = np.abs(np.fft.fft2(values)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    low, high = (power[(frequency > at) & (frequency < 1.2 * at)].mean() for at in (0.05, 0.2))
    assert abs(values.mean()) < 1e-4 and abs(values.std() - 1) < 1e-4
    assert 10 < low / high < 25  # amplitude 1/f: at four times the frequency a sixteenth of the power
