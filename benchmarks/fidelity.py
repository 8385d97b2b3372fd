"""What comes in is what goes out: films of generated sources at `--strength 0`, judged by the ffmpeg and ffprobe of the system.

    python benchmarks/fidelity.py [--only WORD] [--csv FILE]

With the same --csv FILE, a run that was broken off is continued.

Each row is a source of its own kind: codec, container, pixel format, matrix and range, rotation, frame rate, size, sound, fields,
clock, tracks, edit list, name. The film is made as the stitch makes it, without the network (whose picture has no share in it). A row is wrong where the
film has other frames, times, length, tracks, chapters, sound or tags, a PSNR below LEAST_PSNR, or a color that is off by more than MOST_SHIFT in the
mean. The program exits with 1 where a row is wrong. Pictures of HDR and of fields are made on purpose otherwise; their PSNR is
not judged.
"""

import csv
import json
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fav.stylize.indexing import index_segments
from fav.stylize.postprocess import postprocess
from fav.stylize.settings import PostprocessSettings
from fav.stylize.timeline import Timeline
from fav.util.curve import Curve
from fav.video import check_film, probe, write_film
from fav.video.codecs import CODECS, encoder_settings, usual_crf

LEAST_PSNR, MOST_SHIFT = 34.0, 0.5  # dB; gray levels
MOST_LATE, MOST_LAG = 0.0021, 0.025  # s: Matroska counts milliseconds; a frame of AAC is 21 ms long
RATE = 8000  # samples a second in which sounds are compared
PICTURE = "testsrc2=size={size}:rate={rate}:duration={seconds},gblur=sigma=3"
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "2", "-pix_fmt", "yuv420p")
SOUND = ("-f", "lavfi", "-i", "anoisesrc=d={seconds}:a=0.3:seed=7")
MATRICES = {
    "bt709": "709",
    "smpte170m": "170m",
    "bt470bg": "470bg",
    "bt2020nc": "2020_ncl",
}


@dataclass(frozen=True)
class Source:
    """A source to be made: its file's ending, FFmpeg's options, its picture, and how its film is judged."""

    name: str
    suffix: str
    options: tuple[str, ...] = X264
    size: str = "96x64"
    rate: str = "25"
    sound: tuple[str, ...] = ()
    film: str = ".mp4"
    seconds: float = 0.48
    judged: bool = True  # whether the pictures should be those of the source
    twice: bool = False  # joined with itself, as by `cat`
    codec: str | None = None  # of the film, in its usual pixel format, best quality
    matrix: int | None = None  # of display, written into the file: the orientation of EXIF
    then: tuple[str, ...] = ()  # FFmpeg's words that make the source of a file IN; "@name" is one of `files`
    base: str | None = None  # ending of the file IN
    files: tuple[tuple[str, bytes], ...] = ()
    title: str = "s"
    stream: str = "v:0"  # the video that the film is made of
    patch: Callable[[bytes], bytes] | None = None  # of the file, or of each image IN


@dataclass
class Row:
    """What was found of a source, in the order of the table, and what of it is wrong."""

    name: str
    frames: int = 0
    late: float = 0.0
    longer: float = 0.0
    lag: str = "–"
    psnr: str = "–"
    shift: str = "–"
    tags: str = ""
    wrong: list[str] = field(default_factory=list)


COLUMNS = list(Row.__dataclass_fields__)


def sources() -> Iterator[Source]:
    """All rows of the table."""
    small = {"hevc": ("-c:v", "libx265", "-x265-params", "log-level=none:crf=4"), "mpeg4": ("-c:v", "mpeg4", "-q:v", "1"),
             "mpeg2": ("-c:v", "mpeg2video", "-q:v", "1"), "mjpeg": ("-c:v", "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj420p"),
             "vp8": ("-c:v", "libvpx", "-b:v", "4M"), "vp9": ("-c:v", "libvpx-vp9", "-crf", "4", "-b:v", "0", "-cpu-used", "8"),
             "ffv1": ("-c:v", "ffv1"), "prores": ("-c:v", "prores_ks"), "theora": ("-c:v", "libtheora", "-q:v", "10"),
             "huffyuv": ("-c:v", "huffyuv", "-pix_fmt", "yuv422p"), "raw": ("-c:v", "rawvideo", "-pix_fmt", "uyvy422"),
             "wmv2": ("-c:v", "wmv2", "-q:v", "1"), "flv1": ("-c:v", "flv", "-q:v", "1"), "h264": X264,
             "utvideo": ("-c:v", "utvideo"), "png": ("-c:v", "png"), "qtrle": ("-c:v", "qtrle")}  # fmt: skip
    places = {"h264": "mp4 mkv mov ts avi flv nut", "hevc": "mp4 mkv ts mov", "mpeg4": "avi mp4 mkv mov", "mpeg2": "mpg ts mkv vob",
              "mjpeg": "avi mov mkv", "vp8": "webm mkv", "vp9": "webm mp4 mkv", "ffv1": "mkv avi nut", "prores": "mov mkv",
              "theora": "ogv mkv", "huffyuv": "avi mkv", "raw": "avi mov nut", "wmv2": "asf avi", "flv1": "flv", "utvideo": "avi mkv",
              "png": "mov mkv", "qtrle": "mov"}  # fmt: skip
    for codec, suffixes in places.items():
        for suffix in suffixes.split():
            yield Source(f"{codec} {suffix}", f".{suffix}", small[codec])
    for suffix in (".mkv", ".mov"):
        for codec in ("h264", "hevc", "prores", "vp9"):
            yield Source(f"{codec} mkv to {suffix[1:]}", ".mkv", small[codec], film=suffix)
    for matrix, tag in (("bt709", 1), ("smpte170m", 6), ("bt2020nc", 9), ("bt470bg", 5)):
        for full in ("tv", "pc"):
            for pixels in ("yuv420p", "yuv444p", "yuv420p10le", "yuv422p10le"):
                scale = f"scale=out_color_matrix={'bt2020' if tag == 9 else matrix}:out_range={full}:flags=accurate_rnd+bitexact"
                options = (
                    "-vf",
                    f"{scale},format={pixels}",
                    "-c:v",
                    "ffv1",
                    "-colorspace",
                    matrix,
                    "-color_range",
                    full,
                )
                yield Source(f"{matrix} {full} {pixels}", ".mkv", options)
    for pixels in ("gray", "gray16le", "rgb24", "rgb48be", "rgba", "pal8"):
        yield Source(f"png {pixels}", "_%03d.png", ("-c:v", "png", "-pix_fmt", pixels), judged=pixels != "pal8")
    for kind in ("jpg", "tif", "bmp", "ppm", "dpx", "sgi", "jp2"):
        yield Source(f"images {kind}", f"_%03d.{kind}", ("-q:v", "1") if kind == "jpg" else ())
    for orientation in range(1, 9):
        yield Source(f"orientation {orientation}", ".mp4", matrix=orientation)
    for rate in ("24000/1001", "24", "30000/1001", "30", "48", "50", "60000/1001", "60", "12.5", "10", "5", "120"):
        for suffix in (".mp4", ".mkv"):
            yield Source(f"{rate} frames/s {suffix[1:]}", suffix, rate=rate, sound=("-c:a", "aac"))
    for size in ("96x65", "97x64", "97x65", "17x33", "320x48", "48x320", "640x360", "1280x720"):
        yield Source(f"size {size}", ".mkv", ("-c:v", "ffv1", "-pix_fmt", "yuv444p"), size=size, seconds=0.2)
    for aspect in ("4/3", "16/11", "8/9"):
        yield Source(f"pixel aspect {aspect}", ".mp4", ("-vf", f"setsar={aspect}", *X264))
    for suffix, codecs in {".mkv": "aac mp3 ac3 eac3 libopus libvorbis flac pcm_s16le alac mp2", ".mp4": "aac mp3 ac3 alac",
                           ".mov": "aac pcm_s16le pcm_s24le alac", ".ts": "aac mp2 ac3", ".avi": "mp3 ac3 pcm_s16le"}.items():  # fmt: skip
        for codec in codecs.split():
            yield Source(f"sound {codec} {suffix[1:]}", suffix, sound=("-c:a", codec), seconds=1.2)
    for codec in ("aac", "flac", "libopus", "pcm_s16le"):
        yield Source(f"sound {codec} mkv to mkv", ".mkv", sound=("-c:a", codec), film=".mkv", seconds=1.2)
    for name, times in {
        "variable": "select='lt(n,8)+gt(n,16)*mod(n,3)'",
        "hole": "setpts=PTS+if(gt(N\\,9)\\,0.5/TB)",
    }.items():
        for suffix in (".mp4", ".mkv"):
            yield Source(f"times {name} {suffix[1:]}", suffix, ("-vf", times, "-vsync", "vfr", *X264), seconds=1)
    for structure in (
        "bframes=3",
        "open-gop=1:keyint=8:min-keyint=8",
        "intra-refresh=1:keyint=6:bframes=0",
        "bframes=0",
    ):
        yield Source(f"x264 {structure}", ".mkv", (*X264, "-x264-params", structure))
    for name, suffix, codec in (("ts", ".ts", X264), ("mpg", ".mpg", small["mpeg2"])):
        yield Source(f"joined {name}", suffix, codec, sound=("-c:a", "mp2"), seconds=0.8, twice=True)
    fields = ("-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ildct+ilme")
    for suffix in (".mpg", ".ts", ".mkv"):
        yield Source(f"fields {suffix[1:]}", suffix, (*fields, *small["mpeg2"]), rate="50", judged=False)
    yield Source("raw dv", ".dv", ("-vf", "scale=720:576", "-c:v", "dvvideo", "-pix_fmt", "yuv420p"), judged=False)
    for transfer in ("smpte2084", "arib-std-b67"):
        options = (
            "-pix_fmt",
            "yuv420p10le",
            "-color_trc",
            transfer,
            "-color_primaries",
            "bt2020",
            "-colorspace",
            "bt2020nc",
        )
        yield Source(f"hdr {transfer}", ".mkv", ("-c:v", "ffv1", *options), judged=False)

    yield from odd_sources(small)

    for codec, about in CODECS.items():
        for suffix in about.suffixes:
            for pixels in (*X264[:-1], "yuv420p"), ("-c:v", "ffv1", "-pix_fmt", "yuv422p10le", "-colorspace", "bt709"):
                name = f"output {codec} {suffix[1:]} of {'10 bits' if 'ffv1' in pixels else '8 bits'}"
                sound = ("-c:a", "libopus" if suffix == ".webm" else "aac")
                yield Source(name, ".mkv", pixels, sound=sound, seconds=1.2, film=suffix, codec=codec)


def odd_sources(small: dict[str, tuple[str, ...]]) -> Iterator[Source]:
    """Sources that are rarer than codecs and containers, and that people have: edits, tracks, clocks, fields, names."""
    aac, copied = ("-c:a", "aac"), ("-i", "IN", "-map", "0", "-c", "copy")
    pyramid = (
        *X264[:-2],
        "-preset",
        "medium",
        "-bf",
        "6",
        "-x264-params",
        "b-pyramid=normal:keyint=30",
        "-pix_fmt",
        "yuv420p",
    )
    yield Source("edit list", ".mp4", pyramid, sound=aac, seconds=1.2, then=("-ss", "0.3", *copied))
    yield Source("edit list mov to mov", ".mov", pyramid, film=".mov", seconds=1.2, then=("-ss", "0.5", *copied))
    yield Source("empty edit", ".mp4", sound=aac, seconds=1.2,
                 then=("-itsoffset", "0.4", "-i", "IN", "-i", "IN", "-map", "0:v", "-map", "1:a", "-c", "copy"))  # fmt: skip
    yield Source("late sound", ".mp4", sound=aac, seconds=1.2,
                 then=("-itsoffset", "0.4", "-i", "IN", "-i", "IN", "-map", "1:v", "-map", "0:a", "-c", "copy"))  # fmt: skip
    yield Source(
        "negative composition", ".mov", (*pyramid, "-movflags", "negative_cts_offsets"), film=".mov", seconds=1
    )
    yield Source("pyramid ts", ".ts", pyramid, sound=aac, seconds=1.2)
    jitter = "setpts=PTS+mod(N*7\\,5)*0.003/TB"
    yield Source("phone turned variable", ".mp4", ("-vf", jitter, "-vsync", "vfr", *X264, "-video_track_timescale", "90000"),
                 sound=aac, seconds=1, rate="30", matrix=6)  # fmt: skip
    hlg = (
        "-pix_fmt",
        "yuv420p10le",
        "-color_trc",
        "arib-std-b67",
        "-color_primaries",
        "bt2020",
        "-colorspace",
        "bt2020nc",
        "-tag:v",
        "hvc1",
    )
    yield Source("phone hlg turned", ".mov", (*small["hevc"], *hlg), film=".mov", sound=aac, matrix=8, judged=False)
    dv = ("-c:v", "dvvideo", "-pix_fmt", "yuv411p", "-aspect", "4:3")
    yield Source(
        "dv ntsc avi",
        ".avi",
        ("-vf", "scale=720:480,setfield=bff", *dv),
        rate="30000/1001",
        sound=("-c:a", "pcm_s16le"),
        judged=False,
    )
    bottom = ("-vf", "tinterlace=interleave_bottom,setfield=bff", "-flags", "+ildct+ilme")
    yield Source("fields bottom first", ".mpg", (*bottom, *small["mpeg2"]), rate="50", judged=False)
    yield Source(
        "fields h264",
        ".ts",
        ("-vf", "tinterlace=interleave_top,setfield=tff", *X264, "-flags", "+ildct+ilme"),
        rate="50",
        judged=False,
    )
    yield Source(
        "telecine",
        ".mpg",
        ("-vf", "telecine=pattern=23", "-flags", "+ildct+ilme", *small["mpeg2"]),
        rate="24000/1001",
        judged=False,
    )
    thumbnail = ("-i", "@cover.png", "-i", "IN", "-map", "0", "-map", "1", "-c", "copy", "-c:v:0", "mjpeg")
    cover = ("-i", "IN", "-i", "@cover.png", "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic")
    for name, words, stream in (("thumbnail first", thumbnail, "v:1"), ("cover", cover, "v:0")):
        yield Source(name, ".mp4", sound=aac, seconds=1.2, then=words, files=(("cover.png", _png()),), stream=stream)
    languages = ("-map", "0:v", "-map", "0:a", "-map", "0:a", "-map", "0:a", "-c", "copy", "-metadata:s:a:0", "language=eng",
                 "-metadata:s:a:1", "language=jpn", "-metadata:s:a:2", "language=deu", "-metadata:s:a:1", "title=映画")  # fmt: skip
    for suffix in (".mkv", ".mp4", ".mov"):
        yield Source(
            f"three sounds {suffix[1:]}", suffix, sound=aac, seconds=1.2, then=("-i", "IN", *languages), film=suffix
        )
    for channels in ("1", "6", "8"):
        yield Source(f"sound of {channels} channels", ".mkv", sound=(*aac, "-ac", channels), seconds=1.2)
    yield Source("surround re-encoded", ".mkv", sound=("-c:a", "pcm_s24le", "-ac", "6"), seconds=1.2)
    subtitles = ("-i", "IN", "-i", "@lines.srt", "-map", "0", "-map", "1", "-c", "copy")
    lines = "1\n00:00:00,100 --> 00:00:00,400\nGrüße, 世界\n\n2\n00:00:01,000 --> 00:00:01,150\nend\n".encode()
    for suffix, codec in ((".mkv", "srt"), (".mp4", "mov_text"), (".webm", "webvtt")):
        video, sound = (small["vp9"], ("-c:a", "libopus")) if suffix == ".webm" else (X264, aac)
        yield Source(f"subtitles {suffix[1:]}", suffix, video, sound=sound, seconds=1.2, files=(("lines.srt", lines),),
                     then=(*subtitles, "-c:s", codec), film=suffix, codec="vp9" if suffix == ".webm" else None)  # fmt: skip
    yield Source("subtitles of images", ".mkv", sound=aac, seconds=1.2, files=(("lines.sup", _pgs()),), film=".mkv",
                 then=("-i", "IN", "-i", "@lines.sup", "-map", "0", "-map", "1", "-c", "copy"))  # fmt: skip
    marks = ";FFMETADATA1\ntitle=t\n" + "".join(
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={400 * n}\nEND={400 * (n + 1)}\ntitle=Kapitel {n} é\n" for n in range(3)
    )
    for suffix in (".mp4", ".mkv"):
        yield Source(f"chapters {suffix[1:]}", suffix, sound=aac, seconds=1.2, files=(("marks", marks.encode()),), film=suffix,
                     then=("-i", "IN", "-f", "ffmetadata", "-i", "@marks", "-map", "0", "-map_metadata", "1", "-c", "copy"))  # fmt: skip
    yield Source("timecode", ".mov", ("-timecode", "01:02:03:04", *X264), film=".mov")
    yield Source("timecode drop frame", ".mov", ("-timecode", "00:59:59;28", *X264), rate="30000/1001", film=".mov")
    for suffix in (".mp4", ".gif", ".mkv"):
        kind = ("-vf", "format=rgb24") if suffix == ".gif" else X264
        yield Source(f"one frame {suffix[1:]}", suffix, kind, seconds=0.04, judged=suffix != ".gif")
    yield Source(
        "huge time base mp4",
        ".mp4",
        (*X264, "-video_track_timescale", "100000000"),
        rate="30000/1001",
        sound=aac,
        seconds=1.2,
    )
    yield Source("huge time base nut", ".nut", (*X264, "-enc_time_base", "1:1000000007"), rate="24000/1001", seconds=1)
    for name, suffix, offset in (("later", ".ts", "100"), ("later", ".mkv", "7.5"), ("later", ".mp4", "3"), ("wrapping", ".ts", "95443.2"),
                                 ("earlier", ".nut", "-3")):  # fmt: skip
        yield Source(f"times {name} {suffix[1:]}", suffix, (*X264, "-output_ts_offset", offset), sound=aac, seconds=1.2)
    yield Source("gif", ".gif", ("-vf", "format=rgb24"), rate="10", judged=False)
    yield Source("apng", ".apng", ("-c:v", "apng", "-plays", "0"), rate="10")
    for name, suffix in (("mjpeg", ".avi"), ("images jpg", "_%03d.jpg")):
        yield Source(f"{name} with exif", suffix, ("-q:v", "1"), base="_%03d.jpg", patch=_with_exif,
                     then=("-framerate", "25", "-i", "IN", "-c", "copy"))  # fmt: skip
    yield Source("name 日本語", ".mkv", sound=aac, seconds=1.2, title="休日 – é'\"$(x) 映画")
    yield Source("name with percent", ".mp4", title="100%d %s %%")
    yield Source("images in a percent directory", "/f %03d.png", (), title="50% é")
    for codec, suffix, options in (
        ("mpeg1", ".mpg", ("-c:v", "mpeg1video", "-q:v", "1")), ("msmpeg4", ".avi", ("-c:v", "msmpeg4v2", "-q:v", "1")),
        ("dnxhd", ".mxf", ("-vf", "scale=1280:720", "-c:v", "dnxhd", "-b:v", "90M", "-pix_fmt", "yuv422p")), ("cinepak", ".mov", ("-c:v", "cinepak")),
        ("cfhd", ".mov", ("-vf", "scale=128:96", "-c:v", "cfhd", "-pix_fmt", "yuv422p10le")), ("magicyuv", ".avi", ("-c:v", "magicyuv", "-pix_fmt", "gbrp")),
        ("h263", ".3gp", ("-vf", "scale=128:96", "-c:v", "h263", "-q:v", "1")), ("raw h264", ".h264", (*X264, "-bf", "0")),
        ("raw hevc", ".hevc", small["hevc"]), ("raw mpeg2", ".m2v", small["mpeg2"]), ("vp9", ".ivf", small["vp9"]), ("y4m", ".y4m", ("-pix_fmt", "yuv444p")),
        ("mpeg2", ".mxf", (*small["mpeg2"], "-pix_fmt", "yuv420p")), ("live", ".mkv", (*X264, "-live", "1")), ("svq1", ".mov", ("-c:v", "svq1", "-q:v", "1")),
        ("fragmented", ".mp4", (*X264, "-g", "6", "-movflags", "frag_keyframe+empty_moov")), ("ffvhuff", ".nut", ("-c:v", "ffvhuff", "-pix_fmt", "yuv420p")),
        ("vp8", ".webm", ("-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "10", "-b:v", "4M")),
    ):  # fmt: skip
        rate = "30000/1001" if suffix == ".3gp" else "25"
        lossy = codec in ("cinepak", "svq1", "h263")
        yield Source(f"{codec} {suffix[1:]} (rare)", suffix, options, rate=rate, judged=not lossy)
    for pixels in (
        "yuv411p",
        "yuv410p",
        "yuv440p",
        "yuv444p12le",
        "gray10le",
        "gbrp12le",
        "yuva420p",
        "nv12",
        "rgb24",
        "bgr0",
    ):
        codec = "rawvideo" if pixels in ("nv12", "rgb24") else "ffv1"
        yield Source(
            f"pixels {pixels}", ".nut", ("-c:v", codec, "-pix_fmt", pixels), judged=pixels not in ("nv12", "gray10le")
        )


def _png() -> bytes:
    """A cover image."""
    return run(
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "color=red:size=32x32",
        "-frames:v",
        "1",
        "-f",
        "image2pipe",
        "-c:v",
        "png",
        "-",
    )


def _pgs() -> bytes:
    """Subtitles of Blu-ray discs with two images of 8x2 pixels."""

    def segment(at: float, kind: int, data: bytes) -> bytes:
        return b"PG" + struct.pack(">IIBH", int(at * 90000), 0, kind, len(data)) + data

    def shown(at: float, number: int, visible: bool) -> bytes:
        composition = struct.pack(">HHBHBBBB", 96, 64, 0x10, number, 0x80, 0, 0, visible)
        placed = struct.pack(">HBBHH", 0, 0, 0, 8, 8) if visible else b""
        window = struct.pack(">BBHHHH", 1, 0, 8, 8, 8, 2)
        palette = bytes([0, 0, 1, 235, 128, 128, 255])
        picture = bytes([1] * 8 + [0, 0]) * 2
        image = (
            struct.pack(">HBB", 0, 0, 0xC0) + (len(picture) + 4).to_bytes(3, "big") + struct.pack(">HH", 8, 2) + picture
        )
        parts = [(0x16, composition + placed), (0x17, window)]
        parts += [(0x14, palette), (0x15, image)] if visible else []
        return b"".join(segment(at, kind, data) for kind, data in (*parts, (0x80, b"")))

    return shown(0.1, 0, True) + shown(0.4, 1, False) + shown(0.9, 2, True) + shown(1.1, 3, False)


def _with_exif(jpeg: bytes) -> bytes:
    """A JPEG with EXIF that names a maker, as cameras write it."""
    entry = struct.pack(">HHII", 0x10F, 2, 6, 26) + struct.pack(">I", 0) + b"Canon\0"
    exif = b"Exif\0\0" + b"MM\0*" + struct.pack(">IH", 8, 1) + entry
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def made(source: Source, room: Path) -> Path:
    """The file of a source, in a directory of its own."""
    room.mkdir()
    for name, content in source.files:
        (room / name).write_bytes(content)
    whole = room / f"{source.title}{source.suffix}"
    whole.parent.mkdir(exist_ok=True)
    path = room / f"base{source.base or source.suffix}" if source.then else whole
    # FFmpeg's image2 takes the whole path for a pattern
    written = whole.parent.as_posix().replace("%", "%%") + "/" + whole.name if "/" in source.suffix else path
    if source.title != "s" and "/" not in source.suffix:
        written = room / f"plain{source.suffix}"
    picture = PICTURE.format(size=source.size, rate=source.rate, seconds=source.seconds)
    sound = [word.format(seconds=source.seconds) for word in SOUND] if source.sound else []
    run(
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        picture,
        *sound,
        *source.options,
        *source.sound,
        "-shortest" if sound else "-y",
        written,
    )
    if written != path and "/" not in source.suffix:
        Path(written).rename(path)
    if source.patch:
        for image in room.glob(f"base{(source.base or '').replace('%03d', '*')}"):
            image.write_bytes(source.patch(image.read_bytes()))
    if source.then:
        words = [path if word == "IN" else room / word[1:] if word[0] == "@" else word for word in source.then]
        run("ffmpeg", "-v", "error", *words, whole)
        path = whole
    if source.twice:
        path.write_bytes(2 * path.read_bytes())
    if source.matrix:
        _orient(path, source.matrix)
    return path


def _orient(path: Path, orientation: int) -> None:
    """Write an orientation of EXIF into the first track of an MP4."""
    a, b, c, d = {1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1), 5: (0, 1, 1, 0), 6: (0, 1, -1, 0),
                  7: (0, -1, -1, 0), 8: (0, -1, 1, 0)}[orientation]  # fmt: skip
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    values = np.array([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], ">i4")
    data[at : at + 36] = values.tobytes()
    path.write_bytes(data)


def film_of(path: Path, suffix: str, codec: str | None = None) -> Path:
    """The film of a source at `--strength 0`, made by the code of the stitch."""
    out, info = path.with_name(f"film{suffix}"), probe(path)
    encoder = encoder_settings(codec or "h264", crf=2 if usual_crf(codec or "h264") is not None else None)
    check_film(path, out, encoder=encoder, size=(info.width, info.height))
    timeline = Timeline()
    for piece in index_segments(path, None, ()):
        timeline.add(piece)
    finish = PostprocessSettings((info.width, info.height), Curve.constant(0), False, None, encoder.bits > 8)
    nothing = repeat(np.zeros((info.height, info.width, 3), np.uint8), timeline.end)
    write_film(out, path, timeline.index, postprocess(nothing, finish, path, timeline.index), encoder=encoder)
    return out


def run(*words) -> bytes:
    return subprocess.run([*map(str, words)], check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout


def tracks(path: Path) -> dict[str, list]:
    """What ffprobe says of sound, subtitles, timecode and chapters."""
    entries = "stream=codec_type,channels:stream_tags:chapter=start_time,end_time:chapter_tags=title:format_tags"
    said = json.loads(run("ffprobe", "-v", "error", "-show_entries", entries, "-of", "json", path))
    tags = [(stream["codec_type"], stream.get("channels"), stream.get("tags", {})) for stream in said["streams"]]
    all_tags = [said.get("format", {}).get("tags", {}), *(tag for kind, _, tag in tags if kind == "video")]
    return {
        "sound": [(channels, tag.get("language", "und")) for kind, channels, tag in tags if kind == "audio"],
        "subtitles": [tag.get("language", "und") for kind, _, tag in tags if kind == "subtitle"],
        "timecode": sorted({value for tag in all_tags for key, value in tag.items() if key.lower() == "timecode"}),
        "chapters": [
            (round(float(one["start_time"]), 2), round(float(one["end_time"]), 2), one["tags"].get("title"))
            for one in said["chapters"]
        ],
    }


def facts(path: Path, chosen: str = "v:0") -> tuple[dict, dict, np.ndarray]:
    """What ffprobe says of the video stream and of the container, and when each frame is shown, from the first on, in seconds."""
    entries = (
        "frame=best_effort_timestamp_time:format=duration,start_time:stream=codec_name,width,height,pix_fmt,color_space,color_range,"
        "color_transfer,color_primaries,chroma_location,start_time"
    )
    said = json.loads(
        run("ffprobe", "-v", "error", "-select_streams", chosen, "-show_entries", entries, "-of", "json", path)
    )
    shown = np.array([float(frame.get("best_effort_timestamp_time", "nan")) for frame in said["frames"]])
    if np.isnan(shown).all():  # a stream without a container has no times, and FFmpeg takes 25 frames a second
        shown = np.arange(len(shown)) / 25
    for at in np.flatnonzero(np.isnan(shown)):  # some frames of MPEG-PS have none: they follow the one before
        shown[at] = shown[at - 1] + (shown[1] - shown[0])
    return said["streams"][0], said["format"], shown - shown[0]


def times_by_ffmpeg(path: Path) -> np.ndarray:
    """The same where the clock jumps, which ffprobe leaves as it is and ffmpeg does not."""
    words = (
        "-map",
        "0:v",
        "-map",
        "0:a",
        "-vsync",
        "passthrough",
        "-enc_time_base:v",
        "1:90000",
        "-f",
        "framecrc",
        "-",
    )
    lines = run("ffmpeg", "-v", "quiet", "-i", path, *words).decode().splitlines()
    base = next(Fraction(line.split()[-1]) for line in lines if line.startswith("#tb 0"))
    shown = np.array([float(int(line.split(",")[2]) * base) for line in lines if line.startswith("0,")])
    return shown - shown[0]


def picture(path: Path, stream: dict, chosen: str = "v:0") -> np.ndarray:
    """The pictures (N, H, W, 3) in 8 bits, not rounded, as the color tags say; by zimg, which is not what the program uses."""
    pixels, space = stream["pix_fmt"], stream.get("color_space", "unknown")
    words: list[str] = []
    if pixels.startswith("yuv"):
        matrix = MATRICES.get(space, "709" if stream["height"] >= 720 else "170m")
        full = "full" if stream.get("color_range") == "pc" or pixels.startswith("yuvj") else "limited"
        where = stream.get("chroma_location", "center")  # FFmpeg takes what is not said for the middle
        where = where if where in ("left", "topleft") else "center"
        words = [
            "-vf",
            f"zscale=matrixin={matrix}:rangein={full}:matrix=gbr:range=full:chromalin={where}:filter=bicubic:dither=none",
        ]
    raw = run("ffmpeg", "-v", "error", "-noautorotate", "-i", path, "-map", f"0:{chosen}", *words, "-vsync", "passthrough", "-f", "rawvideo",
              "-pix_fmt", "gbrp16le", "-")  # fmt: skip
    planes = np.frombuffer(raw, np.uint16).reshape(-1, 3, stream["height"], stream["width"])
    # FFmpeg fills the lower bits of RGB with zeros
    white = 65280 if pixels in ("bgr0", "rgb24", "gbrp") and stream["codec_name"] == "ffv1" else 65535
    return planes[:, [1, 0, 2]].transpose(0, 2, 3, 1) * np.float32(255 / white)


def upright(pictures: np.ndarray, orientation: int) -> np.ndarray:
    """Pictures (N, H, W, 3) as an orientation of EXIF shows them."""
    if orientation >= 5:
        pictures = pictures.transpose(0, 2, 1, 3)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    across = -1 if orientation in (2, 3, 6, 7) else 1
    return pictures[:, ::down, ::across]


def sound(path: Path) -> np.ndarray:
    words = ("-map", "0:a:0", "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-ar", RATE, "-f", "s16le", "-")
    return np.frombuffer(run("ffmpeg", "-v", "error", "-i", path, *words), np.int16).astype(float)


def lag(one: np.ndarray, other: np.ndarray) -> float:
    """By how many seconds the other sound comes later."""
    size = 1 << (len(one) + len(other)).bit_length()
    match = np.fft.irfft(np.conj(np.fft.rfft(one, size)) * np.fft.rfft(other, size))
    best = int(match.argmax())
    return (best - size if best > size // 2 else best) / RATE


def judged(source: Source, room: Path) -> Row:
    """Make a source and its film, and compare them."""
    row = Row(source.name)
    path = made(source, room)
    film = film_of(path, source.film, source.codec)
    judge = (
        path.with_name(path.name)
        if "%" not in path.parent.name
        else Path(str(path.parent).replace("%", "%%")) / path.name
    )
    if source.title != "s" and "%" not in source.suffix:
        judge = path.rename(path.with_name(f"plain{source.suffix}"))
    (before, whole, shown), (after, whole_film, there) = facts(judge, source.stream), facts(film)
    for kind, there_before in tracks(judge).items():
        if there_before != tracks(film)[kind]:
            row.wrong.append(f"{kind} {tracks(film)[kind]} of {there_before}")
    if source.codec and after.get("chroma_location", "unspecified") == "unspecified":
        after["chroma_location"] = "left"  # ProRes, and VP9 in MP4, do not say what they mean
    if source.twice:
        shown = times_by_ffmpeg(path)
    row.frames = len(there)
    if len(there) != len(shown):
        row.wrong.append(f"{len(shown)} frames before")
        return row
    row.late = float(np.abs(there - shown).max())
    if row.late > MOST_LATE:
        row.wrong.append("times")
    frame = 1 / float(Fraction(source.rate))
    # the length that is told of MPEG-PS ends with the beginning of its last frame
    row.longer = float(whole_film["duration"]) - max(float(whole.get("duration", 0)), shown[-1] + frame)
    if not source.twice and abs(row.longer) > 0.06 and "hole" not in source.name:
        row.wrong.append("length")
    if source.sound and not source.twice:
        late = lag(sound(judge), sound(film))
        starts = [
            float(one["start_time"]) - float(all["start_time"]) for one, all in ((before, whole), (after, whole_film))
        ]
        late -= starts[1] - starts[0]
        row.lag = f"{late * 1000:.1f}"
        if abs(late) > MOST_LAG:
            row.wrong.append("sound")
    row.tags = f"{after.get('color_space', '?')} {after.get('color_range', '?')}"
    if before["pix_fmt"].startswith("yuv") and after["pix_fmt"].startswith("yuv") and source.judged:
        for tag in ("color_space", "color_transfer", "color_primaries"):
            if before.get(tag, "unknown") not in ("unknown", "reserved", after.get(tag)):
                row.wrong.append(tag)
    if source.judged:
        a, b = upright(picture(judge, before, source.stream), source.matrix or 1), picture(film, after)
        b = b[:, : a.shape[1], : a.shape[2]]
        row.psnr = f"{10 * np.log10(255**2 / max(float(np.mean((a - b) ** 2)), 1e-9)):.1f}"
        shifts = (b - a).mean(axis=(0, 1, 2))
        row.shift = " ".join(f"{shift:+.2f}" for shift in shifts)
        if float(row.psnr) < LEAST_PSNR:
            row.wrong.append("pictures")
        if np.abs(shifts).max() > MOST_SHIFT:
            row.wrong.append("colors")
    return row


def begun(file: Path | None) -> dict[str, Row]:
    """The rows that a table of this program has already, by name. Raises ClickException for any other file."""
    if file is None or not file.exists():
        return {}
    with open(file, newline="") as table:
        lines = list(csv.reader(table))
    if not lines or lines[0] != COLUMNS:
        raise click.ClickException(f"{file}: expected a table of this program; give --csv another name")
    rows = {}
    for name, frames, late, longer, lag, psnr, shift, tags, wrong in (
        line for line in lines if len(line) == len(COLUMNS)
    ):
        if name != "name":
            why = wrong.split("; ") if wrong else []
            rows[name] = Row(name, int(frames), float(late), float(longer), lag, psnr, shift, tags, why)
    return rows


def cells(row: Row) -> list[object]:
    """A row as it is written into the table."""
    *facts, wrong = vars(row).values()
    return [*facts, "; ".join(" ".join(one.split()) for one in wrong)]


@click.command()
@click.option("--only", default="", help="Only the sources whose name has this word.")
@click.option(
    "--csv",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the table there, row by row. Rows that it has already are not made again, so a run can be continued.",
)
def main(only: str, file: Path | None) -> None:
    """Make films of generated sources, and compare them with their sources."""
    wanted, before, rows = [one for one in sources() if only in one.name], begun(file), []
    click.echo(f"{len(wanted)} sources, each made by ffmpeg, then its film; {len(before)} rows are known", err=True)
    click.echo(f"{'source':28} frames  late ms  longer ms  lag ms   PSNR  shift B G R          tags")
    if file and not before:
        with open(file, "w", newline="") as table:
            csv.writer(table).writerow(COLUMNS)
    with tempfile.TemporaryDirectory() as directory:
        for number, source in enumerate(wanted):
            row = before.get(source.name)
            if row is None:
                row = attempted(source, Path(directory) / str(number))
                if file:
                    with open(file, "a", newline="") as table:
                        csv.writer(table).writerow(cells(row))
            rows.append(row)
            click.echo(
                f"{row.name:28} {row.frames:6}  {row.late * 1000:7.2f}  {row.longer * 1000:9.1f}  {row.lag:>6}  {row.psnr:>5}  "
                f"{row.shift:20} {row.tags}{'  WRONG: ' if row.wrong else ''}{', '.join(row.wrong)}"
            )
    wrong = sum(bool(row.wrong) for row in rows)
    click.echo(f"{len(rows)} sources, {wrong} wrong")
    sys.exit(wrong > 0)


def attempted(source: Source, room: Path) -> Row:
    """The row of a source; an error makes it wrong, and the others are made."""
    try:
        return judged(source, room)
    except Exception as error:
        said = (getattr(error, "stderr", b"") or b"").decode(errors="replace")[-200:]
        return Row(source.name, wrong=[f"{type(error).__name__}: {error} {said}"[:400]])
    finally:
        shutil.rmtree(room, ignore_errors=True)  # all of them together take some hundred megabytes


if __name__ == "__main__":
    main()
