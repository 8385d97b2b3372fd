"""The codecs of films: encoders, containers, pixel formats and quality, in one table.

A codec with `deterministic` gives the same bytes for the same frames, also with another number of cores. Each segment
of a film can be encoded independently: groups of pictures are closed, and rate control is limited to a segment.
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
THREADS = 4  # of an encoder; the bytes of some encoders depend on it
AVX512F = 13  # OpenCV's number of this CPU feature; its Python module has no names for them
DEFAULT = "h264"
HALVING_STEPS = 6  # steps of the quality scale that halve the size of a film
MAX_BYTES_PER_PIXEL = 2.5  # the size of lossless frames

YUV8 = ("yuv420p", "yuv422p", "yuv444p")
YUV10, YUV12 = (tuple(f"{name}{bits}le" for name in YUV8) for bits in (10, 12))
X26X = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
NVENC = tuple(f"p{number}" for number in range(1, 8))


@dataclass(frozen=True)
class EncoderSettings:
    """All settings on which the packets of given frames depend.

    Attributes:
        codec: FFmpeg's name of the encoder.
        options: of the encoder.
        pixel_format: FFmpeg's name.
        threads: of the encoder.
        tags: codec tags of the stream by container, if they differ from FFmpeg's default.
        full_range: whether the codec can be tagged as full range.
        name: the codec's name in `ALL`.
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
        """Bits per sample."""
        return max(part.bits for part in av.VideoFormat(self.pixel_format, 16, 16).components)

    @property
    def is_intra(self) -> bool:
        """Whether each frame is encoded independently, so that segments may begin anywhere."""
        return self.is_images or ALL[self.name].crf is None and ALL[self.name].deterministic

    @property
    def is_images(self) -> bool:
        """Whether the result is numbered images, one file per frame."""
        return self.name in IMAGES


@dataclass(frozen=True)
class Codec:
    """A codec of films.

    Attributes:
        title: its name in messages.
        encoder: FFmpeg's name of its encoder.
        suffixes: of the names of films that may have it; the first is the default.
        pixel_formats: supported pixel formats; the first is the default.
        crf: the best, the worst and the default quality, on the codec's own scale; None if it has no scale.
        presets: values of `--preset`; empty if there are none.
        preset: the default preset; None: it depends on the pixel format.
        options: of the encoder, for all films.
        use: what the codec is used for.
        size: bytes per pixel and frame at the default quality; most films need less.
        quality_option: FFmpeg's name of the quality option.
        preset_option: FFmpeg's name of the preset option.
        tags: as in `EncoderSettings`.
        full_range: as in `EncoderSettings`.
        deterministic: whether the same frames give the same bytes.
        trial: a fast codec with the same packet order, which replaces this one in trials of times.
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


LEFT = {"chroma_sample_location": "left"}  # the position that `from_bgr` uses; it is H.264's default
HVC1 = {"mp4": "hvc1", "mov": "hvc1"}  # the only HEVC tag that Apple's players accept
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
        tuple(map(str, range(14))), "6", LEFT | {"svtav1-params": f"lp={THREADS}"},  # closed groups of pictures are its default
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
os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 logs only errors; by default, it logs 20 lines per film


def film_settings(
    name: Path | str,
    codec: str = DEFAULT,
    *,
    pixel_format: str | None = None,
    preset: str | None = None,
    crf: int | None = None,
    check: bool = True,
) -> EncoderSettings:
    """The encoder settings of a film, or of numbered images if the name is a pattern such as `dir/frame_%06d.png`.

    Args:
        name: of the film.
        codec: as for `encoder_settings`; ignored for images.
        pixel_format: as for `encoder_settings`.
        preset: as for `encoder_settings`; ignored for images.
        crf: as for `encoder_settings`; ignored for images.
        check: as for `encoder_settings`.

    Raises:
        FavError: as for `encoder_settings`; or the name's suffix does not fit the codec.
    """
    if not is_image_output(str(name)):
        check_container(codec, name)
        return encoder_settings(codec, pixel_format=pixel_format, preset=preset, crf=crf, check=check)
    suffix = Path(name).suffix.lower()
    image_format, about = next((key, about) for key, about in IMAGES.items() if suffix in about.suffixes)
    return EncoderSettings(
        about.encoder, dict(about.options), _pixel_format(about, (), pixel_format, suffix), name=image_format
    )


def check_no_codec(given: Iterable[str]) -> None:
    """Raise FavError if one of the options in `given`, by name, is only for codecs. Images have none."""
    for option in ("codec", "crf", "preset"):
        if option in given:
            raise FavError(
                f"--{option}: expected a film, got numbered images, which have no codec; only --pixel-format applies"
            )


def bytes_per_pixel(encoder: EncoderSettings) -> float:
    """Estimate the bytes of a film per pixel and frame, on the high side, for `fav.pipeline.disk_space`."""
    about = (ALL | IMAGES)[encoder.name]
    if about.crf is None:
        return about.size * (2 if encoder.bits > 10 and encoder.name != "exr" else 1)
    steps = about.crf[2] - int(encoder.options[about.quality_option])
    return min(about.size * 2 ** (steps / HALVING_STEPS), MAX_BYTES_PER_PIXEL)


def usual_crf(codec: str) -> int | None:
    """The default quality of a codec; None if it has no scale."""
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
    """The encoder settings of a codec in `ALL`.

    Args:
        codec: its name.
        pixel_format: FFmpeg's name, with or without `le`; None: the default.
        preset: one of the codec's; None: the default.
        crf: the quality on the codec's scale; None: the default.
        check: whether the FFmpeg of this machine must have the encoder.

    Raises:
        FavError: the codec lacks the pixel format, preset or quality, or FFmpeg lacks the encoder.
    """
    about = ALL.get(codec)
    if about is None:
        raise FavError(f"--codec: expected one of {', '.join(ALL)}, got {codec!r}")
    supported = _check_encoder(codec, about) if check else ()
    pixel_format = _pixel_format(about, supported, pixel_format, f"--codec {codec}")
    options = dict(about.options)
    if about.crf is None and crf is not None:
        raise FavError(f"--crf: expected no quality for --codec {codec}, which has no quality scale{_instead(about)}")
    if about.crf:
        best, worst, default = about.crf
        crf = default if crf is None else crf
        if not best <= crf <= worst:
            raise FavError(f"--crf: expected a whole number from {best} to {worst} for --codec {codec}, got {crf}")
        options[about.quality_option] = str(crf)
    if preset is not None and preset not in about.presets:
        expected = f"one of {', '.join(about.presets)}" if about.presets else "none"
        raise FavError(f"--preset: expected {expected} for --codec {codec}, got {preset!r}")
    if codec == "prores":
        preset = _profile(pixel_format, preset)
    if about.presets:
        options[about.preset_option] = preset or about.preset or about.presets[0]
    if codec == DEFAULT and cv2.checkHardwareSupport(AVX512F):
        # With AVX-512, the bytes of x264 165 differ from run to run (in mbtree; observed on Zen 5).
        # Without it, they are the same on all machines.
        options["x264-params"] = "asm=avx2"
    return EncoderSettings(about.encoder, options, pixel_format, THREADS, about.tags, about.full_range, codec)


def check_container(codec: str, name: Path | str) -> None:
    """Raise FavError unless the container that follows from a film's name supports the codec."""
    suffix, about = Path(name).suffix.lower(), ALL[codec]
    if suffix not in about.suffixes:
        others = [key for key, other in CODECS.items() if suffix in other.suffixes]
        raise FavError(
            f"{name}: expected the suffix {_either(about.suffixes)} for {about.title}, got {suffix or 'no suffix'}"
            + (f"; {suffix} supports --codec {_either(others)}" if others else "")
        )


def film_suffixes(codec: str) -> tuple[str, ...]:
    """The suffixes of films that may have the codec."""
    return ALL[codec].suffixes


def film_suffix(codec: str, video: str) -> str:
    """The default suffix of a film: the video's, except .mp4, if the codec supports it; otherwise the codec's first."""
    suffix = Path(video).suffix.lower()
    return suffix if suffix in ALL[codec].suffixes and suffix != ".mp4" else ALL[codec].suffixes[0]


def trial_settings(codec: str = DEFAULT) -> EncoderSettings:
    """The fastest encoder settings with the codec's packet order, for a trial of times with small frames."""
    options = {
        DEFAULT: {"preset": "ultrafast", "bf": "3", "x264-params": "b-adapt=0:rc-lookahead=0:sync-lookahead=0"},
        "vp9": {"deadline": "realtime", "cpu-used": "8", "b": "0", "crf": "63", "lag-in-frames": "0"},
    }
    trial_codec = ALL[codec].trial
    about = ALL[trial_codec]
    pixel_format = "yuv420p" if "yuv420p" in about.pixel_formats else about.pixel_formats[0]
    chosen = options.get(trial_codec, about.options)
    return EncoderSettings(about.encoder, chosen, pixel_format, 1, about.tags, about.full_range, trial_codec)


def _check_encoder(codec: str, about: Codec) -> tuple[str, ...]:
    """The pixel formats of FFmpeg's encoder on this machine; empty if they are unknown.

    Raises:
        FavError: FFmpeg lacks the encoder, or it supports none of the program's pixel formats.
    """
    try:
        found = EncoderOfFFmpeg(about.encoder, "w")
    except UnknownCodecError:
        raise FavError(
            f"--codec {codec}: expected the encoder {about.encoder}, but the FFmpeg of PyAV {av.__version__} on this "
            f"machine lacks it; it has {', '.join(available())}"
        ) from None
    supported = tuple(each.name for each in found.video_formats or ())
    if supported and not set(supported) & set(about.pixel_formats):
        raise FavError(
            f"--codec {codec}: expected an encoder for {', '.join(about.pixel_formats)}, but it supports only "
            f"{', '.join(supported)}; use one of {', '.join(CODECS)}"
        )
    return supported


def available() -> list[str]:
    """The codecs for which FFmpeg has an encoder on this machine. The hardware may still be missing."""
    return [name for name, about in ALL.items() if about.encoder in av.codecs_available]


def _pixel_format(about: Codec, supported: tuple[str, ...], name: str | None, target: str) -> str:
    """FFmpeg's name of a pixel format.

    Args:
        about: the codec.
        supported: pixel formats of the encoder; empty: unknown.
        name: with or without `le`; None: the default.
        target: what the format is for, in the error message.

    Raises:
        FavError: the codec or encoder does not support it.
    """
    formats = [each for each in about.pixel_formats if not supported or each in supported]
    name = name or about.pixel_formats[0]
    for each in formats:
        if name in (each, each.removesuffix("le")):
            return each
    expected = ", ".join(each.removesuffix("le") for each in formats)
    raise FavError(f"--pixel-format: expected one of {expected} for {target}, got {name}")


def _profile(pixel_format: str, profile: str | None) -> str:
    """Check the ProRes profile for a pixel format; None returns the default profile."""
    profiles = ("4444", "4444xq") if pixel_format == "yuv444p10le" else ("hq", "proxy", "lt", "standard")
    if profile is not None and profile not in profiles:
        other = "yuv422p10" if pixel_format == "yuv444p10le" else "yuv444p10"
        cure = f"; it needs --pixel-format {other}" if profile in CODECS["prores"].presets else ""
        raise FavError(
            f"--preset: expected {_either(profiles)} for ProRes with --pixel-format "
            f"{pixel_format.removesuffix('le')}, got {profile!r}{cure}"
        )
    return profile or profiles[0]


def _instead(about: Codec) -> str:
    if about.presets:
        return f"; use --preset with one of {', '.join(about.presets)}"
    return "; it is lossless" if about.encoder == "ffv1" else ""


def _either(names: Iterable[str]) -> str:
    *some, last = names
    return f"{', '.join(some)} or {last}" if some else last
