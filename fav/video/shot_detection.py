"""Where shots begin: found by PySceneDetect's content detector as the frames come, or read from a file of the user."""

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from scenedetect.detectors import ContentDetector
from scenedetect.scene_detector import FlashFilter

from fav.errors import FavError
from fav.util.reading import read_once

# A quarter of a second. Flashes and whip pans pass the threshold several times within a few frames, and each cut
# starts a new picture from nothing, which is seen; shots this short hardly exist. (PySceneDetect's 15 frames
# would lose the second of two cuts that are half a second apart.)
MIN_SHOT = 6
LONGEST = 12  # digits of a frame number
LARGEST = 1 << 24  # bytes of a file of cuts: more than a million numbers
LONG_SIDE = 256  # of the pictures that are looked at, as PySceneDetect itself chooses it

# Where the picture was quiet just before, a smaller change is a cut: one that is this many times the largest of the
# last changes, but at least QUIET (PySceneDetect's adaptive detector has the same floor, but needs frames to come).
# In a clip of which half never changes, 27 finds one of five cuts, this finds all.
SUDDEN, RECENT, QUIET = 2.0, 3, 15.0


class CutDetector:
    """Finds cuts in frames that come one after the other; each is judged at once, by those before it alone.

    `threshold` is the mean change of hue, saturation and value (OpenCV's 8-bit HSV) from one frame to the next that
    makes a cut in any case; in quiet shots less does. Within `min_shot` frames after a cut there is no other (the
    first frame counts as none). The change is that of PySceneDetect's ContentDetector.
    """

    def __init__(self, threshold: float = 27.0, min_shot: int = MIN_SHOT):
        self._threshold, self._min_shot = threshold, min_shot
        self._detector = ContentDetector(threshold, min_scene_len=min_shot, filter_mode=FlashFilter.Mode.SUPPRESS)
        self._changes = deque([threshold], maxlen=RECENT)  # what was before the first frame may have been anything
        self._started = False

    def push(self, number: int, frame: np.ndarray) -> bool:
        """Whether a new shot begins at this frame, (H, W, 3) uint8 BGR; numbers ascend by one. Never for the first.

        A long side of LONG_SIDE is enough; larger frames find the same cuts and take longer.
        """
        self._detector._threshold = min(self._threshold, max(QUIET, SUDDEN * max(self._changes)))
        if not self._started:
            self._started = True
            return bool(
                self._detector.process_frame(number - self._min_shot, frame)
            )  # it takes its first number for a cut
        found = self._detector.process_frame(number, frame)
        self._changes.append(self._detector._frame_score)
        return bool(found)


def make_cut_detector(cuts: Iterable[int] | None) -> Callable[[int, Callable[[int], np.ndarray]], bool]:
    """A function that tells whether a new shot begins at a frame, asked with its number and with what makes its picture, of
    a long side that is given: one of `cuts`, for which no picture is made, or None to detect them, as `CutDetector` does."""
    if cuts is not None:
        given = frozenset(cuts)
        return lambda number, small: number in given
    detector = CutDetector()
    return lambda number, small: detector.push(number, small(LONG_SIDE))


def read_cuts(path: Path | str, frame_count: int | None = None) -> tuple[int, ...]:
    """The cuts in a file: a line each, the number (from 0) of the first frame of a new shot, ascending.

    Blank lines, what follows a `#`, and one header line before the numbers are skipped. FavError for anything
    else, for a file without numbers (one that says so in a `#` is taken), and for numbers that are not below
    `frame_count`. A pipe is read to its end.
    """
    try:
        lines = read_once(path, f"cuts {path}", LARGEST).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise FavError(f"{path}: expected a file of frame numbers, one a line: {error.strerror}") from error
    except UnicodeDecodeError:
        raise FavError(
            f"{path}: expected a text file of frame numbers, one a line, got bytes that are no text"
        ) from None
    cuts: list[int] = []
    header = None
    for line, text in enumerate(lines, 1):
        text = text.partition("#")[0].strip().strip(",;\"' ")
        if not text:
            continue
        if not (text.isascii() and text.isdigit() and len(text) <= LONGEST):
            if header is None and not cuts and text[0].isalpha():
                header = line, text
                continue
            raise FavError(f"{path}, line {line}: expected one frame number from 0 on, got {text[:80]!r}")
        number = int(text)
        if cuts and number <= cuts[-1]:
            raise FavError(
                f"{path}, line {line}: expected a frame number above {cuts[-1]}, which comes before, got {number}"
            )
        if frame_count is not None and number >= frame_count:
            raise FavError(
                f"{path}, line {line}: expected a frame number below {frame_count}, the number of frames, got {number}"
            )
        cuts.append(number)
    if header and not cuts:
        raise FavError(
            f"{path}, line {header[0]}: expected frame numbers, one a line, got {header[1][:80]!r} and no number after it"
        )
    if not cuts and not any("#" in line for line in lines):
        raise FavError(
            f"{path}: expected frame numbers, one a line, got none; for a video that is one single shot say "
            f"--no-cuts, or write # none into the file"
        )
    return tuple(cuts)
