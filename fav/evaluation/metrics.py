"""What "steady" means, in numbers: measures of one stylized frame, and of their course over a film. Pure.

Errors are mean squared differences of samples in [0, 1] (so 1 grey level of 255 everywhere is 1.5e-5); colors and
contrasts are in grey levels, 0 to 255. None stands for what is not defined: the error of a shot's first frame.
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

# Style loss, content loss and palette distance of a picture (H, W, 3) uint8, given the source frame that it shows.
FrameLosses = Callable[[np.ndarray, np.ndarray], tuple[float, float, float]]

WINDOW = 9  # pixels: the side of the squares in which local contrast is measured
NEIGHBOURS, FEWEST = 12, 5  # frames to each side that a seam is compared with; with fewer in all, none is
ROUNDING = 1 / 255**2 / 12  # error that rounding to grey levels makes by itself: no spread below is taken for one


@dataclass(frozen=True)
class WarpingError:
    """The mean over the reliable pixels, None without any, and the same sum divided by all pixels."""

    reliable: float | None
    everywhere: float


@dataclass(frozen=True)
class ColorStats:
    """Mean colors, and the standard deviation of the luma, in grey levels. Also a difference of two, or its slope."""

    blue: float
    green: float
    red: float
    contrast: float

    def minus(self, other: "ColorStats") -> "ColorStats":
        return ColorStats(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True)
class Metrics:
    """One frame of a film: warping error against the frame before it and against the one a second earlier, and the rest."""

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
    picture: np.ndarray,
    before: tuple[np.ndarray, FlowField] | None = None,
    long_before: tuple[np.ndarray, FlowField] | None = None,
    losses: tuple[float, float, float] | None = None,
    source: np.ndarray | None = None,
) -> Metrics:
    """All that is measured of one frame (H, W, 3) uint8 of a film.

    before and long_before: the film's frame before it and the one a second earlier, with how this one hangs on them
    (by the source's flow, whichever film is measured); None at a shot's beginning. losses: as FrameLosses give them.
    source: the frame that this one was made from; without it, what a style adds to it (`fav.evaluation.lattice`,
    `fav.evaluation.strokes`) is None.
    """
    short, long = (
        (None, None) if pair is None else _both(warping_error(picture, *pair)) for pair in (before, long_before)
    )
    seen = tone(picture)
    return Metrics(
        *short,
        *long,
        local_contrast(picture),
        seen.blue,
        seen.green,
        seen.red,
        seen.contrast,
        *(losses or ()),
        lattice=None if source is None else lattice(picture, source),
        stroke_width=None if source is None else stroke_width(picture, source),
        edge_width=edge_width(picture),
    )


def warping_error(picture: np.ndarray, earlier: np.ndarray, geometry: FlowField) -> WarpingError:
    """How much a frame differs from an earlier one of its film, (H, W, 3) uint8 both, fetched along the flow.

    With r the reliability and d the difference of the samples in [0, 1], over pixels p and the three colors c:
    reliable = sum r_p d_pc^2 / (3 sum r_p), the warping error of Lai et al., Learning Blind Video Temporal Consistency
    (ECCV 2018), averaged over the colors as their program does it; everywhere = sum r_p d_pc^2 / (3 H W), the temporal
    loss of Ruder et al., Artistic style transfer for videos and spherical images (IJCV 2018).
    """
    fetched = warp(earlier.astype(np.float32), geometry.flow)
    squared = cv2.transform(((picture - fetched) / np.float32(255)) ** 2, np.full((1, 3), 1 / 3, np.float32))
    total = float((squared * geometry.reliability).sum(dtype=np.float64))
    trusted = float(geometry.reliability.sum(dtype=np.float64))
    return WarpingError(total / trusted if trusted else None, total / squared.size)


def distance(picture: np.ndarray, other: np.ndarray) -> float:
    """Root mean square of the difference of two pictures (H, W, 3) uint8, in grey levels."""
    return float(np.sqrt(np.square(picture.astype(np.float32) - other).mean()))


def local_contrast(picture: np.ndarray) -> float:
    """The standard deviation of the luma within squares of 9 pixels, the mean over all pixels; grey levels.

    0 for one color. What a film loses that is steady because it is grey or blurred.
    """
    luma = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float64)
    sums, squares = (
        cv2.boxFilter(values, -1, (WINDOW, WINDOW), normalize=False, borderType=cv2.BORDER_REFLECT)
        for values in (luma, luma * luma)
    )
    count = WINDOW * WINDOW
    return float(np.sqrt(np.maximum(count * squares - sums * sums, 0)).mean() / count)


def tone(picture: np.ndarray) -> ColorStats:
    """The mean colors and the contrast of a picture (H, W, 3) uint8 BGR."""
    luma = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    blue, green, red = picture.reshape(-1, 3).mean(0).tolist()
    return ColorStats(blue, green, red, float(luma.std()))


def drift(offsets: Sequence[ColorStats], shots: Sequence[int]) -> tuple[ColorStats, ColorStats]:
    """How a film's tone wanders away from its source's within shots: its slope, and the furthest it comes.

    offsets: film minus source, frame after frame; shots: the number of each frame's shot. The slope, in grey levels a
    frame, is that of the straight lines through all shots with one slope for all and a level for each (least squares);
    0 where no shot has two frames. The furthest is the largest distance from the first frame of its shot.
    """
    values = np.array([[getattr(offset, field.name) for field in fields(ColorStats)] for offset in offsets])
    numbers, shot_of = np.arange(len(values), dtype=float), np.array(shots)
    products, squares, furthest = np.zeros(4), 0.0, np.zeros(4)
    for shot in np.unique(shot_of):
        mine = shot_of == shot
        away = numbers[mine] - numbers[mine].mean()
        products += away @ values[mine]
        squares += away @ away
        furthest = np.maximum(furthest, np.abs(values[mine] - values[mine][0]).max(0))
    return ColorStats(*(products / (squares or 1)).tolist()), ColorStats(*furthest.tolist())


def boundary_zscore(errors: Sequence[float | None], shots: Sequence[int], position: int) -> float | None:
    """How far the error at a position stands out from the 12 before and the 12 after it within its shot, in their spread.

    (e - mean) / standard deviation of the neighbours, without the frame itself; the spread is at least what rounding
    to grey levels makes. Above 3 it would be noticed. None where the error, or those of fewer than 5 neighbours, are
    known.
    """
    around = range(max(position - NEIGHBOURS, 0), min(position + NEIGHBOURS + 1, len(errors)))
    beside = [errors[at] for at in around if at != position and shots[at] == shots[position]]
    others, here = [error for error in beside if error is not None], errors[position]
    if here is None or len(others) < FEWEST:
        return None
    return float((here - np.mean(others)) / max(np.std(others), ROUNDING))


def mean_and_95th(values: Sequence[float | None]) -> tuple[float, float] | None:
    """The mean of the values that are defined and their 95th percentile; None where none is."""
    known = [value for value in values if value is not None]
    return (float(np.mean(known)), float(np.percentile(known, 95))) if known else None


def _both(error: WarpingError) -> tuple[float | None, float]:
    return error.reliable, error.everywhere
