"""Open a video file or an image sequence, and choose its video stream."""

import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from fav.errors import FavError, sanitize
from fav.util.image_sequence import is_sequence, pattern_hint, sequence_numbers
from fav.util.reading import check_file
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings
from fav.video.truncation import is_truncated

DEFAULT_FPS = 25
NTSC = (24, 30, 48, 60, 120)
MAX_FPS = 1000  # a higher value is a time base that FFmpeg reports as a rate
# Demuxers that are allowed: they read one file and open no other. FFmpeg has many that open other files (playlists,
# lists of images or chapters), and new versions add more. So this is a list of allowed names, not of forbidden ones.
# FFmpeg recognizes a file by its content.
CONTAINERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "mxf", "gxf", "nut", "rm", "wtv", "dv",
              "swf", "nsv", "nuv", "ivf", "obu", "av1", "h261", "h263", "h264", "hevc", "vvc", "evc", "m4v", "vc1", "vc1test", "dirac",
              "dnxhd", "cavsvideo", "avs2", "avs3", "mjpeg", "mjpeg_2000", "smjpeg", "yuv4mpegpipe", "gif", "apng", "webp_anim",
              "jpegxl_anim", "bink", "smk", "flic", "roq", "film_cpk", "thp", "cine", "ser", "filmstrip",
              "aac", "aiff", "flac", "mp3", "wav")  # fmt: skip  # audio files, so that the error can say "only audio"
IMAGE_FORMATS = ("png", "jpeg", "bmp", "tiff", "webp", "ppm", "pgm", "pgmyuv", "pbm", "pam", "pfm", "phm", "exr", "dpx", "j2k", "jpegls",
            "jpegxl", "gif", "hdr", "qoi", "sgi", "sunrast", "pcx", "psd", "xbm", "xpm", "dds")  # fmt: skip
FORMATS = ",".join((*CONTAINERS, "image2", *(f"{name}_pipe" for name in IMAGE_FORMATS)))


def open_video(video: Path | str, settings: SourceSettings = DEFAULT_SETTINGS) -> InputContainer:
    """Open a video file or an image sequence. FFmpeg may open only files, no network addresses.

    Raises:
        FavError: the video does not exist, or FFmpeg cannot read it.
    """
    # FFmpeg could read the beginning of a relative path as a protocol.
    path, kind = os.path.abspath(video), None
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": FORMATS,
        "pattern_type": "none",  # the name of one image is not a pattern
    }
    if is_sequence(str(video)):
        numbers = sequence_numbers(str(video))
        if not numbers:
            raise FavError(f"{video}: expected images numbered without a gap (%d, %04d), found none")
        rate = exact_rate(settings.fps or DEFAULT_FPS)
        kind = "image2"
        # Only the file name is a pattern.
        path = os.path.join(os.path.dirname(path).replace("%", "%%"), os.path.basename(path))
        options |= {
            "format_whitelist": kind,
            "framerate": str(rate),
            "start_number": str(numbers[0]),
            "start_number_range": "1",
            "pattern_type": "sequence",
        }
    elif not Path(video).exists():
        hint = pattern_hint(str(video)) if set("*?[") & set(str(video)) else ""
        raise FavError(f"{video}: expected a video, but the file does not exist{hint}")
    elif Path(video).is_dir():
        raise FavError(f"{video}: expected a video in one file, got a directory{pattern_hint(str(video))}")
    else:
        check_file(video, str(video))
    if kind is None and _is_animated_webp(path):
        raise FavError(
            f"{video}: expected a video, got an animated WebP, which FFmpeg {av.ffmpeg_version_info} does not decode; convert "
            f"it first, for example to images: magick {sanitize(video)} -coalesce frame_%04d.png"
        )
    try:
        return av.open(path, format=kind, options=options, metadata_errors="replace")
    except (FFmpegError, OSError) as error:
        cure = "; bytes are missing at its end: copy or download it again" if kind is None and _truncated(path) else ""
        if isinstance(error, ArgumentError) and kind is None:  # its format is not in FORMATS
            raise FavError(
                f"{video}: expected a video in one file, got a playlist or an unsupported format; "
                f"convert it first, for example with ffmpeg -i {sanitize(video)} film.mp4"
            ) from error
        if kind is None and os.path.isfile(path) and not os.path.getsize(path):
            raise FavError(f"{video}: expected a video, got an empty file; copy or download it again") from error
        why = f"got a file that FFmpeg cannot read ({error.strerror})"
        raise FavError(f"{video}: expected a video, {why}{cure}") from error


def demux(container: InputContainer, streams: list[Any]) -> Iterator[Packet]:
    """Yield all packets of some streams, and empty ones at the end.

    PyAV raises IndexError at the end of files in which other streams begin late; all packets were read then.
    """
    with suppress(IndexError):
        yield from container.demux(streams)


def video_stream(container: InputContainer, video: Path | str) -> VideoStream:
    """Choose the video stream to stylize: of several, the one that FFmpeg's command line would choose.

    Cover images are not considered.

    Raises:
        FavError: there is no video stream, or FFmpeg has no decoder for it.
    """
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving:
        types = ", ".join(
            sorted({"a cover image" if stream.type == "video" else stream.type for stream in container.streams})
        )
        raise FavError(f"{video}: expected a video stream, got {f'only {types}' if types else 'no stream at all'}")
    chosen = max(moving, key=_rank)
    if chosen.codec_context is None:
        raise FavError(f"{video}: expected a codec that FFmpeg decodes, got an unknown one")
    return chosen


def _rank(stream: VideoStream) -> tuple[bool, bool, int, int]:
    """Sort key of FFmpeg's choice: many pixels and the default flag (ffmpeg_mux_init.c). Still images come last."""
    codec = stream.codec_context
    still = bool(stream.disposition & (Disposition.timed_thumbnails | Disposition.still_image))
    default = 5_000_000 if stream.disposition & Disposition.default else 0
    pixels = codec.width * codec.height if codec else 0
    return stream.frames != 1, not still, pixels + default if codec else -1, -stream.index


def exact_rate(fps: float) -> Fraction:
    """The exact frame rate for a typed number: 23.976, 29.97, 59.94 and so on mean n * 1000 / 1001."""
    for whole in NTSC:
        if abs(fps - whole * 1000 / 1001) < 0.005:
            return Fraction(whole * 1000, 1001)
    return Fraction(fps).limit_denominator(1001)


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Frames per second, None if unknown. The average rate is used unless it is implausible: for raw DV it is 60000."""
    rates = [rate for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
    return next((rate for rate in rates if rate <= MAX_FPS), rates[0] if rates else None)


def _is_animated_webp(path: str) -> bool:
    """Whether a file is an animation that FFmpeg would take for one damaged image. Source: WebP Container Specification."""
    if "webp_anim" in av.formats_available:
        return False
    with suppress(OSError), open(path, "rb") as file:
        head = file.read(21)
        return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 21 and bool(head[20] & 2)
    return False


def _truncated(path: str) -> bool:
    return os.path.isfile(path) and is_truncated(Path(path))
