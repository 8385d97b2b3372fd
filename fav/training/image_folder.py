"""The photographs: which of a folder can be read, and one at the size that is wanted; or a film's frames, or built-in ones."""

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
from fav.util.images import MAX_PIXELS, MAX_SIDE, claimed_size, read_image, resize
from fav.util.reading import read_file
from fav.video.moment import frames_over

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
MIN_IMAGES = 20
HELD_OUT_EVERY, HELD_OUT = 20, 6
BUILT_IN_HELD_OUT = (1, 13, 25, 37, 49, 62)  # a table, leaves, a figure, a street, a coast, a landscape
BUILT_IN_PRINT = "built-in pictures 1"  # another number whenever they are rendered otherwise
NAMED = 5  # files named in full before the rest is counted
# JPEGs are decoded at a fraction for a fraction of the time.
REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}


class Photo(Protocol):
    """A picture that can be had at any size."""

    def read(self, short: int) -> np.ndarray:
        """The picture (H, W, 3) uint8 BGR, upright, its shorter side `short` pixels. FavError where it cannot be read."""
        ...


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
        return _scaled(picture, short)


@dataclass(frozen=True)
class RenderedPhoto:
    """A built-in picture by its number. A process that reads it renders it once."""

    number: int

    def read(self, short: int) -> np.ndarray:
        """As `Photo.read`."""
        return _scaled(_rendered(self.number), short)


@dataclass(frozen=True, eq=False)
class VideoStill:
    """A frame of a video (H, W, 3) uint8 BGR."""

    frame: np.ndarray

    def read(self, short: int) -> np.ndarray:
        """As `Photo.read`."""
        return _scaled(self.frame, short)


@dataclass(frozen=True)
class ImageFolder:
    """Photographs to learn from, those held out to look at, the fingerprint of both, and a note on each that was skipped.

    words: what they are, for a person.
    """

    photos: Sequence[Photo]
    held_out: Sequence[Photo]
    fingerprint: str
    notes: list[str]
    words: str = "photographs"


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


def built_in_photos() -> ImageFolder:
    """The pictures of `fav.synthetic.photographs`, of which some of different kinds are held out."""
    photos = [RenderedPhoto(number) for number in range(COUNT)]
    held_out = [photos[number] for number in BUILT_IN_HELD_OUT]
    learnt = [photo for photo in photos if photo not in held_out]
    return ImageFolder(learnt, held_out, BUILT_IN_PRINT, [], "built-in pictures")


def video_stills(
    video: Path, crop: int, report_progress: Callable[[int, int], None] = lambda done, total: None
) -> ImageFolder:
    """Frames spread evenly over a video, 64 or as many as it has; 6 of them are held out.

    Args:
        video: A file, or the pattern of a numbered image sequence.
        crop: Frames are kept so large that their shorter side is at most twice as many pixels.
        report_progress: Hears how many of how many are read.

    Raises:
        FavError: It cannot be read, or has fewer than 20 frames that differ.
    """
    found = frames_over(
        str(video) if is_sequence(str(video)) else video, STILLS, lambda done: report_progress(done, STILLS)
    )
    stills = [VideoStill(frame if min(frame.shape[:2]) <= 2 * crop else _scaled(frame, 2 * crop)) for frame in found]
    if len(stills) < MIN_IMAGES:
        raise FavError(
            f"--video {video}: expected at least {MIN_IMAGES} frames to learn from, got {len(stills)}; "
            f"leave it out to learn from the built-in pictures"
        )
    held_out = stills[HELD_OUT // 2 :: len(stills) // HELD_OUT][:HELD_OUT]
    learnt = [still for still in stills if still not in held_out]
    return ImageFolder(learnt, held_out, video_fingerprint(str(video)), [], f"frames of {sanitize(video.name)}")


@lru_cache(maxsize=COUNT)
def _rendered(number: int) -> np.ndarray:
    return photograph(number)


def _scaled(picture: np.ndarray, short: int) -> np.ndarray:
    scale = short / min(picture.shape[:2])
    return resize(picture, tuple(max(round(side * scale), short) for side in picture.shape[1::-1]))


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
