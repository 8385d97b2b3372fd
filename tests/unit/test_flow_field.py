"""How a frame hangs on one that is further away than the one before it."""

import numpy as np
import pytest

from fav.flow import make
from fav.flow.field import FlowField, compose, estimate, estimate_long_range
from fav.synthetic.scene import HIDDEN, RELIABLE, Scene, truth, view

SIZE = 20, 30


def shift(x: float, y: float, *, lost: tuple[int, int] | None = None) -> FlowField:
    """Everything by (x, y), reliable but for one pixel (row, column)."""
    reliable = np.ones(SIZE, np.uint8)
    if lost:
        reliable[lost] = 0
    return FlowField(np.full((*SIZE, 2), (x, y), np.float32), reliable)


def test_steps_add_up():
    sum_of = compose([shift(2, 0), shift(3, -1), shift(0, 0.5)])
    assert np.array_equal(sum_of.flow, shift(5, -0.5).flow) and sum_of.reliability.all()


def test_one_step_is_itself():
    step = shift(2, 1, lost=(3, 4))
    assert compose([step]) is step


def test_pixel_is_reliable_only_where_every_step_is():
    # 5 to the right, then what lies at (row 7, column 15) is lost: it was fetched for column 10.
    found = compose([shift(5, 0), shift(1, 0, lost=(7, 15))]).reliability
    assert found[7, 10] == 0 and found.sum() == found.size - 1
    # Half a pixel further both neighbours have weight.
    found = compose([shift(5.5, 0), shift(1, 0, lost=(7, 15))]).reliability
    assert np.array_equal(np.argwhere(found == 0), [(7, 9), (7, 10)])


def test_a_turning_picture_is_followed_around():
    # Four quarter turns about the middle of a square: everything is where it was.
    side = 21
    y, x = np.mgrid[:side, :side].astype(np.float32) - side // 2
    quarter = FlowField(np.dstack([-y - x, x - y]).astype(np.float32), np.ones((side, side), np.uint8))
    around = compose([quarter] * 4)
    assert np.array_equal(around.flow, np.zeros_like(around.flow)) and around.reliability.all()


@pytest.mark.parametrize("motion", ["pan", "fast"])
def test_flow_over_many_frames_is_right_where_it_is_called_reliable(motion):
    flow, scene = make("dis"), Scene(320, 180, motion, frames=1)
    views = [view(scene, number) for number in range(13)]
    images = [seen.image for seen in views]
    steps = [estimate(flow, here, there) for there, here in zip(images, images[1:])]
    found, known = estimate_long_range(flow, images[-1], images[0], steps[::-1]), truth(views[-1], views[0])
    trusted = found.reliability == 1
    error = np.linalg.norm(found.flow - known.flow, axis=-1)
    assert np.median(error[trusted]) < 0.2 and (error[trusted] < 1).mean() > 0.9
    assert (known.seen[trusted] == HIDDEN).mean() < 0.02
    assert trusted[known.seen == RELIABLE].mean() > (0.7 if motion == "pan" else 0.3)
    # By itself, flow over so many frames has lost its way where things move fast, and does not know it.
    straight = estimate(flow, images[-1], images[0])
    if motion == "fast":
        assert np.linalg.norm(straight.flow - known.flow, axis=-1)[straight.reliability == 1].mean() > 20
