"""The clips that styles are measured on: forth and back, one shot, with memory and without."""

import random
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from benchmarks import reel
from benchmarks.drift import followed
from benchmarks.styles import Sheet, clips_of, painting_of, write_blind
from fav.evaluation.comparison import FrameSample
from fav.flow import make
from fav.model.network import StyleNetwork
from fav.model.runner import StyleRunner
from tests.helpers.pictures import gray
from tests.helpers.video_jobs import TINY


def test_clip_that_is_played_forth_and_back_turns_at_its_ends_and_comes_again_after_a_period():
    shown = [
        int(picture[0, 0, 0]) for picture, *_ in reel.forth_and_back([gray(level) for level in (10, 20, 30, 40)], 10)
    ]
    assert shown == [10, 20, 30, 40, 30, 20, 10, 20, 30, 40]
    assert reel.period([1, 2, 3, 4]) == 6 and reel.period([1, 2]) == 2 and reel.period([1]) == 1


def test_camera_over_a_photograph_moves_smoothly_inside_it_and_shows_a_part_of_it():
    photo = np.zeros((160, 240, 3), np.uint8)
    photo[:, :, 2], photo[:, :, 1] = np.linspace(0, 250, 240), np.linspace(0, 250, 160)[:, None]
    frames = list(reel.over_photograph(photo, 120, 100))
    assert [cut for *_, cut in frames] == [True, *[False] * 99]
    levels = np.array([picture.mean((0, 1))[1:] for picture, *_ in frames])
    steps = np.abs(np.diff(levels, axis=0))
    assert 0.3 < steps.max() < 2 and np.ptp(levels, axis=0).min() > 20
    assert np.abs(levels[0] - levels[-1]).max() < 2
    for picture, *_ in frames:
        assert picture.shape == (80, 120, 3) and picture[0, 0, 2] < picture[0, -1, 2] - 200


def test_clips_are_videos_drawn_scenes_and_photographs_of_one_width(tmp_path):
    cv2.imwrite(str(tmp_path / "hill.png"), np.full((90, 160, 3), 80, np.uint8))
    clips = clips_of([], "pan,tripod", [tmp_path / "hill.png"], 96, 5)
    assert [name for name, _ in clips] == ["pan", "tripod", "hill"]
    for _, frames in clips:
        shown = [(picture.shape, cut) for picture, _, cut in frames()]
        assert shown == [((54, 96, 3), number == 0) for number in range(5)]


def test_two_clips_of_one_name_are_both_measured(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "hill.png"), np.full((90, 160, 3), 80 if name == "a" else 90, np.uint8))
    clips = clips_of([], "", [tmp_path / "a" / "hill.png", tmp_path / "b" / "hill.png"], 96, 1)
    assert [int(next(iter(frames()))[0].mean()) for _, frames in clips] == [80, 90]


def test_each_frame_comes_with_both_films_and_shots_begin_alike():
    frames = [*reel.scene("pan", (64, 48), 4), *reel.scene("tripod", (64, 48), 3)]
    moments = list(reel.stylized(iter(frames), StyleRunner(StyleNetwork(TINY, 7)), make("dis")))
    assert [now.cut for now in moments] == [True, False, False, False, True, False, False]
    for now, (picture, seconds, _) in zip(moments, frames, strict=True):
        assert np.array_equal(now.source, picture) and now.seconds == seconds
        assert np.array_equal(now.film, now.against) == now.cut


def test_drift_of_a_film_is_its_slope_against_another_and_where_it_ends():
    brighter = [gray(60 + number // 5) for number in range(500)]
    moments = (
        FrameSample(number, Fraction(number, 25), number == 0, gray(50), film, gray(60))
        for number, film in enumerate(brighter)
    )
    course = followed(moments, 250, lambda: None)
    slope, away = course.slope("film", "against"), course.last_minus_first("film", "against")
    assert np.allclose(slope[:3], 20, rtol=0.01) and np.allclose(slope[3:], 0)
    assert np.allclose(away[:3], 95) and course.slope("against", "source").tolist() == [0] * 6
    assert course.apart[-1] == 99 and np.allclose(course.again, 50) and len(course.again) == 250
    assert [now.number for now in course.kept] == [24, 49, 124, 249, 499]


def test_sheet_has_the_shot_that_lasts_and_the_style_its_painting(tmp_path):
    moments = [FrameSample(number, Fraction(number, 10), number in (0, 15), gray(1), gray(2)) for number in range(40)]
    sheet = Sheet()
    assert list(sheet.watch(moments)) == moments
    assert [(seconds, now.number) for seconds, now in sheet.kept] == [(1, 25), (2, 35)]
    for name in ("wave.jpg", "wave_full.txt", "wav.png", "other.jpg"):
        (tmp_path / name).touch()
    assert painting_of(Path("wave_full.safetensors"), tmp_path) == tmp_path / "wave.jpg"
    assert painting_of(Path("scream.safetensors"), tmp_path) is None
    assert reel.sheet([[("a", gray(1)), ("b", gray(2))], [("c", gray(3))]]).shape == (
        2 * (48 + 20 + 4),
        2 * (64 + 4),
        3,
    )


def test_blind_sheet_shows_no_name_and_the_names_lie_beside_it(tmp_path):
    pictures = [(f"style{level}", gray(level)) for level in (50, 100, 150)]
    write_blind(tmp_path, {"clip": pictures}, random.Random(1))
    named = dict(line.split(": ") for line in (tmp_path / "names.txt").read_text().splitlines())
    assert sorted(named) == ["clip A", "clip B", "clip C"]
    sheet = cv2.imread(str(tmp_path / "clip.blind.png"))
    middles = [(20 + 24, 32), (20 + 24, 64 + 4 + 32), (2 * 20 + 48 + 4 + 24, 32)]  # of A, B and C
    assert [f"style{sheet[place][0]}" for place in middles] == [named[f"clip {letter}"] for letter in "ABC"]
    assert [f"style{sheet[place][0]}" for place in middles] != [name for name, _ in pictures]
