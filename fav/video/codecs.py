"""What a film can be encoded in: codecs, their encoders, containers, pixel formats and quality, in one table.

Each codec gives the same bytes for the same frames, whatever the machine's number of cores, where `deterministic` says so. Each
segment of a film can be encoded by itself: groups of pictures are closed, and no rate control looks beyond a segment.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
from av.codec import Codec as EncoderOfFFmpeg
from av.codec.codec import UnknownCodecError

from fav.errors import FavError
from fav.util.image_sequence import is_image_output

CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov", ".webm": "webm"}
THREADS = 4  # of an encoder; of some, the bytes depend on it
AVX512F = 13  # as OpenCV counts processor features; its Python module has no names for them
DEFAULT = "h264"
HALVED_BY, MOST_BYTES = 6, 2.5  # steps of quality that halve a film; bytes a pixel, which frames take that lose nothing

YUV8 = ("yuv420p", "yuv422p", "yuv444p")
YUV10, YUV12 = (tuple(f"{name}{bits}le" for name in YUV8) for bits in (10, 12))
X26X = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
NVENC = tuple(f"p{number}" for number in range(1, 8))


@dataclass(frozen=True)
class EncoderSettings:
    """Everything that decides the packets of given frames.

    Attributes:
        codec: FFmpeg's name of the encoder.
        options: The encoder's options.
        pixel_format: FFmpeg's name.
        threads: Of the encoder.
        tags: By the name of the container, what the stream is called there, where that is not what FFmpeg takes.
        full_range: Whether the codec can say that its samples have full range.
        name: The codec's name in `ALL`.
    """

    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    threads: int = THREADS
    tags: dict[str, str] = field(default_factory=dict)
    full_range: bool = True
    name: str = DEFAULT

    @property
    def bits(self) -> int:
        """Bits of a sample."""
        return max(part.bits for part in av.VideoFormat(self.pixel_format, 16, 16).components)

    @property
    def is_intra(self) -> bool:
        """Whether each frame is encoded by itself, so that it does not matter where segments begin."""
        return self.is_images or ALL[self.name].crf is None and ALL[self.name].deterministic

    @property
    def is_images(self) -> bool:
        """Whether it makes numbered images, each of which is a file of its own."""
        return self.name in IMAGES


@dataclass(frozen=True)
class Codec:
    """A codec that a film can have.

    Attributes:
        title: Its name for people.
        encoder: FFmpeg's name of its encoder.
        suffixes: The endings of films that may have it; the first is that of a film which nobody names.
        pixel_formats: Those that this program can make for it; the first is used if nobody says.
        crf: The best, the worst and the usual quality, on the codec's own scale; None where it has none.
        presets: The words for `--preset`; empty where there are none.
        preset: The usual one; None for what fits the pixel format.
        options: Of the encoder, for all films.
        use: What it is for.
        size: Bytes of a pixel and frame, at the usual quality; more than most films take.
        quality_option: What FFmpeg calls the quality.
        preset_option: What FFmpeg calls the preset.
        tags: As of `EncoderSettings`.
        full_range: As of `EncoderSettings`.
        deterministic: Whether the same frames give the same bytes.
        trial: The codec that stands for it where only times are tried: one with packets in the same order, and fast.
    """

    title: str
    encoder: str
    suffixes: tuple[str, ...]
    pixel_formats: tuple[str, ...]
    crf: tuple[int, int, int] | None
    presets: tuple[str, ...]
    preset: str | None
    options: dict[str, str]
    use: str
    size: float
    quality_option: str = "crf"
    preset_option: str = "preset"
    tags: dict[str, str] = field(default_factory=dict)
    full_range: bool = True
    deterministic: bool = True
    trial: str = DEFAULT


LEFT = {"chroma_sample_location": "left"}  # as `from_bgr` makes it; H.264 means it if nothing is said
HVC1 = {"mp4": "hvc1", "mov": "hvc1"}  # players of Apple know no other name of HEVC
CODECS = {
    "h264": Codec(
        "H.264", "libx264", (".mp4", ".mkv", ".mov"), (*YUV8, *YUV10), (0, 51, 18), X26X, "medium", {},
        "plays everywhere (yuv420p)", 0.2,
    ),
    "hevc": Codec(
        "HEVC", "libx265", (".mp4", ".mkv", ".mov"), ("yuv420p10le", "yuv422p10le", "yuv444p10le", *YUV8, *YUV12), (0, 51, 20),
        X26X, "medium", LEFT | {"x265-params": f"info=0:open-gop=0:frame-threads={THREADS}:log-level=error"},
        "smooth gradients in small files, on phones and televisions", 0.2, tags=HVC1,
    ),
    "av1": Codec(
        "AV1", "libsvtav1", (".mp4", ".mkv", ".webm"), ("yuv420p10le", "yuv420p"), (0, 63, 24),
        tuple(map(str, range(14))), "6", LEFT | {"svtav1-params": f"lp={THREADS}"},  # key frames close a group if nothing is said
        "the smallest files, for the web", 0.2, trial="vp9",
    ),
    "vp9": Codec(
        "VP9", "libvpx-vp9", (".webm", ".mkv", ".mp4"), (*YUV8, *YUV10, *YUV12), (0, 63, 24), tuple(map(str, range(9))), "2",
        LEFT | {"b": "0", "deadline": "good", "row-mt": "1"}, "the web, without patents", 0.2, preset_option="cpu-used", trial="vp9",
    ),
    "prores": Codec(
        "ProRes", "prores_ks", (".mov", ".mkv"), ("yuv422p10le", "yuv444p10le"), None,
        ("proxy", "lt", "standard", "hq", "4444", "4444xq"), None, {"vendor": "apl0"}, "editing", 1.5, preset_option="profile",
        full_range=False, trial="prores",
    ),
    "ffv1": Codec(
        "FFV1", "ffv1", (".mkv",), ("bgr0", "gbrp10le", "gbrp12le", "gbrp16le", *YUV8, *YUV10, *YUV12), None, (), None,
        LEFT | {"level": "3", "g": "1", "slices": "4", "slicecrc": "1"}, "archives: without loss", 3.0, trial="ffv1",
    ),
}  # fmt: skip
_NVENC_OPTIONS = {"rc": "vbr", "b": "0", "forced-idr": "1"}
HARDWARE = {
    "h264_nvenc": Codec(
        "H.264 by NVIDIA", "h264_nvenc", (".mp4", ".mkv", ".mov"), ("yuv420p", "yuv444p"), (1, 51, 19), NVENC, "p5", _NVENC_OPTIONS,
        "speed, on cards with an encoder", 0.3, quality_option="cq", deterministic=False,
    ),
    "hevc_nvenc": Codec(
        "HEVC by NVIDIA", "hevc_nvenc", (".mp4", ".mkv", ".mov"), ("p010le", "yuv420p", "yuv444p"), (1, 51, 21), NVENC, "p5",
        _NVENC_OPTIONS, "speed, on cards with an encoder", 0.3, quality_option="cq", tags=HVC1, deterministic=False,
    ),
    "av1_nvenc": Codec(
        "AV1 by NVIDIA", "av1_nvenc", (".mp4", ".mkv", ".webm"), ("p010le", "yuv420p"), (1, 63, 28), NVENC, "p5", _NVENC_OPTIONS,
        "speed, on cards with an encoder", 0.3, quality_option="cq", deterministic=False,
    ),
    "h264_videotoolbox": Codec(
        "H.264 by Apple", "h264_videotoolbox", (".mp4", ".mkv", ".mov"), ("yuv420p",), None, (), None, {"b": "20M"},
        "speed, on a Mac", 0.3, deterministic=False,
    ),
    "hevc_videotoolbox": Codec(
        "HEVC by Apple", "hevc_videotoolbox", (".mp4", ".mkv", ".mov"), ("p010le", "yuv420p"), None, (), None, {"b": "15M"},
        "speed, on a Mac", 0.3, tags=HVC1, deterministic=False,
    ),
    **{
        f"{codec}_vaapi": Codec(
            f"{title} by VAAPI", f"{codec}_vaapi", suffixes, ("nv12",), None, (), None, {}, "speed, on Intel and AMD cards", 0.3,
            deterministic=False,
        )
        for codec, title, suffixes in (
            ("h264", "H.264", (".mp4", ".mkv", ".mov")), ("hevc", "HEVC", (".mp4", ".mkv", ".mov")),
            ("av1", "AV1", (".mp4", ".mkv", ".webm")),
        )
    },
}  # fmt: skip
ALL = CODECS | HARDWARE
IMAGES = {
    "png": Codec("PNG", "png", (".png",), ("rgb24", "rgb48le"), None, (), None, {}, "other programs", 4.0),
    "tiff": Codec("TIFF", "tiff", (".tif", ".tiff"), ("rgb24", "rgb48le"), None, (), None, {}, "print, retouching", 4.0),
    "exr": Codec("OpenEXR", "exr", (".exr",), ("gbrpf16le", "gbrpf32le"), None, (), None, {"compression": "zip16"},
                 "compositing, in linear light", 8.0),
}  # fmt: skip
os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 tells its errors alone; else 20 lines of every film


def film_settings(
    name: Path | str,
    codec: str = DEFAULT,
    *,
    pixel_format: str | None = None,
    preset: str | None = None,
    crf: int | None = None,
    check: bool = True,
) -> EncoderSettings:
    """What encodes a film of this name: as `encoder_settings`, or the images of a name such as `dir/frame_%06d.png`, which have
    no codec. FavError also where the name's ending does not go with the codec."""
    if not is_image_output(str(name)):
        check_container(codec, name)
        return encoder_settings(codec, pixel_format=pixel_format, preset=preset, crf=crf, check=check)
    suffix = Path(name).suffix.lower()
    kind, about = next((kind, about) for kind, about in IMAGES.items() if suffix in about.suffixes)
    return EncoderSettings(
        about.encoder, dict(about.options), _pixel_format(about, (), pixel_format, suffix), name=kind
    )


def check_no_codec(given: Iterable[str]) -> None:
    """FavError where options of a codec were `given`, by their names, for images."""
    for option in ("codec", "crf", "preset"):
        if option in given:
            raise FavError(
                f"--{option}: expected without numbered images, which have no codec; --pixel-format goes with them"
            )


def bytes_per_pixel(encoder: EncoderSettings) -> float:
    """What a film takes of each pixel of a frame: a sane upper end, as in `fav.pipeline.disk_space`."""
    about = (ALL | IMAGES)[encoder.name]
    if about.crf is None:
        return about.size * (2 if encoder.bits > 10 and encoder.name != "exr" else 1)
    steps = about.crf[2] - int(encoder.options[about.quality_option])
    return min(about.size * 2 ** (steps / HALVED_BY), MOST_BYTES)


def usual_crf(codec: str) -> int | None:
    """The quality of a codec if nobody says; None where it has no scale."""
    crf = ALL[codec].crf
    return crf[2] if crf else None


def encoder_settings(
    codec: str = DEFAULT,
    *,
    pixel_format: str | None = None,
    preset: str | None = None,
    crf: int | None = None,
    check: bool = True,
) -> EncoderSettings:
    """What encodes a film in a codec of `ALL`.

    Args:
        codec: Its name.
        pixel_format: FFmpeg's name, with or without `le`; None for the usual one.
        preset: One of the codec's; None for the usual one.
        crf: The quality on the codec's scale; None for the usual one.
        check: Whether the FFmpeg of this machine must have the encoder.

    Raises:
        FavError: The codec has no such format, preset or quality, or the FFmpeg here lacks the encoder; with what would do.
    """
    about = ALL.get(codec)
    if about is None:
        raise FavError(f"--codec: expected one of {', '.join(ALL)}, got {codec!r}")
    there = _check_encoder(codec, about) if check else ()
    pixel_format = _pixel_format(about, there, pixel_format, f"--codec {codec}")
    options = dict(about.options)
    if about.crf is None and crf is not None:
        raise FavError(f"--crf: expected without --codec {codec}, which has no scale of quality{_instead(about)}")
    if about.crf:
        least, most, usual = about.crf
        crf = usual if crf is None else crf
        if not least <= crf <= most:
            raise FavError(f"--crf: expected a whole number from {least} to {most} for --codec {codec}, got {crf}")
        options[about.quality_option] = str(crf)
    if preset is not None and preset not in about.presets:
        would_do = f"one of {', '.join(about.presets)}" if about.presets else "none"
        raise FavError(f"--preset: expected {would_do} for --codec {codec}, got {preset!r}")
    if codec == "prores":
        preset = _profile(pixel_format, preset)
    if about.presets:
        options[about.preset_option] = preset or about.preset or about.presets[0]
    if codec == DEFAULT and cv2.checkHardwareSupport(AVX512F):
        # With AVX-512, x264 165 gives other bytes from run to run (its mbtree; seen on Zen 5). Without, those of any machine.
        options["x264-params"] = "asm=avx2"
    return EncoderSettings(about.encoder, options, pixel_format, THREADS, about.tags, about.full_range, codec)


def check_container(codec: str, name: Path | str) -> None:
    """FavError unless a film of this name may have the codec."""
    suffix, about = Path(name).suffix.lower(), ALL[codec]
    if suffix not in about.suffixes:
        others = [word for word, other in CODECS.items() if suffix in other.suffixes]
        raise FavError(
            f"{name}: expected a film in {about.title} to end in {_either(about.suffixes)}, got {suffix or 'no ending'}"
            + (f"; in {suffix}, --codec {_either(others)} would do" if others else "")
        )


def film_suffixes(codec: str) -> tuple[str, ...]:
    """The endings of films that may have the codec."""
    return ALL[codec].suffixes


def film_suffix(codec: str, video: str) -> str:
    """The ending of a film that nobody names: the video's where the codec goes there and players expect it, else the codec's."""
    suffix = Path(video).suffix.lower()
    return suffix if suffix in ALL[codec].suffixes and suffix != ".mp4" else ALL[codec].suffixes[0]


def trial_settings(codec: str = DEFAULT) -> EncoderSettings:
    """What encodes the small pictures of a trial of times: as many packets, in the same order, in as little time as possible."""
    options = {
        DEFAULT: {"preset": "ultrafast", "bf": "3", "x264-params": "b-adapt=0:rc-lookahead=0:sync-lookahead=0"},
        "vp9": {"deadline": "realtime", "cpu-used": "8", "b": "0", "crf": "63", "lag-in-frames": "0"},
    }
    stand_in = ALL[codec].trial
    about = ALL[stand_in]
    pixel_format = "yuv420p" if "yuv420p" in about.pixel_formats else about.pixel_formats[0]
    chosen = options.get(stand_in, about.options)
    return EncoderSettings(about.encoder, chosen, pixel_format, 1, about.tags, about.full_range, stand_in)


def _check_encoder(codec: str, about: Codec) -> tuple[str, ...]:
    """The pixel formats of the encoder that FFmpeg has here; FavError where it has none that this program can use."""
    try:
        found = EncoderOfFFmpeg(about.encoder, "w")
    except UnknownCodecError:
        raise FavError(
            f"--codec {codec}: expected an FFmpeg with the encoder {about.encoder}, but that of PyAV {av.__version__} here "
            f"has none; it has {', '.join(available())}"
        ) from None
    there = tuple(each.name for each in found.video_formats or ())
    if there and not set(there) & set(about.pixel_formats):
        raise FavError(
            f"--codec {codec}: expected an encoder that takes frames of this program, but it takes {', '.join(there)} alone; "
            f"take one of {', '.join(CODECS)}"
        )
    return there


def available() -> list[str]:
    """The codecs for which FFmpeg has an encoder here; hardware may be missing all the same."""
    return [name for name, about in ALL.items() if about.encoder in av.codecs_available]


def _pixel_format(about: Codec, there: tuple[str, ...], wanted: str | None, what: str) -> str:
    """The format that is meant, of those that the encoder has, which are not known where `there` is empty."""
    formats = [name for name in about.pixel_formats if not there or name in there]
    wanted = wanted or about.pixel_formats[0]
    for name in formats:
        if wanted in (name, name.removesuffix("le")):
            return name
    raise FavError(
        f"--pixel-format: expected one of {', '.join(name.removesuffix('le') for name in formats)} for {what}, got {wanted}"
    )


def _profile(pixel_format: str, wanted: str | None) -> str:
    """Of ProRes, a profile that the pixel format has."""
    fits = ("4444", "4444xq") if pixel_format == "yuv444p10le" else ("hq", "proxy", "lt", "standard")
    if wanted is not None and wanted not in fits:
        raise FavError(
            f"--preset: expected {_either(fits)} for ProRes with --pixel-format {pixel_format.removesuffix('le')}, got {wanted!r}"
        )
    return wanted or fits[0]


def _instead(about: Codec) -> str:
    if about.presets:
        return f"; --preset chooses among {', '.join(about.presets)}"
    return "; it loses nothing" if about.encoder == "ffv1" else ""


def _either(words: Iterable[str]) -> str:
    *some, last = words
    return f"{', '.join(some)} or {last}" if some else last
