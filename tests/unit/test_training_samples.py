"""What is learned from: movements with exact flow and exact occlusion, holes, clips, and batches that need no replay."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from fav.errors import FavError
from fav.flow.warp import pixel_grid, warp
from fav.training.config import TrainingConfig
from fav.training.dataloader import Batches, stream
from fav.training.image_folder import open_image_folder
from fav.training.motion_fields import Motion, draw_motions, still, trace_back
from fav.training.schedule import Schedule
from fav.training.synthetic_sequences import (
    Layer,
    SyntheticSequence,
    add_noise,
    compose,
    draw_sequence,
    drop_reliability,
)
from fav.training.video_clips import ClipSampler, open_clips
from tests.helpers.clips import ffmpeg
from tests.helpers.training_material import album_of

SIDE = 48


def ramp() -> np.ndarray:
    """A picture whose blue is its column and whose green is its row, with room around the frame at (24, 24)."""
    rows, columns = np.mgrid[0:96, 0:96].astype(np.uint8)
    return np.dstack([columns, rows, np.full_like(rows, 100)])


def shift(x: float, y: float = 0) -> Motion:
    return replace(still(), offset=np.array([x, y]))


def on_ramp(motions: list[Motion]) -> SyntheticSequence:
    return compose([Layer(ramp(), np.float32([24, 24]), motions)], SIDE, len(motions))


@pytest.mark.parametrize("kind", ["shift", "zoom_out", "affine", "elastic"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_frame_is_the_one_before_warped_by_the_flow(kind, seed):
    # Seen in colors that are positions, an error of the flow of half a pixel would be half a level.
    motions = [motion.scaled(0.4) for motion in draw_motions(kind, np.random.default_rng(seed), SIDE, 3)]
    sequence = on_ramp(motions)
    for before, now, flow, trust in zip(sequence.frames, sequence.frames[1:], sequence.flow, sequence.reliability):
        assert trust.mean() > 0.6
        misses = np.abs(warp(before.astype(np.float32), flow) - now)[trust > 0]
        assert (
            misses.max() <= 1.1 and misses.mean() < 0.5
        )  # two roundings to levels, and 1/32 pixel of OpenCV's cubic table


def test_a_flow_of_three_to_the_right_fetches_from_there_and_not_from_outside():
    sequence = on_ramp([shift(3)])
    assert (sequence.flow[0] == (3, 0)).all()
    assert np.array_equal(sequence.frames[1][:, :-3], sequence.frames[0][:, 3:])
    assert sequence.reliability[0][:, :-3].all() and not sequence.reliability[0][:, -3:].any()


def test_what_an_object_uncovers_is_unreliable_and_nothing_else():
    background = Layer(np.full((SIDE, SIDE, 3), 50, np.uint8), np.zeros(2, np.float32), [still()])
    square = Layer(np.full((8, 8, 3), 200, np.uint8), np.float32([-10, -20]), [shift(-2)], np.ones((8, 8), np.float32))
    sequence = compose([background, square], SIDE, 1)
    expected = np.full((2, SIDE, SIDE), 50, np.uint8)
    expected[0, 20:28, 10:18] = expected[1, 20:28, 12:20] = 200  # things that come from 2 to the left move to the right
    assert np.array_equal(sequence.frames, np.repeat(expected[..., None], 3, -1))
    flow, trust = np.zeros((SIDE, SIDE, 2)), np.ones((SIDE, SIDE))
    flow[20:28, 12:20] = (-2, 0)
    trust[20:28, 10:12] = 0
    assert np.array_equal(sequence.flow[0], flow) and np.array_equal(sequence.reliability[0], trust)


def test_an_object_behind_another_is_unreliable_where_it_comes_out():
    background = Layer(np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros(2, np.float32), [still()])
    moving = Layer(np.full((8, 20, 3), 90, np.uint8), np.float32([-10, -20]), [shift(-4)], np.ones((8, 20), np.float32))
    front = Layer(np.full((8, 8, 3), 200, np.uint8), np.float32([-26, -20]), [still()], np.ones((8, 8), np.float32))
    sequence = compose([background, moving, front], SIDE, 1)
    row = sequence.reliability[0][24]
    assert np.flatnonzero(row == 0).tolist() == [10, 11, 12, 13]  # left behind by the moving one
    back = compose([background, replace(moving, motions=[shift(-12)]), front], SIDE, 1)
    # Its right end was at 30; now it is at 42, and what is right of the front (34 on) was behind it or was background then.
    assert np.flatnonzero(back.reliability[0][24] == 0).tolist() == [*range(10, 22), *range(38, 42)]


def test_origins_lead_back_through_all_steps():
    turn = replace(still(), matrix=np.array([[0, -0.1], [0.1, 0]]), center=np.array([5.0, 5.0]))
    point = np.float32([[6, 5]])
    once = point + turn.flow(point)
    np.testing.assert_allclose(once, [[6, 5.1]], atol=1e-6)
    np.testing.assert_allclose(trace_back([shift(3), turn], point), once + (3, 0), atol=1e-6)
    assert not still().flow(pixel_grid(4, 4)).any()


def test_holes_never_make_anything_reliable():
    trust = np.ones((64, 64), np.uint8)
    trust[:, :20] = 0
    tears = [drop_reliability(trust, np.random.default_rng(seed)) for seed in range(60)]
    assert all((tear <= trust).all() for tear in tears) and trust[:, 20:].all()
    assert 0.1 < np.mean([tear[:, 20:].mean() for tear in tears]) < 0.95
    assert any(not tear.any() for tear in tears) and len({tear.tobytes() for tear in tears}) > 30


def test_light_and_noise_change_the_frames_alone():
    sequence = on_ramp([still()] * 4)
    changed = [add_noise(sequence, np.random.default_rng(seed)) for seed in range(8)]
    for one in changed:
        assert np.array_equal(one.flow, sequence.flow) and np.array_equal(one.reliability, sequence.reliability)
    differences = [np.abs(one.frames.astype(int) - sequence.frames).mean() for one in changed]
    assert 0.5 < max(differences) < 12


def test_every_kind_of_still_has_as_many_steps_as_asked(photos):
    pictures = album_of(photos).photos
    for kind in ("single_image", "shift", "zoom_out", "affine", "elastic"):
        for steps in (0, 2):
            sequence = draw_sequence(kind, pictures, np.random.default_rng(3), 32, steps)
            assert sequence.frames.shape == (steps + 1, 32, 32, 3) and sequence.frames.dtype == np.uint8
            assert sequence.flow.shape == (steps, 32, 32, 2) and sequence.reliability.shape == (steps, 32, 32)
            assert sequence.flow.dtype == np.float32 and sequence.reliability.dtype == np.uint8


def test_a_batch_is_a_function_of_seed_and_iteration_whoever_makes_it(photos):
    config = TrainingConfig("s", mix="affine:1,elastic:1,single_image:1", steps="0:2", crop=32, batch=2)
    batches = Batches(config, album_of(photos).photos, [])
    schedule = Schedule(config)
    here = list(stream(batches, schedule.orders(0, 5), 0))
    there = [*stream(batches, schedule.orders(0, 2), 0), *stream(batches, schedule.orders(2, 5), 2)]
    assert all(torch.equal(a, b) for one, two in zip(here, there, strict=True) for a, b in zip(one, two))
    again = Batches(replace(config, seed=1), batches.photos, [])[schedule.order(0)]
    assert not torch.equal(again.frames[0], here[0].frames[0])
    shapes = {tuple(map(len, batch)) for batch in here}
    assert shapes <= {(1, 0, 0), (3, 2, 2)} and len(shapes) == 2
    assert here[0].frames.shape[1:] == (2, 3, 32, 32)


@pytest.mark.slow
def test_a_photograph_that_vanishes_is_one_line_from_a_worker_too(photos):
    album = album_of(photos)
    config = TrainingConfig("s", mix="shift:1", crop=32, batch=2)
    batches = Batches(config, album.photos, [])
    for path in photos.iterdir():
        path.unlink()
    with pytest.raises(FavError, match=r"image .*\.png: No such file") as error:
        list(stream(batches, Schedule(config).orders(0, 2), 1))
    assert "\n" not in str(error.value)


def test_photographs_that_cannot_be_read_or_are_too_small_are_named(photos):
    (photos / "text.jpg").write_text("no picture")
    (photos / "empty.png").touch()
    cv2.imwrite(str(photos / "tiny.png"), np.zeros((9, 9, 3), np.uint8))
    (photos / "notes.txt").write_text("not looked at")
    album = open_image_folder(photos, 64)
    assert album.notes == ["not readable, left out: empty.png, text.jpg", "smaller than 32 pixels, left out: tiny.png"]
    assert len(album.photos) + len(album.held_out) == 24 and len(album.held_out) == 2
    assert not {photo.path for photo in album.photos} & {photo.path for photo in album.held_out}
    with pytest.raises(FavError, match="expected at least 20 photographs to learn from, got 0"):
        open_image_folder(photos, 400)


def test_sequences_of_a_clip_have_the_flow_of_the_film(tmp_path):
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (96, 200, 3), np.uint8), (0, 0), 2)
    for number in range(9):  # the picture moves 2 to the left a frame, so things come from the right
        cv2.imwrite(str(tmp_path / f"f{number:02d}.png"), picture[:, 2 * number : 2 * number + 128])
    ffmpeg("-i", tmp_path / "f%02d.png", "-crf", "8", tmp_path / "clip.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    clips, digest, notes = open_clips(tmp_path, 3)
    assert [clip.path.name for clip in clips] == ["clip.mp4"] and clips[0].shots == [(0, 9)]
    assert len(notes) == 1 and notes[0].startswith("text.mp4: not readable")
    sequence = ClipSampler(clips).draw(np.random.default_rng(5), 64, 3)
    assert sequence.frames.shape == (4, 64, 64, 3) and sequence.flow.shape == (3, 64, 64, 2)
    trusted = sequence.reliability > 0
    assert trusted.mean() > 0.5
    across = np.median(np.abs(sequence.flow[..., 0][trusted]))
    assert 1.2 < across < 9 and np.median(np.abs(sequence.flow[..., 1][trusted])) < 0.3
    misses = [
        np.abs(warp(a.astype(np.float32), flow) - b)[trust > 0].mean()
        for a, b, flow, trust in zip(sequence.frames, sequence.frames[1:], sequence.flow, sequence.reliability)
    ]
    assert max(misses) < 4
    again = ClipSampler(clips).draw(np.random.default_rng(5), 64, 3)
    assert np.array_equal(again.frames, sequence.frames) and np.array_equal(again.flow, sequence.flow)
    with pytest.raises(FavError, match="expected clips with a shot of more than 9 frames"):
        open_clips(tmp_path, 9)
