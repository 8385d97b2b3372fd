"""HEVC in ranges: the index of one pass, byte for byte, or a refusal; also of damaged videos."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph

from fav.stylize.indexing import index_of_ranges, index_segments
from fav.video.hevc import MOST_KEPT, WholePictures
from fav.video.ranges import LEAST_RANGES, DecodedRange, Survey, UnusableRangeError, decode_range, survey
from fav.video.shot_detection import THRESHOLD
from tests.helpers.cases import usual
from tests.helpers.clips import ffmpeg, make
from tests.helpers.damage import DAMAGES, copied, damaged, damaged_file

LEAST = 12
MOVING = "scroll=horizontal=0.013:vertical=0.02"  # so that each part of a picture differs from that of the one before
EFFECTS = ("-vf", f"{MOVING},negate=enable='between(n,30,59)+gt(n,70)'")


def x265(words: str, pixels: str = "yuv420p") -> tuple[str, ...]:
    fixed = "log-level=none:keyint=12:min-keyint=12:scenecut=0:ctu=16"
    return "-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", pixels, "-x265-params", f"{fixed}:{words}"


CLIPS = {
    "open.mkv": x265("open-gop=1:bframes=3:no-wpp=1"),
    "closed.mp4": x265("open-gop=0:bframes=2:radl=2"),
    "pyramid.mov": (*x265("open-gop=1:bframes=4:b-pyramid=1:ref=4", "yuv420p10le"), "-tag:v", "hvc1"),
    "open.ts": x265("open-gop=1:bframes=3"),
    "plain.mp4": x265("open-gop=0:bframes=0:no-sao=1:no-deblock=1:no-wpp=1"),
    "pictures.mp4": x265("keyint=1"),
}


def made(directory: Path, name: str, picture: str = "testsrc2=size=96x64", seconds: float = 4) -> Path:
    return make(directory / name, *EFFECTS, *CLIPS[name], picture=picture, seconds=seconds)


def contents(video: Path) -> list[bytes]:
    with av.open(str(video)) as source:
        return [bytes(packet) for packet in source.demux(source.streams.video[0]) if packet.size]


def each_range(video: Path, known: Survey) -> Iterator[DecodedRange]:
    """The ranges as they are read from the share."""
    for number in range(len(known.ranges)):
        yield DecodedRange.from_json(decode_range(video, known, number, threshold=THRESHOLD).to_json(), THRESHOLD)


def in_ranges(video: Path) -> tuple[list, str]:
    """The index segments that are put together from ranges, and why these are not all of them."""
    found, known = [], survey(video, least=LEAST)
    if known.why:
        return found, known.why
    try:
        for segment in index_of_ranges(each_range(video, known), None, None):
            found.append(segment.to_json())
    except (UnusableRangeError, LookupError) as error:
        return found, str(error)
    return found, ""


def in_one_pass(video: Path) -> list:
    return [segment.to_json() for segment in index_segments(video, None, None)]


@pytest.mark.parametrize("name", usual(CLIPS, "open.mkv", "pyramid.mov"))
def test_whole_videos_are_divided(tmp_path, name):
    video = made(tmp_path, name)
    found, why = in_ranges(video)
    assert why == "" and len(survey(video, least=LEAST).ranges) >= LEAST_RANGES
    assert found == in_one_pass(video)


def test_leading_pictures_of_an_open_group_belong_to_the_range_before(tmp_path):
    video = made(tmp_path, "open.mkv")
    known = survey(video, least=LEAST)
    assert any(here.own > one.packets for one, here in zip(known.ranges, each_range(video, known)))


def test_edit_lists_are_kept(tmp_path):
    """A telephone shows a part of a video by an edit list: the first and the last packets are decoded and not shown."""
    whole, cut = made(tmp_path, "pyramid.mov"), tmp_path / "cut.mov"
    ffmpeg("-ss", "0.6", "-i", whole, "-t", "2.9", "-c", "copy", cut)
    with av.open(str(cut)) as source:
        assert any(packet.is_discard for packet in source.demux(source.streams.video[0]))
    found, why = in_ranges(cut)
    assert why == "" and found == in_one_pass(cut)


def test_picture_that_ends_early_is_found(tmp_path):
    """FFmpeg reports nothing: the rest of the picture is what its memory had, which is not the same in ranges and in one pass."""
    video = made(tmp_path, "plain.mp4", "testsrc2=size=96x128")
    (tmp_path / "half").mkdir()
    half = contents(made(tmp_path / "half", "plain.mp4"))
    data = contents(video)
    found, why = in_ranges(copied(video, [*data[:70], half[70], *data[71:]], tmp_path / "early.mp4"))
    assert found == [] and "not decoded to its end" in why


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le"])
def test_memory_that_is_used_again_shows_what_was_not_decoded(pixels):
    pictures, frames = WholePictures(), []
    for value in range(1, MOST_KEPT + 2):
        frames.append(av.VideoFrame.from_ndarray(np.full((16, 16, 3), 9 * value, np.uint8)).reformat(format=pixels))
        pictures.add(frames[-1], (16, 16))
        assert pictures.problem == ""
    again = frames[0]
    corner = again.to_ndarray(format="gray16le" if "10" in pixels else "gray")[-8:, -8:]
    assert (corner == corner[0, 0]).sum() < 8
    pictures.add(again, (16, 16))
    assert "not decoded to its end" in pictures.problem


@pytest.mark.parametrize("samples", [(0, 0, 0), (128, 128, 128)])
def test_new_memory_shows_what_was_not_decoded(samples):
    """It is zero; and FFmpeg puts gray pictures in the place of missing ones."""
    frame, pictures = av.VideoFrame(16, 16, "yuv420p"), WholePictures()
    for plane, value in zip(frame.planes, samples):
        plane.update(bytes([value]) * plane.buffer_size)
    pictures.add(frame, (16, 16))
    assert "not decoded to its end" in pictures.problem


def test_pictures_that_stay_references_are_refused():
    """The memory of a picture must not change while the decoder uses it."""
    pictures = WholePictures()
    frames = [
        av.VideoFrame.from_ndarray(np.full((16, 16, 3), 9, np.uint8)).reformat(format="yuv420p") for _ in range(20)
    ]
    graph = Graph()
    source = graph.add_buffer(width=16, height=16, format=frames[0].format, time_base=Fraction(1, 25))
    source.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frames[1])  # the graph has a reference now
    for frame in frames[: MOST_KEPT + 1]:
        pictures.add(frame, (16, 16))
    assert pictures.problem == ""
    pictures.add(frames[-1], (16, 16))
    assert "references for long" in pictures.problem


def test_film_grain_is_left_to_one_pass(tmp_path):
    """FFmpeg adds it to copies, so that what was not decoded would not show."""
    video = made(tmp_path, "plain.mp4", seconds=2.4)
    intervals = "00000001 01111111 00100" + "10000000 11111111 00100"  # ITU-T H.265, D.2.21
    bits = f"0 00 0 01 0101 100 00000001 000 {intervals} 1 10000".replace(" ", "")
    grain = int(bits, 2).to_bytes(len(bits) // 8, "big")
    message = b"\x4e\x01" + bytes([19, len(grain)]) + grain + b"\x80"
    data = contents(video)
    data[24] = len(message).to_bytes(4, "big") + message + data[24]
    found, why = in_ranges(copied(video, data, tmp_path / "grain.mp4"))
    assert found == [] and "film grain" in why


@pytest.mark.parametrize(
    ("coded", "shown", "divided"), [((96, 64), (96, 64), True), ((96, 64), (96, 56), True), ((96, 72), (96, 64), False)]
)
def test_end_of_the_pictures_must_be_shown(coded, shown, divided):
    pictures = WholePictures()
    frame = av.VideoFrame.from_ndarray(np.full((shown[1], shown[0], 3), 9, np.uint8)).reformat(format="yuv420p")
    pictures.add(frame, coded)
    assert (pictures.problem == "") == divided


def test_pictures_of_several_slices_are_left_to_one_pass(tmp_path):
    video = make(tmp_path / "a.mp4", *x265("slices=2"), picture="testsrc2=size=96x128", seconds=3)
    assert "several slices" in survey(video, least=LEAST).why


def test_changed_parameters_are_left_to_one_pass(tmp_path):
    """A range would begin with those of the beginning."""
    one = make(tmp_path / "one.ts", *x265("open-gop=0"), seconds=2)
    other = make(tmp_path / "other.ts", *x265("open-gop=0:no-wpp=1"), seconds=2)
    (tmp_path / "both.txt").write_text(f"file '{one}'\nfile '{other}'\n")
    ffmpeg("-f", "concat", "-safe", "0", "-i", tmp_path / "both.txt", "-c", "copy", tmp_path / "both.ts")
    assert survey(one, least=LEAST).why == "" and "parameters change" in survey(tmp_path / "both.ts", least=LEAST).why


def checked(whole: Path, damage: str, seed: int) -> bool:
    """Whether a damaged copy is refused in part; whatever is put together of ranges must be that of one pass."""
    copy = whole.with_name(f"damaged {whole.name}")
    (damaged_file(whole, seed, copy) if damage == "file" else damaged(whole, damage, seed, copy))
    found, why = in_ranges(copy)
    if found:
        whole_index = in_one_pass(copy)
        assert found == whole_index[: len(found)] and (why or len(found) == len(whole_index)), (damage, seed)
    return bool(why)


@pytest.mark.parametrize("damage", [*DAMAGES, "file"])
def test_damage_gives_the_index_of_one_pass_or_none(tmp_path, damage):
    checked(made(tmp_path, "open.mkv", seconds=2.8), damage, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_much_damage_gives_the_index_of_one_pass_or_none(tmp_path, name):
    video = made(tmp_path, name)
    refused = [checked(video, damage, seed) for damage in (*DAMAGES, "file") for seed in range(1, 9)]
    assert 10 < sum(refused) < len(refused)
