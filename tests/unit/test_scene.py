"""The test scene: what it says of itself is true."""

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from fav.cli.tools import main
from fav.errors import FavError
from fav.flow import make
from fav.flow.consistency import reliability
from fav.flow.io import read_flo
from fav.flow.warp import warp
from fav.synthetic.motions import MOTIONS
from fav.synthetic.scene import EDGE, HIDDEN, RELIABLE, Scene, truth, view, write_scene
from fav.util.images import read_image
from fav.video.shot_detection import CutDetector, read_cuts
from tests.helpers.commands import refused

SIZE = dict(width=320, height=180)


def pair(motion: str, number: int = 10, **size):
    scene = Scene(**(size or SIZE), motion=motion, frames=40)
    here, there = view(scene, number), view(scene, number - 1)
    return here, there, truth(here, there)


def missed(here, there, flow) -> np.ndarray:
    """How far the frame before, fetched along the flow, differs; (H, W), the mean over the colors, gray levels."""
    return np.abs(warp(there.image.astype(np.float32), flow) - here.image).mean(-1)


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("number", [10, 30])
def test_frame_before_fetched_along_the_flow_is_the_frame(motion, number):
    # The rest is bilinear interpolation of a texture whose finest blobs are 4 pixels wide.
    here, there, known = pair(motion, number)
    error = missed(here, there, known.flow)
    sure = error[known.seen == RELIABLE]
    assert sure.mean() < 1 and np.percentile(sure, 99.9) < 8
    assert (known.seen == RELIABLE).mean() > 0.85
    assert error[known.seen == HIDDEN].mean() > 10 * sure.mean()


def test_still_camera_sees_a_still_background():
    here, there, known = pair("tripod")
    behind = (here.layer == 0) & (known.seen == RELIABLE)
    assert behind.any() and not known.flow[behind].any()
    assert np.array_equal(here.image[behind], there.image[behind])
    assert known.flow[here.layer > 2].any()


def test_things_move_as_the_formula_says():
    # 320x180 is half of 640x360: a camera that travels 1.5 a frame to the left sees the far plane move right by 0.75
    # pixels, so that it was 0.75 further left before; the ridge, nearer, moves 1.7 times as much.
    here, _, known = pair("pan", number=10)
    side = known.flow[here.layer == 0][0]
    assert abs(side[0]) == 0.75 and side[1] == 0
    assert (known.flow[here.layer == 0] == side).all()
    assert np.allclose(known.flow[here.layer == 2], 1.7 * side, atol=1e-5)
    after_the_cut = pair("pan", number=30)
    assert (after_the_cut[2].flow[after_the_cut[0].layer == 0] == -side).all()


def test_what_leaves_the_picture_or_is_covered_is_hidden():
    here, there, known = pair("fast")
    height, width = here.layer.shape
    y, x = np.mgrid[:height, :width]
    at = x + known.flow[..., 0], y + known.flow[..., 1]
    outside = (at[0] < 0) | (at[0] > width - 1) | (at[1] < 0) | (at[1] > height - 1)
    assert outside.any() and (known.seen[outside] == HIDDEN).all()
    # A pixel of the background is hidden if a nearer layer is where it was.
    inside = ~outside & here.solid & (here.layer == 0)
    row, column = np.rint(at[1][inside]).astype(int), np.rint(at[0][inside]).astype(int)
    covered = there.layer[row, column] > 0
    assert covered.any() and np.array_equal(covered, known.seen[inside] == HIDDEN)


def test_mixed_pixels_are_called_edges_or_hidden():
    here, there, known = pair("tripod")
    assert 0 < (known.seen == EDGE).mean() < 0.05
    assert (known.seen[~here.solid] != RELIABLE).all()


def test_a_frame_depends_on_nothing_but_its_number_and_motions_differ():
    scene = Scene(**SIZE, motion="handheld", frames=40)
    assert np.array_equal(view(scene, 7).image, view(scene, 7).image)
    assert len({view(Scene(**SIZE, motion=motion), 7).image.tobytes() for motion in MOTIONS}) == len(MOTIONS)


@pytest.mark.parametrize("motion", MOTIONS)
def test_its_one_cut_is_found_where_it_is(motion):
    detector = CutDetector()
    scene = Scene(**SIZE, motion=motion, frames=14)
    assert (
        [cut for number in range(14) for cut in detector.push(number, view(scene, number).image)] == [7] == [scene.cut]
    )
    assert Scene(**SIZE, frames=11).cut is None


def test_texture_has_detail_everywhere():
    for number in (0, 20):
        luma = cv2.cvtColor(view(Scene(**SIZE, frames=40), number).image, cv2.COLOR_BGR2GRAY)
        tiles = luma.reshape(9, 20, 16, 20).swapaxes(1, 2).reshape(144, -1)
        assert tiles.std(axis=1).min() > 3


@pytest.mark.parametrize("size", [(101, 57), (48, 48), (64, 200)])
def test_any_size_has_its_truth(size):
    here, there, known = pair("zoom", width=size[0], height=size[1])
    assert known.flow.shape == (size[1], size[0], 2) and here.image.shape == (size[1], size[0], 3)
    assert missed(here, there, known.flow)[known.seen == RELIABLE].mean() < 1.5


def test_files_say_what_the_functions_say(tmp_path):
    scene = Scene(96, 54, "pan", frames=12)
    write_scene(tmp_path, scene)
    assert len(list(tmp_path.glob("frame_*.png"))) == 12
    assert read_cuts(tmp_path / "cuts.csv", 12) == (6,)
    there = {int(file.stem[-4:]) for file in tmp_path.glob("flow_bwd_*.flo")}
    assert there == set(range(12)) - {0, 6} == {int(file.stem[-4:]) for file in tmp_path.glob("reliability_*.png")}
    known = truth(view(scene, 8), view(scene, 7))
    assert np.array_equal(read_image(tmp_path / "frame_0008.png"), view(scene, 8).image)
    assert np.array_equal(read_flo(tmp_path / "flow_bwd_0008.flo"), known.flow)
    assert np.array_equal(cv2.imread(str(tmp_path / "reliability_0008.png"), cv2.IMREAD_GRAYSCALE), known.seen)


def test_what_is_no_scene_is_refused():
    with pytest.raises(FavError, match="expected a motion of tripod"):
        Scene(motion="dance")
    with pytest.raises(FavError, match="sides of 48 pixels or more"):
        Scene(width=40)
    with pytest.raises(FavError, match="one shot"):
        truth(view(Scene(**SIZE, frames=12), 6), view(Scene(**SIZE, frames=12), 5))


@pytest.mark.parametrize("motion", ["pan", "handheld", "zoom"])
def test_consistency_check_is_right_on_the_scene(motion):
    here, there, known = pair(motion)
    flow = make("dis")
    flow_bwd = flow(here.image, there.image)
    found = reliability(flow_bwd, flow(there.image, here.image), here.image) == 1
    visible, hidden = known.seen == RELIABLE, known.seen == HIDDEN
    assert np.linalg.norm(flow_bwd - known.flow, axis=-1)[visible].mean() < 0.2
    assert found[visible].mean() > 0.93
    assert visible[found & (visible | hidden)].mean() > 0.99


def test_command_makes_a_scene_whole_or_not_at_all(tmp_path):
    def sample(*words):
        return CliRunner().invoke(main, ["sample", *map(str, words)])

    out = tmp_path / "scene"
    result = sample("--truth", out, "--motion", "fast", "--frames", 12, "--size", "96x54")
    assert result.exit_code == 0, result.output
    assert np.array_equal(read_image(out / "frame_0003.png"), view(Scene(96, 54, "fast", 12), 3).image)
    assert [path.name for path in tmp_path.iterdir()] == ["scene"]
    refused(sample("--truth", out), "scene", "expected a new name")
    refused(sample("--truth", tmp_path / "small", "--size", "16x16"), "48 pixels")
    refused(sample(tmp_path / "clip.mp4", "--motion", "pan"), "--motion", "--truth")
    assert sample("--truth", tmp_path / "small", "--size", "16").exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["scene"]
