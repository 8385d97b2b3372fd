"""SPyNet is the network of its authors: the pyramid, the weight sets, and the fast convolutions behind it."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from fav import flow as flows
from fav.errors import FavError
from fav.flow import spynet, toom_cook
from fav.flow.toom_cook import ToomCookChain
from fav.model.torch7 import TorchObject
from fav.pipeline.import_inputs import files_of
from fav.util.fingerprint import hash_of
from fav.util.images import read_image
from tests.helpers.material import DATA
from tests.helpers.networks import make_tiny_spynet
from tests.helpers.torch7_writer import save, sequence

SIZES = [(24, 30), (60, 41), (128, 100), (200, 260), (90, 400), (64, 520)]
LARGE = [(436, 1024), (720, 1280)]


def reference(weights: dict[str, torch.Tensor], first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The flow as the paper and the authors' easyComputeFlow describe it, in plain functions of PyTorch.

    Sides are scaled up to multiples of 32. The network of level k adds to twice the enlarged flow of level k-1. It sees the
    first frame, the second fetched along that flow (clamped at the border), and the flow. Level 1 has sides of at most 32
    pixels, but there are no more than 6 levels.
    """
    height, width = first.shape[:2]
    tall, wide = -(-height // 32) * 32, -(-width // 32) * 32
    levels = 1
    while levels < 6 and max(tall, wide) > 32 * 2 ** (levels - 1):
        levels += 1

    def prepared(frame):
        rgb = torch.tensor(frame[:, :, [2, 1, 0]].transpose(2, 0, 1).copy()).double() / 255
        mean, std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        rgb = (rgb - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        return F.interpolate(rgb[None].float(), (tall, wide), mode="bilinear", align_corners=False)

    def at(level, picture):
        for _ in range(levels - level):
            picture = F.avg_pool2d(picture, 2)
        return picture

    def fetched(picture, flow):
        rows, columns = picture.shape[2:]
        x = (torch.arange(columns).float() + flow[0, 0]).clamp(0, columns - 1)
        y = (torch.arange(rows).float()[:, None] + flow[0, 1]).clamp(0, rows - 1)
        left, top = x.floor().long(), y.floor().long()
        right, below = (left + 1).clamp(max=columns - 1), (top + 1).clamp(max=rows - 1)
        part_x, part_y = x - left, y - top
        upper = picture[0][:, top, left] * (1 - part_x) + picture[0][:, top, right] * part_x
        lower = picture[0][:, below, left] * (1 - part_x) + picture[0][:, below, right] * part_x
        return (upper * (1 - part_y) + lower * part_y)[None]

    one, two = prepared(first), prepared(second)
    flow = torch.zeros(1, 2, *at(1, one).shape[2:])
    for level in range(1, levels + 1):
        here, there = at(level, one), at(level, two)
        if level > 1:
            flow = 2 * F.interpolate(flow, here.shape[2:], mode="bilinear", align_corners=True)
        x = torch.cat([here, fetched(there, flow), flow], 1)
        for layer in (0, 2, 4, 6, 8):
            name = f"netBasic.{level - 1}.netBasic.{layer}"
            x = F.conv2d(F.relu(x) if layer else x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=3)
        flow = flow + x
    flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
    return (flow[0] * torch.tensor([width / wide, height / tall]).view(2, 1, 1)).permute(1, 2, 0).numpy()


def pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph, and the same one turned by a degree; noise where there is no photograph."""
    import cv2

    path = DATA / "images" / "100007.jpg"
    picture = read_image(path) if path.exists() else np.random.default_rng(1).integers(0, 256, (321, 481, 3), np.uint8)
    picture = cv2.resize(picture, (width, height))
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 1, 1)
    return picture, cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize("size", [*SIZES, *(pytest.param(size, marks=pytest.mark.slow) for size in LARGE)])
def test_flow_is_that_of_the_published_network(size, tmp_path):
    there = (DATA / "spynet").exists()
    path = DATA / "spynet" if there else make_tiny_spynet(tmp_path / "random.safetensors")
    frames = pair(*size)
    wanted = reference(spynet.load_weights(path), *frames)
    np.testing.assert_allclose(flows.make("spynet", path)(*frames), wanted, atol=0.02)
    assert not there or np.abs(wanted).max() > 0.2


@pytest.mark.parametrize("size", [(90, 400), (131, 259)])
def test_half_is_the_flow_of_smaller_frames_twice_as_far(size, tmp_path):
    import cv2

    path = make_tiny_spynet(tmp_path / "random.safetensors")
    frames = pair(*size)
    height, width = (-(-side // 64) * 32 for side in size)
    small = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
    wanted = reference(spynet.load_weights(path), *small) * [size[1] / width, size[0] / height]
    wanted = cv2.resize(wanted.astype(np.float32), size[::-1])
    found = flows.make("spynet-half", path)(*frames)
    assert found.shape == (*size, 2) and not np.array_equal(found, flows.make("spynet", path)(*frames))
    assert np.abs(found - wanted).mean() < 0.05 * np.abs(wanted).mean()


def test_classes_of_spynet_differ_by_what_they_compute():
    assert flows.version_string("spynet").startswith("spynet 3 by torch")
    assert flows.version_string("spynet-half").startswith("spynet-half by torch")


@pytest.mark.parametrize(
    "size, levels",
    [((20, 32), 1), ((33, 20), 2), ((64, 128), 3), ((129, 40), 4), ((384, 512), 5), ((100, 513), 6), ((2000, 40), 6)],
)
def test_the_pyramid_ends_where_both_sides_have_at_most_32_pixels(size, levels):
    pyramid = spynet.pyramid_of(torch.zeros(1, 3, *size))
    assert len(pyramid) == levels
    assert levels == 6 or max(pyramid[0].shape[2:]) <= 32 and (levels == 1 or max(pyramid[1].shape[2:]) > 32)


def test_frames_are_seen_once_for_both_directions_and_both_pairs(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(spynet, "pyramid_of", lambda *args, make=spynet.pyramid_of: made.append(1) or make(*args))
    flow = flows.make("spynet", make_tiny_spynet(tmp_path / "random.safetensors"))
    frames = [pair(40, 50)[0] + number for number in range(3)]
    found = [flow(frames[a], frames[b]) for a, b in ((1, 0), (0, 1), (2, 1), (1, 2))]
    assert len(made) == 3
    alone = flows.make("spynet", tmp_path / "random.safetensors")
    assert all(
        np.array_equal(alone(frames[a], frames[b]), one) for (a, b), one in zip(((1, 0), (0, 1), (2, 1), (1, 2)), found)
    )


def test_a_frame_that_was_changed_in_place_is_seen_anew(tmp_path):
    make_tiny_spynet(tmp_path / "random.safetensors")
    flow, (a, b) = flows.make("spynet", tmp_path / "random.safetensors"), pair(40, 50)
    before = flow(a, b)
    b[:] = 255 - b
    assert not np.array_equal(flow(a, b), before)
    assert np.array_equal(flow(a, b), flows.make("spynet", tmp_path / "random.safetensors")(a, b))


# the authors' files


def write_set(directory, name, weights, levels=6, wrap=lambda network: network):
    directory.mkdir(exist_ok=True)
    for level in range(levels):
        layers = []
        for number in range(9):
            key = f"netBasic.{level}.netBasic.{number}."
            fields = {one: weights[key + one].numpy() for one in ("weight", "bias") if key + one in weights}
            layers.append(TorchObject("cudnn.ReLU" if number % 2 else "cudnn.SpatialConvolution", fields))
        save(directory / f"modelL{level + 1}_{name}.t7", wrap(sequence(*layers)))


@pytest.fixture
def sets(tmp_path):
    """A directory of the five published sets, each with weights of its own, and these by the set's letter."""
    weights = load_file(make_tiny_spynet(tmp_path / "random.safetensors"))
    found = {}
    for number, name in enumerate("FC34K"):
        found[name] = {key: value + 0.001 * number for key, value in weights.items()}
        five = name in "34"
        write_set(tmp_path / "models", name, found[name], 5 if five else 6)
        if five:  # their authors use the fifth network twice
            fifth = {key: value for key, value in found[name].items() if key.startswith("netBasic.4.")}
            found[name] |= {key.replace("netBasic.4", "netBasic.5", 1): value for key, value in fifth.items()}
    return found


@pytest.mark.parametrize("name", "FC34K")
def test_each_published_set_is_found_by_its_name(name, sets, tmp_path):
    pattern = tmp_path / "models" / f"modelL%d_{name}.t7"
    found = spynet.load_weights(pattern)
    assert (
        all(torch.equal(found[key], value) for key, value in sets[name].items()) and found.keys() == sets[name].keys()
    )
    flows.check("spynet", pattern)
    levels = 5 if name in "34" else 6
    assert [file.name for file in files_of(pattern)] == [f"modelL{level}_{name}.t7" for level in range(1, levels + 1)]
    assert hash_of(pattern) != hash_of(tmp_path / "models")


def test_a_directory_of_several_sets_means_sintel_final_or_asks(sets, tmp_path):
    found = spynet.load_weights(tmp_path / "models")
    assert all(torch.equal(found[key], value) for key, value in sets["F"].items())
    for file in tmp_path.glob("models/*_F.t7"):
        file.unlink()
    with pytest.raises(
        FavError, match=r"expected one set, got 4; give one of them: '.*modelL%d_C.t7' \(Sintel clean\) or "
    ):
        spynet.load_weights(tmp_path / "models")
    for file in tmp_path.glob("models/*_[C34].t7"):
        file.unlink()
    assert torch.equal(
        spynet.load_weights(tmp_path / "models")[spynet.name_of(2, "4.bias")], sets["K"][spynet.name_of(2, "4.bias")]
    )


def test_a_set_that_was_saved_from_several_cards_is_read(sets, tmp_path):
    write_set(
        tmp_path / "cards",
        "K",
        sets["K"],
        wrap=lambda network: TorchObject("nn.DataParallelTable", {"modules": {1: network}}),
    )
    found = spynet.load_weights(tmp_path / "cards")
    assert all(torch.equal(found[key], value) for key, value in sets["K"].items())


def test_one_file_of_a_set_and_other_patterns_are_refused_with_the_cure(sets, tmp_path):
    with pytest.raises(FavError, match=r"got one of their files; give its directory, or a pattern in quotes like"):
        flows.check("spynet", tmp_path / "models" / "modelL1_C.t7")
    with pytest.raises(FavError, match=r"expected modelL%d_X.t7 with X one of F, C, 3, 4, K"):
        flows.check("spynet", tmp_path / "models" / "modelL%d_Q.t7")
    (tmp_path / "models" / "modelL3_C.t7").unlink()
    with pytest.raises(FavError, match=r"modelL3_C.t7"):
        flows.check("spynet", tmp_path / "models" / "modelL%d_C.t7")


# the fast convolutions


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (5, 10), (8, 31), (40, 103)])
@pytest.mark.parametrize("strip", [1, 1 << 30])
def test_a_chain_is_the_layers_one_after_the_other(size, strip, monkeypatch):
    monkeypatch.setattr(toom_cook, "STRIP_BYTES", strip)
    torch.manual_seed(0)
    level = spynet.make_level().requires_grad_(False)
    x = torch.randn(8, *size)
    wanted = level.double()(x.double()[None])[0]
    found = ToomCookChain(level.float())(x)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() < 2e-4 * wanted.abs().max()


def test_a_chain_computes_the_same_bits_each_time():
    torch.manual_seed(0)
    chain, x = ToomCookChain(spynet.make_level().requires_grad_(False)), torch.randn(8, 50, 61)
    assert all(torch.equal(chain(x), chain(x)) for _ in range(3))


def test_layers_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="expected 7x7 convolutions"):
        ToomCookChain(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1)))
    with pytest.raises(ValueError, match="expected convolutions with a bias"):
        ToomCookChain(nn.Sequential(nn.Conv2d(2, 2, 7, padding=3, bias=False)))


@pytest.mark.parametrize("tile, taps", [(1, 3), (2, 3), (4, 7), (8, 7)])
def test_tiles_are_correlated_exactly(tile, taps):
    back, kernels, onward = (np.array(matrix) for matrix in toom_cook.toom_cook(tile, taps))
    rng = np.random.default_rng(1)
    row, kernel = rng.normal(size=tile + taps - 1), rng.normal(size=taps)
    np.testing.assert_allclose(
        back.T @ ((kernels @ kernel) * (onward @ row)), np.correlate(row, kernel), rtol=1e-7, atol=1e-9
    )
