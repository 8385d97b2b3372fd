"""Image models as others publish them: each layout paints what its own network does, and messages say what a file is."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from fav.errors import FavError
from fav.model.backends import BACKENDS
from fav.model.checkpoints import convert, load_style, style_facts
from fav.model.preprocessing import MEAN_BGR
from fav.model.published import layout_names
from fav.model.runner import StyleRunner
from tests.helpers import published_networks as published
from tests.helpers.networks import random_network
from tests.helpers.torch7_writer import save

MEAN = torch.from_numpy(MEAN_BGR).view(1, 3, 1, 1)
SIZES = [(24, 28), (25, 31), (22, 37)]


def rgb(x: torch.Tensor) -> torch.Tensor:
    return x.flip(1)


# The published network, how it takes levels (BGR, 0 to 255), how levels come of what it gives, and its last layer's gain.
LAYOUTS = {
    "transformer-net": (published.Examples, rgb, rgb, 60),
    "transformer-net-bgr": (lambda: published.Examples(first=True), lambda x: x, lambda y: y, 60),
    "rrmina": (published.Rrmina, lambda x: x, lambda y: y, 60),
    "rrmina-tanh": (lambda: published.Rrmina(tanh=True), lambda x: x, lambda y: y, 1),
    "reconet": (published.Reconet, lambda x: rgb(x) / 255, rgb, 60),
    "reconet-wide": (published.WideReconet, lambda x: rgb(x) / 255 * 2 - 1, lambda y: rgb((y + 1) / 2 * 255), 1),
}
DEFAULTS = [name for name in LAYOUTS if name != "rrmina-tanh"]


def levels(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A picture (1, 3, H, W) of levels, BGR."""
    return torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(seed)).float()


def file_of(tmp_path, name: str, extra: dict | None = None, **options):
    """The published network of a layout with random weights, and its state dict in a file."""
    make, _, _, gain = LAYOUTS[name]
    network = published.randomized(make(), gain)
    torch.save({**network.state_dict(), **(extra or {})}, tmp_path / "model.pth", **options)
    return network, tmp_path / "model.pth"


@torch.inference_mode()
def assert_alike(ours: nn.Module, theirs: nn.Module, name: str) -> None:
    """Both paint the same: ours is cut to the frame where a stride lets theirs grow."""
    _, take, give, _ = LAYOUTS[name]
    for height, width in SIZES:
        picture = levels(height, width)
        expected = give(theirs(take(picture)))[..., :height, :width]
        found = ours(picture - MEAN) + MEAN
        assert found.shape == picture.shape and expected.std() > 10
        assert (found - expected).abs().max() < 2e-4 * expected.abs().max()


def test_every_layout_has_its_published_network_here():
    assert set(LAYOUTS) == set(layout_names())


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_published_model_paints_what_its_own_network_paints(tmp_path, name):
    theirs, path = file_of(tmp_path, name)
    assert_alike(load_style(path, in_channels=3), theirs, name)
    facts = style_facts(path)
    assert facts.in_channels == 3 and facts.metadata["layout"] == name and facts.metadata["values"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_converted_model_paints_the_same_and_says_where_it_comes_from(tmp_path, name):
    theirs, path = file_of(tmp_path, name)
    converted = convert(path, tmp_path / "model.safetensors", layout=name)
    assert_alike(load_style(converted, in_channels=3), theirs, name)
    assert style_facts(converted).metadata["layout"] == name


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_every_backend_paints_a_published_model(tmp_path, backend):
    if missing := BACKENDS[backend].missing():
        pytest.skip(missing)
    theirs, path = file_of(tmp_path, "transformer-net")
    picture = levels(33, 42)
    with torch.inference_mode():
        expected = rgb(theirs(rgb(picture)))[0, :, :33, :42].permute(1, 2, 0).round().clamp(0, 255).numpy()
    found = StyleRunner(load_style(path, 3), backend=backend).stylize(
        picture[0].permute(1, 2, 0).numpy().astype(np.uint8)
    )
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_models_of_old_versions_of_pytorch_load_with_statistics_that_were_never_used(tmp_path):
    extra = {f"in{number}.running_{of}": torch.full((4,), 9.0) for number in range(1, 6) for of in ("mean", "var")}
    extra |= {"res1.in1.running_mean": torch.ones(16), "in1.num_batches_tracked": torch.tensor(7)}
    theirs, path = file_of(tmp_path, "transformer-net", extra, _use_new_zipfile_serialization=False)
    assert_alike(load_style(path), theirs, "transformer-net")


def test_other_widths_and_numbers_of_blocks_are_read_off_the_weights(tmp_path):
    theirs = published.randomized(published.Examples(width=6, blocks=2), 60)
    torch.save(theirs.state_dict(), tmp_path / "small.pth")
    assert_alike(load_style(tmp_path / "small.pth"), theirs, "transformer-net")
    assert (
        load_style(tmp_path / "small.pth").arch == "A,c9s1-6m,d12m,d24m,R24m,R24m,U2p,c3s1-12m,U2p,c3s1-6m,c9s1-3m,L,A"
    )


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}},
        lambda state: {"model_state_dict": state},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
        lambda state: {"net": {f"module.{key}": value for key, value in state.items()}, "iter": 5},
    ],
)
def test_wrapped_models_are_unwrapped(tmp_path, wrap):
    theirs = published.randomized(published.Examples(blocks=1), 60)
    torch.save(wrap(dict(theirs.state_dict())), tmp_path / "model.pth")
    assert_alike(load_style(tmp_path / "model.pth"), theirs, "transformer-net")


def test_a_model_as_safetensors_without_metadata_loads_as_well(tmp_path):
    theirs = published.randomized(published.Rrmina(blocks=1), 60)
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    assert_alike(load_style(tmp_path / "model.safetensors"), theirs, "rrmina")


@pytest.mark.parametrize(
    "state, complaint",
    [
        ({"features.0.weight": torch.zeros(2)}, "got a classifier such as VGG"),
        (
            {"model.0.block.1.weight": torch.zeros(2)},
            "got Fast-Neural-Style-Transfer of eriklindernoren.*not supported",
        ),
        ({"in1.scale": torch.zeros(2), "res1.in1.scale": torch.zeros(2)}, "got fast-neural-style of abhiskk"),
        ({"encoder.layers.0.layers.1.tau": torch.zeros(2)}, "filter response norms"),
        ({"in1.weight": torch.zeros(2)}, "layer conv1.conv2d.weight: expected its weights, got none"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path, state, complaint):
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(FavError, match=f"net.pth: .*{complaint}") as error:
        load_style(tmp_path / "net.pth")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "extra, complaint",
    [
        ({"attention.weight": torch.zeros(2)}, "layer attention.weight: .*TransformerNet.* expects no such weights"),
        (
            {"in1.bias": torch.zeros(4, dtype=torch.long)},
            "weights in1.bias: expected floating-point numbers, got torch.int64",
        ),
        ({"conv1.conv2d.weight": "hello"}, "weights conv1.conv2d.weight: expected floating-point numbers, got str"),
        ({"conv1.conv2d.weight": torch.zeros(1).expand(9000, 3, 900, 900)}, "expected weights of at most"),
        ({"in2.weight": torch.zeros(5)}, r"layer 5.weight: .* expects \(8,\), got \(5,\)"),
    ],
)
def test_weights_that_do_not_fit_a_layout_are_refused(tmp_path, extra, complaint):
    _, path = file_of(tmp_path, "transformer-net", extra)
    with pytest.raises(FavError, match=f"model.pth: {complaint}"):
        load_style(path)


def instance_norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


def johnson_file(tmp_path, mode: str, norm, **options):
    """A model of jcjohnson's with random weights and statistics, and its file."""
    network = published.randomized(published.johnson(mode, norm))
    generator = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    return network, save(tmp_path / "model.t7", published.johnson_checkpoint(network, options))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, instance_norm])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
def test_johnsons_models_load_with_every_padding_and_norm(tmp_path, mode, norm):
    theirs, path = johnson_file(tmp_path, mode, norm)
    ours = load_style(path, in_channels=3)
    with torch.inference_mode():
        for height, width in SIZES:
            x = (levels(height, width) - MEAN) / 20  # batch norms keep the scale of what comes in
            expected = 150 * theirs(x)[..., :height, :width]
            assert expected.std() > 10 and (ours(x) - expected).abs().max() < 0.02
    assert ("B," in ours.arch) == (norm is nn.BatchNorm2d)
    assert ours.arch.removeprefix("B,").startswith(
        {"zeros": "c9s1-4,d6", "reflect": "c9s1-4m,d6", "replicate": "c9s1-4e,d6"}[mode]
    )


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_johnsons_models_of_resnets_values_paint_the_same(tmp_path, mode):
    theirs, path = johnson_file(tmp_path, mode, instance_norm, preprocessing="resnet")
    mean, deviation = (torch.tensor(of).view(1, 3, 1, 1) for of in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    picture = levels(25, 31)
    with torch.inference_mode():
        expected = rgb((150 * theirs((rgb(picture) / 255 - mean) / deviation) * deviation + mean) * 255)[..., :25, :31]
        assert (load_style(path, 3)(picture - MEAN) + MEAN - expected).abs().max() < 1e-4 * expected.abs().max()


def test_an_unknown_preprocessing_is_refused(tmp_path):
    _, path = johnson_file(tmp_path, "zeros", instance_norm, preprocessing="caffe")
    with pytest.raises(FavError, match="model.t7: preprocessing: expected vgg or resnet, got 'caffe'"):
        load_style(path)


def test_a_layout_that_a_file_is_not_of_is_refused(tmp_path):
    _, path = file_of(tmp_path, "transformer-net")
    with pytest.raises(FavError, match="--layout rrmina: expected fast-neural-style-pytorch of rrmina"):
        convert(path, tmp_path / "out.safetensors", layout="rrmina")


def test_torchscript_is_named(tmp_path):
    torch.jit.script(nn.Conv2d(3, 3, 3)).save(tmp_path / "script.pt")
    with pytest.raises(
        FavError, match="script.pt: TorchScript contains code, which is not run: .* or export it as ONNX"
    ):
        load_style(tmp_path / "script.pt")


def test_an_image_model_as_the_style_of_a_film_is_told_what_to_do(tmp_path):
    _, path = file_of(tmp_path, "transformer-net")
    with pytest.raises(
        FavError, match="an image model .*pytorch/examples.*independently.*--no-temporal.*fav train --steady"
    ):
        load_style(path, in_channels=7)


def test_a_frame_too_small_to_be_mirrored_is_refused_in_one_line(tmp_path):
    _, path = file_of(tmp_path, "transformer-net")
    with pytest.raises(FavError, match="frame: expected at least 20 pixels per side for this style, got 40x18"):
        StyleRunner(load_style(path)).stylize(np.zeros((18, 40, 3), np.uint8))
    assert StyleRunner(random_network(in_channels=3)).stylize(np.zeros((1, 1, 3), np.uint8)).shape == (1, 1, 3)
