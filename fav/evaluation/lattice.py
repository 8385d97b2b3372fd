"""A lattice: what a network lays over flat regions, with the period of its own strides. Pure.

A network that goes down by strides and up again repeats patterns of 2 or 4 pixels, woven ones with 8 pixels across. The
measure is the RMS of what stands out of the spectrum of the luma at waves of up to 5 pixels that fit into 8, in grey
levels, where the source is flat: a tone of amplitude a that repeats so has a / sqrt(2), a checkerboard of +-a has a;
strokes and grain, whose spectra are smooth, have little. The source's own value is what no style is to blame for. The definition is this project's.
"""

import cv2
import numpy as np

BLOCK, STEP = 32, 16  # pixels: the side of the squares that are looked at, and how far they are apart
PERIOD = 8  # pixels: patterns of 8/k by 8/l pixels for whole k and l are looked for,
LONGEST = 5.0  # pixels: whose waves are no longer; strokes may be
FLATTEST = 0.25  # share of the squares that counts as flat: those where the source has the least contrast
RING = 2  # bins from a pattern to what it has to stand out of; the window spreads a tone by one bin
TINY = 1e-9


def lattice(picture: np.ndarray, source: np.ndarray) -> float | None:
    """The RMS of the patterns in a frame where its source is flat, in grey levels.

    Both are (H, W, 3) uint8. None where the frame is smaller than a square of 32 pixels.
    """
    if min(picture.shape[:2]) < BLOCK:
        return None
    flat = flat_squares(source)
    return float(np.sqrt(pattern_power(squares(picture)[flat])))


def flat_squares(source: np.ndarray) -> np.ndarray:
    """The numbers of the flattest quarter of a picture's squares, at least one: of the least deviation of the luma."""
    deviations = squares(source).std((1, 2))
    return np.argsort(deviations, kind="stable")[: max(round(FLATTEST * len(deviations)), 1)]


def squares(picture: np.ndarray) -> np.ndarray:
    """The luma of all squares of 32 pixels, 16 apart, row by row: (N, 32, 32) float32, grey levels."""
    luma = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)
    views = np.lib.stride_tricks.sliding_window_view(luma, (BLOCK, BLOCK))[::STEP, ::STEP]
    return views.reshape(-1, BLOCK, BLOCK)


def pattern_power(blocks: np.ndarray) -> float:
    """Mean square of the patterns in squares (N, 32, 32), grey levels squared.

    The sum, over the bins of the mean power spectrum (Hann window) whose waves are at most 5 pixels long and fit into
    8 across and down, of what is above the geometric mean of the ring two bins around: the smooth part of a spectrum
    cancels.
    """
    window = np.hanning(BLOCK + 1)[:BLOCK]
    window = np.outer(window, window)
    centred = blocks - blocks.mean((1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(centred * window)) ** 2).mean(0)
    ring = [
        np.log(np.roll(power, (dy, dx), (0, 1)) + TINY)
        for dy in range(-RING, RING + 1)
        for dx in range(-RING, RING + 1)
        if max(abs(dy), abs(dx)) == RING
    ]
    above = (power - np.exp(np.mean(ring, 0))).clip(min=0)
    bins = above[:: BLOCK // PERIOD, :: BLOCK // PERIOD]
    cycles = np.fft.fftfreq(PERIOD)  # a pixel
    short = np.hypot(cycles[:, None], cycles) >= 1 / LONGEST
    return float(bins[short].sum() / window.sum() ** 2)
