"""A camera or a stream in, pictures out, as fast as this machine can: frames that come too fast are left out."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Thread

import cv2
import numpy as np

from fav.errors import FavError, sanitize
from fav.flow.field import estimate
from fav.model.runner import StyleRunner
from fav.stylize.recurrence import Recurrence
from fav.util.images import resize

RATE_OVER = 20  # pictures
MIN_FILTER = 7  # as for a film
QUIT, NEXT = (ord("q"), 27), (ord("n"), ord(" "))
TITLE = "fav live"


class LiveStylizer:
    """Several styles over one stream. A style with memory goes on from its last picture, by the flow between two frames.

    flow is a method of `fav.flow`, None for frames that do not depend on each other.
    """

    def __init__(
        self,
        runners: list[StyleRunner],
        width: int | None = None,
        flow: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    ):
        self.runners, self.width, self._flow = runners, width, flow
        self.chosen = 0
        self._before: tuple[np.ndarray, np.ndarray] | None = None  # the last frame and its picture
        self._ends: deque[float] = deque(maxlen=RATE_OVER)

    def choose(self, number: int) -> None:
        """Take another style from the next frame on; one that there is not changes nothing."""
        if 0 <= number < len(self.runners) and number != self.chosen:
            self.chosen, self._before = number, None

    def key(self, code: int) -> bool:
        """Do what a key asks for: 1 to 9 choose a style, n or space the next one. Whether to go on: not after q or Escape."""
        if code in NEXT:
            self.choose((self.chosen + 1) % len(self.runners))
        elif ord("1") <= code <= ord("9"):
            self.choose(code - ord("1"))
        return code not in QUIT

    def paint(self, frame: np.ndarray) -> np.ndarray:
        """The picture of the next frame (H, W, 3) uint8 BGR, of the stream's width or the one that was asked for."""
        if self.width:
            height, width = frame.shape[:2]
            frame = resize(frame, (self.width, max(round(height * self.width / width), 1)))
        recurrence, before = Recurrence(self.runners[self.chosen]), self._before
        if before is None or before[0].shape != frame.shape or not self._remembers:
            picture = recurrence.first(frame)
        else:
            picture = recurrence.next(frame, before[1], estimate(self._method, frame, before[0], MIN_FILTER))
        self._before = frame, picture
        self._ends.append(time.monotonic())
        return picture

    @property
    def rate(self) -> float | None:
        """Pictures a second over the last ones; None where there are not two of them."""
        if len(self._ends) < 2:
            return None
        return (len(self._ends) - 1) / max(self._ends[-1] - self._ends[0], 1e-9)

    @property
    def _remembers(self) -> bool:
        return self._flow is not None and self.runners[self.chosen].in_channels == 7

    @property
    def _method(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        if self._flow is None:
            raise ValueError("expected a flow method, got none")
        return self._flow


@contextmanager
def opened_source(source: str) -> Iterator[Iterator[np.ndarray]]:
    """The frames (H, W, 3) uint8 BGR of a camera (its number), a stream (its address) or a file.

    Of a camera or a stream, the newest one comes each time, of a file each one. Raises FavError where it cannot be opened.
    """
    camera = source.isdecimal()
    if not camera and "://" not in source and not Path(source).exists():
        raise FavError(f"{source}: expected the number of a camera, the address of a stream, or a file; found none")
    capture = cv2.VideoCapture(int(source)) if camera else cv2.VideoCapture(source)
    if not capture.isOpened():
        kind = f"camera {source}" if camera else sanitize(source)
        raise FavError(f"{kind}: cannot be opened; expected a camera that no other program uses, a stream, or a video")
    try:
        yield _each(capture) if not camera and "://" not in source else _newest(capture)
    finally:
        capture.release()


def _each(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        there, frame = capture.read()
        if not there:
            return
        yield frame


def _newest(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Frames as they come, read by a thread, so that the one at hand is never an old one."""
    ready, latest, over = Condition(), deque[np.ndarray](maxlen=1), []

    def read() -> None:
        for frame in _each(capture):
            with ready:
                if over:
                    return
                latest.append(frame)
                ready.notify()
        with ready:
            over.append(True)
            ready.notify()

    reader = Thread(target=read, name="camera", daemon=True)
    reader.start()
    try:
        while True:
            with ready:
                ready.wait_for(lambda: latest or over)
                if not latest:
                    return
                frame = latest.popleft()
            yield frame
    finally:
        with ready:
            over.append(True)
        reader.join()


@contextmanager
def window() -> Iterator[Callable[[np.ndarray, str], int]]:
    """A window: what shows a picture with a title, and says the key that was pressed, -1 for none, q once it is closed.

    Raises FavError where OpenCV has no window system.
    """
    try:
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)
    except cv2.error as error:
        raise FavError(
            "no window can be shown: expected a display, and an OpenCV with windows (pip install opencv-contrib-python in the "
            "place of opencv-contrib-python-headless); or say --no-window"
        ) from error

    def show(picture: np.ndarray, title: str) -> int:
        cv2.imshow(TITLE, picture)
        cv2.setWindowTitle(TITLE, title)
        key = cv2.waitKey(1) & 0xFF
        closed = cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1
        return QUIT[0] if closed else -1 if key == 0xFF else key

    try:
        yield show
    finally:
        cv2.destroyAllWindows()
