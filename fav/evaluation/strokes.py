"""The width of strokes, from the autocorrelation of the texture that a style added. Pure.

The texture is the luma minus its Gaussian mean (8 pixels). In a film, its projection on the source's texture is subtracted
too. Consider dark and bright stripes of w pixels: their autocorrelation is a triangle that falls to 1/2 at a lag of w / 4.
So the width is four times that lag, in the direction in which it falls first, in blocks of 64 pixels. The result is the
median of all blocks, weighted by their variance. This definition is the project's own. A style image is measured at the
size that training uses.
"""

import cv2
import numpy as np

BLOCK, STEP = 64, 48  # pixels: side of the blocks, and their distance
SIGMA = 8.0  # pixels: standard deviation of the Gaussian; larger structures are shapes, not strokes
DIRECTIONS = 16  # in which the autocorrelation is sampled
LAGS = np.arange(0, 16.25, 0.25)  # pixels
MIN_VARIANCE = 1.0  # gray levels squared; a block with less has no strokes


def stroke_width(image: np.ndarray, source: np.ndarray | None = None) -> float | None:
    """Return the width of the strokes in an image (H, W, 3) uint8, in pixels. For a film's frame, give its `source`.

    The result is None if the image is smaller than a block of 64 pixels, or has no strokes.
    """
    if min(image.shape[:2]) < BLOCK:
        return None
    residual = _blocks(_texture(image))
    if source is not None:
        residual = _remove_projection(residual, _blocks(_texture(source)))
    variance = residual.var((1, 2))
    residual, variance = residual[variance > MIN_VARIANCE], variance[variance > MIN_VARIANCE]
    if not len(residual):
        return None
    widths = 4 * _half_lags(residual)
    order = np.argsort(widths, kind="stable")
    cumulative = np.cumsum(variance[order]) / variance.sum()
    return float(widths[order][np.searchsorted(cumulative, 0.5)])


def _texture(image: np.ndarray) -> np.ndarray:
    """Return the luma minus its Gaussian mean, (H, W) float32."""
    luma = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return luma - cv2.GaussianBlur(luma, (0, 0), SIGMA, borderType=cv2.BORDER_REFLECT)


def _blocks(values: np.ndarray) -> np.ndarray:
    views = np.lib.stride_tricks.sliding_window_view(values, (BLOCK, BLOCK))[::STEP, ::STEP]
    return views.reshape(-1, BLOCK, BLOCK)


def _remove_projection(residual: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return each block minus its projection on the source's block."""
    energy = np.maximum(np.square(source).sum((1, 2)), 1e-9)
    factor = (residual * source).sum((1, 2)) / energy
    return residual - factor[:, None, None] * source


def _half_lags(blocks: np.ndarray) -> np.ndarray:
    """Return the smallest lag in pixels, over all directions, at which the autocorrelation of blocks (N, 64, 64) is 1/2.

    If it stays above 1/2, the result is the largest lag.
    """
    window = np.hanning(BLOCK + 2)[1:-1].astype(np.float32)
    window = np.outer(window, window)
    means = (blocks * window).sum((1, 2)) / window.sum()
    products = _autocorrelation((blocks - means[:, None, None]) * window) / _autocorrelation(window[None])
    correlation = products / products[:, :1, :1]
    angles = np.arange(DIRECTIONS) * np.pi / DIRECTIONS
    x, y = np.outer(np.cos(angles), LAGS), np.outer(np.sin(angles), LAGS)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    profiles = np.zeros((len(blocks), *x.shape))  # by bilinear interpolation; negative lags are at the end of an axis
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = np.abs(1 - row - (y - top)) * np.abs(1 - column - (x - left))
        profiles += weight * correlation[:, (top + row) % BLOCK, (left + column) % BLOCK]
    first = np.where((profiles < 0.5).any(2), (profiles < 0.5).argmax(2), len(LAGS) - 1)
    before, after = (np.take_along_axis(profiles, index[..., None], 2)[..., 0] for index in (first - 1, first))
    fraction = np.clip((before - 0.5) / np.maximum(before - after, 1e-9), 0, 1)
    return (LAGS[first - 1] + fraction * (LAGS[1] - LAGS[0])).min(1)


def _autocorrelation(blocks: np.ndarray) -> np.ndarray:
    """Return the circular autocorrelation of windowed blocks; lag (y, x) is at [y, x]."""
    return np.fft.irfft2(np.abs(np.fft.rfft2(blocks)) ** 2, (BLOCK, BLOCK))
