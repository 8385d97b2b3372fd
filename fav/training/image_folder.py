"""The training photographs: readable images of a folder, frames of a video, or built-in images, at any size."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from fav.errors import FavError, sanitize
from fav.synthetic.photographs import COUNT, photograph
from fav.training.config import STILLS
from fav.util.fingerprint import video_fingerprint
from fav.util.image_sequence import is_sequence
from fav.util.images import MAX_BYTES, MAX_PIXELS, header_size, read_image, resize
from fav.util.reading import read_file
from fav.video.sampling import frames_spread_over

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
MIN_IMAGES = 20
HELD_OUT_EVERY, HELD_OUT = 20, 6
BUILT_IN_HELD_OUT = (1, 13, 25, 37, 49, 62)  # a table, leaves, a figure, a street, a coast, a landscape
BUILT_IN_PRINT = "built-in pictures 1"  # the number changes whenever they are rendered differently
MAX_LISTED = 5  # names in a note; the others are only counted
# Downsampling factors of the decoder. JPEGs are decoded faster at a smaller size.
REDUCED_FLAGS = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}


class Photo(Protocol):
    """An image that can be read at any size."""

    def read(self, short_side: int) -> np.ndarray:
        """Read the image, and resize its shorter side to `short_side` pixels.

        Returns:
            (H, W, 3) uint8 BGR.

        Raises:
            FavError: It cannot be read.
        """
        ...


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
        return _resize_short_side(image, short_side)


@dataclass(frozen=True)
class RenderedPhoto:
    """A built-in image by its number. Each process renders it once."""

    number: int

    def read(self, short_side: int) -> np.ndarray:
        """As `Photo.read`."""
        return _resize_short_side(_render(self.number), short_side)


@dataclass(frozen=True, eq=False)
class VideoStill:
    """A frame of a video, (H, W, 3) uint8 BGR."""

    frame: np.ndarray

    def read(self, short_side: int) -> np.ndarray:
        """As `Photo.read`."""
        return _resize_short_side(self.frame, short_side)


@dataclass(frozen=True)
class ImageFolder:
    """The photographs of a training.

    Attributes:
        photos: For training.
        held_out: For validation.
        fingerprint: Of all names and sizes.
        notes: Lines about files that were left out.
        words: What the photographs are, for the user.
    """

    photos: Sequence[Photo]
    held_out: Sequence[Photo]
    fingerprint: str
    notes: list[str]
    words: str = "photographs"


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


def built_in_photos() -> ImageFolder:
    """Return the images of `fav.synthetic.photographs`. Some of different kinds are held out."""
    photos = [RenderedPhoto(number) for number in range(COUNT)]
    held_out = [photos[number] for number in BUILT_IN_HELD_OUT]
    training = [photo for photo in photos if photo not in held_out]
    return ImageFolder(training, held_out, BUILT_IN_PRINT, [], "built-in pictures")


def video_stills(
    video: Path, crop: int, report_progress: Callable[[int, int], None] = lambda done, total: None
) -> ImageFolder:
    """Read 64 frames at regular distances from a video, or as many as it has. 6 of them are held out.

    Args:
        video: A file, or the pattern of a numbered image sequence.
        crop: Frames are resized, so that their shorter side is at most twice as many pixels.
        report_progress: Called with the number of read frames and of all frames.

    Raises:
        FavError: The video cannot be read, or has fewer than 20 frames that differ.
    """
    frames = frames_spread_over(
        str(video) if is_sequence(str(video)) else video, STILLS, lambda done: report_progress(done, STILLS)
    )
    stills = [
        VideoStill(frame if min(frame.shape[:2]) <= 2 * crop else _resize_short_side(frame, 2 * crop))
        for frame in frames
    ]
    if len(stills) < MIN_IMAGES:
        raise FavError(
            f"--video {video}: expected at least {MIN_IMAGES} frames to learn from, got {len(stills)}; "
            f"leave it out to learn from the built-in pictures"
        )
    held_out = stills[HELD_OUT // 2 :: len(stills) // HELD_OUT][:HELD_OUT]
    training = [still for still in stills if still not in held_out]
    return ImageFolder(training, held_out, video_fingerprint(str(video)), [], f"frames of {sanitize(video.name)}")


@lru_cache(maxsize=COUNT)
def _render(number: int) -> np.ndarray:
    return photograph(number)


def _resize_short_side(image: np.ndarray, short_side: int) -> np.ndarray:
    scale = short_side / min(image.shape[:2])
    return resize(image, tuple(max(round(side * scale), short_side) for side in image.shape[1::-1]))


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
