"""Find shot boundaries with PySceneDetect's content detector, frame by frame, or read them from a file."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fav.errors import FavError
from fav.util.reading import read_once

if TYPE_CHECKING:
    from fav.video.decoding import DecodedFrame
    from fav.video.ranges import IndexedFrame

# A quarter of a second. Whip pans pass the threshold several times within a few frames, and each cut would restart the
# style visibly. Real shots are longer. (PySceneDetect's 15 frames would miss the second of two cuts that are half a
# second apart.)
MIN_SHOT = 6
FLASH = MIN_SHOT - 1  # frames: a flash is shorter; afterwards, frames are as before
THRESHOLD = 27.0
MAX_DIGITS = 12  # of a frame number
MAX_BYTES = 1 << 24  # of a file of cuts: more than a million numbers
LONG_SIDE = 256  # pixels of analyzed images, PySceneDetect's default

# In quiet shots, a smaller change is a cut: SUDDEN times the largest of the RECENT last changes, but at least QUIET.
# (PySceneDetect's adaptive detector has the same minimum, but needs later frames.) In a clip whose half never changes,
# the threshold 27 finds one of five cuts; this rule finds all.
SUDDEN, RECENT, QUIET = 2.0, 3, 15.0


class CutDetector:
    """Finds cuts in consecutive frames. A cut is confirmed FLASH frames later.

    The difference between two frames is that of PySceneDetect's ContentDetector: the mean difference of hue, saturation
    and value in OpenCV's 8-bit HSV. If a frame resembles those before the candidate, it was a flash and no cut.

    Args:
        threshold: a larger difference is always a cut; in quiet shots, a smaller one is enough.
        min_shot: frames after a cut within which there is no other cut. The first frame is no cut.
    """

    def __init__(self, threshold: float = THRESHOLD, min_shot: int = MIN_SHOT):
        self._classifier, self._changes = CutClassifier(threshold, min_shot), FrameDifferences(threshold)

    @property
    def undecided(self) -> int | None:
        """The frame that may begin a shot, or be a flash; None if there is none."""
        return self._classifier.undecided

    def push(self, number: int, frame: np.ndarray) -> list[int]:
        """Return the cuts that are decided by this frame, (H, W, 3) uint8 BGR. Numbers ascend by one.

        A long side of LONG_SIDE is enough; larger frames find the same cuts and take longer.
        """
        score = self._changes.push(number, frame)
        return self._classifier.push(number, score, self._changes.since)

    def finish(self) -> list[int]:
        """Return the cuts that are decided by the end of the video."""
        return self._classifier.finish()


class FrameDifferences:
    """Measures differences between frames: consecutive ones, and the newest one and those before a candidate."""

    def __init__(self, threshold: float = THRESHOLD):
        self._threshold = threshold
        self._recent: deque[tuple[int, np.ndarray]] = deque(maxlen=2 * (FLASH + 1))  # in HSV

    @cached_property
    def _detector(self):
        from scenedetect.detectors import ContentDetector  # slow to import: it starts ffmpeg

        return ContentDetector(self._threshold)

    def push(self, number: int, frame: np.ndarray) -> float:
        """The mean difference of this frame, (H, W, 3) uint8 BGR, from the one before; 0 for the first one."""
        self._recent.append((number, cv2.cvtColor(frame, cv2.COLOR_BGR2HSV)))
        return self._detector._calculate_frame_score(number, frame) or 0.0

    def since(self, number: int) -> float:
        """The smallest difference between the newest frame and the FLASH + 1 frames before frame `number`.

        Frame `number` is one of the last FLASH + 1 frames. Infinite if no frame before it is known.
        """
        newest = self._recent[-1][1]
        before = range(number - FLASH - 1, number)
        return min((_distance(earlier, newest) for at, earlier in self._recent if at in before), default=inf)


class CutClassifier:
    """Decides on cuts from the differences between frames alone. For arguments and rules, see `CutDetector`."""

    def __init__(self, threshold: float = THRESHOLD, min_shot: int = MIN_SHOT):
        self._threshold, self._min_shot = threshold, min_shot
        self._quiet = QUIET * threshold / THRESHOLD
        self._changes = deque([threshold], maxlen=RECENT)  # before the first frame, anything is possible
        self._candidate: CutCandidate | None = None
        self._started = False

    @cached_property
    def _filter(self):
        from scenedetect.scene_detector import FlashFilter  # slow to import: it starts ffmpeg

        return FlashFilter(FlashFilter.Mode.SUPPRESS, self._min_shot)

    @property
    def undecided(self) -> int | None:
        """The frame that may begin a shot, or be a flash; None if there is none."""
        return self._candidate.number if self._candidate else None

    def push(self, number: int, score: float, since: Callable[[int], float]) -> list[int]:
        """Return the cuts that are decided by this frame.

        Args:
            number: of the frame; numbers ascend by one.
            score: its difference from the frame before.
            since: as `FrameDifferences.since`; called only for frames whose score is at least `min_cut_score`.
        """
        decided, before = [], self._filter._last_above
        found = self._is_cut(number, score)
        if self._candidate and self._candidate.is_like(since(self._candidate.number), self._threshold):
            self._filter._last_above = self._candidate.last_cut  # the candidate was a flash, not a cut
            self._candidate = None
        elif self._candidate and number - self._candidate.number >= FLASH:
            decided, self._candidate = [self._candidate.number], None
        if found:
            possible = CutCandidate(number, score, before)
            if possible.is_like(since(number), self._threshold):
                self._filter._last_above = before  # the end of a flash
            else:
                self._candidate = possible
        return decided

    def finish(self) -> list[int]:
        """Return the cuts that are decided by the end of the video."""
        last, self._candidate = self._candidate, None
        return [last.number] if last else []

    def _is_cut(self, number: int, score: float) -> bool:
        above = score >= min(self._threshold, max(self._quiet, SUDDEN * max(self._changes)))
        if not self._started:
            self._started = True
            # the filter takes its first number for a cut
            return bool(self._filter.filter(number - self._min_shot, above))
        found = self._filter.filter(number, above)
        self._changes.append(score)
        return bool(found)


@dataclass
class CutCandidate:
    """A frame that may be a cut; `score` is its difference from the frame before."""

    number: int
    score: float
    last_cut: int | None

    def is_like(self, change: float, threshold: float) -> bool:
        """Whether a frame belongs to the shot before the candidate, given its smallest difference from that shot."""
        return change < min(self.score / 2, threshold)


def min_cut_score(threshold: float) -> float:
    """The smallest difference from the frame before with which a frame can begin a shot."""
    return min(threshold, QUIET * threshold / THRESHOLD)


@dataclass
class RecordedDifferences:
    """The differences between the frames of one range, from which `CutClassifier` finds cuts without the images.

    Attributes:
        threshold: of `CutDetector`.
        scores: of `FrameDifferences.push`, by position.
        since: for each frame that may begin a shot: `FrameDifferences.since` after it and after the FLASH next frames.
    """

    threshold: float
    scores: list[float] = field(default_factory=list)
    since: dict[int, list[float]] = field(default_factory=dict)

    def __post_init__(self):
        self._changes = FrameDifferences(self.threshold)

    @property
    def is_whole(self) -> bool:
        """Whether no difference is missing."""
        count = len(self.scores)
        return all(
            len(self.since.get(number, ())) == min(FLASH + 1, count - number)
            for number in range(1, count)
            if self.scores[number] >= min_cut_score(self.threshold)
        )

    def push(self, frame: np.ndarray) -> None:
        """Record the next frame, (H, W, 3) uint8 BGR."""
        number = len(self.scores)
        self.scores.append(self._changes.push(number, frame))
        if number and self.scores[number] >= min_cut_score(self.threshold):
            self.since[number] = []
        for begin in range(max(number - FLASH, 0), number + 1):
            if begin in self.since:
                self.since[begin].append(self._changes.since(begin))


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The mean difference of hue, saturation and value, as in PySceneDetect."""
    return cv2.norm(a, b, cv2.NORM_L1) / a.size


class ShotSplitter:
    """Divides decoded frames into shots: at `cuts`; if that is None, where `CutDetector` finds them.

    With detection, a change of the frame size also begins a shot.
    """

    def __init__(self, cuts: Iterable[int] | None = None, threshold: float = THRESHOLD):
        self._given = None if cuts is None else frozenset(cuts)
        self._detector = CutDetector(threshold)
        self._size: tuple[int, int] | None = None
        self._small: tuple[int, int] | None = None
        self._seen = 0

    @property
    def decided_until(self) -> int:
        """The cuts before this frame are decided."""
        undecided = self._detector.undecided
        return self._seen if undecided is None else undecided

    def push(self, frame: "DecodedFrame") -> list[int]:
        """Return the cuts that are decided by this frame."""
        self._seen = frame.number + 1
        if self._given is not None:
            return [frame.number] if frame.number in self._given else []
        small, size = frame.thumbnail(LONG_SIDE), frame.size
        self._small = self._small or (small.shape[1], small.shape[0])
        if small.shape[1::-1] != self._small:
            small = cv2.resize(small, self._small, interpolation=cv2.INTER_AREA)
        found = self._detector.push(frame.number, small)
        if self._size not in (None, size):
            found = sorted({*found, *self._detector.finish(), frame.number})
        self._size = size
        return found

    def finish(self) -> list[int]:
        """Return the cuts that are decided by the end of the video."""
        return self._detector.finish() if self._given is None else []


class RecordedShotSplitter:
    """As `ShotSplitter`, for frames of one size whose differences were recorded, range by range."""

    def __init__(self, cuts: Iterable[int] | None = None, threshold: float = THRESHOLD):
        self._given = None if cuts is None else frozenset(cuts)
        self._classifier = CutClassifier(threshold)
        self._ranges: deque[tuple[int, RecordedDifferences]] = deque(maxlen=2)  # each with its first frame
        self._seen = 0

    def extend(self, begin: int, changes: RecordedDifferences | None) -> None:
        """Add the differences of a range that begins with frame `begin`."""
        if self._given is None:
            if changes is None:
                raise ValueError("expected the differences between the frames")
            self._ranges.append((begin, changes))

    @property
    def decided_until(self) -> int:
        """The cuts before this frame are decided."""
        undecided = self._classifier.undecided
        return self._seen if undecided is None else undecided

    def push(self, frame: "IndexedFrame") -> list[int]:
        """Return the cuts that are decided by this frame. Its range must have been added."""
        number = frame.number
        self._seen = number + 1
        if self._given is not None:
            return [number] if number in self._given else []
        begin, changes = self._range_of(number, 1)
        return self._classifier.push(number, changes.scores[number - begin], lambda since: self._since(since, number))

    def finish(self) -> list[int]:
        """Return the cuts that are decided by the end of the video."""
        return self._classifier.finish() if self._given is None else []

    def _since(self, since: int, number: int) -> float:
        begin, changes = self._range_of(since, FLASH + 1)
        return changes.since[since - begin][number - since]

    def _range_of(self, number: int, before: int) -> tuple[int, RecordedDifferences]:
        """The range that has `before` frames before frame `number`, or that begins the video."""
        for begin, changes in reversed(self._ranges):
            if number - before >= begin or begin == 0:
                return begin, changes
        raise LookupError(f"expected the changes of frame {number} to be recorded")


def read_cuts(path: Path | str, frame_count: int | None = None) -> tuple[int, ...]:
    """Read cuts from a file: on each line, the number (from 0) of the first frame of a shot, in ascending order.

    Blank lines, comments after `#`, and one header line before the numbers are skipped. A pipe is read to its end.

    Args:
        path: of the file.
        frame_count: numbers must be below it; None: any number.

    Raises:
        FavError: the file has anything else, or neither numbers nor a comment.
    """
    try:
        lines = read_once(path, f"cuts {path}", MAX_BYTES).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise FavError(f"{path}: expected a file of frame numbers, one per line: {error.strerror}") from error
    except UnicodeDecodeError:
        raise FavError(f"{path}: expected a text file of frame numbers, one per line, got binary data") from None
    cuts: list[int] = []
    header = None
    for line, text in enumerate(lines, 1):
        text = text.partition("#")[0].strip().strip(",;\"' ")
        if not text:
            continue
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
            if header is None and not cuts and text[0].isalpha():
                header = line, text
                continue
            raise FavError(f"{path}, line {line}: expected one frame number from 0 on, got {text[:80]!r}")
        number = int(text)
        if cuts and number <= cuts[-1]:
            raise FavError(
                f"{path}, line {line}: expected a frame number above {cuts[-1]}, the one before it, got {number}"
            )
        if frame_count is not None and number >= frame_count:
            raise FavError(
                f"{path}, line {line}: expected a frame number below {frame_count}, the number of frames, got {number}"
            )
        cuts.append(number)
    if header and not cuts:
        raise FavError(
            f"{path}, line {header[0]}: expected frame numbers, one per line, got {header[1][:80]!r} and no number"
        )
    if not cuts and not any("#" in line for line in lines):
        raise FavError(
            f"{path}: expected frame numbers, one per line, got none; if the video is one shot, use --no-cuts, "
            f"or write # none into the file"
        )
    return tuple(cuts)
