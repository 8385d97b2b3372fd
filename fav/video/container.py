"""Open a video file or an image sequence, and choose its video stream."""

import os
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from fav.errors import FavError, sanitize
from fav.util.image_sequence import is_sequence, pattern_hint, sequence_numbers
from fav.util.reading import check_file
from fav.video.settings import AS_IT_IS, SourceSettings
from fav.video.truncation import is_truncated

DEFAULT_FPS = 25
NTSC = (24, 30, 48, 60, 120)
HIGHEST_FPS = 1000  # more is a unit of time, taken for a rate
# What is opened as a video: demuxers of one file, which open no other. FFmpeg knows many that do (lists of segments, of pictures, of
# chapters; Magic Lantern's parts), and each new version some more, so these are named and not those. A file is told by its content.
CONTAINERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "mxf", "gxf", "nut", "rm", "wtv", "dv",
              "swf", "nsv", "nuv", "ivf", "obu", "av1", "h261", "h263", "h264", "hevc", "vvc", "evc", "m4v", "vc1", "vc1test", "dirac",
              "dnxhd", "cavsvideo", "avs2", "avs3", "mjpeg", "mjpeg_2000", "smjpeg", "yuv4mpegpipe", "gif", "apng", "webp_anim",
              "jpegxl_anim", "bink", "smk", "flic", "roq", "film_cpk", "thp", "cine", "ser", "filmstrip",
              "aac", "aiff", "flac", "mp3", "wav")  # fmt: skip  # of which can be said that there is sound alone
PICTURES = ("png", "jpeg", "bmp", "tiff", "webp", "ppm", "pgm", "pgmyuv", "pbm", "pam", "pfm", "phm", "exr", "dpx", "j2k", "jpegls",
            "jpegxl", "gif", "hdr", "qoi", "sgi", "sunrast", "pcx", "psd", "xbm", "xpm", "dds")  # fmt: skip
FORMATS = ",".join((*CONTAINERS, "image2", *(f"{name}_pipe" for name in PICTURES)))


def open_video(video: Path | str, settings: SourceSettings = AS_IT_IS) -> InputContainer:
    """The opened container of a file or image sequence; FavError says why there is none. Nothing but files is opened."""
    # An absolute path has no part that FFmpeg takes for the name of a protocol.
    path, kind = os.path.abspath(video), None
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": FORMATS,
        "pattern_type": "none",
    }  # a picture is that one alone
    if is_sequence(str(video)):
        numbers = sequence_numbers(str(video))
        if not numbers:
            raise FavError(f"{video}: expected a file, or images numbered without a gap (%d, %04d), but there is none")
        rate = exact_rate(settings.fps or DEFAULT_FPS)
        kind = "image2"
        path = os.path.join(os.path.dirname(path).replace("%", "%%"), os.path.basename(path))  # all of it is a pattern
        options |= {
            "format_whitelist": kind,
            "framerate": str(rate),
            "start_number": str(numbers[0]),
            "start_number_range": "1",
            "pattern_type": "sequence",
        }
    elif not Path(video).exists():
        hint = pattern_hint(str(video)) if set("*?[") & set(str(video)) else ""
        raise FavError(f"{video}: expected a video, but there is no such file{hint}")
    elif Path(video).is_dir():
        raise FavError(f"{video}: expected a video in one file, got a directory{pattern_hint(str(video))}")
    else:
        check_file(video, str(video))
    try:
        return av.open(path, format=kind, options=options, metadata_errors="replace")
    except (FFmpegError, OSError) as error:
        cure = "; bytes are missing at its end: copy or download it again" if kind is None and _cut_short(path) else ""
        if isinstance(error, ArgumentError) and kind is None:  # what the whitelist leaves out
            raise FavError(
                f"{video}: expected a video in one file, got a playlist, or another kind of file that is none; make one "
                f"file of it first, as with ffmpeg -i {sanitize(video)} film.mp4"
            ) from error
        raise FavError(f"{video}: expected a video, got what FFmpeg cannot read ({error.strerror}){cure}") from error


def video_stream(container: InputContainer, video: Path | str) -> VideoStream:
    """The stream of moving pictures that the film is made of: of several, the one that FFmpeg would take, which are not
    thumbnails. FavError where there is none, or it cannot be decoded.
    """
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving:
        kinds = ", ".join(sorted({stream.type for stream in container.streams}))
        raise FavError(
            f"{video}: expected a video stream, got {f'{kinds} without moving pictures' if kinds else 'no stream at all'}"
        )
    chosen = max(moving, key=_rank)
    if chosen.codec_context is None:
        raise FavError(f"{video}: expected a video in a codec that FFmpeg decodes, got one that it does not")
    return chosen


def _rank(stream: VideoStream) -> tuple[bool, bool, int, int]:
    """What FFmpeg prefers: many pixels and the default (ffmpeg_mux_init.c), but never one picture where others move."""
    codec = stream.codec_context
    still = bool(stream.disposition & (Disposition.timed_thumbnails | Disposition.still_image))
    default = 5_000_000 if stream.disposition & Disposition.default else 0
    pixels = codec.width * codec.height if codec else 0
    return stream.frames != 1, not still, pixels + default if codec else -1, -stream.index


def exact_rate(fps: float) -> Fraction:
    """The rate that somebody means who types a number: 23.976, 29.97, 59.94 and their like are n * 1000 / 1001."""
    for whole in NTSC:
        if abs(fps - whole * 1000 / 1001) < 0.005:
            return Fraction(whole * 1000, 1001)
    return Fraction(fps).limit_denominator(1001)


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Frames a second; the average where that is believable. Of raw DV, FFmpeg says 60000."""
    rates = [rate for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
    return next((rate for rate in rates if rate <= HIGHEST_FPS), rates[0] if rates else None)


def _cut_short(path: str) -> bool:
    return os.path.isfile(path) and is_truncated(Path(path))
