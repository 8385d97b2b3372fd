"""The folder of photographs: which can be read, and one of them at the size that is wanted."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fav.errors import FavError, sanitize
from fav.util.images import MAX_PIXELS, MAX_SIDE, claimed_size, read_image, resize
from fav.util.reading import read_file

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
MIN_IMAGES = 20
HELD_OUT_EVERY, HELD_OUT = 20, 6
NAMED = 5  # files named in full before the rest is counted
# JPEGs are decoded at a fraction for a fraction of the time.
REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}


@dataclass(frozen=True)
class ImageFile:
    """A picture on disk; `short` is about its shorter side, in pixels."""

    path: Path
    short: int

    def read(self, short: int) -> np.ndarray:
        """The picture (H, W, 3) uint8 BGR, upright, its shorter side `short` pixels. FavError where it cannot be read."""
        factor = next(factor for factor in REDUCED if factor == 1 or self.short >= factor * short)
        picture = _decode(self.path, REDUCED[factor])
        if picture is None:
            read_image(self.path)  # says what is wrong
            raise FavError(f"picture {self.path}: it changed while it was read; leave the photographs as they are")
        scale = short / min(picture.shape[:2])
        return resize(picture, tuple(max(round(side * scale), short) for side in picture.shape[1::-1]))


@dataclass(frozen=True)
class ImageFolder:
    """Photographs to learn from, those held out to look at, the fingerprint of both, and a note on each that was skipped."""

    photos: list[ImageFile]
    held_out: list[ImageFile]
    fingerprint: str
    notes: list[str]


def open_image_folder(
    directory: Path, crop: int, report_progress: Callable[[int, int], None] = lambda done, total: None
) -> ImageFolder:
    """All pictures of a directory and those below it, each looked at once; `report_progress` hears how many of how many are.

    Every 20th, at most 6, are held out. Raises FavError where fewer than 20 have at least half of `crop` pixels a side.
    """
    if not directory.is_dir():
        raise FavError(f"{directory}: expected a directory of photographs")
    named = sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES)
    files = [path for path in named if path.is_file()]
    others = [path.name for path in named if not path.is_file() and not path.is_dir()]
    readable: list[ImageFile] = []
    unread, small = [], []
    digest = hashlib.blake2b(digest_size=16)
    with ThreadPoolExecutor() as pool:
        for number, (path, short) in enumerate(zip(files, pool.map(_short_side, files)), 1):
            report_progress(number, len(files))
            if short is None:
                unread.append(path.name)
            elif short < crop / 2:
                small.append(path.name)
            else:
                readable.append(ImageFile(path, short))
                digest.update(
                    f"{path.relative_to(directory)}\0{path.stat().st_size}\0".encode(errors="surrogateescape")
                )
    notes = _notes("no files, left out", others) + _notes("not readable, left out", unread)
    notes += _notes(f"smaller than {crop // 2} pixels, left out", small)
    if len(readable) < MIN_IMAGES:
        told = f" ({'; '.join(notes)})" if notes else ""
        raise FavError(
            f"{directory}: expected at least {MIN_IMAGES} photographs to learn from, got {len(readable)}{told}; "
            f"some hundred are good"
        )
    held_out = readable[::HELD_OUT_EVERY][:HELD_OUT]
    return ImageFolder([photo for photo in readable if photo not in held_out], held_out, digest.hexdigest(), notes)


def _notes(what: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"{what}: {', '.join(map(sanitize, names[:NAMED]))}{more}"] if names else []


def _short_side(path: Path) -> int | None:
    picture = _decode(path, REDUCED[8])
    return None if picture is None else 8 * min(picture.shape[:2])


def _decode(path: Path, flags: int) -> np.ndarray | None:
    try:
        data = read_file(path, f"picture {path}", MAX_SIDE)
        width, height = claimed_size(data) or (0, 0)
        fits = data and width * height <= MAX_PIXELS
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if fits else None
    except (FavError, OSError, cv2.error):
        return None
