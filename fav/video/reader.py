"""Read frames of a video by number, exactly."""

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
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings

FRAME_CACHE = 8  # decoded frames in the cache, in the codec's format: reading backward seeks once for eight frames
IMAGE_CACHE = 2  # converted images in the cache: callers compare a frame with its neighbor
SEEK_BACK_KEYFRAMES = (1, 2, 5)  # keyframes to try, counted backward, before decoding from the start


class FrameReader:
    """Reads frames of a video by number, with an index of it. As a context manager, it closes the video.

    Reading the next frame is fast; other frames need a seek. Each decoded frame is compared with the checksum in the
    index. They differ if a seek ended within an open GOP or intra refresh, or if times are missing or a seek table is
    wrong. Then reading starts at earlier keyframes, and finally at the beginning.

    Args:
        video: a file or a numbered image sequence.
        size: (width, height) of the images in pixels; None: the video's.
        settings: how to read the video.
        sixteen_bit: return uint16, where 65535 is white.
    """

    def __init__(
        self,
        video: Path | str,
        size: tuple[int, int] | None = None,
        settings: SourceSettings = DEFAULT_SETTINGS,
        sixteen_bit: bool = False,
    ):
        self._video, self._size, self._settings, self._sixteen_bit = video, size, settings, sixteen_bit
        self._images: OrderedDict[int, np.ndarray] = OrderedDict()
        self._frames: OrderedDict[int, DecodedFrame] = OrderedDict()
        self._decoding = self._open()
        self._position = -1  # number of the last decoded frame; -2 after a seek
        self._target: int | None = None  # the keyframe of the last seek; None: decoding began at the first frame

    def read(self, number: int, index: FrameIndex) -> np.ndarray:
        """Read a frame. The caller must not change the array.

        Args:
            number: of the frame.
            index: of the video; it must contain `number`, but need not be complete.

        Returns:
            (H, W, 3) uint8 or uint16, BGR, upright.

        Raises:
            FavError: the frame differs from the indexed one, because the file or the decoder was replaced.
        """
        if not 0 <= number < len(index):
            raise ValueError(f"{self._video}: expected one of {len(index)} indexed frames, got frame {number}")
        if number not in self._images:
            frame = self._decoded(number, index)
            image = frame.image(self._sixteen_bit)
            _cache(self._images, number, resize(image, self._size) if self._size else image, IMAGE_CACHE)
        self._images.move_to_end(number)
        return self._images[number]

    def close(self) -> None:
        self._decoding.close()
        self._frames.clear()

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _decoded(self, number: int, index: FrameIndex) -> DecodedFrame:
        frame = None
        for frame in self._seek_candidates(number, index):
            if frame and frame.crc == index.crc[number] and self._neighbors_match(frame, number, index):
                return frame
        if frame and frame.damaged and frame.pts == index.pts[number]:
            return frame  # error concealment may depend on random content of the memory
        if frame and frame.crc == index.crc[number]:
            return frame  # a neighbor is damaged
        raise FavError(
            f"{self._video}: frame {number} differs from the indexed one: the file was replaced, or this FFmpeg "
            f"({av.ffmpeg_version_info}) decodes it differently; restore the file, or install the versions of indexing"
        )

    def _neighbors_match(self, frame: DecodedFrame, number: int, index: FrameIndex) -> bool:
        """Whether the neighbors that deinterlacing uses are the indexed ones. True for progressive frames."""
        if not frame.needs_deinterlacing:
            return True
        before, after = frame.neighbors_crc
        matches = before is None if number == 0 else before == index.crc[number - 1]
        return matches and (number + 1 >= len(index) or after == index.crc[number + 1])

    def _seek_candidates(self, number: int, index: FrameIndex) -> Iterator[DecodedFrame | None]:
        """Yield frame `number` as decoded from different start positions, the cheapest first."""
        yield self._frames.get(number)
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
                _cache(self._frames, found, frame, FRAME_CACHE)
            if found == number:
                return frame
            if found is None and frame.keyframe or frame.pts > index.pts[number]:
                return None  # the seek ended at a wrong position
        return None

    def _number_of(self, frame: DecodedFrame, index: FrameIndex) -> int | None:
        """The number of a frame after a seek; None if unknown.

        It follows from the frame's time. If the container has no times, the target keyframe is recognized by its
        checksum, and later frames are counted.
        """
        if self._target is None:
            return self._position + 1
        if self._decoding.timed:
            return index.frame_at(frame.pts)
        if frame.crc != index.crc[self._target]:
            return None
        found, self._target = self._target, None
        return found

    def _seek(self, keyframe: int, index: FrameIndex) -> bool:
        self._frames.clear()
        self._position, self._target = -2, keyframe
        try:
            self._decoding.seek(int(index.pts[keyframe]), int(index.shift[keyframe]))
        except FFmpegError:
            return False
        return True

    def _restart(self) -> None:
        """Open the video again, as for indexing. A seek to the start may give other frames."""
        self.close()
        self._decoding = self._open()
        self._position, self._target = -1, None

    def _open(self) -> Decoder:
        return Decoder(self._video, self._settings, keep=True)


def _cache(store: OrderedDict, key: int, value, limit: int) -> None:
    store[key] = value
    store.move_to_end(key)
    while len(store) > limit:
        store.popitem(last=False)
