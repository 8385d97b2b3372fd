"""How wide strokes are: where the autocorrelation of what a style added has fallen to one half. Pure.

Of the luma the mean over a Gaussian of 8 pixels is taken away and, in a film, what the source explains; what is left is
the style's. In squares of 64 pixels, across the strokes (in the direction in which it falls soonest), the
autocorrelation of stripes of w pixels, dark and bright by turns, is a triangle that has one half at w / 4; so the width
is four times that lag, in pixels. It is the median over all squares, each counted by its variance. The definition is
this project's; a painting is measured at the size at which it is learnt from.
"""

import cv2
import numpy as np

BLOCK, STEP = 64, 48  # pixels: the side of the squares that are looked at, and how far they are apart
COARSE = 8.0  # pixels: the standard deviation of what counts as form, not as strokes
DIRECTIONS = 16  # in which the autocorrelation is followed
LAGS = np.arange(0, 16.25, 0.25)  # pixels
FAINT = 1.0  # grey levels squared: a square of less variance shows no strokes


def stroke_width(picture: np.ndarray, source: np.ndarray | None = None) -> float | None:
    """The width of the strokes in a picture (H, W, 3) uint8, in pixels; of a film's frame with its source.

    None where the picture is smaller than a square of 64 pixels, or shows no strokes.
    """
    if min(picture.shape[:2]) < BLOCK:
        return None
    residual = _squares(_fine(picture))
    if source is not None:
        residual = _without(residual, _squares(_fine(source)))
    variance = residual.var((1, 2))
    residual, variance = residual[variance > FAINT], variance[variance > FAINT]
    if not len(residual):
        return None
    widths = 4 * _half_lags(residual)
    order = np.argsort(widths, kind="stable")
    reached = np.cumsum(variance[order]) / variance.sum()
    return float(widths[order][np.searchsorted(reached, 0.5)])


def _fine(picture: np.ndarray) -> np.ndarray:
    """The luma without what is coarse, (H, W) float32."""
    luma = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return luma - cv2.GaussianBlur(luma, (0, 0), COARSE, borderType=cv2.BORDER_REFLECT)


def _squares(values: np.ndarray) -> np.ndarray:
    views = np.lib.stride_tricks.sliding_window_view(values, (BLOCK, BLOCK))[::STEP, ::STEP]
    return views.reshape(-1, BLOCK, BLOCK)


def _without(residual: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Each square without the multiple of the source's that explains most of it."""
    energy = np.maximum(np.square(source).sum((1, 2)), 1e-9)
    share = (residual * source).sum((1, 2)) / energy
    return residual - share[:, None, None] * source


def _half_lags(blocks: np.ndarray) -> np.ndarray:
    """For squares (N, 64, 64), the lag in pixels at which the autocorrelation first is one half, in the direction where it
    is soonest; the farthest that is looked at where it stays above."""
    window = np.hanning(BLOCK + 2)[1:-1].astype(np.float32)
    window = np.outer(window, window)
    means = (blocks * window).sum((1, 2)) / window.sum()
    products = _autocorrelation((blocks - means[:, None, None]) * window) / _autocorrelation(window[None])
    correlation = products / products[:, :1, :1]
    angles = np.arange(DIRECTIONS) * np.pi / DIRECTIONS
    x, y = np.outer(np.cos(angles), LAGS), np.outer(np.sin(angles), LAGS)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    followed = np.zeros((len(blocks), *x.shape))  # by linear interpolation; negative lags are at the end
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = np.abs(1 - row - (y - top)) * np.abs(1 - column - (x - left))
        followed += share * correlation[:, (top + row) % BLOCK, (left + column) % BLOCK]
    first = np.where((followed < 0.5).any(2), (followed < 0.5).argmax(2), len(LAGS) - 1)
    before, after = (np.take_along_axis(followed, at[..., None], 2)[..., 0] for at in (first - 1, first))
    within = np.clip((before - 0.5) / np.maximum(before - after, 1e-9), 0, 1)
    return (LAGS[first - 1] + within * (LAGS[1] - LAGS[0])).min(1)


def _autocorrelation(blocks: np.ndarray) -> np.ndarray:
    """Of squares that fade to nothing at their borders, around which it goes; lag (y, x) at [y, x]."""
    return np.fft.irfft2(np.abs(np.fft.rfft2(blocks)) ** 2, (BLOCK, BLOCK))
