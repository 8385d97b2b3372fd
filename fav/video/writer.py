"""Frames into a film with the source's times, sound, subtitles, chapters, pixel aspect and color tags."""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.codec.context import Flags as CodecFlags
from av.container import InputContainer, OutputContainer
from av.format import Flags
from av.packet import Packet
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from fav.errors import FavError
from fav.video.color import from_bgr
from fav.video.container import DEFAULT_FPS, open_video
from fav.video.index import FrameIndex
from fav.video.probe import VideoInfo, probe
from fav.video.tracks import Tracks

CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
AVX512F = 13  # as OpenCV counts processor features; its Python module has no names for them
MUXER_TAGS = {"encoder", "major_brand", "minor_version", "compatible_brands"}  # what a muxer says of its own file


def check_film_name(name: Path | str) -> None:
    """FavError unless the name ends as a film that can be written does."""
    suffix = Path(name).suffix
    if suffix.lower() not in CONTAINERS:
        raise FavError(
            f"{name}: expected the name of a film that ends in {', '.join(CONTAINERS)}, got {suffix or 'no ending'}"
        )


def write_film(
    out: Path,
    video: Path | str,
    index: FrameIndex,
    frames: Iterable[np.ndarray],
    *,
    start: int = 0,
    stop: int | None = None,
    crf: int = 18,
    threads: int = 4,
    fps: float | None = None,
    name: Path | None = None,
    comment: str | None = None,
) -> list[str]:
    """Write `frames`, (H, W, 3) uint8 BGR each, as the frames `[start, stop)` of `video` into `out`; notes for the user.

    H.264 in yuv420p; the container follows from the name's ending. `name` is the film's, where `out` is not; a `comment` goes
    into the film in the place of the source's. The same input gives the same bytes. Frames are
    all of one size, which need not be the source's; an odd height or width, which H.264 does not take, is made even
    by repeating the last row or column. An untagged color matrix is tagged with the one that is used.
    `stop` None means to the source's end, which the index reaches then. With `start` 0 and `stop` None the film
    has the times of the source (of MPEG streams, whose clock starts anywhere, from their beginning) and all its
    sound; else it begins at 0 and has the sound of its span, to a packet. Matroska counts milliseconds, and times
    are rounded to them. Raises FavError where the name does not fit, or where `frames` are fewer or more than the
    span has; OSError where the system does not take the bytes.
    """
    name = name or out
    check_film_name(name)
    source, to_end = probe(video, fps), stop is None
    stop = len(index) if to_end else stop
    if not 0 <= start < stop <= len(index):
        raise ValueError(f"{video}: expected a part of the {len(index)} frames that are indexed, got {start}:{stop}")
    begin = None if to_end and start == 0 else index.pts[start] * index.time_base
    end = None if to_end else index.end(stop) * index.time_base
    pictures = _counted(frames, stop - start, name)
    picture = next(pictures)
    kind = CONTAINERS[Path(name).suffix.lower()]
    with (
        open_video(video, fps) as given,
        av.open(os.path.abspath(out), "w", format=kind, container_options={"fflags": "+bitexact"}) as film,
    ):
        shift = _clock(given) if begin is None else begin
        encoder = _Encoder(film, source, index, picture.shape, crf, threads)
        tracks = Tracks(given, film, begin, end, shift)
        left_out = MUXER_TAGS if comment is None else MUXER_TAGS | {"comment"}
        film.metadata.update({key: value for key, value in given.metadata.items() if key.lower() not in left_out})
        film.metadata.update({"comment": comment} if comment is not None else {})
        film.set_chapters(_chapters(given, begin, end))
        for number in range(start, stop):
            pts = int(index.pts[number])
            film.mux(encoder.encode(picture, pts - round(shift / index.time_base), index.end(number + 1) - pts))
            film.mux(tracks.packets_until(pts * index.time_base))
            picture = next(pictures, None)
        film.mux(encoder.rest())
        film.mux(tracks.packets_until(None))
    return tracks.notes


class _Encoder:
    """The video stream of the film."""

    def __init__(
        self,
        film: OutputContainer,
        source: VideoInfo,
        index: FrameIndex,
        shape: tuple[int, ...],
        crf: int,
        threads: int,
    ):
        options = {"crf": str(crf), "preset": "medium"}
        if cv2.checkHardwareSupport(AVX512F):
            # With AVX-512, x264 165 gives other bytes from run to run (its mbtree; seen on Zen 5). Without, those of any machine.
            options["x264-params"] = "asm=avx2"
        stream: VideoStream = film.add_stream("libx264", rate=source.rate or DEFAULT_FPS, options=options)
        codec = stream.codec_context
        codec.height, codec.width = (side + side % 2 for side in shape[:2])
        codec.pix_fmt, codec.time_base, stream.time_base = "yuv420p", index.time_base, index.time_base
        codec.thread_count = threads  # part of what decides the bytes
        codec.flags |= CodecFlags.bitexact
        codec.sample_aspect_ratio = source.pixel_aspect
        colors = source.colors
        codec.colorspace, codec.color_range = colors.matrix, colors.range
        codec.color_primaries, codec.color_trc = colors.primaries, colors.transfer
        self._stream, self._shape, self._colors = stream, shape, colors
        self._reformatter, self._durations = VideoReformatter(), {}

    def encode(self, picture: np.ndarray, pts: int, duration: int) -> list[Packet]:
        """Packets that are ready after one more picture, shown at `pts` for `duration`, in units of the time base."""
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise ValueError(f"film: expected frames {self._shape} uint8, got {picture.shape} {picture.dtype}")
        height, width = picture.shape[:2]
        even = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        frame = from_bgr(even, self._colors, self._reformatter)
        frame.pts, frame.time_base = pts, self._stream.codec_context.time_base
        self._durations[pts] = duration
        return self._timed(self._stream.encode(frame))

    def rest(self) -> list[Packet]:
        """Packets that are left when there are no more pictures."""
        return self._timed(self._stream.encode(None))

    def _timed(self, packets: list[Packet]) -> list[Packet]:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts)
        return packets


def _clock(given: InputContainer) -> Fraction:
    """The time at which a source begins whose clock runs from nowhere in particular (MPEG streams), in seconds; else 0."""
    if not given.format.flags & Flags.ts_discont.value:
        return Fraction(0)
    return min(
        stream.start_time * stream.time_base
        for stream in (*given.streams.video, *given.streams.audio)
        if stream.start_time is not None
    )


def _counted(frames: Iterable[np.ndarray], count: int, out: Path) -> Iterator[np.ndarray]:
    """The frames; FavError when they end too early or go on."""
    number = 0
    for number, frame in enumerate(frames, 1):
        if number > count:
            raise FavError(f"{out}: expected {count} frames, got more")
        yield frame
    if number < count:
        raise FavError(f"{out}: expected {count} frames, got {number}")


def _chapters(given: InputContainer, begin: Fraction | None, end: Fraction | None) -> list[dict]:
    """The source's chapters, those of the span from `begin` to `end` (seconds) where that is given."""
    chapters = []
    for chapter in given.chapters():
        first, last = 0 if begin is None else round(begin / chapter["time_base"]), chapter["end"]
        if end is not None:
            last = min(last, round(end / chapter["time_base"]))
        if chapter["start"] < last and chapter["end"] > first:
            chapters.append({**chapter, "start": max(chapter["start"], first) - first, "end": last - first})
    return chapters
