"""Colors are exact to rounding, HDR becomes SDR, linear light is shown, and fields become whole frames."""

import subprocess

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from fav.errors import FavError
from fav.video import FrameReader, SourceSettings, hdr, probe, write_film
from fav.video.color import LUMA_WEIGHTS, ColorInfo, from_bgr, to_bgr
from tests.helpers.clips import VP9, X264, ffmpeg, make, streams, taken

FULL, LIMITED = 2, 1
RNG = np.random.default_rng(20)
PICTURE = np.repeat(np.repeat(RNG.integers(0, 256, (32, 32, 3)), 4, 0), 4, 1).astype(np.uint8)  # BGR, even chroma


def yuv_of(bgr: np.ndarray, matrix: int, full: bool, bits: int) -> list[np.ndarray]:
    """The planes by the formula of H.273, in 4:4:4, not rounded."""
    red, blue = LUMA_WEIGHTS[matrix]
    b, g, r = (bgr[..., channel] / 255 for channel in range(3))
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
    step, top = 1 << (bits - 8), (1 << bits) - 1
    if full:
        return [y * top, u * top + 128 * step, v * top + 128 * step]
    return [(16 + 219 * y) * step, (128 + 224 * u) * step, (128 + 224 * v) * step]


def frame_of(planes: list[np.ndarray], format: str) -> av.VideoFrame:
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], format)
    for plane, samples in zip(frame.planes, planes):
        kind = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
        room = np.frombuffer(plane, kind).reshape(plane.height, -1)
        room[:, : samples.shape[1]] = samples
    return frame


def rounded(planes: list[np.ndarray], bits: int) -> list[np.ndarray]:
    return [np.clip(np.rint(plane), 0, (1 << bits) - 1) for plane in planes]


def assert_exact(got: np.ndarray, wanted: np.ndarray):
    error = got.astype(float) - wanted
    assert np.abs(error).max() < 0.6 and abs(error.mean()) < 0.05, (np.abs(error).max(), error.mean())


@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
@pytest.mark.parametrize("full", (False, True))
@pytest.mark.parametrize(
    "format, bits", [("yuv444p", 8), ("yuv444p10le", 10), ("yuv444p12le", 12), ("yuv444p16le", 16)]
)
def test_decoded_colors_are_exact_to_rounding(format, bits, full, matrix):
    frame = frame_of(rounded(yuv_of(PICTURE, matrix, full, bits), bits), format)
    frame.colorspace, frame.color_range = matrix, FULL if full else LIMITED
    red, blue = LUMA_WEIGHTS[matrix]
    y, u, v = (plane.astype(float) for plane in rounded(yuv_of(PICTURE, matrix, full, bits), bits))
    step, top = 1 << (bits - 8), (1 << bits) - 1
    y, u, v = ((y / top, (u - 128 * step) / top, (v - 128 * step) / top) if full else
               ((y / step - 16) / 219, (u / step - 128) / 224, (v / step - 128) / 224))  # fmt: skip
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    assert_exact(to_bgr(frame, VideoReformatter()), np.clip(np.stack([b, g, r], -1) * 255, 0, 255))


@pytest.mark.parametrize(
    "format, bits", [("gray16le", 16), ("gray10le", 10), ("gbrp10le", 10), ("gbrp12le", 12), ("gbrp16le", 16)]
)
def test_deep_pictures_are_rounded_and_not_cut(format, bits):
    values = RNG.integers(0, 1 << bits, (32, 64)).astype(np.uint16)
    values[0] = (1 << bits) - 1
    frame = frame_of([values] * (1 if format.startswith("gray") else 3), format)
    assert_exact(to_bgr(frame, VideoReformatter()), (values * (255 / ((1 << bits) - 1)))[..., None].repeat(3, 2))


@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
@pytest.mark.parametrize("range_", (LIMITED, FULL))
def test_encoded_colors_are_exact_to_rounding(range_, matrix):
    frame = from_bgr(PICTURE, ColorInfo(matrix, range_, 1, 1), VideoReformatter())
    y, u, v = (np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes)
    wanted = yuv_of(PICTURE, matrix, range_ == FULL, 8)
    assert_exact(y, np.clip(wanted[0], 0, 255))
    for got, plane in zip((u, v), wanted[1:]):  # where the filter sees one color alone
        assert_exact(got[:, 1::2], np.clip(plane[::2, 2::4], 0, 255))


def test_gray_stays_gray_in_full_range():
    grays = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    for matrix in LUMA_WEIGHTS:
        frame = from_bgr(grays, ColorInfo(matrix, FULL, 1, 1), VideoReformatter())
        y, u, v = (np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes)
        assert np.array_equal(y, grays[..., 0]) and set(u.ravel()) == set(v.ravel()) == {128}


def hdr_clip(path, transfer: str):
    """Gray steps and colors of known light (cd/m²), in 10 bits of BT.2020."""
    light = np.array([[0, 1, 10, 50], [100, 203, 500, 1000]], float)
    code = hdr._pq_code(light) if transfer == "smpte2084" else _hlg_code(light / 1000)
    levels = np.rint((16 + 219 * code) * 4).astype(np.uint16).repeat(32, 0).repeat(32, 1)
    planes = levels, np.full((32, 64), 512, np.uint16), np.full((32, 64), 512, np.uint16)
    raw = path.with_suffix(".yuv")
    raw.write_bytes(b"".join(plane.tobytes() for plane in planes) * 3)
    tags = f"colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc:log-level=none"
    ffmpeg("-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", "128x64", "-i", raw, "-c:v", "libx265", "-x265-params",
           f"{tags}:lossless=1", "-color_primaries", "bt2020", "-color_trc", transfer, "-colorspace", "bt2020nc", path)  # fmt: skip
    return path


def _hlg_code(display: np.ndarray) -> np.ndarray:
    scene = display ** (1 / 1.2)
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


@pytest.mark.parametrize("transfer", ("smpte2084", "arib-std-b67"))
def test_hdr_is_brought_to_sdr_and_tagged_so(tmp_path, transfer):
    video = hdr_clip(tmp_path / "hdr.mkv", transfer)
    images, index, notes = taken(video)
    levels = images[0][::32, ::32].reshape(-1, 3)[[0, 1, 2, 3, 4, 5, 6, 7]]
    assert np.ptp(levels.astype(int), axis=1).max() <= 1 and (np.diff(levels[:, 0].astype(int)) > 0).all()
    light = 203 * (levels[:, 0] / 255) ** 2.4  # of an SDR display whose white is 203 cd/m²
    assert light[:4] == pytest.approx([0, 1, 10, 50], rel=0.06, abs=0.1)  # below the knee, nothing changes
    assert levels[-1, 0] >= 254 and 190 < levels[5, 0] < 250
    (note,) = notes
    assert "converted to SDR, BT.709 (BT.2390" in note and probe(video).notes == (note,)
    write_film(tmp_path / "film.mp4", video, index, images)
    tags = streams(tmp_path / "film.mp4", "color_space,color_transfer,color_primaries", "v:0")[0]
    assert set(tags.values()) == {"bt709"}


def test_hdr_is_kept_on_demand(tmp_path):
    video, keep = hdr_clip(tmp_path / "hdr.mkv", "smpte2084"), SourceSettings(tone_map=False)
    images, index, notes = taken(video, keep)
    assert (
        "is kept, without the mastering metadata" in notes[0] and images[0].max() < 200
    )  # 1000 cd/m² is no white in PQ
    write_film(tmp_path / "film.mp4", video, index, images, settings=keep)
    assert streams(tmp_path / "film.mp4", "color_transfer", "v:0")[0]["color_transfer"] == "smpte2084"


def test_colors_of_bt2020_lose_no_hue():
    light = np.float32([[[406, 20, 20], [20, 406, 20], [100, 100, 406]]])  # cd/m², red, green, blue
    codes = np.rint(hdr._pq_code(light) * 65535).astype(np.uint16)
    picture = hdr.to_sdr(*(codes[..., channel] for channel in range(3)), 65535, hdr.PQ, 1)
    assert (picture.argmax(axis=-1) == [[2, 1, 0]]).all() and picture[0, 2, 1] == picture[0, 2, 2]


def test_light_of_exr_is_shown_as_srgb(tmp_path):
    light = np.float32([0, 0.0031308, 0.18, 0.5, 1, 4]).repeat(16)[None].repeat(16, 0)
    pattern = str(tmp_path / "f_%d.exr")
    rows = light.tobytes() * 3
    words = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "gbrpf32le", "-s", "96x16", "-i", "-", pattern]
    subprocess.run(words, input=rows, check=True)
    ((image,), _, notes) = taken(pattern)
    assert image[0, ::16, 1].tolist() == [0, 10, 118, 188, 255, 255]
    assert notes == ["linear light is converted to sRGB; values above 1 become white"]
    assert probe(pattern).colors.transfer != 8


def test_dpx_is_for_a_display_though_ffmpeg_calls_it_linear(tmp_path):
    pattern = str(tmp_path / "f_%d.dpx")
    cv2.imwrite(str(tmp_path / "gray.png"), np.full((32, 32, 3), 99, np.uint8))
    ffmpeg("-i", tmp_path / "gray.png", "-start_number", 0, pattern)
    ((image,), _, notes) = taken(pattern)
    assert set(image.ravel()) == {99} and notes == [] and probe(pattern).colors.transfer == 2


def test_colors_by_a_matrix_that_is_not_known_are_refused(tmp_path):
    video = make(
        tmp_path / "ycgco.mkv", *X264, "-x264-params", "colormatrix=YCgCo", "-colorspace", "ycgco", seconds=0.1
    )
    with pytest.raises(FavError, match=r"got YCgCo; convert the video first: ffmpeg .*zscale=matrix=709"):
        probe(video)


def test_transparency_is_told_where_there_is_any(tmp_path):
    for alpha, told in ((0, True), (255, False)):
        directory = tmp_path / str(alpha)
        directory.mkdir()
        cv2.imwrite(str(directory / "f_0.png"), np.full((32, 32, 4), (9, 99, 199, alpha), np.uint8))
        ((image,), _, notes) = taken(str(directory / "f_%d.png"))
        assert image[0, 0].tolist() == [9, 99, 199] and bool(notes) == told


def test_transparency_of_a_webm_is_told_though_no_decoder_gives_it(tmp_path):
    video = make(tmp_path / "alpha.webm", *VP9, "-pix_fmt", "yuva420p", seconds=0.1)
    assert "transparency is left out" in " ".join(taken(video)[2])


@pytest.fixture
def interlaced(tmp_path):
    fields = "tinterlace=interleave_top,setfield=tff"
    options = ("-vf", fields, "-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", 2, "-g", 6, "-bf", 0)
    return make(tmp_path / "fields.mpg", *options, picture="testsrc2=size=96x64", rate=50, seconds=0.8)


def combs(image: np.ndarray) -> float:
    """How much rows differ from those between which they lie, more than those differ from each other."""
    gray = image.astype(float).mean(axis=2)
    return float(np.abs(2 * gray[1:-1] - gray[:-2] - gray[2:]).mean())


def test_interlaced_frames_become_whole_and_keep_their_numbers(interlaced):
    images, index, notes = taken(interlaced)
    raw, index_of_raw, told = taken(interlaced, SourceSettings(deinterlace=False))
    assert len(images) == len(raw) and np.array_equal(index.crc, index_of_raw.crc)
    assert np.array_equal(index.pts, index_of_raw.pts)
    assert notes == ["interlaced frames are deinterlaced (bwdif)"] and "frames are kept" in told[0]
    assert np.mean([combs(image) for image in images]) < 0.9 * np.mean([combs(image) for image in raw])


def test_whole_frames_are_the_same_however_they_are_reached(interlaced):
    images, index, _ = taken(interlaced)
    numbers = list(range(len(images)))
    with FrameReader(interlaced) as reader:
        for number in [*reversed(numbers), *numbers[::3], *numbers[::7]]:
            assert np.array_equal(reader.read(number, index), images[number]), number


@pytest.mark.parametrize("bits", (8, 10, 12))
@pytest.mark.parametrize("kind", ("tv", "pc", "rgb"))
def test_sixteen_bits_are_read_exactly(tmp_path, bits, kind):
    """By the formula of H.273, from the very samples: to a hundredth of a level of 8 bits."""
    top, end = (1 << bits) - 1, f"{bits}le" if bits > 8 else ""
    planes = np.random.default_rng(7).integers(0, top + 1, (3, 32, 64)).astype("u1" if bits == 8 else "<u2")
    if kind != "rgb":  # gray and near it, so that nothing is clipped
        planes[0] = top // 3 + planes[0] % (1 << bits - 2)
        planes[1:] = (1 << bits - 1) + planes[1:] % (1 << bits - 5)
    (tmp_path / "raw").write_bytes(planes.tobytes())
    tags = [] if kind == "rgb" else ["-colorspace", "bt709", "-color_range", kind]
    ffmpeg("-f", "rawvideo", "-pix_fmt", ("gbrp" if kind == "rgb" else "yuv444p") + end, "-s", "64x32", "-i", tmp_path / "raw",
           "-c:v", "ffv1", *tags, tmp_path / "clip.mkv")  # fmt: skip
    index = taken(tmp_path / "clip.mkv")[1]
    with FrameReader(tmp_path / "clip.mkv", sixteen_bit=True) as reader:
        read = reader.read(0, index).astype(float) / 65535 * 255
    one, values = 1 << bits - 8, planes.astype(float)
    if kind == "rgb":
        green, blue, red = values / top
    else:
        luma = (values[0] - 16 * one) / (219 * one) if kind == "tv" else values[0] / top
        cb, cr = ((plane - 128 * one) / (224 * one if kind == "tv" else top) for plane in values[1:])
        red, blue = luma + 1.5748 * cr, luma + 1.8556 * cb
        green = (luma - 0.2126 * red - 0.0722 * blue) / 0.7152
    assert np.abs(read - 255 * np.clip(np.stack([blue, green, red], axis=-1), 0, 1)).max() < 0.01


def test_hdr_in_sixteen_bits_is_the_same_with_more_steps(tmp_path):
    video = hdr_clip(tmp_path / "hdr.mkv", "smpte2084")
    flat, index, _ = taken(video)
    with FrameReader(video, sixteen_bit=True) as reader:
        deep = reader.read(0, index)
    assert deep.dtype == np.uint16 and np.abs(deep / 257 - flat[0]).max() < 1.6


@pytest.mark.parametrize("name, words, sited", [
    ("ffv1.mkv", ("-c:v", "ffv1"), "middle"),  # untagged, as most formats of 4:2:2 are
    ("raw.avi", ("-c:v", "rawvideo", "-pix_fmt", "uyvy422"), "middle"),
    ("prores.mov", ("-c:v", "prores_ks", "-profile:v", "hq", "-pix_fmt", "yuv422p10le"), "middle"),
    ("mjpeg.mov", ("-c:v", "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj422p"), "middle"),  # as JFIF says
    ("h264.mkv", ("-c:v", "libx264", "-qp", "0"), "left"),  # as H.264 says where nothing is said
])  # fmt: skip
def test_chroma_of_422_lies_where_the_codec_says_or_as_libswscale_takes_it_in_the_middle(tmp_path, name, words, sited):
    ramp = np.linspace(60, 200, 32)  # Cb, one sample for two columns
    planes = (
        np.full((32, 64), 128, np.uint8),
        np.tile(np.rint(ramp).astype(np.uint8), (32, 1)),
        np.full((32, 32), 128, np.uint8),
    )
    (tmp_path / "raw").write_bytes(b"".join(plane.tobytes() for plane in planes))
    ffmpeg("-f", "rawvideo", "-pix_fmt", "yuv422p", "-s", "64x32", "-i", tmp_path / "raw", *words, tmp_path / name)
    with FrameReader(tmp_path / name) as reader:
        blue = reader.read(0, taken(tmp_path / name)[1])[16, 12:52, 0].astype(float)
    columns, wrong = np.arange(12, 52), {}
    for where, shift in (("left", 0.0), ("middle", 0.5)):
        found = np.interp((columns - shift) / 2, np.arange(32), ramp)
        expected = 255 / 219 * (128 - 16) + 2 * (1 - LUMA_WEIGHTS[6][1]) * 255 / 224 * (found - 128)
        wrong[where] = np.abs(blue - expected).mean()
    assert min(wrong, key=lambda where: wrong[where]) == sited and wrong[sited] < 1 < 2 < max(wrong.values()), wrong
