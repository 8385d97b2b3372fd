"""The folder of training photographs: find the readable ones, and read them at a given size."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fav.errors import FavError, sanitize
from fav.util.images import MAX_BYTES, MAX_PIXELS, header_size, read_image, resize
from fav.util.reading import read_file

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
MIN_IMAGES = 20
HELD_OUT_EVERY, HELD_OUT = 20, 6
MAX_LISTED = 5  # names in a note; the others are only counted
# Downsampling factors of the decoder. JPEGs are decoded faster at a smaller size.
REDUCED_FLAGS = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}


@dataclass(frozen=True)
class ImageFile:
    """An image file. `short_side` is its approximate shorter side, in pixels."""

    path: Path
    short_side: int

    def read(self, short_side: int) -> np.ndarray:
        """Read the image, rotated as its metadata says, and resize its shorter side to `short_side` pixels.

        Returns:
            (H, W, 3) uint8 BGR.

        Raises:
            FavError: It cannot be read.
        """
        factor = next(factor for factor in REDUCED_FLAGS if factor == 1 or self.short_side >= factor * short_side)
        image = _decode(self.path, REDUCED_FLAGS[factor])
        if image is None:
            read_image(self.path)  # raises an error with the cause
            raise FavError(f"image {self.path}: it changed while it was read; do not change the photographs")
        scale = short_side / min(image.shape[:2])
        return resize(image, tuple(max(round(side * scale), short_side) for side in image.shape[1::-1]))


@dataclass(frozen=True)
class ImageFolder:
    """The photographs of a folder.

    Attributes:
        photos: For training.
        held_out: For validation.
        fingerprint: Of all names and sizes.
        notes: Lines about files that were left out.
    """

    photos: list[ImageFile]
    held_out: list[ImageFile]
    fingerprint: str
    notes: list[str]


def open_image_folder(
    directory: Path, crop: int, report_progress: Callable[[int, int], None] = lambda done, total: None
) -> ImageFolder:
    """Find the images of a directory and its subdirectories. Each is decoded once.

    Every 20th image is held out, 6 at most.

    Args:
        directory: The folder.
        crop: Side of the training images in pixels. Images with less than half of it per side are left out.
        report_progress: Called with the number of checked files and of all files.

    Raises:
        FavError: Fewer than 20 images are usable.
    """
    if not directory.is_dir():
        raise FavError(f"{directory}: expected a directory of photographs")
    paths = sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES)
    files = [path for path in paths if path.is_file()]
    others = [path.name for path in paths if not path.is_file() and not path.is_dir()]
    usable: list[ImageFile] = []
    unreadable, small = [], []
    digest = hashlib.blake2b(digest_size=16)
    with ThreadPoolExecutor() as pool:
        for number, (path, short_side) in enumerate(zip(files, pool.map(_short_side, files)), 1):
            report_progress(number, len(files))
            if short_side is None:
                unreadable.append(path.name)
            elif short_side < crop / 2:
                small.append(path.name)
            else:
                usable.append(ImageFile(path, short_side))
                digest.update(
                    f"{path.relative_to(directory)}\0{path.stat().st_size}\0".encode(errors="surrogateescape")
                )
    notes = _notes("not a regular file, left out", others) + _notes("not readable, left out", unreadable)
    notes += _notes(f"smaller than {crop // 2} pixels, left out", small)
    if len(usable) < MIN_IMAGES:
        details = f" ({'; '.join(notes)})" if notes else ""
        raise FavError(
            f"{directory}: expected at least {MIN_IMAGES} photographs to learn from, got {len(usable)}{details}; "
            f"a few hundred are recommended"
        )
    held_out = usable[::HELD_OUT_EVERY][:HELD_OUT]
    return ImageFolder([photo for photo in usable if photo not in held_out], held_out, digest.hexdigest(), notes)


def _notes(reason: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return [f"{reason}: {', '.join(map(sanitize, names[:MAX_LISTED]))}{more}"] if names else []


def _short_side(path: Path) -> int | None:
    """Return the approximate shorter side of an image; None if it cannot be read."""
    image = _decode(path, REDUCED_FLAGS[8])
    return None if image is None else 8 * min(image.shape[:2])


def _decode(path: Path, flags: int) -> np.ndarray | None:
    """Decode an image with flags of OpenCV; None if it cannot be read or is too large."""
    try:
        data = read_file(path, f"image {path}", MAX_BYTES)
        width, height = header_size(data) or (0, 0)
        fits = data and width * height <= MAX_PIXELS
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if fits else None
    except (FavError, OSError, cv2.error):
        return None
