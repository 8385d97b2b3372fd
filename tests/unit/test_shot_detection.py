"""Cuts are found as the frames come, or read from a file whose nonsense is named."""

from types import SimpleNamespace

import numpy as np
import pytest

from fav.errors import FavError
from fav.video import decode
from fav.video.shot_detection import FLASH, MIN_SHOT, CutDetector, ShotSplitter, read_cuts
from tests.helpers.clips import X264, ffmpeg
from tests.helpers.material import material


def found(frames, **options) -> list[int]:
    detector = CutDetector(**options)
    sure = [cut for number, frame in enumerate(frames) for cut in detector.push(number, frame)]
    return sure + detector.finish()


def of_video(path) -> list[int]:
    splitter = ShotSplitter()
    with decode(path) as decoding:
        return [cut for decoded in decoding for cut in splitter.push(decoded)] + splitter.finish()


def plain(*grays: int) -> list[np.ndarray]:
    """One evenly gray frame for each value."""
    return [np.full((36, 64, 3), gray, np.uint8) for gray in grays]


def test_hard_cut_of_a_clip_is_found(tmp_path):
    shots = [
        f"testsrc2=size=96x64:rate=25:duration={frames / 25}{change}"
        for frames, change in ((14, ""), (11, ",negate,hue=h=90"))
    ]
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        shots[0],
        "-f",
        "lavfi",
        "-i",
        shots[1],
        "-filter_complex",
        "concat=n=2",
        *X264,
        tmp_path / "clip.mp4",
    )
    assert of_video(tmp_path / "clip.mp4") == [14]


def test_moving_picture_without_a_cut_has_none(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=2", *X264, tmp_path / "clip.mp4")
    assert of_video(tmp_path / "clip.mp4") == []


def test_cuts_of_a_real_film_are_found():
    # Looked at: a street from above, a man at a car, a taxi, a cyclist, a square, a bicycle, legs. The right
    # half shows unmoving diagrams, so that every change is half as large as in the film itself.
    assert of_video(material("videos/scene_cuts.mp4")) == [30, 76, 137, 187, 242]


@pytest.mark.parametrize("name", ["scene_cuts.mp4", "bigbuckbunny.mp4"])
def test_small_pictures_show_the_cuts_of_whole_ones(name):
    path = material(f"videos/{name}")
    with decode(path) as decoding:
        assert of_video(path) == found(decoded.image() for decoded in decoding)


def test_one_real_shot_has_no_cut():
    assert of_video(material("videos/bigbuckbunny.mp4")) == []


def test_cut_is_sure_a_few_frames_later_and_does_not_depend_on_more():
    frames = plain(*[30] * 20, *[220] * 20, *[90] * 20)
    assert found(frames) == [20, 40]
    for stop in range(len(frames)):
        assert found(frames[:stop]) == [cut for cut in (20, 40) if cut < stop]
    detector = CutDetector()
    sure = {cut: number for number, frame in enumerate(frames) for cut in detector.push(number, frame)}
    assert sure == {20: 20 + FLASH, 40: 40 + FLASH} and detector.undecided is None


def test_given_cuts_need_no_picture():
    splitter = ShotSplitter([2, 5])
    assert [cut for number in range(9) for cut in splitter.push(SimpleNamespace(number=number))] == [2, 5]
    assert splitter.decided_until == 9 and splitter.finish() == []


@pytest.mark.parametrize("flash", [(250,), (250, 250), (150, 150, 150), (250, 200, 150, 90), (60, 120, 180, 250)])
def test_flash_is_no_cut(flash):
    assert found(plain(*[30] * 20, *flash, *[30] * 20)) == []
    assert found(plain(*[30] * 9, *flash, *[30] * 9, *flash, *[30] * 9)) == []
    assert found(plain(*[30] * 20, *flash, *[30] * 9, *[220] * 9)) == [29 + len(flash)]  # nor does it hide one


def test_cut_with_a_flash_on_it_and_a_short_first_shot_are_found():
    assert found(plain(*[30] * 20, 250, 250, *[120] * 20)) == [20]
    assert found(plain(30, 30, *[220] * 20)) == [2]
    assert found(plain(*[30] * 20, *[220] * 3)) == [20]  # whoever sees no more cannot tell


def test_shot_of_the_least_length_is_kept():
    frames = plain(*[30] * 20, *[220] * MIN_SHOT, *[30] * 20)
    assert found(frames) == [20, 20 + MIN_SHOT]
    assert found(frames, min_shot=MIN_SHOT + 1) == [20]


def test_smaller_change_is_a_cut_only_in_a_quiet_shot():
    step = 60  # a third of it is the mean change of hue, saturation and value: 20
    assert found(plain(*[60] * 10, *[60 + step] * 10)) == [10]
    assert found(plain(*[60 + step * (number % 2) // 2 for number in range(10)], *[60 + step] * 3)) == []
    assert found(plain(60, *[60 + step] * 10)) == []  # nothing is known of what was before


def test_threshold_decides():
    frames = plain(*[30] * 20, *[220] * 20)
    assert found(frames, threshold=100) == [20] and found(frames, threshold=255) == []
    assert found(plain(*[30] * 20, *[60] * 20), threshold=100) == []
    assert found(plain(*[30] * 20, *[60] * 20), threshold=10) == [20]


def test_frame_numbers_may_start_anywhere():
    detector = CutDetector()
    assert [
        100 + i for i, frame in enumerate(plain(*[30] * 9, *[220] * 9)) if 109 in detector.push(100 + i, frame)
    ] == [109 + FLASH]


def cut_file(tmp_path, text: str | bytes):
    path = tmp_path / "cuts.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "0\n14\n250\n",
        "14,\r\n250\r\n",
        "\ufeffframe\n14\n250\n",
        "# by hand\n\n  14 # a door\n\n250",
        "frame,\n14\n250",
    ],
)
def test_cut_file_is_read(tmp_path, text):
    assert read_cuts(cut_file(tmp_path, text), frame_count=251)[-2:] == (14, 250)


def test_empty_cut_file_means_no_cut(tmp_path):
    assert read_cuts(cut_file(tmp_path, "# none\n")) == ()


@pytest.mark.parametrize("text, line, word", [
    ("14\nabc\n", 2, "'abc'"), ("14\n-3\n", 2, "'-3'"), ("14\n9\n", 2, "above 14"), ("14\n14\n", 2, "above 14"), ("14\n2.5\n", 2, "'2.5'"),
    ("14\n1_0\n", 2, "'1_0'"), ("3,7\n", 1, "'3,7'"), ("frame\nshot\n14", 2, "'shot'"), ("14\n300\n", 2, "below 250"), ("hello\n", 1, "'hello'"),
    ("14\n٣\n", 2, "'٣'"), ("-\n14\n", 1, "'-'"),
])  # fmt: skip
def test_nonsense_in_a_cut_file_is_named_with_its_line(tmp_path, text, line, word):
    path = cut_file(tmp_path, text)
    with pytest.raises(FavError) as error:
        read_cuts(path, frame_count=250)
    assert str(error.value).startswith(f"{path}, line {line}: expected ") and word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"\x89PNG\xff\xfe\x00", None])
def test_cut_file_that_is_no_text_or_not_there_is_one_line(tmp_path, data):
    path = cut_file(tmp_path, data) if data else tmp_path / "none.csv"
    with pytest.raises(FavError, match="cuts.csv|none.csv") as error:
        read_cuts(path)
    assert "expected" in str(error.value) and "\n" not in str(error.value)
