"""The painting as a style sees it: cropped, brought to size, and without the grain that its photograph was given.

Photographs of paintings are sharpened: a speckle of one or two pixels and bright halos at edges, which are not the
painter's. A style loss asks for exactly that speckle, and the network answers with a lattice and strokes of a few pixels.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fav.errors import FavError
from fav.util.images import read_image, resize

STYLE_SIZE = 1024  # pixels of the longer side that is learnt from by default
SMALLEST_PAINTING = 64  # pixels a side
# RMS of a picture minus its 3x3 median, grey levels. Photographs of four paintings, 1024 pixels: 42 (Starry Night), 11 (Wave),
# 4.8 (Composition VII), 2.1 (The Scream); a clean woodcut of hard edges: 1.
SHARPENED = 4.5
CLEAN = 8.0  # less than so much is left after cleaning: the fine lines of a woodcut are speckle, too
STRENGTHS = ((1.2, False), (1.67, True), (2.0, True))  # size of the grain, pixels, and whether a median goes first
OVERVIEW = 400  # pixels of the longer side of what is shown of a painting
COLORS_OF = 512  # pixels: the size of the painting whose colors are kept when its grain is taken out
WINDOW, LEVELS, REACH = 7, 40.0, 3.0  # of the bilateral filter: pixels, grey levels, pixels


@dataclass(frozen=True)
class Painting:
    """What is learnt from a picture: `picture` (H, W, 3) uint8 BGR.

    fine_detail is that of the file's picture at this size (`fine_detail`), in grey levels; grain the size in pixels of what
    was taken out, 0 where nothing was. whole is all of the file's picture, to be looked at, with the part that is learnt from
    in a frame if it is a part; size that of the file's picture, width and height, and crop the part of it.
    """

    picture: np.ndarray
    fine_detail: float
    grain: float
    whole: np.ndarray
    size: tuple[int, int]
    crop: str = ""

    @property
    def part(self) -> str:
        """What is learnt from, in one line for a person."""
        size = f"{self.size[0]}x{self.size[1]} pixels"
        if self.crop:
            return f"learnt from: the part {self.crop} of {size}"
        return f"learnt from: all of the painting, {size} (--style-crop X,Y,W,H: a part of it)"

    @property
    def note(self) -> str:
        """What was found and done, in one line for a person."""
        height, width = self.picture.shape[:2]
        found = f"painting: {width}x{height} pixels, fine detail {self.fine_detail:.1f} grey levels"
        if not self.grain:
            return f"{found}; it is used as it is"
        return (
            f"{found}: this picture is sharpened; grain below {self.grain:g} pixels is taken out, and "
            f"{fine_detail(self.picture):.1f} grey levels are left (--no-clean-style: it stays)"
        )


def read_painting(path: Path, size: int = STYLE_SIZE, crop: str = "", clean: bool = True) -> Painting:
    """The painting in a file, or the part `crop` of it ("X,Y,W,H", pixels of the file; "" for all).

    Its longer side has `size` pixels, fewer where the file has fewer. With `clean`, a sharpened picture loses its grain.
    Raises FavError where the file is no picture, the crop does not lie in it, or less than 64 pixels a side are left.
    """
    whole = read_image(path)
    part = _cropped(whole, crop, path) if crop else whole
    if min(part.shape[:2]) < SMALLEST_PAINTING:
        height, width = part.shape[:2]
        raise FavError(f"picture {path}: expected at least {SMALLEST_PAINTING} pixels a side, got {width}x{height}")
    picture = at_most(part, size)
    detail = fine_detail(picture)
    seen = _overview(whole, crop), whole.shape[1::-1], crop
    if not clean:
        return Painting(picture, detail, 0.0, *seen)
    # The grain of a photograph is of its own pixels: it is taken out before a picture becomes smaller than usual.
    cleaned, grain = without_grain(at_most(part, max(size, STYLE_SIZE)))
    return Painting(at_most(cleaned, size) if grain else picture, detail, grain, *seen)


def parse_crop(crop: str) -> tuple[int, int, int, int]:
    """X, Y, W and H of the words "X,Y,W,H"; FavError where they are none."""
    match = re.fullmatch(r"(\d{1,6}),(\d{1,6}),([1-9]\d{0,5}),([1-9]\d{0,5})", crop)
    if not match:
        raise FavError(
            f"--style-crop: expected X,Y,W,H in pixels of the painting, like 0,120,800,600, got {crop[:80]!r}"
        )
    x, y, width, height = map(int, match.groups())
    return x, y, width, height


def fine_detail(picture: np.ndarray) -> float:
    """RMS of a picture (H, W, 3) uint8 minus the mean of 3x3 pixels, in grey levels.

    White noise of standard deviation s has s times the root of 8/9, one color has 0.
    """
    values = picture.astype(np.float32)
    return _rms(values - cv2.blur(values, (3, 3), borderType=cv2.BORDER_REFLECT))


def speckle(picture: np.ndarray) -> float:
    """RMS of a picture (H, W, 3) uint8 minus the median of 3x3 pixels, in grey levels: fine detail that is no edge."""
    return _rms(picture.astype(np.float32) - cv2.medianBlur(np.ascontiguousarray(picture), 3))


def without_grain(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture (H, W, 3) uint8 without its grain and halos, and the size in pixels of what was taken out.

    A picture that is not sharpened comes back as it is, with 0. Otherwise it is made smaller by the size of the grain,
    smoothed between edges (a bilateral filter: Tomasi and Manduchi 1998), given its colors back, and enlarged again; as
    much as is needed, and a median of 3x3 before only where that is: it takes lines of one pixel as well.
    """
    if speckle(picture) <= SHARPENED:
        return picture, 0.0
    height, width = picture.shape[:2]
    like = at_most(picture, COLORS_OF)
    cleaned, grain = picture, 0.0
    for grain, median in STRENGTHS:
        small = cv2.medianBlur(np.ascontiguousarray(picture), 3) if median else picture
        small = resize(small, (max(round(width / grain), 1), max(round(height / grain), 1)))
        smooth = with_colors_of(cv2.bilateralFilter(small, WINDOW, LEVELS, REACH), like)
        cleaned = resize(smooth, (width, height))
        if speckle(cleaned) < CLEAN:
            break
    return cleaned, grain


def with_colors_of(picture: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) uint8 with the mean and the covariance of the colors of another one.

    By the linear map that moves the colors least (Monge-Kantorovitch; Pitie and Kokaram 2007).
    """
    ours, theirs = (colors.reshape(-1, 3).astype(np.float64) for colors in (picture, like))
    root = _root(np.cov(ours.T))
    back = np.linalg.inv(root)
    change = back @ _root(root @ np.cov(theirs.T) @ root) @ back
    mapped = (ours - ours.mean(0)) @ change + theirs.mean(0)
    return mapped.round().clip(0, 255).astype(np.uint8).reshape(picture.shape)


def at_most(picture: np.ndarray, size: int) -> np.ndarray:
    """The picture with `size` pixels on its longer side; as it is where it has fewer."""
    scale = min(1, size / max(picture.shape[:2]))
    height, width = picture.shape[:2]
    return resize(picture, (max(round(width * scale), 1), max(round(height * scale), 1)))


def _cropped(picture: np.ndarray, crop: str, path: Path) -> np.ndarray:
    x, y, w, h = parse_crop(crop)
    height, width = picture.shape[:2]
    if x + w > width or y + h > height:
        raise FavError(
            f"--style-crop: expected a part of picture {path}, which has {width}x{height} pixels, got {crop}: "
            f"it ends at {x + w},{y + h}"
        )
    return picture[y : y + h, x : x + w]


def _overview(whole: np.ndarray, crop: str) -> np.ndarray:
    """The picture in a size to be looked at, with the part in a frame of white and black."""
    seen = at_most(whole, OVERVIEW).copy()
    if crop:
        scale = seen.shape[1] / whole.shape[1]
        x, y, width, height = (round(scale * side) for side in parse_crop(crop))
        for wider, color in ((3, (255, 255, 255)), (1, (0, 0, 0))):
            cv2.rectangle(seen, (x, y), (x + width - 1, y + height - 1), color, wider)
    return seen


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(np.sqrt(values.clip(1e-6))) @ vectors.T


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean(dtype=np.float64)))
