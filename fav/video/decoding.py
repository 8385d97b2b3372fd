"""Decode all frames of a video in presentation order, with their timestamps and checksums."""

import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from functools import cached_property
from itertools import islice
from pathlib import Path

import av
import av.logging
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError
from av.stream import Discard
from av.video.reformatter import VideoReformatter

from fav.util.image_sequence import is_sequence, other_numbers_note, sequence_files, sequence_numbers
from fav.video import hdr, tiff
from fav.video.clock import SECOND, Clock, timed_streams
from fav.video.color import ColorInfo, check_matrix, display_matrix, has_alpha, is_hdr, is_linear, to_bgr, to_small_bgr
from fav.video.container import DEFAULT_FPS, demux, frame_rate, open_video, video_stream
from fav.video.damage import LOGGING_DEMUXERS, LOST, QUIET_DEMUXERS, DamageLog
from fav.video.deinterlacing import deinterlaced
from fav.video.ffmpeg_log import ffmpeg_errors, late_streams
from fav.video.index import FrameIndex
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings
from fav.video.side_data import side_data
from fav.video.spherical import Sphere, sphere_of
from fav.video.truncation import broken_at, is_truncated

TRANSPARENCY = "transparency is left out: colors behind it become visible"
MIN_JUMP_S = 0.1  # smaller timestamp jumps are not reported
MAX_LISTED = 5  # jumps or format changes that a note lists
MAX_PENDING_SHIFTS = 1000  # more belong to packets that did not decode


class DecodedFrame:
    """A decoded frame with its timestamps, checksum and image.

    Attributes:
        number: of the frame, from 0.
        pts: presentation time, in units of the time base.
        duration: in units of the time base.
        keyframe: whether decoding can start here.
        shift: correction of a timestamp jump that `pts` includes, in units of the time base.
        needs_deinterlacing: whether the image is made of this frame and its neighbors.
    """

    def __init__(
        self,
        frame: av.VideoFrame,
        number: int,
        pts: int,
        duration: int,
        accurate: VideoReformatter,
        fast: VideoReformatter,
        shift: int = 0,
        settings: SourceSettings = DEFAULT_SETTINGS,
        neighbors: tuple[av.VideoFrame | None, av.VideoFrame | None] = (None, None),
    ):
        self.number, self.pts, self.duration, self.keyframe = number, pts, duration, bool(frame.key_frame)
        self.shift, self._settings, self._neighbors = shift, settings, neighbors
        self.needs_deinterlacing = settings.deinterlace and frame.interlaced_frame
        self._frame, self._accurate, self._fast = frame, accurate, fast

    @property
    def sphere(self) -> Sphere | None:
        """The layout of a 360° video; None if the frame is not marked as one."""
        return None if self._frame is None else sphere_of(self._frame)

    @cached_property
    def crc(self) -> int:
        """CRC-32 of the decoded samples, without padding, before any conversion of colors."""
        return checksum(self._av_frame())

    @property
    def damaged(self) -> bool:
        """Whether the decoder concealed errors in it."""
        return bool(self._av_frame().is_corrupt)

    @property
    def colors(self) -> ColorInfo:
        return ColorInfo.of(self._av_frame(), self._settings.tone_map)

    def check_colors(self, video: Path | str) -> None:
        """Raise FavError if the color matrix of the video is not supported."""
        check_matrix(self._av_frame(), video)

    @property
    def neighbors_crc(self) -> tuple[int | None, int | None]:
        """The checksums of the frames before and after this one, which deinterlacing uses."""
        before, after = self._neighbors
        return None if before is None else checksum(before), None if after is None else checksum(after)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, before the display matrix is applied."""
        return self._av_frame().width, self._av_frame().height

    @property
    def is_rotated(self) -> bool:
        """Whether the display matrix rotates the image by 90 degrees."""
        return display_matrix(self._av_frame())[1] != 0

    def image(self, sixteen_bit: bool = False) -> np.ndarray:
        """Convert the frame to BGR, upright.

        A frame from `decode` can be converted only until the next one is read.

        Args:
            sixteen_bit: return uint16, where 65535 is white.

        Returns:
            (H, W, 3) uint8 or uint16, contiguous.
        """
        frame = self._av_frame()
        if self.needs_deinterlacing:
            frame = deinterlaced(self._neighbors[0], frame, self._neighbors[1])
        return to_bgr(frame, self._accurate, self._settings.tone_map, sixteen_bit)

    def thumbnail(self, long_side: int) -> np.ndarray:
        """A small image, as `to_small_bgr` makes it, in a tenth of the time that `image` takes."""
        return to_small_bgr(self._av_frame(), long_side, self._fast)

    def as_decoded(self) -> av.VideoFrame:
        """The frame as FFmpeg's decoder returned it."""
        return self._av_frame()

    def drop_pixels(self) -> None:
        """Drop the pixels and keep the rest: an index of 4K frames would not fit into memory otherwise."""
        self.crc  # noqa: B018
        self._frame, self._neighbors = None, (None, None)

    def _av_frame(self) -> av.VideoFrame:
        if self._frame is None:
            raise ValueError(f"frame {self.number}: expected to be used before the next frame is read")
        return self._frame


class Decoder(Iterator[DecodedFrame]):
    """Iterates over the frames of a video. As a context manager, it closes the video.

    Args:
        video: a file or a numbered image sequence.
        settings: how to read it.
        keep: frames keep their pixels; otherwise only the last frame has them.

    Attributes:
        stream: the video stream that is decoded.
        time_base: seconds per unit of timestamps.
        timed: whether the container has timestamps.
        conversion_notes: notes on what the film will not have as the source has it, for the frames read so far.
        damage: where something was wrong so far.

    Raises:
        FavError: the video cannot be opened.
    """

    def __init__(self, video: Path | str, settings: SourceSettings = DEFAULT_SETTINGS, keep: bool = False):
        self.video, self.settings, self.keep = video, settings, keep
        with ffmpeg_errors(av.logging.INFO) as said:  # FFmpeg reads the first seconds now, and keeps their packets
            self.container = open_video(video, settings)
        self.damage = DamageLog()
        self._hear(said, None)
        try:
            self.stream = video_stream(self.container, video)
        except BaseException:
            self.container.close()
            raise
        self._log_level = av.logging.INFO if self.container.format.name in QUIET_DEMUXERS else av.logging.ERROR
        self._clock = Clock(self.container)
        self._demuxed = timed_streams(self.container, self.stream) if self._clock.can_jump else [self.stream]
        for stream in self.container.streams:
            stream.discard = Discard.none if stream in self._demuxed else Discard.all
        codec = self.stream.codec_context
        codec.flags |= Flags.bitexact
        codec.thread_count = 1  # with several threads, error concealment depends on their timing
        self._intra = codec.codec.intra_only
        self._tiff = codec.name == "tiff"
        if self._intra and not self._tiff:
            codec.options = {"err_detect": "explode"}
        self.time_base = self.stream.time_base or Fraction(1, av.time_base)  # FFmpeg's default
        rate = frame_rate(self.stream) or DEFAULT_FPS
        self._frame_duration = max(round(1 / (rate * self.time_base)), 1)
        self._accurate, self._fast = VideoReformatter(), VideoReformatter()  # each caches the context of one conversion
        # AVI has no timestamps, only an order of packets. FFmpeg's timestamps for it are not in presentation order.
        self.timed = self.container.format.name != "avi"
        # MP4 has distances in decoding order, no durations. Only the last packet's is the duration of the last frame.
        self._duration_of_packet = "mp4" in self.container.format.name
        # Matroska may have no frame durations, but its total length limits that of the last frame.
        length = self.container.duration if "matroska" in self.container.format.name else None
        self._container_end = round(Fraction(length, av.time_base) / self.time_base) if length else 2**62
        self.read_error = None
        self.watch: Callable[[av.Packet], bool] | None = None  # returns for each packet whether to decode it
        self.shows_all = False  # whether frames that the container leaves out (edit lists) are returned, too
        self.heard_level, self.messages = av.logging.ERROR, []  # what the decoder logged, up to this level
        self.frame_pts: int | None = None  # the time stamp of the last frame, as the decoder gave it
        self._jumps: list[str] = []
        self._late_streams: list[str] = []
        self._from_start = True
        self._last_end: int | None = None
        self.forget_notes()
        self._late = False
        self._opening = True
        self._reset()

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
        self._last = None  # in case the iterator ends here
        frame = self._peeked or next(self._frames)
        self._peeked = None
        self._count += 1
        source_pts, shift = self._source_pts(frame), self._shift
        self.frame_pts = frame.pts
        pts = max(source_pts, self._next_pts(source_pts))
        self._shift = self._shifts.pop(source_pts, shift) if self._clock.can_jump else 0
        if self._count and not self._repeats:
            self._note_jump(pts - source_pts, self._shift - shift)
        duration = (self._packet_duration if self._duration_of_packet else frame.duration) or self._frame_duration
        if 0 < self._container_end - pts < duration:
            duration = self._container_end - pts
        self.damage.frame(pts, bool(frame.is_corrupt), self._repeats > 0)
        self._last_pts, self._expected_pts = pts, pts + duration
        self._note_format(frame)
        if self.settings.deinterlace and frame.interlaced_frame:
            self._peeked = next(self._frames, None)
        self._last = DecodedFrame(
            frame,
            self._count,
            pts,
            duration,
            self._accurate,
            self._fast,
            self._shift,
            self.settings,
            (self._previous, self._peeked),
        )
        self._previous = frame
        return self._last

    def forget_notes(self) -> None:
        """Forget the notes on the frames so far. Notes on the first frame of the video are not made again."""
        self._opening = False
        self._changes: list[str] = []
        self.formats: list[tuple[str, str]] = []  # size and pixel format of the frames, once per change
        self._interlaced = self._captions = False
        self.conversion_notes: list[str] = []

    def note(self, frame: DecodedFrame) -> None:
        """Make the notes on a frame again, the last one that was read."""
        self._note_format(frame.as_decoded())

    def _note_format(self, frame: av.VideoFrame) -> None:
        """Record changes of size and pixel format, and what the film will not have as the source has it."""
        current = (f"{frame.width}x{frame.height}", frame.format.name)
        if self.formats and self.formats[-1] != current:
            size, pixel_format = (f"{a} to {b}" if a != b else "" for a, b in zip(self.formats[-1], current))
            self._changes.append(f"{size or pixel_format} at frame {self._count}")
        if not self.formats or self.formats[-1] != current:
            self.formats.append(current)
        if self._opening and not self._count:
            self.conversion_notes += first_frame_notes(frame, self.settings)
            if is_sequence(str(self.video)) and (other := other_numbers_note(str(self.video))):
                self.conversion_notes.append(other)
            # VP8 and VP9 have it in a second stream, which the decoder does not read.
            if self.stream.metadata.get("alpha_mode") == "1" and not has_alpha(frame):
                self.conversion_notes.append(TRANSPARENCY)
        if frame.interlaced_frame and not self._interlaced:
            self._interlaced = True
            change = "deinterlaced (bwdif)" if self.settings.deinterlace else "kept; the film is marked as progressive"
            self.conversion_notes.append(f"interlaced frames are {change}")
        if not self._captions and side_data(frame, "A53_CC") is not None:
            self._captions = True
            self.conversion_notes.append("closed captions (CEA-608, CEA-708) are left out")

    def _note_jump(self, delay: int, jump: int) -> None:
        """Record a timestamp jump.

        Args:
            delay: by how much the frame's time was increased so that times ascend, in units of the time base.
            jump: change of the clock's correction since the last frame, in units of the time base.
        """
        step = float(-(jump or delay) * self.time_base)
        if abs(step) > MIN_JUMP_S and not self._late:
            self._jumps.append(f"{abs(step):.3f} s {'back' if step < 0 else 'ahead'} at frame {self._count}")
        self._late = not jump and step < -MIN_JUMP_S  # the next frames are late, too

    def seek(self, pts: int, shift: int = 0) -> None:
        """Continue from a keyframe near `pts`, usually at or before it. Frame numbers start at 0 there.

        Args:
            pts: presentation time, as in an index.
            shift: the correction that `pts` includes, as in an index.

        Raises:
            av.FFmpegError: the container cannot seek.
        """
        depth = self.stream.codec_context.reorder_depth
        self._frames.close()
        self._from_start = False
        self.container.seek(int(pts - shift), stream=self.stream)
        # Seeking resets the depth. Then B-frames would be returned too early and dropped.
        self.stream.codec_context.reorder_depth = depth
        self._reset()
        self._clock.restart(round(shift * self.time_base * SECOND))
        self._shift = int(shift)

    def times(self, most_images: int, most_bytes: int) -> tuple[FrameIndex, bool]:
        """Read frame times from the packets, without decoding. The decoder must be new.

        Args:
            most_images: images of a numbered sequence to read at most.
            most_bytes: offset in a file at which reading stops.

        Returns:
            An index whose checksums are all 0, and whether it has all frames.
        """
        times, expected, complete = [], 0, True
        most = most_images if is_sequence(str(self.video)) else None
        for packet in islice(self._packets(), most):
            if packet is None or packet.is_discard:
                continue
            if packet.pos is not None and packet.pos > most_bytes:
                complete = False
                break
            known = (packet.pts, packet.dts) if self.timed else (packet.dts,)
            times.append(next((time for time in known if time is not None), expected))
            expected = times[-1] + (packet.duration or self._frame_duration)
        pts = np.unique(np.array(times, np.int64))
        last = max(expected - int(pts[-1]), 1) if len(pts) else 0
        index = FrameIndex(
            pts, np.full(len(pts), last), np.zeros(len(pts), bool), np.zeros(len(pts), np.uint32), self.time_base
        )
        return index, complete

    @property
    def problems(self) -> list[str]:
        """One-line notes for the user on damaged and missing content; complete after the last frame."""
        notes, count, name = [], self._count + 1, self.settings.name or self.video
        if is_sequence(str(self.video)):
            used = len(sequence_files(str(self.video)))
            if (present := len(sequence_numbers(str(self.video)))) > used:
                after = present - used
                notes.append(
                    f"{name}: a number is missing; the {used} images before it are used, the {after} after it not"
                )
            if used > count and not self.damage.found:
                notes.append(f"{name}: {used - count} of its images do not decode and are left out")
        elif self.read_error:
            notes.append(f"{name}: reading stopped early ({self.read_error}); the {count} frames before are used")
        elif is_truncated(Path(self.video)):
            notes.append(f"{name}: bytes are missing at its end; the {count} frames that decode are used")
        elif (broken := broken_at(Path(self.video))) is not None:
            notes.append(
                f"{name}: its structure is damaged at byte {broken}; what follows is lost: {count} frames are used"
            )
        whole = self._at_end and not is_sequence(str(self.video)) and not self.read_error
        missing = 0
        if whole and not self.timed:
            # AVI counts frames in its header, among them those that it leaves out, and times are their numbers.
            missing = self.stream.frames - self._next_number
        elif whole and self.container.format.name == "mxf":  # the unit of its times is a frame
            missing = (self.stream.duration or 0) - self._packet_count
        damaged = self.damage.damage_note(self.time_base, missing, self._last_end)
        return notes + ([f"{name}: {damaged}"] if damaged else [])

    @property
    def warnings(self) -> list[str]:
        """`problems`, and what else of the video is told to the user; complete after the last frame."""
        notes, name = self.problems, self.settings.name or self.video
        notes += [f"{name}: {note}" for note in self.damage.time_notes(self.time_base)]
        if self._late_streams:
            notes.append(
                f"{name}: streams that begin after the first seconds are left out: {', '.join(self._late_streams)}"
            )
        if self._jumps:
            notes.append(f"{name}: its timestamps jump {_list_some(self._jumps)}; the film has no jump")
        if self._changes:
            notes.append(
                f"{name}: its frames change from {_list_some(self._changes)}; all are resized to the film's size, and "
                f"a new size begins a shot"
            )
        return notes + self.conversion_notes

    def _reset(self) -> None:
        """Set the state of a decoder that has read nothing yet."""
        self._frames, self._last = self._decode(), None
        self._peeked = self._previous = None
        self._count, self._last_pts, self._expected_pts, self._packet_duration = -1, -(2**62), 0, 0
        self._packet_times: deque[int] = deque()  # of packets whose frames have not been returned yet
        self._shifts: dict[int, int] = {}  # corrections of timestamp jumps, by the corrected time of a packet
        self._shift, self._jumped = 0, False
        self._source_before: int | None = None
        self._repeats = 0  # frames in a row with the timestamp of the frame before
        self._at_end, self._next_number, self._packet_count = False, 0, 0

    def _decode(self) -> Generator[av.VideoFrame, None, None]:
        codec = self.stream.codec_context
        for packet in self._packets():
            if packet is not None:
                self._packet_duration = packet.duration
                if packet.dts is not None:
                    self._packet_times.append(packet.dts)
                if self._from_start and self.timed and packet.pts is not None and not packet.is_discard:
                    self.damage.packet(packet.pts)
            try:
                with ffmpeg_errors(self.heard_level) as said:
                    frames = codec.decode(_shown(packet) if self.shows_all and packet and packet.is_discard else packet)
            except FFmpegError:
                self._fail(packet)
                continue
            self.messages += [line.strip() for _, _, line in said][: MAX_LISTED - len(self.messages)]
            if packet is not None and any(level <= av.logging.ERROR for level, _, _ in said):
                self.damage.doubt(_time_of(packet))
            if self._tiff and packet is not None and not tiff.decodes(bytes(packet)):
                self._fail(packet)
                continue
            intact = [frame for frame in frames if not frame.is_corrupt]
            if self._intra and len(intact) < len(frames):
                self._fail(packet)
            # Intra-only codecs do not conceal errors: damaged parts have random content of the memory.
            yield from intact if self._intra else frames

    def _fail(self, packet: av.Packet | None) -> None:
        """Note that a packet did not decode. No later frame gets its time."""
        self.damage.suspect(None if packet is None else _time_of(packet))
        if packet is not None and packet.dts is not None and self._packet_times:
            self._packet_times.pop()

    def _hear(self, said: list[tuple[int, str, str]], packet: av.Packet | None) -> None:
        """Note what FFmpeg's demuxer said before it returned a packet."""
        name = self.container.format.name
        if name in LOGGING_DEMUXERS and any(
            by == name and (level <= av.logging.ERROR or any(word in line for word in LOST)) for level, by, line in said
        ):
            self.damage.suspect(None if packet is None else self._in_own_units(packet))

    def _in_own_units(self, packet: av.Packet) -> int | None:
        """The time of a packet of any stream, in units of the time base."""
        time = _time_of(packet)
        return (
            time
            if time is None or packet.stream_index == self.stream.index
            else round(time * packet.time_base / self.time_base)
        )

    def _packets(self) -> Iterator[av.Packet | None]:
        """Yield the packets of the stream, then None, which flushes the decoder."""
        demuxing = demux(self.container, self._demuxed)
        try:
            while True:
                with ffmpeg_errors(self._log_level) as said:
                    packet = next(demuxing, None)
                if packet is None:
                    self._hear(said, None)
                    break
                own = packet.stream_index == self.stream.index
                if own and packet.dts is not None:
                    self._next_number, self._packet_count = packet.dts + 1, self._packet_count + 1
                if not packet.size:  # it would flush the decoder
                    self._hear(said, None)
                    continue
                self._clock.correct(packet)
                self._hear(said, packet)
                if packet.is_corrupt:
                    self.damage.suspect(self._in_own_units(packet))
                if own:
                    self._remember_shift(packet)
                    if self.watch is None or self.watch(packet):
                        yield packet
        except FFmpegError as error:
            self.read_error = error.strerror
        self._at_end, self._late_streams = True, late_streams(self.container)
        start, length = self.container.start_time or 0, self.container.duration
        self._last_end = None if length is None else round(Fraction(start + length, av.time_base) / self.time_base)
        yield None

    def packets(self) -> Iterator[av.Packet]:
        """Yield the packets of the stream without decoding them. Call it before anything is decoded."""
        yield from (packet for packet in self._packets() if packet is not None)

    @property
    def clock_jumped(self) -> bool:
        """Whether the clock of the container has jumped so far."""
        return self._jumped

    def _remember_shift(self, packet: av.Packet) -> None:
        self._jumped = self._jumped or self._clock.offset != 0
        if self._jumped:
            if len(self._shifts) > MAX_PENDING_SHIFTS:
                self._shifts.clear()
            for time in (packet.pts, packet.dts):
                if time is not None:
                    self._shifts[time] = self._clock.ticks(packet)

    def _next_pts(self, source_pts: int) -> int:
        """The least time of a frame, so that times ascend. Where the clock stands still, frames keep their distance."""
        self._repeats = self._repeats + 1 if source_pts == self._source_before else 0
        self._source_before = source_pts
        return self._expected_pts if self._repeats > 1 else self._last_pts + 1

    def _source_pts(self, frame: av.VideoFrame) -> int:
        """The frame's time before it is made to ascend, in units of the time base."""
        if not self.timed:
            return self._packet_times.popleft() if self._packet_times else self._expected_pts
        return next((time for time in (frame.pts, frame.dts) if time is not None), self._expected_pts)


def first_frame_notes(frame: av.VideoFrame, settings: SourceSettings) -> list[str]:
    """Notes on what the film will not have as the source has it, according to the first frame."""
    notes = []
    if is_hdr(frame):
        transfer = "PQ" if frame.color_trc == hdr.PQ else "HLG"
        change = (
            f"converted to SDR, BT.709 ({hdr.MAPPING}); --hdr keep leaves the values unchanged"
            if settings.tone_map
            else "kept, without the mastering metadata"
        )
        notes.append(f"HDR ({transfer}) is {change}")
    if is_linear(frame):
        notes.append("linear light is converted to sRGB; values above 1 become white")
    if has_alpha(frame) and not _opaque(frame):
        notes.append(TRANSPARENCY)
    return notes


def _opaque(frame: av.VideoFrame) -> bool:
    """Whether no pixel of a frame with alpha is transparent."""
    bits = next(part.bits for part in frame.format.components if part.is_alpha)
    if bits > 16 or "f" in frame.format.name.removeprefix("gbr").removesuffix("le"):
        return False
    alpha = VideoReformatter().reformat(frame, format="yuva444p16le").planes[3]
    return int(np.frombuffer(memoryview(alpha), np.uint16).reshape(alpha.height, -1)[:, : alpha.width].min()) >= 0xFE00


def _shown(packet: av.Packet) -> av.Packet:
    """A copy of a packet that is not marked to be left out."""
    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.duration, copy.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    return copy


def _time_of(packet: av.Packet) -> int | None:
    """The earlier one of a packet's times, in units of its time base."""
    return min((time for time in (packet.pts, packet.dts) if time is not None), default=None)


def _list_some(items: list[str]) -> str:
    more = f" and {len(items) - MAX_LISTED} times more" if len(items) > MAX_LISTED else ""
    return ", ".join(items[:MAX_LISTED]) + more


def decode(video: Path | str, settings: SourceSettings = DEFAULT_SETTINGS) -> Decoder:
    """Decode all frames of a video in presentation order, in one pass; see `Decoder`.

    Of a damaged or truncated video, the frames that decode are returned.

    Raises:
        FavError: the video cannot be opened.
    """
    return Decoder(video, settings)


def checksum(frame: av.VideoFrame) -> int:
    """CRC-32 of a frame's samples, one plane after the other, without row padding."""
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
