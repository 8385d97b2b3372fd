"""List the cuts of a video in a file and on a contact sheet, so that a person can check them."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from fav.video.decoding import decode
from fav.video.settings import SourceSettings
from fav.video.shot_detection import FLASH, ShotSplitter

WIDTH = 192  # pixels of an image on the sheet
LABEL, GAP = 18, 6  # pixels: height of a label, distance between images
COLUMNS, MAX_PAIRS = 4, 400  # pairs in a row, and on the sheet
WHITE, BLACK = 255, (0, 0, 0)


@dataclass
class CutList:
    """The cuts of a video.

    Attributes:
        cuts: first frames of shots, counted from 0.
        seconds: the time of each cut.
        pairs: images (h, w, 3) uint8 BGR of the frames before and after each cut, MAX_PAIRS at most.
        frames: number of analyzed frames.
        notes: what of the video is told to the user, such as damage.
        threshold: of the detection.
    """

    cuts: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    pairs: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    frames: int = 0
    notes: list[str] = field(default_factory=list)
    threshold: float = 0.0


def find_cuts(
    video: Path | str,
    settings: SourceSettings,
    threshold: float,
    start: int = 0,
    stop: int | None = None,
    report_progress: Callable[[], None] = lambda: None,
) -> CutList:
    """Find the cuts of the frames `[start, stop)` of a video, as a job does."""
    found, splitter = CutList(threshold=threshold), ShotSplitter(threshold=threshold)
    recent: deque[tuple[int, float, np.ndarray]] = deque(maxlen=FLASH + 3)

    def take(cuts: list[int]) -> None:
        known = {number: (seconds, image) for number, seconds, image in recent}
        for cut in cuts:
            if cut <= start:
                continue
            seconds, after = known[cut]
            found.cuts.append(cut)
            found.seconds.append(seconds)
            if len(found.pairs) < MAX_PAIRS:
                found.pairs.append((known[cut - 1][1], after))

    with decode(video, settings) as decoding:
        for decoded in decoding:
            if stop is not None and decoded.number >= stop:
                break
            report_progress()
            found.frames = decoded.number + 1
            recent.append((decoded.number, float(decoded.pts * decoding.time_base), decoded.thumbnail(WIDTH)))
            take(splitter.push(decoded))
        take(splitter.finish())
        found.notes = decoding.warnings
    return found


def write_cuts(found: CutList) -> str:
    """The text of a file that `read_cuts` reads."""
    head = f"# first frames of shots, counted from 0, and their time; {found.frames} frames, --cut-threshold {found.threshold:g}"
    lines = [f"{cut}  # {seconds:.3f} s" for cut, seconds in zip(found.cuts, found.seconds)]
    return "\n".join([head, *(lines or ["# none"]), ""])


def contact_sheet(found: CutList) -> np.ndarray:
    """Draw each cut as a pair of images with their frame numbers, MAX_PAIRS at most. Returns (H, W, 3) uint8 BGR."""
    cells = [_cell(cut, *pair) for cut, pair in zip(found.cuts, found.pairs)]
    height, width = (max(cell.shape[side] for cell in cells) for side in (0, 1))
    rows = -(-len(cells) // COLUMNS)
    sheet = np.full((rows * (height + GAP) + GAP, min(len(cells), COLUMNS) * (width + GAP) + GAP, 3), WHITE, np.uint8)
    for number, cell in enumerate(cells):
        row, column = divmod(number, COLUMNS)
        top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
        sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return sheet


def _cell(cut: int, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    images = [_fitted(image) for image in (before, after)]
    height = max(image.shape[0] for image in images)
    cell = np.full((LABEL + height, 2 * WIDTH + 2, 3), WHITE, np.uint8)
    for side, (number, image) in enumerate(zip((cut - 1, cut), images)):
        left = side * (WIDTH + 2)
        cell[LABEL : LABEL + image.shape[0], left : left + WIDTH] = image
        cv2.putText(cell, str(number), (left + 2, LABEL - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, BLACK, 1, cv2.LINE_AA)
    return cell


def _fitted(image: np.ndarray) -> np.ndarray:
    height = max(round(image.shape[0] * WIDTH / image.shape[1]), 1)
    return cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
