"""Checkerboard artifacts: periodic patterns that a network with strides adds to flat regions. Pure.

Such a network repeats patterns with periods of 2 or 4 pixels, some of 8. The metric is the RMS, in gray levels, of the
peaks of the luma's spectrum where the source is flat. It counts wavelengths of up to 5 pixels that divide 8. A sine of
amplitude a gives a / sqrt(2), a checkerboard of +-a gives a. Strokes and grain have smooth spectra and give little. The
source's own value is the baseline. This definition is the project's own.
"""

import cv2
import numpy as np

BLOCK, STEP = 32, 16  # pixels: side of the blocks, and their distance
PERIOD = 8  # pixels; the metric counts patterns of 8/k by 8/l pixels, for integers k and l
LONGEST = 5.0  # pixels; the maximum wavelength, since strokes are longer
FLATTEST = 0.25  # fraction of the blocks that count as flat: those where the source has the least contrast
RING = 2  # bins between a peak and its baseline; the window spreads a sine by one bin
TINY = 1e-9


def lattice(image: np.ndarray, source: np.ndarray) -> float | None:
    """Return the RMS of periodic patterns in a frame where its source is flat, in gray levels.

    Both are (H, W, 3) uint8. The result is None if the frame is smaller than a block of 32 pixels.
    """
    if min(image.shape[:2]) < BLOCK:
        return None
    flat = flat_blocks(source)
    return float(np.sqrt(pattern_power(luma_blocks(image)[flat])))


def flat_blocks(source: np.ndarray) -> np.ndarray:
    """Return the indices of the flattest quarter of an image's blocks (at least one), by the deviation of the luma."""
    deviations = luma_blocks(source).std((1, 2))
    return np.argsort(deviations, kind="stable")[: max(round(FLATTEST * len(deviations)), 1)]


def luma_blocks(image: np.ndarray) -> np.ndarray:
    """Return the luma of all blocks of 32 pixels, 16 apart, row by row: (N, 32, 32) float32, gray levels."""
    luma = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    views = np.lib.stride_tricks.sliding_window_view(luma, (BLOCK, BLOCK))[::STEP, ::STEP]
    return views.reshape(-1, BLOCK, BLOCK)


def pattern_power(blocks: np.ndarray) -> float:
    """Return the mean square of periodic patterns in blocks (N, 32, 32), in gray levels squared.

    Sums the bins of the mean power spectrum (Hann window) whose wavelengths are at most 5 pixels and divide 8. From each
    bin, the geometric mean of the ring two bins around it is subtracted: this removes the smooth part of the spectrum.
    """
    window = np.hanning(BLOCK + 1)[:BLOCK]
    window = np.outer(window, window)
    centered = blocks - blocks.mean((1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(centered * window)) ** 2).mean(0)
    ring = [
        np.log(np.roll(power, (dy, dx), (0, 1)) + TINY)
        for dy in range(-RING, RING + 1)
        for dx in range(-RING, RING + 1)
        if max(abs(dy), abs(dx)) == RING
    ]
    above = (power - np.exp(np.mean(ring, 0))).clip(min=0)
    bins = above[:: BLOCK // PERIOD, :: BLOCK // PERIOD]
    cycles = np.fft.fftfreq(PERIOD)  # per pixel
    short = np.hypot(cycles[:, None], cycles) >= 1 / LONGEST
    return float(bins[short].sum() / window.sum() ** 2)
