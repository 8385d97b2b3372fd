"""`fav mask`: a mask that is drawn on one frame follows what it covers, through its shot."""

import cv2
import numpy as np
import pytest

from fav.cli.tools import main
from fav.flow.carry import carry, drawn, fill
from tests.helpers.clips import ffmpeg
from tests.helpers.commands import call, refused

HEIGHT, WIDTH, FRAMES, CUT = 96, 160, 16, 10


def texture(seed: int, shape) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 2).astype(float)
    return ((blurred - blurred.min()) / np.ptp(blurred) * 255).astype(np.uint8)


def square(number: int) -> tuple[slice, slice]:
    """Where the moving square of a frame is."""
    return slice(30, 70), slice(20 + 4 * number, 60 + 4 * number)


def frame(number: int) -> np.ndarray:
    """A square that moves 4 pixels a frame over a still background; another picture from CUT on."""
    if number >= CUT:
        return 255 - texture(3, (HEIGHT, WIDTH)) // 2
    image = texture(1, (HEIGHT, WIDTH)) // 2
    image[square(number)] = 128 + texture(2, (40, 40)) // 2
    return image


def mask(number: int) -> np.ndarray:
    levels = np.zeros((HEIGHT, WIDTH), np.uint8)
    levels[square(number)] = 255
    return levels


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    directory = tmp_path_factory.mktemp("moving")
    for number in range(FRAMES):
        cv2.imwrite(str(directory / f"frame_{number:03d}.png"), frame(number))
    video = directory / "moving.mkv"
    ffmpeg("-framerate", 25, "-i", directory / "frame_%03d.png", "-c:v", "ffv1", video)
    return video


@pytest.fixture(scope="module")
def middle(tmp_path_factory):
    path = tmp_path_factory.mktemp("drawn") / "mask.png"
    cv2.imwrite(str(path), mask(4))
    return path


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return np.sum((a > 127) & (b > 127)) / np.sum((a > 127) | (b > 127))


def test_mask_follows_the_square_to_both_ends_of_its_shot_and_not_further(video, middle, tmp_path):
    result = call(main, "mask", video, middle, tmp_path / "out", "--at", "4f", "--threads", 1)
    assert result.exit_code == 0 and "frames 0 to 9 have the mask that was drawn on frame 4" in result.output, (
        result.output
    )
    masks = [cv2.imread(str(tmp_path / f"out/mask_{n:06d}.png"), cv2.IMREAD_UNCHANGED) for n in range(FRAMES)]
    assert {each.shape for each in masks} == {(HEIGHT, WIDTH)}
    assert np.array_equal(masks[4], mask(4))
    assert min(overlap(masks[number], mask(number)) for number in range(CUT)) > 0.9
    assert not any(each.any() for each in masks[CUT:])
    assert cv2.imread(str(tmp_path / "out/sheet.png")).shape[1] > 3 * 320
    again = call(main, "mask", video, middle, tmp_path / "again", "--at", "0.16", "--threads", 1)
    assert again.exit_code == 0
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_each_frame_has_the_mask_of_the_nearest_drawn_frame_of_its_shot(video, middle, tmp_path):
    for number in (9, 12):
        cv2.imwrite(str(tmp_path / f"{number}.png"), mask(number))
    also = ["--also", f"9f:{tmp_path / '9.png'}", "--also", f"0.48:{tmp_path / '12.png'}"]
    result = call(main, "mask", video, middle, tmp_path / "out", "--at", "4f", *also)
    told = [line for line in result.output.splitlines() if line.startswith("frames ")]
    assert told == [
        f"frames {part} have the mask that was drawn on frame {at}"
        for part, at in (("0 to 6", 4), ("7 to 9", 9), ("10 to 15", 12))
    ]
    drawn_there = {n: cv2.imread(str(tmp_path / f"out/mask_{n:06d}.png"), cv2.IMREAD_UNCHANGED) for n in range(FRAMES)}
    assert all(np.array_equal(drawn_there[number], mask(number)) for number in (4, 9, 12))
    assert min(overlap(drawn_there[number], mask(number)) for number in range(CUT)) > 0.95
    assert all(overlap(drawn_there[number], mask(12)) > 0.99 for number in range(CUT, FRAMES)), "nothing moves there"
    twice = call(main, "mask", video, middle, tmp_path / "new", "--at", "4f", "--also", f"4f:{middle}")
    assert twice.exit_code == 2 and "got two for one frame" in twice.output.splitlines()[-1], twice.output
    assert not (tmp_path / "new").exists()


def test_mask_is_taken_for_a_film(video, middle, style, tmp_path):
    assert call(main, "mask", video, middle, tmp_path / "out", "--at", "4f").exit_code == 0
    words = ["--mask", tmp_path / "out/mask_%06d.png", "--frames", 2]
    film = call(main, "stylize", video, style, tmp_path / "film.mp4", *words)
    assert film.exit_code == 0, film.output


def test_still_picture_keeps_its_mask_exactly():
    image, levels = texture(5, (48, 64)), (np.arange(64, dtype=np.uint8) * 4)[None].repeat(48, 0)
    still = lambda a, b: np.zeros((*a.shape[:2], 2), np.float32)
    start = drawn(levels)
    carried = carry(still, start, image, start, (image, image))
    assert np.array_equal(carried.mask, levels) and carried.followed == 1


def test_what_appears_gets_the_mask_of_what_has_its_color():
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 30:] = (200, 120, 40)  # two colors; the gap lies across their border
    levels = np.where(np.arange(64) < 30, 255, 10).astype(np.uint8)[None].repeat(48, 0)
    gap = np.ones((48, 64), bool)
    gap[10:40, 20:44] = False
    filled = fill(np.where(gap, levels, 128).astype(np.uint8), gap, image)
    away = np.abs(np.arange(64) - 29.5) > 3  # the frame is smoothed a little where its colors meet
    assert np.array_equal(filled[:, away], levels[:, away])
    alone = fill(levels, np.zeros_like(gap), image)
    assert np.array_equal(alone, levels), "where nothing is known, the frame before decides"


@pytest.mark.parametrize(
    "words, complaint",
    [
        (("--at", "99f"), "expected a frame below 16"),
        (("--at", "40"), "expected at most 0.6"),
    ],
)
def test_moments_outside_of_the_video_are_refused_and_leave_nothing(video, middle, tmp_path, words, complaint):
    result = call(main, "mask", video, middle, tmp_path / "out", *words)
    assert result.exit_code == 2 and complaint in result.output.splitlines()[-1], result.output
    assert not (tmp_path / "out").exists()


def test_masks_and_places_that_cannot_be_are_refused(video, middle, tmp_path):
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((9, 9), np.uint8))
    refused(call(main, "mask", video, tmp_path / "black.png", tmp_path / "out"), "got one gray level everywhere")
    refused(call(main, "mask", video, tmp_path / "none.png", tmp_path / "out"), "none.png")
    refused(call(main, "mask", tmp_path / "none.mp4", middle, tmp_path / "out"), "none.mp4")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").touch()
    refused(call(main, "mask", video, middle, tmp_path / "out"), str(tmp_path / "out"))
    result = call(main, "mask", video, middle, tmp_path / "new", "--at", "soon")
    assert result.exit_code == 2 and "expected seconds like 12.5, or a frame like 120f" in result.output
