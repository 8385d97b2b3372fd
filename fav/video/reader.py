"""Any frame of a video by its number, exactly."""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from fav.errors import FavError
from fav.util.images import resize
from fav.video.decoding import DecodedFrame, Decoder
from fav.video.index import FrameIndex
from fav.video.settings import AS_IT_IS, SourceSettings

FRAME_CACHE = 8  # decoded frames that stay at hand, in the codec's format: whoever goes backward seeks once for eight
IMAGES = 2  # pictures that stay at hand: callers compare a frame with its neighbour
SEEK_BACK_KEYFRAMES = (1, 2, 5)  # keyframes to try, counted backward, before decoding from the start


class FrameReader:
    """Reads frames of a video by number, with the index of an earlier pass; a context that closes it.

    `size` is (width, height) in pixels, None for the video's own. Reading on is cheap; going elsewhere seeks.
    What was decoded is compared with the index's checksum; where it differs (an open GOP or intra refresh
    entered in the middle, missing times, a wrong seek table), earlier ways in are tried, at last the start.
    """

    def __init__(
        self,
        video: Path | str,
        size: tuple[int, int] | None = None,
        settings: SourceSettings = AS_IT_IS,
        deep: bool = False,
    ):
        self._video, self._size, self._settings, self._deep = video, size, settings, deep
        self._images: OrderedDict[int, np.ndarray] = OrderedDict()
        self._kept: OrderedDict[int, DecodedFrame] = OrderedDict()
        self._decoding = self._opened()
        self._position, self._aim = -1, None

    def read(self, number: int, index: FrameIndex) -> np.ndarray:
        """The frame (H, W, 3) uint8 BGR, upright, not to be written to. The index need only reach beyond `number`.

        A `deep` reader gives uint16, of which 65535 is white.

        Raises FavError where the video is not, or is not decoded as, the one that was indexed.
        """
        if not 0 <= number < len(index):
            raise ValueError(f"{self._video}: expected a frame of the {len(index)} that are indexed, got {number}")
        if number not in self._images:
            frame = self._decoded(number, index)
            image = frame.image(self._deep)
            _remember(self._images, number, resize(image, self._size) if self._size else image, IMAGES)
        self._images.move_to_end(number)
        return self._images[number]

    def close(self) -> None:
        self._decoding.close()
        self._kept.clear()

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _decoded(self, number: int, index: FrameIndex) -> DecodedFrame:
        frame = None
        for frame in self._seek_candidates(number, index):
            if frame and frame.crc == index.crc[number] and self._whole(frame, number, index):
                return frame
        if frame and frame.damaged and frame.pts == index.pts[number]:
            return frame  # decoders may patch up damage by what happens to lie in memory
        if frame and frame.crc == index.crc[number]:
            return frame  # a frame beside it is damaged
        raise FavError(
            f"{self._video}: frame {number} is not the one that was indexed: the file was replaced, or the FFmpeg here "
            f"({av.ffmpeg_version_info}) decodes it otherwise; put the file back, or install the versions that indexed it"
        )

    def _whole(self, frame: DecodedFrame, number: int, index: FrameIndex) -> bool:
        """Whether what the picture is made of is right: of two fields, its neighbours as well, where they are indexed."""
        if not frame.woven:
            return True
        before, after = frame.neighbours_crc
        right = before is None if number == 0 else before == index.crc[number - 1]
        return right and (number + 1 >= len(index) or after == index.crc[number + 1])

    def _seek_candidates(self, number: int, index: FrameIndex) -> Iterator[DecodedFrame | None]:
        """What comes out for frame `number`, one way after the other, the cheapest first."""
        yield self._kept.get(number)
        keyframes = np.flatnonzero(index.keyframe[: number + 1])
        if len(keyframes) and keyframes[-1] <= self._position + 1 <= number or self._position + 1 == number:
            yield self._decode_to(number, index)
        for keyframe in (int(keyframes[-back]) for back in SEEK_BACK_KEYFRAMES if back <= len(keyframes)):
            if keyframe > 0:
                yield self._decode_to(number, index) if self._seek(keyframe, index) else None
        self._restart()
        yield self._decode_to(number, index)

    def _decode_to(self, number: int, index: FrameIndex) -> DecodedFrame | None:
        for frame in self._decoding:
            found = self._number_of(frame, index)
            if found is not None:
                self._position = found
                _remember(self._kept, found, frame, FRAME_CACHE)
            if found == number:
                return frame
            if found is None and frame.keyframe or frame.pts > index.pts[number]:
                return None  # not where the seek should have led
        return None

    def _number_of(self, frame: DecodedFrame, index: FrameIndex) -> int | None:
        """By its time after a seek; where the container has no times, by finding the keyframe that was sought, then by counting."""
        if self._aim is None:
            return self._position + 1
        if self._decoding.timed:
            return index.frame_at(frame.pts)
        if frame.crc != index.crc[self._aim]:
            return None
        found, self._aim = self._aim, None
        return found

    def _seek(self, keyframe: int, index: FrameIndex) -> bool:
        self._kept.clear()
        self._position, self._aim = -2, keyframe
        try:
            self._decoding.seek(int(index.pts[keyframe]), int(index.shift[keyframe]))
        except FFmpegError:
            return False
        return True

    def _restart(self) -> None:
        """Opened anew, as when it was indexed: seeking to the start is not always the same."""
        self.close()
        self._decoding = self._opened()
        self._position, self._aim = -1, None

    def _opened(self) -> Decoder:
        return Decoder(self._video, self._settings, keep=True)


def _remember(store: OrderedDict, key: int, value, limit: int) -> None:
    store[key] = value
    store.move_to_end(key)
    while len(store) > limit:
        store.popitem(last=False)
