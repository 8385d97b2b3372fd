"""One pass over a video: every frame in the order it is shown, with its time and checksum."""

import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from functools import cached_property
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError
from av.stream import Discard
from av.video.reformatter import VideoReformatter

from fav.util.image_sequence import is_sequence, sequence_files, sequence_numbers
from fav.video import hdr, tiff
from fav.video.clock import SECOND, Clock, timed_streams
from fav.video.color import ColorInfo, check_matrix, display_matrix, has_alpha, is_hdr, is_linear, to_bgr, to_small_bgr
from fav.video.container import DEFAULT_FPS, frame_rate, open_video, video_stream
from fav.video.deinterlacing import deinterlaced
from fav.video.index import FrameIndex
from fav.video.settings import AS_IT_IS, SourceSettings
from fav.video.side_data import side_data
from fav.video.truncation import is_truncated

NOTED_S = 0.1  # a step of the clock that is told
MOST_JUMPS = 5  # that are told one by one
FORGOTTEN = 1000


class DecodedFrame:
    """A frame: `number` from 0, `pts` and `duration` in units of the time base, `keyframe`, `crc`, and its picture.

    `shift` is by how much the time is later than the file says, whose clock may jump.
    """

    def __init__(
        self,
        frame: av.VideoFrame,
        number: int,
        pts: int,
        duration: int,
        exact: VideoReformatter,
        rough: VideoReformatter,
        shift: int = 0,
        settings: SourceSettings = AS_IT_IS,
        neighbours: tuple[av.VideoFrame | None, av.VideoFrame | None] = (None, None),
    ):
        self.number, self.pts, self.duration, self.keyframe = number, pts, duration, bool(frame.key_frame)
        self.shift, self._settings, self._local_peers = shift, settings, neighbours
        self.woven = settings.deinterlace and frame.interlaced_frame
        self._frame, self._exact, self._rough = frame, exact, rough

    @cached_property
    def crc(self) -> int:
        """CRC-32 of the decoded samples, without padding, before any conversion of colors."""
        return checksum(self._picture())

    @property
    def damaged(self) -> bool:
        """Whether the decoder says that parts of it are patched up."""
        return bool(self._picture().is_corrupt)

    @property
    def colors(self) -> ColorInfo:
        return ColorInfo.of(self._picture(), self._settings.tone_map)

    def check_colors(self, video: Path | str) -> None:
        """FavError where the colors of the video cannot be told."""
        check_matrix(self._picture(), video)

    @property
    def neighbours_crc(self) -> tuple[int | None, int | None]:
        """The checksums of the frames before and after one that is made whole of two fields by them."""
        before, after = self._local_peers
        return None if before is None else checksum(before), None if after is None else checksum(after)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels as it is stored."""
        return self._picture().width, self._picture().height

    @property
    def is_rotated(self) -> bool:
        """Whether the picture is shown by a quarter turn of what is stored."""
        return display_matrix(self._picture())[1] != 0

    def image(self, deep: bool = False) -> np.ndarray:
        """The picture (H, W, 3) uint8 BGR, upright, contiguous; for frames from `decode` only until the next is read.

        `deep` gives uint16, of which 65535 is white.
        """
        frame = self._picture()
        if self.woven:
            frame = deinterlaced(self._local_peers[0], frame, self._local_peers[1])
        return to_bgr(frame, self._exact, self._settings.tone_map, deep)

    def thumbnail(self, long_side: int) -> np.ndarray:
        """The picture as `to_small_bgr` makes it, for a tenth of the time; as long as there is `image`."""
        return to_small_bgr(self._picture(), long_side, self._rough)

    def drop_pixels(self) -> None:
        """Drop the picture, keep the facts: an index of 4K frames would not fit into memory otherwise."""
        self.crc  # noqa: B018
        self._frame, self._local_peers = None, (None, None)

    def _picture(self) -> av.VideoFrame:
        if self._frame is None:
            raise ValueError(f"frame {self.number}: expected to be asked for its picture before the next frame is read")
        return self._frame


class Decoder(Iterator[DecodedFrame]):
    """An iterator over the frames of an opened video; a context that closes it.

    `warnings` are one-line notes for the user on what is damaged or missing, complete once the iterator has ended.
    With `keep` a frame holds its picture as long as the frame lives. Raises FavError where the video cannot be opened.
    """

    def __init__(self, video: Path | str, settings: SourceSettings = AS_IT_IS, keep: bool = False):
        self.video, self.settings, self.keep = video, settings, keep
        self.container = open_video(video, settings)
        try:
            self.stream = video_stream(self.container, video)
        except BaseException:
            self.container.close()
            raise
        self._clock = Clock(self.container)
        self._wanted = timed_streams(self.container, self.stream) if self._clock.jumps else [self.stream]
        for stream in self.container.streams:
            stream.discard = Discard.none if stream in self._wanted else Discard.all
        codec = self.stream.codec_context
        codec.flags |= Flags.bitexact
        codec.thread_count = 1  # with more, how damaged frames are patched up depends on their timing
        self._intra = codec.codec.intra_only
        self._tiff = codec.name == "tiff"
        if self._intra and not self._tiff:
            codec.options = {"err_detect": "explode"}
        self.time_base = self.stream.time_base or Fraction(1, av.time_base)  # which is FFmpeg's own
        rate = frame_rate(self.stream) or DEFAULT_FPS
        self._frame_duration = max(round(1 / (rate * self.time_base)), 1)
        self._exact, self._rough = VideoReformatter(), VideoReformatter()  # each remembers the one conversion it makes
        # AVI has no times, only an order of packets; times that FFmpeg makes of it are not in the order of frames.
        self.timed = self.container.format.name != "avi"
        # MP4 keeps no durations but distances in decoding order: for the last frame shown that of the last packet is true.
        self._by_packet = "mp4" in self.container.format.name
        # Matroska need not keep durations, but knows its own: the last frame cannot last longer.
        ends = self.container.duration if "matroska" in self.container.format.name else None
        self._container_end = round(Fraction(ends, av.time_base) / self.time_base) if ends else 2**62
        self._damaged, self.broken = False, None
        self.failed = False  # whether something could not be decoded, and no frame stands for it
        self.watch: Callable[[av.Packet], bool] | None = None  # says of each packet whether it is decoded
        self.told: int | None = None  # the time that the last frame itself has
        self._jumps: list[str] = []
        self.forget_notes()
        self._late = False
        self._opening = True
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
        frame = self._peeked or next(self._frames)
        self._peeked = None
        self._count += 1
        told, shift = self._time(frame), self._shift
        self.told = frame.pts
        pts = max(told, self._last_pts + 1)
        self._shift = self._shifts.pop(told, shift) if self._clock.jumps else 0
        if self._count:
            self._watch(pts - told, self._shift - shift)
        duration = (self._packet_duration if self._by_packet else frame.duration) or self._frame_duration
        if 0 < self._container_end - pts < duration:
            duration = self._container_end - pts
        self._last_pts, self._expected_pts = pts, pts + duration
        self._look(frame)
        if self.settings.deinterlace and frame.interlaced_frame:
            self._peeked = next(self._frames, None)
        self._last = DecodedFrame(
            frame,
            self._count,
            pts,
            duration,
            self._exact,
            self._rough,
            self._shift,
            self.settings,
            (self._before, self._peeked),
        )
        self._before = frame
        return self._last

    def forget_notes(self) -> None:
        """Forget what was noted on the frames so far, as at the beginning; but no note on a video's first frame is made again."""
        self._opening = False
        self._changes: list[str] = []
        self.shapes: list[tuple[str, str]] = []  # sizes and formats of the frames, each as often as it begins anew
        self._interlaced = self._captions = False
        self.facts: list[str] = []  # notes on what is not in the film as it was, of the frames so far

    def note(self, frame: DecodedFrame) -> None:
        """Note again what is told of a frame, the last one that was read."""
        self._look(frame._picture())

    def _look(self, frame: av.VideoFrame) -> None:
        """Note where the pictures change their shape."""
        shape = (f"{frame.width}x{frame.height}", frame.format.name)
        if self.shapes and self.shapes[-1] != shape:
            size, format = (f"{a} to {b}" if a != b else "" for a, b in zip(self.shapes[-1], shape))
            self._changes.append(f"{size or format} at frame {self._count}")
        if not self.shapes or self.shapes[-1] != shape:
            self.shapes.append(shape)
        if self._opening and not self._count:
            self.facts += first_facts(frame, self.settings)
        if frame.interlaced_frame and not self._interlaced:
            self._interlaced = True
            fate = (
                "made whole (bwdif)"
                if self.settings.deinterlace
                else "left with their combs, in a film that is progressive"
            )
            self.facts.append(f"interlaced frames are {fate}")
        if not self._captions and side_data(frame, "A53_CC") is not None:
            self._captions = True
            self.facts.append("captions within the pictures (CEA-608, CEA-708) are left out")

    def _watch(self, late: int, jump: int) -> None:
        """Note where the clock jumps by which a frame is shown, in units of the time base."""
        step = float(-(jump or late) * self.time_base)
        if abs(step) > NOTED_S and not self._late:
            self._jumps.append(f"{abs(step):.3f} s {'back' if step < 0 else 'ahead'} at frame {self._count}")
        self._late = not jump and step < -NOTED_S  # the frames that follow are late as well

    def seek(self, pts: int, shift: int = 0) -> None:
        """Go on from a keyframe at or before `pts` or thereabouts; numbers count from there. av.FFmpegError if it cannot.

        Args:
            pts: The time, as it is in an index.
            shift: What the index says was added to it.
        """
        depth = self.stream.codec_context.reorder_depth
        self._frames.close()
        self.container.seek(int(pts - shift), stream=self.stream)
        self.stream.codec_context.reorder_depth = (
            depth  # forgotten by seeking; B-frames would come too early and be lost
        )
        self._begin()
        self._clock.restart(round(shift * self.time_base * SECOND))
        self._shift = int(shift)

    def times(self, most_images: int, most_bytes: int) -> tuple[FrameIndex, bool]:
        """The times that frames have, as the packets tell them; nothing is decoded, and all checksums are 0.

        At most so many of a numbered image sequence, whose images would be read, and none behind so many bytes of a file; and
        whether these are all. To be called on a fresh decoder.
        """
        times, due, whole = [], 0, True
        most = most_images if is_sequence(str(self.video)) else None
        for packet in islice(self._packets(), most):
            if packet is None or packet.is_discard:
                continue
            if packet.pos is not None and packet.pos > most_bytes:
                whole = False
                break
            told = (packet.pts, packet.dts) if self.timed else (packet.dts,)
            times.append(next((time for time in told if time is not None), due))
            due = times[-1] + (packet.duration or self._frame_duration)
        pts = np.unique(np.array(times, np.int64))
        last = max(due - int(pts[-1]), 1) if len(pts) else 0
        index = FrameIndex(
            pts, np.full(len(pts), last), np.zeros(len(pts), bool), np.zeros(len(pts), np.uint32), self.time_base
        )
        return index, whole

    @property
    def warnings(self) -> list[str]:
        notes, count, name = [], self._count + 1, self.settings.name or self.video
        if is_sequence(str(self.video)):
            used = len(sequence_files(str(self.video)))
            if (there := len(sequence_numbers(str(self.video)))) > used:
                notes.append(
                    f"{name}: a number is missing; the {used} images before it are used, the {there - used} after it not"
                )
            if used > count and not self._damaged:
                notes.append(f"{name}: {used - count} of its images do not decode and are left out")
        elif self.broken:
            notes.append(f"{name}: reading stopped early ({self.broken}); the {count} frames before are used")
        elif is_truncated(Path(self.video)):
            notes.append(f"{name}: bytes are missing at its end; the {count} frames that decode are used")
        if self._damaged:
            notes.append(f"{name}: parts are damaged; what decodes is used")
        if self._jumps:
            notes.append(f"{name}: its clock goes {_few(self._jumps)}; the film goes on without a jump")
        if self._changes:
            notes.append(
                f"{name}: its pictures change from {_few(self._changes)}; all are brought to the film's size, and a new "
                f"size begins a shot"
            )
        return notes + self.facts

    def _begin(self) -> None:
        self._frames, self._last = self._decode(), None
        self._peeked = self._before = None
        self._count, self._last_pts, self._expected_pts, self._packet_duration = -1, -(2**62), 0, 0
        self._order: deque[int] = deque()
        self._shifts: dict[int, int] = {}  # of frames by their time, where it is not always the same
        self._shift, self._jumped = 0, False

    def _decode(self) -> Generator[av.VideoFrame, None, None]:
        codec = self.stream.codec_context
        for packet in self._packets():
            if packet is not None:
                self._packet_duration = packet.duration
                if packet.dts is not None:
                    self._order.append(packet.dts)
            try:
                frames = codec.decode(packet)
            except FFmpegError:
                self._damaged = self.failed = True
                continue
            if self._tiff and packet is not None and not tiff.decodes(bytes(packet)):
                self._damaged = self.failed = True
                continue
            whole = [frame for frame in frames if not frame.is_corrupt]
            self.failed |= self._intra and len(whole) < len(frames)
            self._damaged |= len(whole) < len(frames) or packet is not None and packet.is_corrupt
            # In codecs without prediction nothing patches up a hole: there lies what was in memory before.
            yield from whole if self._intra else frames

    def _packets(self) -> Iterator[av.Packet | None]:
        """Packets of the stream, then None, which asks the decoder for what it has left."""
        try:
            for packet in self.container.demux(self._wanted):
                if packet.size:  # an empty one would tell the decoder that this is the end
                    self._clock.correct(packet)
                    if packet.stream_index == self.stream.index:
                        self._remember_shift(packet)
                        if self.watch is None or self.watch(packet):
                            yield packet
        except FFmpegError as error:
            self.broken = error.strerror
        yield None

    def packets(self) -> Iterator[av.Packet]:
        """The packets of the stream, of which none is decoded. To be called on a fresh decoder."""
        yield from (packet for packet in self._packets() if packet is not None)

    @property
    def clock_jumped(self) -> bool:
        """Whether the clock of the container has jumped so far."""
        return self._jumped

    def _remember_shift(self, packet: av.Packet) -> None:
        self._jumped = self._jumped or self._clock.offset != 0
        if self._jumped:
            if len(self._shifts) > FORGOTTEN:  # of frames that did not decode
                self._shifts.clear()
            for time in (packet.pts, packet.dts):
                if time is not None:
                    self._shifts[time] = self._clock.ticks(packet)

    def _time(self, frame: av.VideoFrame) -> int:
        if not self.timed:
            return self._order.popleft() if self._order else self._expected_pts
        return next((time for time in (frame.pts, frame.dts) if time is not None), self._expected_pts)


def first_facts(frame: av.VideoFrame, settings: SourceSettings) -> list[str]:
    """Notes on a video, by its first frame."""
    facts = []
    if is_hdr(frame):
        kind = "PQ" if frame.color_trc == hdr.PQ else "HLG"
        fate = (
            f"brought to SDR, BT.709 ({hdr.MAPPING}); --hdr keep leaves the values as they are"
            if settings.tone_map
            else "kept in 8 bits, without the metadata on its mastering"
        )
        facts.append(f"HDR ({kind}) is {fate}")
    if is_linear(frame):
        facts.append("linear light is shown as sRGB; what is brighter than 1 is white")
    if has_alpha(frame) and not _opaque(frame):
        facts.append("transparency is left out: what is hidden behind it shows")
    return facts


def _opaque(frame: av.VideoFrame) -> bool:
    """Whether no pixel of a frame with alpha is transparent."""
    bits = next(part.bits for part in frame.format.components if part.is_alpha)
    if bits > 16 or "f" in frame.format.name.removeprefix("gbr").removesuffix("le"):
        return False
    alpha = VideoReformatter().reformat(frame, format="yuva444p16le").planes[3]
    return int(np.frombuffer(memoryview(alpha), np.uint16).reshape(alpha.height, -1)[:, : alpha.width].min()) >= 0xFE00


def _few(words: list[str]) -> str:
    more = f" and {len(words) - MOST_JUMPS} times more" if len(words) > MOST_JUMPS else ""
    return ", ".join(words[:MOST_JUMPS]) + more


def decode(video: Path | str, settings: SourceSettings = AS_IT_IS) -> Decoder:
    """All frames of a video in the order they are shown, in one pass; see Decoder.

    A damaged or truncated video gives what decodes. FavError where it cannot be opened at all.
    """
    return Decoder(video, settings)


def checksum(frame: av.VideoFrame) -> int:
    """CRC-32 of a frame's samples, plane after plane, without the padding of rows."""
    crc, planes = 0, frame.planes
    for number, plane in enumerate(planes):
        rows = np.frombuffer(memoryview(plane), np.uint8)
        components = [part for part in frame.format.components if part.plane == number]
        if not components:  # a palette
            row = len(rows)
        elif len(planes) == 1:
            row = -(-plane.width * frame.format.padded_bits_per_pixel // 8)
        else:
            row = sum(part.width * -(-part.bits // 8) for part in components)
        if row < len(rows) // plane.height:
            rows = rows.reshape(plane.height, -1)[:, :row]
        crc = zlib.crc32(np.ascontiguousarray(rows).data, crc)
    return crc
