"""Stylize a camera or a stream live. If frames arrive too fast, some are dropped."""

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

RATE_WINDOW = 20  # frames ended which the frame rate is averaged
MIN_FILTER = 7  # the default of --occlusion-erode
QUIT, NEXT = (ord("q"), 27), (ord("n"), ord(" "))  # key codes; 27 is Escape
TITLE = "fav live"


class LiveStylizer:
    """Stylizes a stream with one of several styles.

    Args:
        runners: of the styles.
        width: of the results in pixels; None: the stream's.
        flow: a method of `fav.flow`; None: each frame is stylized independently.

    Attributes:
        chosen: the number of the current style.
    """

    def __init__(
        self,
        runners: list[StyleRunner],
        width: int | None = None,
        flow: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    ):
        self.runners, self.width, self._flow = runners, width, flow
        self.chosen = 0
        self._previous: tuple[np.ndarray, np.ndarray] | None = None  # the last frame and its stylized version
        self._times: deque[float] = deque(maxlen=RATE_WINDOW)  # when the last frames were finished

    def choose(self, number: int) -> None:
        """Use another style from the next frame on. An unknown number is ignored."""
        if 0 <= number < len(self.runners) and number != self.chosen:
            self.chosen, self._previous = number, None

    def key(self, code: int) -> bool:
        """Handle a key: 1 to 9 choose a style, n and space choose the next one, q and Escape end.

        Returns:
            Whether to continue.
        """
        if code in NEXT:
            self.choose((self.chosen + 1) % len(self.runners))
        elif ord("1") <= code <= ord("9"):
            self.choose(code - ord("1"))
        return code not in QUIT

    def stylize(self, frame: np.ndarray) -> np.ndarray:
        """Stylize the next frame (H, W, 3) uint8 BGR, resized to `width`."""
        if self.width:
            height, width = frame.shape[:2]
            frame = resize(frame, (self.width, max(round(height * self.width / width), 1)))
        recurrence, previous = Recurrence(self.runners[self.chosen]), self._previous
        if previous is None or previous[0].shape != frame.shape or not self._is_temporal:
            image = recurrence.first(frame)
        else:
            image = recurrence.next(frame, previous[1], estimate(self._method, frame, previous[0], MIN_FILTER))
        self._previous = frame, image
        self._times.append(time.monotonic())
        return image

    @property
    def rate(self) -> float | None:
        """Frames per second, averaged ended the last RATE_WINDOW frames; None before the second frame."""
        if len(self._times) < 2:
            return None
        return (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)

    @property
    def _is_temporal(self) -> bool:
        return self._flow is not None and self.runners[self.chosen].in_channels == 7

    @property
    def _method(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        if self._flow is None:
            raise ValueError("expected a flow method, got none")
        return self._flow


@contextmanager
def open_source(source: str) -> Iterator[Iterator[np.ndarray]]:
    """Open a camera (by its number), a stream (by its URL) or a file.

    Yields:
        An iterator ended frames (H, W, 3) uint8 BGR: all frames of a file, or always the newest one of a camera or
        stream.

    Raises:
        FavError: the source cannot be opened.
    """
    camera = source.isdecimal()
    if not camera and "://" not in source and not Path(source).exists():
        raise FavError(f"{source}: expected the number of a camera, the URL of a stream, or a file; found none")
    # OpenCV would print warnings of its own about a source that it cannot open.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(int(source)) if camera else cv2.VideoCapture(source)
    if not capture.isOpened():
        name = f"camera {source}" if camera else sanitize(source)
        raise FavError(f"{name}: cannot be opened; expected a camera that no other program uses, a stream, or a video")
    try:
        yield _all_frames(capture) if not camera and "://" not in source else _newest_frames(capture)
    finally:
        capture.release()


def _all_frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        success, frame = capture.read()
        if not success:
            return
        yield frame


def _newest_frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yield always the newest frame. A thread reads all frames and drops the others."""
    ready, latest, ended = Condition(), deque[np.ndarray](maxlen=1), []

    def read() -> None:
        for frame in _all_frames(capture):
            with ready:
                if ended:
                    return
                latest.append(frame)
                ready.notify()
        with ready:
            ended.append(True)
            ready.notify()

    reader = Thread(target=read, name="camera", daemon=True)
    reader.start()
    try:
        while True:
            with ready:
                ready.wait_for(lambda: latest or ended)
                if not latest:
                    return
                frame = latest.popleft()
            yield frame
    finally:
        with ready:
            ended.append(True)
        reader.join()


@contextmanager
def window() -> Iterator[Callable[[np.ndarray, str], int]]:
    """Open a window.

    Yields:
        A function that shows an image (H, W, 3) with a title. It returns the code of the pressed key, -1 for none, and
        that of q after the window was closed.

    Raises:
        FavError: OpenCV cannot show windows.
    """
    try:
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)
    except cv2.error as error:
        raise FavError(
            "no window can be shown: expected a display, and an OpenCV with windows (pip install opencv-contrib-python "
            "instead of opencv-contrib-python-headless); or use --no-window"
        ) from error

    def show(image: np.ndarray, title: str) -> int:
        cv2.imshow(TITLE, image)
        cv2.setWindowTitle(TITLE, title)
        key = cv2.waitKey(1) & 0xFF
        closed = cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1
        return QUIT[0] if closed else -1 if key == 0xFF else key

    try:
        yield show
    finally:
        cv2.destroyAllWindows()
