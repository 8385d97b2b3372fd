"""What the benchmarks compare with does the same work: the procedure of 2020 paints our pictures, with our flow."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from benchmarks.clips import untrained
from benchmarks.procedure2020 import PlainSpyNet, consistency, plain_network, read_flo, write_flo
from benchmarks.stopwatch import Stopwatch
from fav.errors import FavError
from fav.flow import make
from fav.flow.consistency import reliability
from fav.flow.io import read_flo as our_read_flo
from fav.flow.spynet import SpyNet
from fav.model.checkpoints import load_style, save_style
from fav.model.network import StyleNetwork
from fav.util.images import read_image
from tests.helpers.material import material


@torch.inference_mode()
def painted(network, seen):
    return network(seen)


@pytest.fixture(scope="module")
def seen() -> torch.Tensor:
    return 60 * torch.randn(1, 7, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("height, width", [(64, 96), (62, 93), (63, 95)])
def test_plain_network_paints_what_ours_paints(seen, height, width, tmp_path):
    style = untrained(tmp_path, "half")
    seen = seen[..., :height, :width].contiguous()
    plain = 150 * painted(plain_network(style), seen)[..., :height, :width]
    torch.testing.assert_close(plain, painted(load_style(style), seen), atol=0.01, rtol=0)


def test_plain_network_refuses_what_that_program_did_not_know(tmp_path):
    save_style(StyleNetwork("c9s1-4,d8,R8,u4,c9s1-3"), tmp_path / "other.safetensors")
    with pytest.raises(FavError, match="without transposed convolutions"):
        plain_network(tmp_path / "other.safetensors")


def test_plain_spynet_finds_the_flow_that_ours_finds():
    here, there = (read_image(material(f"flow/00001_img{number}.ppm"))[:96, :160] for number in (1, 2))
    weights = material("spynet")
    with torch.no_grad():
        plain = PlainSpyNet(weights)(here, there)
    np.testing.assert_allclose(plain, SpyNet(weights)(here, there), atol=0.01)


def test_flo_files_are_those_of_middlebury(tmp_path):
    flow = np.random.default_rng(1).normal(size=(4, 6, 2)).astype(np.float32)
    write_flo(tmp_path / "a.flo", flow)
    assert np.array_equal(our_read_flo(tmp_path / "a.flo"), flow) and np.array_equal(read_flo(tmp_path / "a.flo"), flow)


def test_their_consistency_is_ours_but_for_the_edge():
    here, there = (read_image(material(f"flow/00001_img{number}.ppm")) for number in (1, 2))
    flow = make("dis")
    onward, back = flow(here, there), flow(there, here)
    theirs, ours = consistency(onward, back, here) == 255, reliability(onward, back, here, min_filter=1) == 1
    assert (theirs == ours)[2:-2, 2:-2].mean() > 0.995
    assert 0.5 < ours.mean() < 0.95


def test_a_step_within_a_step_is_not_counted_twice():
    watch = Stopwatch(iter([(0, 0), (1, 1), (3, 2), (6, 4), (10, 5)]).__next__)
    with watch.step("outer"):
        with watch.step("inner"):
            pass
    assert watch.wall == {"outer": 6, "inner": 3} and watch.cores == {"outer": 2, "inner": 2}


def test_steps_of_other_threads_are_not_counted():
    watch = Stopwatch()
    with ThreadPoolExecutor(1) as other:
        assert other.submit(watch.timed("elsewhere", lambda: 7)).result() == 7
    assert watch.wall == {}
