"""Films in each codec: probed and decoded by FFmpeg's own programs, the same bytes twice, colors by the formula."""

import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fav.errors import FavError
from fav.pipeline import spec
from fav.video import FrameReader, check_film, codecs, encode_segment, mux_film, write_film
from fav.video.codecs import ALL, CODECS, HARDWARE, encoder_settings, film_settings, film_suffix
from fav.video.color import RGB
from tests.helpers.cases import usual
from tests.helpers.clips import X264, asked, make, streams, taken, tone

FILMS = [(name, suffix) for name, about in CODECS.items() for suffix in about.suffixes]
FORMATS = [(name, pixels) for name, about in CODECS.items() for pixels in about.pixel_formats
           if not (name == "vp9" and not pixels.endswith("p"))]  # fmt: skip
NAMES = {"hevc": "hevc", "h264": "h264", "av1": "av1", "vp9": "vp9", "prores": "prores", "ffv1": "ffv1"}
SHAPE = (36, 64, 3)


def first_of_each(cases: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first case of each codec."""
    return list({codec: (codec, what) for codec, what in reversed(cases)}.values())


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Six frames of 64x36 with a sound."""
    path = tmp_path_factory.mktemp("codecs") / "clip.mkv"
    return make(path, *X264, "-s", "64x36", "-frames:v", "6", "-c:a", "aac", inputs=tone())


@pytest.fixture(scope="module")
def index(clip):
    return taken(clip)[1]


def ramp(count: int, deep: bool, faster: int = 1) -> list[np.ndarray]:
    """Gray from a quarter to a half from left to right, a little brighter with each frame: 64 columns, 256 steps of 10 bits."""
    across = np.linspace(0.25, 0.5, SHAPE[1])
    top = 65535 if deep else 255
    kind = np.uint16 if deep else np.uint8
    return [
        np.broadcast_to(np.rint((across + faster * number / 1024) * top).astype(kind)[None, :, None], SHAPE).copy()
        for number in range(count)
    ]


def decoded(path: Path) -> np.ndarray:
    """The pictures (N, H, W, 3) in 16 bits, RGB, as Debian's ffmpeg makes them with zimg."""
    stream = streams(path, "pix_fmt", "v")[0]
    words = ["-vf", "zscale=matrix=gbr:range=full:dither=none"] if stream["pix_fmt"].startswith("yuv") else []
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        path,
        "-map",
        "0:v:0",
        *words,
        "-vsync",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "gbrp16le",
        "-",
    ]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint16).reshape(-1, 3, *SHAPE[:2])[:, [2, 0, 1]].transpose(0, 2, 3, 1)


def written(out: Path, clip: Path, index, encoder, frames=None) -> Path:
    frames = ramp(len(index), encoder.bits > 8) if frames is None else frames
    write_film(out, clip, index, frames, encoder=encoder)
    return out


@pytest.mark.parametrize("codec, suffix", usual(FILMS, *first_of_each(FILMS), ("h264", ".mkv"), ("prores", ".mkv")))
def test_each_codec_goes_into_its_containers_and_is_the_same_twice(tmp_path, clip, index, codec, suffix):
    encoder = encoder_settings(codec)
    assert check_film(clip, f"film{suffix}", encoder=encoder, size=(64, 36)) == write_film(
        tmp_path / f"a{suffix}", clip, index, ramp(6, encoder.bits > 8), encoder=encoder
    )
    film, again = tmp_path / f"a{suffix}", written(tmp_path / f"b{suffix}", clip, index, encoder)
    assert film.read_bytes() == again.read_bytes()
    (found,) = streams(film, "codec_name,pix_fmt,color_space,color_range,width,height", "v")
    assert found["codec_name"] == NAMES[codec] and (found["width"], found["height"]) == (64, 36)
    assert found["color_space"] == ("gbr" if codec == "ffv1" else "smpte170m")
    assert len(streams(film, "codec_name", "a")) == 1 and len(decoded(film)) == 6


@pytest.mark.parametrize("codec, pixels", usual(FORMATS, *first_of_each(FORMATS), *first_of_each(FORMATS[::-1])))
def test_each_pixel_format_shows_what_was_given(tmp_path, clip, index, codec, pixels):
    best = {} if CODECS[codec].crf is None else {"crf": 4}
    encoder = encoder_settings(codec, pixel_format=pixels, **best)
    film = written(tmp_path / f"a{CODECS[codec].suffixes[0]}", clip, index, encoder)
    (found,) = streams(film, "pix_fmt", "v")
    # FFmpeg decodes ProRes 4444 to 12 bits
    assert found["pix_fmt"] == (pixels if (codec, pixels) != ("prores", "yuv444p10le") else "yuv444p12le")
    white = (
        ((1 << encoder.bits) - 1) << (16 - encoder.bits)
        if "rgb" in pixels or "gbr" in pixels or "bgr" in pixels
        else 65535
    )
    shown, given = decoded(film) / white * 255, np.stack(ramp(6, True)) / 65535 * 255
    assert np.abs((shown - given).mean()) < 0.2 and np.abs(shown - given).mean() < 0.8


@pytest.mark.parametrize("codec", [name for name in CODECS if name != "vp9"])
def test_ten_bits_have_more_steps_than_eight(tmp_path, clip, index, codec):
    pixels = next(pixels for pixels in CODECS[codec].pixel_formats if "10" in pixels)
    best = {} if CODECS[codec].crf is None else {"crf": 1}
    film = written(
        tmp_path / f"a{CODECS[codec].suffixes[0]}", clip, index, encoder_settings(codec, pixel_format=pixels, **best)
    )
    steps = len(np.unique(decoded(film)[0, 18, :, 1]))
    assert (
        steps > 55
    )  # 64 columns have 64 levels; 8 bits have 64 of 255 in a quarter, of which limited range shows fewer


@pytest.mark.parametrize("codec", usual(CODECS, "h264", "hevc", "av1"))
def test_bytes_do_not_depend_on_what_the_machine_has(tmp_path, clip, index, codec):
    """In a process that has one core."""
    encoder = encoder_settings(codec)
    here = written(tmp_path / f"here{CODECS[codec].suffixes[0]}", clip, index, encoder)
    there = tmp_path / f"there{CODECS[codec].suffixes[0]}"
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from pathlib import Path\n"
        "from fav.video.codecs import encoder_settings\n"
        "from tests.unit.test_video_codecs import ramp, taken, written\n"
        f"clip = Path({str(clip)!r})\n"
        f"written(Path({str(there)!r}), clip, taken(clip)[1], encoder_settings({codec!r}))\n"
    )
    subprocess.run(["python", "-c", code], check=True, env=_environment())
    assert here.read_bytes() == there.read_bytes()


def _environment() -> dict[str, str]:
    import os
    import sys

    root = Path(__file__).parents[2]
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(root)}


@pytest.mark.parametrize("codec", CODECS)
def test_segments_by_themselves_make_one_film(tmp_path, clip, index, codec):
    encoder = encoder_settings(codec)
    frames = ramp(6, encoder.bits > 8, 32)
    film = tmp_path / f"a{CODECS[codec].suffixes[0]}"

    def encode(segment: range, extradata: bytes):
        made = encode_segment((frames[number] for number in segment), segment, clip, index, encoder, name=film)
        assert made.extradata == extradata
        return made

    mux_film(
        film,
        clip,
        index,
        encode,
        segments=[range(3), range(3, 6)],
        shape=SHAPE[:2],
        to_end=True,
        encoder=encoder,
        name=film,
    )
    packets = [packet["flags"][0] for packet in asked(film, "packet=flags", "v")["packets"]]
    shown = decoded(film)[:, 18, 32, 1].astype(int)
    assert packets[0] == packets[3] == "K" and len(shown) == 6 and all(a < b for a, b in pairwise(shown))


@pytest.mark.parametrize("wanted, complaint", [
    ({"codec": "vp9", "name": "film.mov"}, r"expected the suffix \.webm, \.mkv or \.mp4 for VP9, got \.mov; \.mov supports --codec h264, hevc or prores"),
    ({"codec": "prores", "name": "film.mp4"}, r"\.mov or \.mkv for ProRes, got \.mp4"),
    ({"codec": "ffv1", "name": "film.mp4"}, r"the suffix \.mkv for FFV1, got \.mp4"),
    ({"name": "film.webm"}, r"\.webm supports --codec av1 or vp9"),
    ({"pixel_format": "yuv444p12"}, "expected one of yuv420p, yuv422p, yuv444p, yuv420p10, yuv422p10, yuv444p10 for --codec h264, got yuv444p12"),
    ({"codec": "ffv1", "name": "film.mkv", "crf": 4}, "--crf: expected no quality for --codec ffv1, which has no quality scale; it is lossless"),
    ({"codec": "prores", "name": "film.mov", "crf": 4}, "use --preset with one of proxy, lt"),
    ({"crf": 52}, "from 0 to 51 for --codec h264, got 52"),
    ({"codec": "av1", "preset": "slow"}, "expected one of 0, 1, .* for --codec av1, got 'slow'"),
    ({"codec": "ffv1", "name": "film.mkv", "preset": "slow"}, "--preset: expected none for --codec ffv1"),
    ({"codec": "prores", "name": "film.mov", "preset": "4444"}, "for ProRes with --pixel-format yuv422p10, got '4444'; it needs --pixel-format yuv444p10"),
    ({"name": "dir/f_%d.exr", "pixel_format": "yuv420p"}, r"expected one of gbrpf16, gbrpf32 for \.exr, got yuv420p"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused_with_what_would_do(wanted, complaint):
    with pytest.raises(FavError, match=complaint):
        film_settings(**{"name": "film.mp4", "codec": "h264"} | wanted)


def test_encoders_that_are_missing_or_do_not_work_here_are_told(clip):
    with pytest.raises(
        FavError, match="expected the encoder h264_none, but the FFmpeg of PyAV .* lacks it; it has h264, "
    ):
        codecs._check_encoder("h264_none", CODECS["h264"].__class__(**vars(CODECS["h264"]) | {"encoder": "h264_none"}))
    if "h264_nvenc" in codecs.available():
        try:
            check_film(clip, "film.mp4", encoder=encoder_settings("h264_nvenc"), size=(256, 144))
        except FavError as error:
            assert "expected an encoder that works on this machine" in str(error) and "use another --codec" in str(
                error
            )


def test_schema_names_the_codecs_of_the_table():
    assert CODECS.keys() == set(spec.CODECS) and HARDWARE.keys() == set(spec.HARDWARE_CODECS)
    assert spec.OPTIONS["crf"].most == max(about.crf[1] for about in ALL.values() if about.crf)


def test_film_that_nobody_names_ends_as_its_codec_wants():
    assert [film_suffix("h264", f"a{suffix}") for suffix in (".mp4", ".MOV", ".mkv", ".webm", ".avi")] == [
        ".mp4", ".mov", ".mkv", ".mp4", ".mp4",
    ]  # fmt: skip
    assert film_suffix("vp9", "a.mp4") == ".webm" and film_suffix("prores", "a.mkv") == ".mkv"
    assert film_suffix("av1", "a.webm") == ".webm" and film_suffix("ffv1", "a.mov") == ".mkv"


def test_lossless_film_is_the_frames_exactly(tmp_path, clip, index):
    noise = [np.random.default_rng(number).integers(0, 65536, SHAPE, np.uint16) for number in range(6)]
    film = written(tmp_path / "a.mkv", clip, index, encoder_settings("ffv1", pixel_format="gbrp16"), noise)
    with FrameReader(film, sixteen_bit=True) as reader:
        assert np.array_equal(reader.read(3, taken(film)[1]), noise[3])
    flat = [(frame >> 8).astype(np.uint8) for frame in noise]
    film = written(tmp_path / "b.mkv", clip, index, encoder_settings("ffv1"), flat)
    assert np.array_equal(taken(film)[0][3], flat[3])
    assert taken(film)[0][3].dtype == np.uint8 and RGB == 0


def test_odd_sizes_stay_odd_where_the_format_takes_them(tmp_path, clip, index):
    odd = [np.zeros((35, 63, 3), np.uint8)] * 6
    sizes = []
    for codec, pixels in (("h264", "yuv420p"), ("h264", "yuv444p"), ("ffv1", "yuv422p"), ("ffv1", "bgr0")):
        film = written(
            tmp_path / f"{codec}-{pixels}.mkv", clip, index, encoder_settings(codec, pixel_format=pixels), odd
        )
        sizes.append(tuple(streams(film, "width,height", "v")[0].values()))
    assert sizes == [(64, 36), (63, 35), (64, 35), (63, 35)]
