"""Read a painting for training: crop, resize and denoise it.

Photographs of paintings are often sharpened. Sharpening adds grain of one or two pixels and bright halos at edges, which
the painting does not have. The style loss rewards this grain, and the network learns checkerboard artifacts and strokes
of a few pixels. So the grain is removed.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fav.errors import FavError
from fav.perceptual.painting_parts import painting_parts
from fav.util.images import limit_size, read_image, resize

STYLE_SIZE = 1024  # default size of the longer side, in pixels
MIN_SIDE = 64  # pixels
# RMS of an image minus its 3x3 median, gray levels. Photographs of four paintings, 1024 pixels: 42 (Starry Night), 11 (Wave),
# 4.8 (Composition VII), 2.1 (The Scream); a clean woodcut with hard edges: 1.
SHARPENED = 4.5  # an image with more speckle counts as sharpened
CLEAN = 8.0  # denoising stops below this; the fine lines of a woodcut count as speckle, too
STRENGTHS = (
    (1.2, False),
    (1.67, True),
    (2.0, True),
)  # grain size in pixels, and whether a median filter is applied first
OVERVIEW = 400  # pixels of the longer side of the overview of a painting
COLOR_REFERENCE_SIZE = 512  # pixels; at this size, grain has no effect on the colors
WINDOW, SIGMA_COLOR, SIGMA_SPACE = 7, 40.0, 3.0  # of the bilateral filter: pixels, gray levels, pixels


@dataclass(frozen=True)
class Painting:
    """A style image, ready for training.

    Attributes:
        picture: (H, W, 3) uint8 BGR.
        fine_detail: The `fine_detail` of the image at this size, before denoising, in gray levels.
        grain: The size in pixels of the grain that was removed, or 0.
        whole: A small image of the whole file, with a frame around the part that is used.
        size: (width, height) of the file.
        crop: The part that is used, "X,Y,W,H"; "" for all.
        suggested_parts: Other parts to learn from, "X,Y,W,H" and a small image (H, W, 3) each.
    """

    picture: np.ndarray
    fine_detail: float
    grain: float
    whole: np.ndarray
    size: tuple[int, int]
    crop: str = ""
    suggested_parts: tuple[tuple[str, np.ndarray], ...] = ()

    @property
    def part(self) -> str:
        """The part that is used, in one line for the user."""
        size = f"{self.size[0]}x{self.size[1]} pixels"
        if self.crop:
            return f"learned from: the part {self.crop} of {size}"
        suggested = "; the contact sheet suggests some" if self.suggested_parts else ""
        return f"learned from: all of the painting, {size} (--style-crop X,Y,W,H: a part of it{suggested})"

    @property
    def note(self) -> str:
        """The size and the denoising, in one line for the user."""
        height, width = self.picture.shape[:2]
        size = f"painting: {width}x{height} pixels, fine detail {self.fine_detail:.1f} gray levels"
        if not self.grain:
            return f"{size}; it is used unchanged"
        return (
            f"{size}: this image is sharpened; grain below {self.grain:g} pixels is removed, and "
            f"{fine_detail(self.picture):.1f} gray levels remain (--no-clean-style keeps it)"
        )


def read_painting(
    path: Path, size: int = STYLE_SIZE, crop: str = "", clean: bool = True, suggest: bool = False
) -> Painting:
    """Read a painting, or a part of it, from a file.

    Args:
        path: The image file.
        size: Maximum of the longer side, in pixels. A smaller image is not enlarged.
        crop: The part to use as "X,Y,W,H" in pixels of the file; "" for all.
        clean: Whether to remove the grain of a sharpened image.
        suggest: Whether to suggest other parts. None are suggested if `crop` is given.

    Raises:
        FavError: The file is not an image, the crop is not inside it, or less than 64 pixels per side remain.
    """
    image = read_image(path)
    part = _crop(image, crop, path) if crop else image
    if min(part.shape[:2]) < MIN_SIDE:
        height, width = part.shape[:2]
        raise FavError(f"image {path}: expected at least {MIN_SIDE} pixels per side, got {width}x{height}")
    resized = limit_size(part, size)
    detail = fine_detail(resized)
    parts = _suggested_parts(image) if suggest and not crop else ()
    overview = _overview(image, crop), image.shape[1::-1], crop, parts
    if not clean:
        return Painting(resized, detail, 0.0, *overview)
    # Grain has the size of the photograph's pixels, so it is removed before the image is resized below STYLE_SIZE.
    cleaned, grain = remove_grain(limit_size(part, max(size, STYLE_SIZE)))
    return Painting(limit_size(cleaned, size) if grain else resized, detail, grain, *overview)


def parse_crop(crop: str) -> tuple[int, int, int, int]:
    """Parse "X,Y,W,H". Raises FavError for any other text."""
    match = re.fullmatch(r"(\d{1,6}),(\d{1,6}),([1-9]\d{0,5}),([1-9]\d{0,5})", crop)
    if not match:
        raise FavError(
            f"--style-crop: expected X,Y,W,H in pixels of the painting, like 0,120,800,600, got {crop[:80]!r}"
        )
    x, y, width, height = map(int, match.groups())
    return x, y, width, height


def fine_detail(image: np.ndarray) -> float:
    """Return the RMS of an image (H, W, 3) uint8 minus its mean over 3x3 pixels, in gray levels.

    It is 0 for a uniform image, and sqrt(8/9) times the standard deviation for white noise.
    """
    values = image.astype(np.float32)
    return _rms(values - cv2.blur(values, (3, 3), borderType=cv2.BORDER_REFLECT))


def speckle(image: np.ndarray) -> float:
    """Return the RMS of an image (H, W, 3) uint8 minus its 3x3 median, in gray levels: fine detail without edges."""
    return _rms(image.astype(np.float32) - cv2.medianBlur(np.ascontiguousarray(image), 3))


def remove_grain(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Remove the grain and the halos of a sharpened image (H, W, 3) uint8.

    The image is downsampled by the size of the grain, smoothed with a bilateral filter (Tomasi and Manduchi 1998), and
    enlarged again; its color statistics are restored. The weakest of three strengths that suffices is used. The stronger
    ones begin with a 3x3 median filter, which also removes lines of one pixel.

    Returns:
        The image, and the size of the removed grain in pixels. An image that is not sharpened is returned unchanged,
        with 0.
    """
    if speckle(image) <= SHARPENED:
        return image, 0.0
    height, width = image.shape[:2]
    reference = limit_size(image, COLOR_REFERENCE_SIZE)
    cleaned, grain = image, 0.0
    for grain, median in STRENGTHS:
        small = cv2.medianBlur(np.ascontiguousarray(image), 3) if median else image
        small = resize(small, (max(round(width / grain), 1), max(round(height / grain), 1)))
        smooth = transfer_colors(cv2.bilateralFilter(small, WINDOW, SIGMA_COLOR, SIGMA_SPACE), reference)
        cleaned = resize(smooth, (width, height))
        if speckle(cleaned) < CLEAN:
            break
    return cleaned, grain


def transfer_colors(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with the mean and the covariance of the colors of `reference`.

    Uses the linear map that changes the colors least (Monge-Kantorovitch; Pitie and Kokaram 2007).
    """
    source, target = (colors.reshape(-1, 3).astype(np.float64) for colors in (image, reference))
    root = _square_root(np.cov(source.T))
    inverse = np.linalg.inv(root)
    transform = inverse @ _square_root(root @ np.cov(target.T) @ root) @ inverse
    mapped = (source - source.mean(0)) @ transform + target.mean(0)
    return mapped.round().clip(0, 255).astype(np.uint8).reshape(image.shape)


def _crop(image: np.ndarray, crop: str, path: Path) -> np.ndarray:
    x, y, w, h = parse_crop(crop)
    height, width = image.shape[:2]
    if x + w > width or y + h > height:
        raise FavError(
            f"--style-crop: expected a part of image {path}, which has {width}x{height} pixels, got {crop}: "
            f"it ends at {x + w},{y + h}"
        )
    return image[y : y + h, x : x + w]


def _suggested_parts(image: np.ndarray) -> tuple[tuple[str, np.ndarray], ...]:
    """Parts for --style-crop, "X,Y,W,H" and a small image each."""
    return tuple(
        (f"{x},{y},{w},{h}", limit_size(image[y : y + h, x : x + w], OVERVIEW)) for x, y, w, h in painting_parts(image)
    )


def _overview(image: np.ndarray, crop: str) -> np.ndarray:
    """Return a small copy of an image, with a black and white frame around the crop."""
    small = limit_size(image, OVERVIEW).copy()
    if crop:
        scale = small.shape[1] / image.shape[1]
        x, y, width, height = (round(scale * side) for side in parse_crop(crop))
        for thickness, color in ((3, (255, 255, 255)), (1, (0, 0, 0))):
            cv2.rectangle(small, (x, y), (x + width - 1, y + height - 1), color, thickness)
    return small


def _square_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(np.sqrt(values.clip(1e-6))) @ vectors.T


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean(dtype=np.float64)))
