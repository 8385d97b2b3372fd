"""Divide a video into ranges of frames that can be decoded independently, with the same frames as in one pass.

A survey reads all packets and decodes none. It finds the packets at which a decoder can begin, because by the codec's
rules they need no earlier packet. A range has the frames from such a packet on, in presentation order, until the next
range begins. Frames that follow the packet but are shown before its own frame (in an open GOP) belong to the range
before, whose decoder continues until it has them.

All assumptions are checked. The decoder of a range must read exactly the packets of the survey, find no damage, and get
frames whose times are those of packets. It also decodes the first TAIL frames of the next range, which must be equal in
both ranges. Other videos have no ranges (`Survey.why`), and are indexed in one pass: those with missing or decreasing
times, AVI, damage, other codecs, or too few keyframes.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
from av.error import FFmpegError

from fav.errors import FavError
from fav.util.image_sequence import is_sequence
from fav.video.damage import GAP, PAUSE_S, find_gaps
from fav.video.decoding import DecodedFrame, Decoder
from fav.video.hevc import CodedPictures, WholePictures
from fav.video.index import FrameIndex
from fav.video.nal_units import nal_units
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings
from fav.video.shot_detection import FLASH, LONG_SIDE, RecordedDifferences
from fav.video.truncation import broken_at, is_truncated

LEAST_RANGE = 240  # packets: shorter ranges would decode more of each other
TAIL = 16  # frames of the next range that are decoded as well; cuts need 2 * FLASH + 1 of them
LEAST_RANGES = 4  # fewer save no time
FAR, LAST_PTS = 1 << 30, 1 << 62
SEEK_BACK_S = (0, 5, 60)  # how many seconds before the packet's time to seek, one try after the other
LEAST_TAIL = 2 * FLASH + 1
assert LEAST_TAIL <= TAIL

# Codecs whose keyframes need nothing before them, for all frames that are shown after them; besides those without prediction.
# For H.264, HEVC and MPEG-1 and 2, see `_begins`. They were tried with damaged clips. Not among them is FFV1: FFmpeg conceals
# damage in it by frames before the keyframe, and does not say so. So it does for HEVC, for which there is `fav.video.hevc`.
RESTARTING = {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp9"}
CONCEALING = {"ffv1"}  # and without prediction
SEQUENCE_HEADER = b"\0\0\1\xb3"  # ISO/IEC 13818-2, 6.2.2.1: sizes and quantizers


class UnusableRangeError(FavError):
    """A range that may differ from the frames of one pass; its message says why."""


@dataclass(frozen=True)
class RangeStart:
    """The packet at which a range begins: the time of its frame (ticks of the time base), and its size in bytes."""

    pts: int
    size: int


@dataclass(frozen=True)
class VideoRange:
    """A range: its first packet, the number of packets until that of the next one, and their checksum."""

    start: RangeStart
    packets: int
    checksum: int


@dataclass(frozen=True)
class Survey:
    """The ranges of a video, in order.

    Attributes:
        ranges: empty if the video cannot be divided.
        end: the packet at which the next range would begin, if the survey ended there because of `stop`.
        why: why there are no ranges.
    """

    ranges: tuple[VideoRange, ...] = ()
    end: RangeStart | None = None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        ranges = [[one.start.pts, one.start.size, one.packets, one.checksum] for one in self.ranges]
        return {"ranges": ranges, "end": self.end and [self.end.pts, self.end.size], "why": self.why}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Survey":
        """Parse the output of `to_json`. Raises ValueError, KeyError or TypeError for anything else."""
        ranges = [
            VideoRange(RangeStart(int(pts), int(size)), int(packets), int(checksum))
            for pts, size, packets, checksum in fields["ranges"]
        ]
        end = fields["end"] and RangeStart(*map(int, fields["end"]))
        times = [one.start.pts for one in ranges] + ([end.pts] if end else [])
        if times != sorted(set(times)) or any(one.packets < 1 for one in ranges):
            raise ValueError("expected ranges that follow each other")
        return cls(tuple(ranges), end, str(fields["why"])[:200])


@dataclass(frozen=True)
class IndexedFrame:
    """The entry of one frame in an index, with its number."""

    number: int
    pts: int
    duration: int
    keyframe: bool
    crc: int
    shift: int = 0


@dataclass(frozen=True)
class DecodedRange:
    """The result of decoding a range.

    Attributes:
        index: the frames of the range, and after them the first frames of the next range.
        own: the number of frames of the range itself.
        shape: size and format of the frames.
        facts: notes for the user, each with the position of its frame.
        changes: differences between the frames; None if cuts are not detected.
        why: why the range cannot be used; then all else is empty.
    """

    index: FrameIndex
    own: int
    shape: tuple[str, str] = ("", "")
    facts: tuple[tuple[int, str], ...] = ()
    changes: RecordedDifferences | None = None
    why: str = ""

    def frames(self, begin: int) -> Iterator[IndexedFrame]:
        """Yield the range's own frames; the first one has the number `begin`."""
        columns = (self.index.pts, self.index.duration, self.index.keyframe, self.index.crc)
        for number, row in enumerate(zip(*(column[: self.own].tolist() for column in columns)), begin):
            yield IndexedFrame(number, *row)

    def check_joint(self, following: "DecodedRange") -> None:
        """Raise UnusableRangeError unless the next range begins with the frames that follow the own frames here."""
        tail = len(self.index) - self.own
        shared = min(tail, len(following.index))
        for name in ("pts", "duration", "keyframe", "crc", "shift"):
            here = getattr(self.index, name)[self.own : self.own + shared]
            if (here != getattr(following.index, name)[:shared]).any():
                raise UnusableRangeError(f"frames at {following.index.pts[0]} decode otherwise from there on ({name})")
        if shared < min(TAIL, len(following.index)) or self.shape != following.shape:
            raise UnusableRangeError("frames change their size, or the next range has others than expected")

    def to_json(self) -> dict[str, Any]:
        changes = self.changes and {
            "scores": self.changes.scores,
            "since": {str(number): [min(one, FAR) for one in some] for number, some in self.changes.since.items()},
        }
        return {
            "index": self.index.to_json(),
            "own": self.own,
            "shape": list(self.shape),
            "facts": [list(fact) for fact in self.facts],
            "changes": changes,
            "why": self.why,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any], threshold: float) -> "DecodedRange":
        """Parse the output of `to_json`. Raises ValueError, KeyError or TypeError for anything else."""
        index, own, changes = FrameIndex.from_json(fields["index"]), int(fields["own"]), None
        if not fields["why"] and not 1 <= own <= len(index):
            raise ValueError("expected frames in a range")
        if fields["changes"] is not None:
            scores = [float(score) for score in fields["changes"]["scores"]]
            since = {int(number): [float(one) for one in some] for number, some in fields["changes"]["since"].items()}
            changes = RecordedDifferences(threshold, scores, since)
            if len(scores) != len(index) or not changes.is_whole:
                raise ValueError("expected the changes of each frame")
        width_height, kind = map(str, fields["shape"])
        facts = tuple((int(number), str(fact)) for number, fact in fields["facts"])
        return cls(index, own, (width_height, kind), facts, changes, str(fields["why"])[:200])


@dataclass
class _Checksum:
    """A running checksum of the packets of a range."""

    packets: int = 0
    value: int = 0

    def add(self, packet: av.Packet) -> None:
        facts = (packet.pts, packet.duration, packet.size, packet.is_keyframe, packet.is_discard)
        self.packets += 1
        self.value = zlib.crc32(repr(facts).encode(), self.value)


def survey(
    video: Path | str,
    settings: SourceSettings = DEFAULT_SETTINGS,
    stop: int | None = None,
    least: int = LEAST_RANGE,
    report_progress: Callable[[], None] = lambda: None,
) -> Survey:
    """Find the ranges of a video. All packets are read, and none is decoded.

    Args:
        video: A file or a numbered image sequence.
        settings: How the video is read.
        stop: The last frame that is needed; None: all are.
        least: Minimum number of packets of a range.
        report_progress: Called for each packet.

    Raises:
        FavError: The video cannot be opened.
    """
    if is_sequence(str(video)):
        return Survey(why="numbered images have no keyframes")
    if is_truncated(Path(video)):
        return Survey(why="bytes are missing at its end")
    if broken_at(Path(video)) is not None:
        return Survey(why="its structure is damaged")
    with Decoder(video, settings) as decoder:
        try:
            return _surveyed(decoder, stop, least, report_progress)
        except UnusableRangeError as error:
            return Survey(why=str(error))


def _surveyed(decoder: Decoder, stop: int | None, least: int, report_progress: Callable[[], None]) -> Survey:
    codec = decoder.stream.codec_context.codec
    if not decoder.timed:
        raise UnusableRangeError(f"{decoder.container.format.name} has no times")
    if codec.canonical_name in CONCEALING or codec.canonical_name not in RESTARTING and not codec.intra_only:
        raise UnusableRangeError(f"{codec.canonical_name} has no keyframes to rely on")
    starts, sums = [], []
    pictures = CodedPictures(decoder.stream.codec_context.extradata or b"") if _is_hevc(decoder) else None
    undivided = None  # the last two ranges as one, if the last one stays too short
    latest, seen, count = -(1 << 62), set(), 0
    for packet in decoder.packets():
        report_progress()
        if packet.pts is None:
            raise UnusableRangeError("times are missing")
        if packet.is_corrupt or packet.pts in seen:
            raise UnusableRangeError("packets are damaged, or two have the same time")
        if decoder.clock_jumped:
            raise UnusableRangeError("its clock jumps")
        if pictures and (problem := pictures.problem(packet)):
            raise UnusableRangeError(problem)
        begins = not starts or sums[-1].packets >= least and packet.pts > latest and _begins(decoder, packet, pictures)
        if begins:
            if stop is not None and count > stop + TAIL:
                ranges = [VideoRange(start, one.packets, one.value) for start, one in zip(starts, sums)]
                return _with_enough(Survey(tuple(ranges), RangeStart(packet.pts, packet.size)))
            starts.append(RangeStart(packet.pts, packet.size))
            undivided = replace(sums[-1]) if sums else None
            sums.append(_Checksum())
        seen.add(packet.pts)
        latest, count = max(latest, packet.pts), count + 1
        sums[-1].add(packet)
        if undivided and sums[-1].packets < TAIL:
            undivided.add(packet)
    if decoder.read_error:
        raise UnusableRangeError(f"reading stopped early ({decoder.read_error})")
    if decoder.damage.found or find_gaps(np.array(sorted(seen)), float(decoder.time_base)):
        raise UnusableRangeError("parts are damaged or missing")
    if undivided and sums[-1].packets < TAIL:  # too few to compare with the range before
        starts, sums = starts[:-1], [*sums[:-2], undivided]
    ranges = [VideoRange(start, one.packets, one.value) for start, one in zip(starts, sums)]
    return _with_enough(Survey(tuple(ranges)))


def _with_enough(found: Survey) -> Survey:
    if len(found.ranges) < LEAST_RANGES:
        raise UnusableRangeError("it is short, or has too few keyframes at which decoding can begin")
    return found


def _is_hevc(decoder: Decoder) -> bool:
    return decoder.stream.codec_context.codec.canonical_name == "hevc"


def _begins(decoder: Decoder, packet: av.Packet, pictures: CodedPictures | None) -> bool:
    """Whether, by the codec's rules, a decoder that begins here decodes all later frames correctly."""
    if not packet.is_keyframe or packet.is_discard:
        return False
    name = decoder.stream.codec_context.codec.canonical_name
    if pictures:
        return pictures.begins(packet)
    if name == "h264":
        # An IDR picture: ITU-T H.264, 7.4.1.2.4. Frames after other keyframes may refer to frames before these.
        extradata = decoder.stream.codec_context.extradata or b""
        length_size = (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0
        return {unit[0] & 31 for unit in nal_units(bytes(packet), length_size)} & set(range(1, 6)) == {5}
    if name in ("mpeg1video", "mpeg2video"):
        return SEQUENCE_HEADER in bytes(packet)
    return True


def decode_range(
    video: Path | str,
    known: Survey,
    number: int,
    settings: SourceSettings = DEFAULT_SETTINGS,
    threshold: float | None = None,
    report_progress: Callable[[], None] = lambda: None,
) -> DecodedRange:
    """Decode a range, and the first frames of the next one.

    Args:
        video: The video that was surveyed.
        known: Its survey.
        number: The number of the range.
        settings: How the video is read.
        threshold: For the detection of cuts, as for `CutDetector`; None: do not detect cuts.
        report_progress: Called for each frame.

    Returns:
        The frames; or, if they may differ from those of one pass, only `why`.

    Raises:
        FavError: The video cannot be opened.
    """
    why = ""
    for back in SEEK_BACK_S if number else (0,):
        with Decoder(video, settings) as decoder:
            try:
                return _decoded(decoder, known, number, back, threshold, report_progress)
            except _NotThereError:
                why = "seeking does not lead to its first packet"
            except UnusableRangeError as error:
                why = str(error)
                break
            except FFmpegError as error:
                why = f"it cannot be decoded from there on ({error.strerror})"
                break
    with Decoder(video, settings) as decoder:
        return DecodedRange(FrameIndex.of((), decoder.time_base), 0, why=why)


class _NotThereError(FavError):
    """Seeking did not lead to the packet."""


@dataclass
class _PacketWatch:
    """Lets the packets of a range pass to the decoder, and computes their checksum.

    Attributes:
        start: where the range begins.
        following: where the next one begins; None: it is the last one.
        times: of the packets whose frames are those of the range.
        unshown: times of packets whose frames are not shown.
    """

    start: RangeStart
    following: RangeStart | None
    begun: bool = False
    over: bool = False
    sum: _Checksum = field(default_factory=_Checksum)
    times: set[int] = field(default_factory=set)
    unshown: set[int] = field(default_factory=set)

    def passes(self, packet: av.Packet) -> bool:
        """Whether a packet belongs to the range, or comes after it."""
        if not self.begun:
            if packet.pts is not None and packet.pts > self.start.pts and packet.is_keyframe:
                raise _NotThereError
            self.begun = packet.pts == self.start.pts and packet.size == self.start.size
        if self.begun:
            following = self.following
            self.over |= following is not None and (packet.pts, packet.size) == (following.pts, following.size)
            if not self.over:
                self.sum.add(packet)
            if packet.pts is not None and packet.is_discard:
                self.unshown.add(packet.pts)
            elif packet.pts is not None and self.start.pts <= packet.pts < (following.pts if following else LAST_PTS):
                self.times.add(packet.pts)
        return self.begun


def _decoded(
    decoder: Decoder,
    known: Survey,
    number: int,
    back_s: int,
    threshold: float | None,
    report_progress: Callable[[], None],
) -> DecodedRange:
    mine = known.ranges[number]
    following = known.ranges[number + 1].start if number + 1 < len(known.ranges) else known.end
    if number:
        decoder.seek(mine.start.pts - round(back_s / decoder.time_base))
    pictures = WholePictures() if _is_hevc(decoder) else None
    watch = _PacketWatch(mine.start, following)
    decoder.watch = watch.passes
    if pictures:
        decoder.heard_level, decoder.shows_all = av.logging.WARNING, True
        decoder.stream.codec_context.options = {"export_side_data": "film_grain"}  # and add none, so that it is noticed
    frames: list[DecodedFrame] = []
    facts: list[tuple[int, str]] = []
    changes = None if threshold is None else RecordedDifferences(threshold)
    own = 0
    for frame in decoder:
        report_progress()
        if pictures:
            codec = decoder.stream.codec_context
            pictures.add(frame.as_decoded(), (codec.coded_width, codec.coded_height))
            if pictures.problem:
                raise UnusableRangeError(pictures.problem)
            if frame.pts in watch.unshown:
                continue
        if number and not frames:
            if frame.pts < mine.start.pts:
                continue  # a frame of the range before
            decoder.forget_notes()
            decoder.note(frame)
        if decoder.frame_pts != frame.pts or frame.damaged or not frames and number and frame.pts != mine.start.pts:
            raise UnusableRangeError(
                f"its frame at {frame.pts} is damaged, or is shown at another time than its packet"
            )
        frames.append(frame)
        frame.crc  # noqa: B018
        if changes is not None:
            changes.push(frame.thumbnail(LONG_SIDE))
        if following is None or frame.pts < following.pts:
            own = len(frames)
        facts += [(len(frames) - 1, fact) for fact in decoder.conversion_notes[len(facts) :]]
        if len(frames) - own == TAIL:
            break
    if not watch.begun:
        raise _NotThereError
    if (watch.sum.packets, watch.sum.value) != (mine.packets, mine.checksum):
        raise UnusableRangeError("its packets are not those that were surveyed")
    if decoder.damage.found or decoder.read_error or decoder.clock_jumped:
        raise UnusableRangeError("parts of it are damaged")
    _check_none_missing(decoder, watch, [frame.pts for frame in frames], own, strict=pictures is not None)
    if len(decoder.formats) != 1:
        raise UnusableRangeError("frames change their size")
    if not own or following is not None and frames[own:] and frames[own].pts != following.pts:
        raise UnusableRangeError("the next range begins with another frame")
    if following is not None and len(frames) == own:
        raise UnusableRangeError("no frame of the next range follows")
    index = FrameIndex.of(frames, decoder.time_base)
    return DecodedRange(index, own, decoder.formats[0], tuple(fact for fact in facts if fact[0] < own), changes)


def _check_none_missing(decoder: Decoder, watch: _PacketWatch, times: list[int], own: int, strict: bool) -> None:
    """Raise UnusableRangeError if frames are missing so that one pass would tell it, or for any reason if `strict`.

    Args:
        decoder: of the range.
        watch: of its packets.
        times: of its frames, and of those after them.
        own: number of its frames.
        strict: whether each packet must become a frame, and the decoder must report nothing.
    """
    missing = {time for time in times[:own] if time >= watch.start.pts} != watch.times
    steps = np.diff(times)
    longest, usual = (int(steps.max()), float(np.median(steps))) if len(steps) else (0, 0.0)
    if decoder.messages and (strict or missing or longest > GAP * usual):
        raise UnusableRangeError(f"parts of it are damaged ({decoder.messages[0]})")
    if missing and (strict or longest * decoder.time_base > PAUSE_S):
        raise UnusableRangeError("frames are missing")
