"""The cube of a 360° picture: faces as FFmpeg makes them, the way back, and what neighbors show of each other."""

import subprocess

import cv2
import numpy as np
import pytest

from fav.errors import FavError
from fav.stylize.cube import FACES, NEIGHBORS, Cube, _directions, check_sphere, stored_size
from fav.stylize.cube_recurrence import combine

CUBE = Cube((512, 256))
LOOKS = {0: (0, 0), 1: (90, 0), 2: (-90, 0), 3: (180, 0), 4: (0, 90), 5: (0, -90)}  # yaw and pitch of FFmpeg, by face


def color(directions: np.ndarray) -> np.ndarray:
    """A smooth color (..., 3) of each direction, 0 to 255."""
    x, y, z = np.moveaxis(directions / np.linalg.norm(directions, axis=-1, keepdims=True), -1, 0)
    waves = (np.sin(5 * x + 2 * y), np.sin(6 * y - z), np.cos(4 * z + 3 * x * y))
    return np.stack([127.5 + 120 * wave for wave in waves], axis=-1)


def sphere(width: int, height: int) -> np.ndarray:
    """The 360° picture of `color`."""
    longitude, latitude = np.meshgrid(
        ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi, ((np.arange(height) + 0.5) / height - 0.5) * np.pi
    )
    directions = np.dstack(
        [np.cos(latitude) * np.sin(longitude), np.sin(latitude), np.cos(latitude) * np.cos(longitude)]
    )
    return np.rint(color(directions)).astype(np.uint8)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return sphere(*CUBE.size)


@pytest.fixture(scope="module")
def atlas(picture) -> np.ndarray:
    return CUBE.to_atlas(picture)


def error(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.abs(ones.astype(float) - others.astype(float)).max(axis=-1)


def test_a_face_is_as_sharp_as_the_picture_and_reaches_beyond_its_edge():
    assert CUBE.edge == 162  # 512 / pi is 163
    assert CUBE.side % 4 == 0 and 1.19 < CUBE.reach < 1.23
    assert CUBE.atlas_size == (3 * CUBE.side, 2 * CUBE.side) == stored_size("equirectangular", CUBE.size)
    assert stored_size("flat", (640, 360)) == (640, 360)


@pytest.mark.parametrize("face", range(FACES))
def test_each_pixel_of_a_face_shows_the_color_of_its_direction(atlas, face):
    assert error(CUBE.face(atlas, face), color(_directions(CUBE, face))).max() < 1.5


@pytest.mark.parametrize("face", range(FACES))
def test_faces_are_those_of_ffmpeg(picture, atlas, face):
    yaw, pitch = LOOKS[face]
    degrees = 2 * np.degrees(np.arctan(CUBE.reach))
    view = (
        f"v360=e:flat:yaw={yaw}:pitch={pitch}:h_fov={degrees}:v_fov={degrees}:w={CUBE.side}:h={CUBE.side}:interp=linear"
    )
    words = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "512x256", "-i", "-", "-vf",
             f"format=gbrp,{view},format=rgb24", "-c:v", "png", "-f", "image2pipe", "-"]  # fmt: skip
    made = subprocess.run(words, input=picture.tobytes(), check=True, capture_output=True).stdout
    # FFmpeg 5 samples the picture up to half a pixel beside the centers of its pixels.
    theirs = cv2.imdecode(np.frombuffer(made, np.uint8), cv2.IMREAD_COLOR)
    assert error(CUBE.face(atlas, face), theirs).mean() < 3


def test_the_way_back_gives_the_picture(picture, atlas):
    back = CUBE.to_picture(atlas)
    assert back.dtype == np.uint8 and error(back, picture).max() < 4 and error(back, picture).mean() < 0.8
    fine = CUBE.to_picture(atlas.astype(np.uint16) * 257)
    assert fine.dtype == np.uint16 and error(fine / 257, back).max() <= 0.51


def test_uniform_faces_give_a_uniform_picture():
    assert np.ptp(CUBE.to_picture(np.full((*CUBE.atlas_size[::-1], 3), 77, np.uint8))) == 0


def test_the_picture_changes_from_face_to_face_without_a_step():
    faces = [np.full((CUBE.side, CUBE.side, 3), 40 * number, np.uint8) for number in range(FACES)]
    back = CUBE.to_picture(CUBE.join(faces)).astype(int)
    middle = back[CUBE.size[1] // 2]
    steps = np.abs(np.diff(np.concatenate([middle, middle[:1]]), axis=0))  # also where the picture wraps around
    assert steps.max() < 40 * 3 / 8 and steps.max() > 0


@pytest.mark.parametrize(("face", "neighbors"), list(enumerate([[], [0], [0], [1, 2], [0, 1, 2, 3], [0, 1, 2, 3]])))
def test_a_strip_shows_what_the_neighbors_see(atlas, face, neighbors):
    strip, done = CUBE.strip(face), [CUBE.face(atlas, number) for number in range(FACES)]
    assert [number for number, _ in strip.sources] == neighbors == list(NEIGHBORS[face])
    prior, reliability = combine(strip, dict(enumerate(done)), None)
    assert np.array_equal(reliability, strip.inside)
    inside = strip.inside
    if neighbors:
        assert error(prior, done[face])[inside].max() < 3
        assert 0.1 < inside.mean() < 0.8 and inside[CUBE.side // 2, CUBE.side // 2] == 0


def test_the_border_continues_the_neighbor_and_the_middle_the_frame_before(atlas):
    strip, done = CUBE.strip(3), [CUBE.face(atlas, number) for number in range(FACES)]
    before = np.full((CUBE.side, CUBE.side, 3), 9, np.float32)
    reliability = np.ones((CUBE.side, CUBE.side), np.uint8)
    reliability[: CUBE.side // 2] = 0
    prior, known = combine(strip, dict(enumerate(done)), (before, reliability))
    row, centre = CUBE.side // 2 + 20, CUBE.side // 2
    assert error(prior, done[3])[row, 0] < 3 and (prior[row, centre] == 9).all()
    assert error(prior, done[3])[4][strip.inside[4]].max() < 3  # the flow is unreliable there
    assert known[row, centre] == 1 and known[4, centre] == 0 and known[4, 0] == 1


def test_what_is_no_sphere_is_refused():
    check_sphere(4096, 2048)
    for size in ((1920, 1080), (2048, 2048), (32, 16)):
        with pytest.raises(FavError, match="twice as wide as high"):
            check_sphere(*size)
    with pytest.raises(FavError, match="360° picture"):
        CUBE.to_atlas(cv2.resize(sphere(64, 32), (60, 30)))
