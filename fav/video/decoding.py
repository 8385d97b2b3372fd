"""One pass over a video: every frame in the order it is shown, with its time and checksum."""

import zlib
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.stream import Discard
from av.video.reformatter import VideoReformatter

from fav.util.image_sequence import is_sequence, sequence_files, sequence_numbers
from fav.video.color import ColorInfo, display_matrix, to_bgr, to_small_bgr
from fav.video.container import DEFAULT_FPS, open_video, video_stream
from fav.video.truncation import is_truncated


class DecodedFrame:
    """A frame: `number` from 0, `pts` and `duration` in units of the time base, `keyframe`, `crc`, and its picture."""

    def __init__(
        self,
        frame: av.VideoFrame,
        number: int,
        pts: int,
        duration: int,
        exact: VideoReformatter,
        rough: VideoReformatter,
    ):
        self.number, self.pts, self.duration, self.keyframe = number, pts, duration, bool(frame.key_frame)
        self._frame, self._exact, self._rough = frame, exact, rough

    @cached_property
    def crc(self) -> int:
        """CRC-32 of the decoded samples, without padding, before any conversion of colors."""
        return checksum(self._frame)

    @property
    def damaged(self) -> bool:
        """Whether the decoder says that parts of it are patched up."""
        return bool(self._frame.is_corrupt)

    @property
    def colors(self) -> ColorInfo:
        return ColorInfo.of(self._frame)

    @property
    def is_rotated(self) -> bool:
        """Whether the picture is shown by a quarter turn of what is stored."""
        return display_matrix(self._frame)[1] != 0

    def image(self) -> np.ndarray:
        """The picture (H, W, 3) uint8 BGR, upright, contiguous; for frames from `decode` only until the next is read."""
        return to_bgr(self._picture(), self._exact)

    def thumbnail(self, long_side: int) -> np.ndarray:
        """The picture as `to_small_bgr` makes it, for a tenth of the time; as long as there is `image`."""
        return to_small_bgr(self._picture(), long_side, self._rough)

    def drop_pixels(self) -> None:
        """Drop the picture, keep the facts: an index of 4K frames would not fit into memory otherwise."""
        self.crc  # noqa: B018
        self._frame = None

    def _picture(self) -> av.VideoFrame:
        if self._frame is None:
            raise ValueError(f"frame {self.number}: expected to be asked for its picture before the next frame is read")
        return self._frame


class Decoder(Iterator[DecodedFrame]):
    """An iterator over the frames of an opened video; a context that closes it.

    `warnings` are one-line notes for the user on what is damaged or missing, complete once the iterator has ended.
    With `keep` a frame holds its picture as long as the frame lives. Raises FavError where the video cannot be opened.
    """

    def __init__(self, video: Path | str, fps: float | None = None, keep: bool = False):
        self.video, self.keep = video, keep
        self.container = open_video(video, fps)
        try:
            self.stream = video_stream(self.container, video)
        except BaseException:
            self.container.close()
            raise
        for stream in self.container.streams:
            stream.discard = Discard.none if stream.index == self.stream.index else Discard.all
        codec = self.stream.codec_context
        codec.flags |= Flags.bitexact
        codec.thread_count = 1  # with more, how damaged frames are patched up depends on their timing
        self._intra = codec.codec.intra_only
        if self._intra:
            codec.options = {"err_detect": "explode"}
        self.time_base: Fraction = self.stream.time_base
        rate = self.stream.average_rate or self.stream.guessed_rate or DEFAULT_FPS
        self._frame_duration = max(round(1 / (rate * self.time_base)), 1)
        self._exact, self._rough = VideoReformatter(), VideoReformatter()  # each remembers the one conversion it makes
        # AVI has no times, only an order of packets; times that FFmpeg makes of it are not in the order of frames.
        self.timed = self.container.format.name != "avi"
        # MP4 keeps no durations but distances in decoding order: for the last frame shown that of the last packet is true.
        self._by_packet = "mp4" in self.container.format.name
        # Matroska need not keep durations, but knows its own: the last frame cannot last longer.
        ends = "matroska" in self.container.format.name and self.container.duration
        self._container_end = round(Fraction(self.container.duration, av.time_base) / self.time_base) if ends else 2**62
        self._damaged, self._broken = False, None
        self._begin()

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        self._frames.close()
        self.container.close()

    def __next__(self) -> DecodedFrame:
        if self._last is not None and not self.keep:
            self._last.drop_pixels()
        self._last = None  # what is left when the iterator ends
        frame = next(self._frames)
        self._count += 1
        pts = max(self._time(frame), self._last_pts + 1)
        duration = (self._packet_duration if self._by_packet else frame.duration) or self._frame_duration
        if 0 < self._container_end - pts < duration:
            duration = self._container_end - pts
        self._last_pts, self._expected_pts = pts, pts + duration
        self._last = DecodedFrame(frame, self._count, pts, duration, self._exact, self._rough)
        return self._last

    def seek(self, pts: int) -> None:
        """Go on from a keyframe at or before `pts` or thereabouts; numbers count from there. av.FFmpegError if it cannot."""
        depth = self.stream.codec_context.reorder_depth
        self._frames.close()
        self.container.seek(int(pts), stream=self.stream)
        self.stream.codec_context.reorder_depth = (
            depth  # forgotten by seeking; B-frames would come too early and be lost
        )
        self._begin()

    @property
    def warnings(self) -> list[str]:
        notes, count = [], self._count + 1
        if is_sequence(str(self.video)):
            used = len(sequence_files(str(self.video)))
            if (there := len(sequence_numbers(str(self.video)))) > used:
                notes.append(
                    f"{self.video}: a number is missing; the {used} images before it are used, the {there - used} after it not"
                )
            if used > count and not self._damaged:
                notes.append(f"{self.video}: {used - count} of its images do not decode and are left out")
        elif self._broken:
            notes.append(f"{self.video}: reading stopped early ({self._broken}); the {count} frames before are used")
        elif is_truncated(Path(self.video)):
            notes.append(f"{self.video}: bytes are missing at its end; the {count} frames that decode are used")
        if self._damaged:
            notes.append(f"{self.video}: parts are damaged; what decodes is used")
        return notes

    def _begin(self) -> None:
        self._frames, self._last = self._decode(), None
        self._count, self._last_pts, self._expected_pts, self._packet_duration = -1, -(2**62), 0, 0
        self._order: deque[int] = deque()

    def _decode(self) -> Iterator[av.VideoFrame]:
        codec = self.stream.codec_context
        for packet in self._packets():
            if packet is not None:
                self._packet_duration = packet.duration
                if packet.dts is not None:
                    self._order.append(packet.dts)
            try:
                frames = codec.decode(packet)
            except av.FFmpegError:
                self._damaged = True
                continue
            whole = [frame for frame in frames if not frame.is_corrupt]
            self._damaged |= len(whole) < len(frames) or packet is not None and packet.is_corrupt
            # In codecs without prediction nothing patches up a hole: there lies what was in memory before.
            yield from whole if self._intra else frames

    def _packets(self) -> Iterator[av.Packet | None]:
        """Packets of the stream, then None, which asks the decoder for what it has left."""
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:  # an empty one would tell the decoder that this is the end
                    yield packet
        except av.FFmpegError as error:
            self._broken = error.strerror
        yield None

    def _time(self, frame: av.VideoFrame) -> int:
        if not self.timed:
            return self._order.popleft() if self._order else self._expected_pts
        return next((time for time in (frame.pts, frame.dts) if time is not None), self._expected_pts)


def decode(video: Path | str, fps: float | None = None) -> Decoder:
    """All frames of a video in the order they are shown, in one pass; see Decoder.

    A damaged or truncated video gives what decodes. FavError where it cannot be opened at all.
    """
    return Decoder(video, fps)


def checksum(frame: av.VideoFrame) -> int:
    """CRC-32 of a frame's samples, plane after plane, without the padding of rows."""
    crc, planes = 0, frame.planes
    for number, plane in enumerate(planes):
        rows = np.frombuffer(plane, np.uint8)
        components = [part for part in frame.format.components if part.plane == number]
        if not components:  # a palette
            row = len(rows)
        elif len(planes) == 1:
            row = -(-plane.width * frame.format.padded_bits_per_pixel // 8)
        else:
            row = sum(part.width * -(-part.bits // 8) for part in components)
        if row < len(rows) // plane.height:
            rows = rows.reshape(plane.height, -1)[:, :row]
        crc = zlib.crc32(np.ascontiguousarray(rows), crc)
    return crc
