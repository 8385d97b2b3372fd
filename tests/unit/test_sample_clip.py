from itertools import islice

import av
import numpy as np
import pytest

from fav.errors import FavError
from fav.synthetic.sample_clip import COAST, RATE, VALLEY, chord, coast, sample_frames, valley, write_sample

SIZE = (96, 54)


@pytest.fixture(scope="module")
def frames():
    return list(sample_frames(*SIZE))


def test_the_clip_is_four_seconds_of_frames(frames):
    assert len(frames) == COAST + VALLEY == 4 * RATE
    assert all(frame.shape == (54, 96, 3) and frame.dtype == np.uint8 for frame in frames)


def test_there_is_one_cut_and_motion_everywhere_else(frames):
    change = np.array([np.abs(a.astype(int) - b).mean() for a, b in zip(frames, frames[1:])])
    assert change.argmax() == COAST - 1
    assert change[COAST - 1] > 3 * np.delete(change, COAST - 1).max()
    assert np.delete(change, COAST - 1).min() > 0.5


def test_a_frame_depends_on_nothing_but_its_time(frames):
    assert np.array_equal(coast(*SIZE, 30 / RATE), frames[30])
    assert np.array_equal(valley(*SIZE, 7 / RATE), frames[COAST + 7])


def test_no_part_of_a_picture_is_flat():
    for frame in (coast(320, 180, 1), valley(320, 180, 1)):
        tiles = frame.reshape(6, 30, 10, 32, 3).swapaxes(1, 2).reshape(60, -1, 3)
        assert tiles.std(axis=1).max(axis=1).min() > 1.5


def test_odd_sizes_have_frames_too():
    assert next(islice(sample_frames(101, 57), 60, None)).shape == (57, 101, 3)


def test_the_chord_is_soft_and_its_sides_differ():
    sound = chord(50)
    assert sound.shape == (2, 96000) and sound.dtype == np.float32
    assert 0.1 < np.abs(sound).max() < 0.9
    assert np.abs(sound[:, :100]).max() < 0.01 and np.abs(sound[:, -100:]).max() < 0.01
    assert np.abs(sound[0] - sound[1]).max() > 0.05


def test_the_file_holds_the_frames_and_stereo_sound(frames, tmp_path):
    write_sample(tmp_path / "sample.mp4", *SIZE)
    with av.open(str(tmp_path / "sample.mp4")) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec_context.name, sound.codec_context.name, sound.channels) == ("h264", "aac", 2)
        assert picture.average_rate == RATE
        decoded = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
        assert len(decoded) == len(frames)
        assert np.abs(decoded[70].astype(int) - frames[70]).mean() < 8
        assert float(sound.duration * sound.time_base) == pytest.approx(4, abs=0.03)


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        write_sample(tmp_path / "missing" / "sample.mp4", *SIZE)
    with pytest.raises(FavError, match="expected even sides, got 101x54"):
        write_sample(tmp_path / "sample.mp4", 101, 54)
