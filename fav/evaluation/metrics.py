"""Metrics of one stylized frame, and statistics of them over a film. Pure functions.

Errors are mean squared differences of samples in [0, 1]; a difference of 1 gray level of 255 everywhere is 1.5e-5. Colors
and contrasts are in gray levels, 0 to 255. None means undefined, such as the error of a shot's first frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np

from fav.evaluation.lattice import lattice
from fav.evaluation.sharpness import edge_width
from fav.evaluation.strokes import stroke_width
from fav.flow.field import FlowField
from fav.flow.warp import warp

# Computes style loss, content loss and palette distance of a stylized frame and its source, (H, W, 3) uint8 each.
FrameLosses = Callable[[np.ndarray, np.ndarray], tuple[float, float, float]]

WINDOW = 9  # pixels; the side of the squares for local contrast
NEIGHBORS = 12  # frames on each side that a boundary is compared with
MIN_NEIGHBORS = 5  # in total
ROUNDING = 1 / 255**2 / 12  # the error of rounding to gray levels; the minimum of a standard deviation


@dataclass(frozen=True)
class WarpingError:
    """The mean over the reliable pixels (None without any), and the same sum divided by the number of all pixels."""

    reliable: float | None
    everywhere: float


@dataclass(frozen=True)
class ColorStats:
    """Mean colors, and the standard deviation of the luma, in gray levels. Also differences and slopes of them."""

    blue: float
    green: float
    red: float
    contrast: float

    def minus(self, other: "ColorStats") -> "ColorStats":
        """Return the difference of each value."""
        return ColorStats(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True)
class Metrics:
    """The metrics of one frame.

    `warping_error` is against the frame before, `long_term_error` against the frame a second earlier. Those with `_all`
    are divided by the number of all pixels.
    """

    warping_error: float | None
    warping_error_all: float | None
    long_term_error: float | None
    long_term_error_all: float | None
    local_contrast: float
    blue: float
    green: float
    red: float
    contrast: float
    style_loss: float | None = None
    content_loss: float | None = None
    palette_distance: float | None = None
    lattice: float | None = None
    stroke_width: float | None = None
    edge_width: float | None = None

    @property
    def tone(self) -> ColorStats:
        return ColorStats(self.blue, self.green, self.red, self.contrast)


def compute_metrics(
    frame: np.ndarray,
    before: tuple[np.ndarray, FlowField] | None = None,
    long_before: tuple[np.ndarray, FlowField] | None = None,
    losses: tuple[float, float, float] | None = None,
    source: np.ndarray | None = None,
) -> Metrics:
    """Compute the metrics of one frame of a film.

    Args:
        frame: The frame, (H, W, 3) uint8.
        before: The film's frame before, and the source's flow to it; None at the beginning of a shot.
        long_before: The film's frame a second earlier, and the source's flow to it; None in the first second of a shot.
        losses: The results of `FrameLosses`.
        source: The source frame; None leaves out the metrics that need it (`lattice` and `stroke_width`).
    """
    short, long = (
        (None, None) if pair is None else _as_pair(warping_error(frame, *pair)) for pair in (before, long_before)
    )
    stats = tone(frame)
    return Metrics(
        *short,
        *long,
        local_contrast(frame),
        stats.blue,
        stats.green,
        stats.red,
        stats.contrast,
        *(losses or ()),
        lattice=None if source is None else lattice(frame, source),
        stroke_width=None if source is None else stroke_width(frame, source),
        edge_width=edge_width(frame),
    )


def warping_error(frame: np.ndarray, earlier: np.ndarray, field: FlowField) -> WarpingError:
    """Compute the difference between a frame and a warped earlier frame of the same film.

    With the reliability r and the difference d of samples in [0, 1], summed over pixels p and three channels c:

    - reliable = sum r_p d_pc^2 / (3 sum r_p). This is the warping error of Lai et al., Learning Blind Video Temporal
      Consistency (ECCV 2018), averaged over the channels as in their program.
    - everywhere = sum r_p d_pc^2 / (3 H W). This is the temporal loss of Ruder et al., Artistic style transfer for videos
      and spherical images (IJCV 2018).

    Args:
        frame: The frame, (H, W, 3) uint8.
        earlier: The earlier frame, (H, W, 3) uint8.
        field: The flow from the frame to the earlier one.
    """
    warped = warp(earlier.astype(np.float32), field.flow)
    squared = cv2.transform(((frame - warped) / np.float32(255)) ** 2, np.full((1, 3), 1 / 3, np.float32))
    total = float((squared * field.reliability).sum(dtype=np.float64))
    weight = float(field.reliability.sum(dtype=np.float64))
    return WarpingError(total / weight if weight else None, total / squared.size)


def distance(frame: np.ndarray, other: np.ndarray) -> float:
    """Return the RMS difference of two images (H, W, 3) uint8, in gray levels."""
    return float(np.sqrt(np.square(frame.astype(np.float32) - other).mean()))


def local_contrast(frame: np.ndarray) -> float:
    """Return the mean over all pixels of the standard deviation of the luma in a square of 9 pixels, in gray levels.

    It is 0 for a uniform image. A film that is consistent because it is gray or blurred has a low value.
    """
    luma = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.float64)
    sums, squares = (
        cv2.boxFilter(values, -1, (WINDOW, WINDOW), normalize=False, borderType=cv2.BORDER_REFLECT)
        for values in (luma, luma * luma)
    )
    count = WINDOW * WINDOW
    return float(np.sqrt(np.maximum(count * squares - sums * sums, 0)).mean() / count)


def tone(frame: np.ndarray) -> ColorStats:
    """Return the mean colors and the contrast of an image (H, W, 3) uint8 BGR."""
    luma = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    blue, green, red = frame.reshape(-1, 3).mean(0).tolist()
    return ColorStats(blue, green, red, float(luma.std()))


def drift(offsets: Sequence[ColorStats], shots: Sequence[int]) -> tuple[ColorStats, ColorStats]:
    """Measure how the color difference between a film and its source changes within shots.

    Args:
        offsets: Film minus source, for each frame.
        shots: The number of each frame's shot.

    Returns:
        The slope in gray levels per frame, and the largest difference from the first frame of the shot. The slope is a
        least squares fit of straight lines with the same slope in all shots; it is 0 if no shot has two frames.
    """
    values = np.array([[getattr(offset, field.name) for field in fields(ColorStats)] for offset in offsets])
    numbers, shot_of = np.arange(len(values), dtype=float), np.array(shots)
    products, squares, furthest = np.zeros(4), 0.0, np.zeros(4)
    for shot in np.unique(shot_of):
        frames = shot_of == shot
        centered = numbers[frames] - numbers[frames].mean()
        products += centered @ values[frames]
        squares += centered @ centered
        furthest = np.maximum(furthest, np.abs(values[frames] - values[frames][0]).max(0))
    return ColorStats(*(products / (squares or 1)).tolist()), ColorStats(*furthest.tolist())


def boundary_zscore(errors: Sequence[float | None], shots: Sequence[int], position: int) -> float | None:
    """Return the z-score of an error: (error - mean) / standard deviation, compared with neighboring frames.

    The neighbors are up to 12 frames before and after it in the same shot. The standard deviation is at least the error of
    rounding to gray levels. A score above 3 is visible.

    Args:
        errors: The error of each frame.
        shots: The number of each frame's shot.
        position: The index of the frame.

    Returns:
        None if the error, or all but 4 of the neighbors' errors, are undefined.
    """
    nearby = range(max(position - NEIGHBORS, 0), min(position + NEIGHBORS + 1, len(errors)))
    in_shot = [errors[index] for index in nearby if index != position and shots[index] == shots[position]]
    others, error = [other for other in in_shot if other is not None], errors[position]
    if error is None or len(others) < MIN_NEIGHBORS:
        return None
    return float((error - np.mean(others)) / max(np.std(others), ROUNDING))


def mean_and_95th(values: Sequence[float | None]) -> tuple[float, float] | None:
    """Return the mean and the 95th percentile of the defined values; None if all are undefined."""
    defined = [value for value in values if value is not None]
    return (float(np.mean(defined)), float(np.percentile(defined, 95))) if defined else None


def _as_pair(error: WarpingError) -> tuple[float | None, float]:
    return error.reliable, error.everywhere
