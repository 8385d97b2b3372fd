import struct
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fav.errors import FavError
from fav.flow import make
from fav.flow.consistency import reliability
from fav.flow.io import decode_flow, encode_flow, flow_picture, quantized, read_flo, write_flo
from fav.flow.warp import warp
from fav.model.checkpoints import load_style
from fav.model.runner import StyleRunner
from fav.synthetic.sample_clip import sample_frames
from fav.util.images import decode_png, encode_png, png_text
from tests.helpers.material import material
from tests.helpers.networks import BUNDLED

RNG = np.random.default_rng(2)
FLOW = RNG.normal(0, 12, (17, 23, 2)).astype(np.float32)
RELIABLE = RNG.integers(0, 2, (17, 23), np.uint8)
FLOWS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(2)),
    elements=st.floats(-(2.0**40), 2.0**40, width=32),
)


@settings(deadline=None, max_examples=200)
@given(FLOWS)
def test_flow_that_travelled_is_flow_that_stayed_bit_by_bit(flow):
    reliability = (np.arange(flow[..., 0].size) % 2).astype(np.uint8).reshape(flow.shape[:2])
    back, back_reliability = decode_flow(encode_flow(flow, reliability))
    assert back.dtype == np.float32 and back.tobytes() == quantized(flow).tobytes()
    assert back_reliability.dtype == np.uint8 and np.array_equal(back_reliability, reliability)


@settings(deadline=None, max_examples=200)
@given(FLOWS)
def test_rounding_twice_changes_nothing(flow):
    once = quantized(flow)
    assert quantized(once).tobytes() == once.tobytes()


@pytest.mark.parametrize(
    "longest, error",
    [(0.3, 1 / 512), (127.9, 1 / 512), (128.0, 1 / 256), (255.9, 1 / 256), (256.0, 1 / 128), (5000.0, 1 / 8)],
)
def test_the_error_follows_the_longest_motion(longest, error):
    flow = np.clip(FLOW / 40, -0.9, 0.9) * np.float32(longest)
    flow[3, 4] = longest, -longest
    assert error / 2 < np.abs(quantized(flow) - flow).max() <= error


def test_rounding_moves_a_warped_picture_by_at_most_one_gray_level():
    noise = RNG.integers(0, 256, (60, 80, 3), np.uint8)
    flow = RNG.normal(0, 3, (60, 80, 2)).astype(np.float32)
    assert np.abs(warp(noise, flow).astype(int) - warp(noise, quantized(flow))).max() <= 1


def test_the_layout_is_kittis():
    flow = np.float32([[[1.5, -2.25]]])
    blue, green, red = decode_png(encode_flow(flow, np.uint8([[1]])))[0, 0]
    assert (red, green, blue) == (2**15 + 384, 2**15 - 576, 1)


def test_words_travel_with_the_flow():
    assert png_text(encode_flow(FLOW, RELIABLE, {"node": "a"}))["node"] == "a"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_flow_that_is_not_finite_is_an_error(bad, tmp_path):
    flow = FLOW.copy()
    flow[0, 0, 1] = bad
    for use in (
        quantized,
        flow_picture,
        lambda flow: encode_flow(flow, RELIABLE),
        lambda flow: write_flo(tmp_path / "a.flo", flow),
    ):
        with pytest.raises(FavError, match="expected finite values, got 1 that are not"):
            use(flow)


def test_flow_of_another_layout_is_an_error():
    with pytest.raises(FavError, match=r"expected \(H, W, 2\) float32, got \(2, 17, 23\) float64"):
        quantized(FLOW.transpose(2, 0, 1).astype(np.float64))


@pytest.mark.parametrize(
    "reliability", [RELIABLE.T, RELIABLE * 255, RELIABLE.astype(np.float32)], ids=["turned", "0 and 255", "float"]
)
def test_reliability_of_another_kind_is_an_error(reliability):
    with pytest.raises(FavError, match=r"reliability: expected \(17, 23\) uint8 of 0 and 1"):
        encode_flow(FLOW, np.ascontiguousarray(reliability))


def test_a_picture_is_not_taken_for_flow():
    with pytest.raises(FavError, match="flow: expected a 16-bit PNG"):
        decode_flow(encode_png(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(FavError, match="^PNG"):
        decode_flow(encode_flow(FLOW, RELIABLE)[:-20])


def test_a_flo_file_comes_back_as_it_was(tmp_path):
    write_flo(tmp_path / "a.flo", FLOW)
    assert np.array_equal(read_flo(tmp_path / "a.flo"), FLOW)
    assert (tmp_path / "a.flo").read_bytes()[:12] == b"PIEH" + struct.pack("<ii", 23, 17)


def test_a_real_flo_file_is_read_and_written_alike(tmp_path):
    path = material("flow/00001_flow.flo")
    flow = read_flo(path)
    assert flow.shape == (384, 512, 2)
    write_flo(tmp_path / "a.flo", flow)
    assert (tmp_path / "a.flo").read_bytes() == path.read_bytes()


def test_damaged_flo_files_are_named(tmp_path):
    path = tmp_path / "a.flo"
    write_flo(path, FLOW)
    whole = path.read_bytes()
    for data, complaint in (
        (b"", "got b''"),
        (b"PIEX" + whole[4:], "got b'PIEX'"),
        (whole[:-1], "expected 3140 bytes for 23x17, got 3139"),
        (whole + b"0", "got 3141"),
        (whole[:4] + struct.pack("<ii", -23, -17) + whole[12:], "-23x-17"),
    ):
        path.write_bytes(data)
        with pytest.raises(FavError, match="a.flo: expected") as error:
            read_flo(path)
        assert complaint in str(error.value)
    with pytest.raises(FavError, match="missing.flo: No such file"):
        read_flo(tmp_path / "missing.flo")


def test_the_color_wheel_shows_right_red_down_yellow_and_rest_white():
    right, down, rest, half = flow_picture(np.float32([[[4, 0], [0, 4], [0, 0], [2, 0]]]))[0].tolist()
    assert right == [0, 0, 255]
    assert down[2] == 255 and down[1] > 220 and down[0] == 0
    assert rest == [255, 255, 255]
    assert half == [127, 127, 255]


def test_pictures_of_flow_can_share_one_scale():
    flow = np.float32([[[4, 0], [0, 4]]])
    assert flow_picture(flow, longest=8)[0, 0].tolist() == [127, 127, 255]
    assert flow_picture(flow, longest=2)[0, 0].tolist() == [0, 0, 191]
    assert (flow_picture(np.zeros((3, 3, 2), np.float32)) == 255).all()


def test_rounding_moves_a_stylized_picture_by_at_most_one_gray_level():
    frames = list(islice(sample_frames(160, 90), 3))
    flow, runner = make("dis"), StyleRunner(load_style(BUNDLED, in_channels=7))
    prior = runner.stylize(frames[0])
    for before, frame in zip(frames, frames[1:]):
        flow_bwd, flow_fwd = flow(frame, before), flow(before, frame)
        reliable = reliability(flow_bwd, flow_fwd, frame)
        exact = runner.stylize(frame, warp(prior, flow_bwd), reliable)
        rounded = runner.stylize(frame, warp(prior, quantized(flow_bwd)), reliable)
        assert np.abs(exact.astype(int) - rounded).max() <= 1
        prior = exact
