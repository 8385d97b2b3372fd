"""Style files: every kind gives the same network, and what is none is refused in one clear line."""

import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from fav.errors import FavError
from fav.model.architecture import DEFAULT_ARCH, WIDE_VIEW, WIDE_VIEW_FULL
from fav.model.checkpoints import architecture_of, convert, load_style, save_style, style_facts
from fav.model.network import StyleNetwork
from fav.model.torch7 import TorchObject
from tests.helpers.networks import BUNDLED, SMALL, STRINGS, TRANSPOSED, picture, random_network
from tests.helpers.torch7_writer import save, sequence, style_checkpoint

archs = pytest.mark.parametrize("arch", [SMALL, TRANSPOSED])
channels = pytest.mark.parametrize("in_channels", [3, 7])


def save_pth(path: Path, state, **options) -> Path:
    torch.save(state, path, **options)
    return path


@torch.inference_mode()
def assert_same(loaded: StyleNetwork, network: StyleNetwork) -> None:
    assert (loaded.arch, loaded.in_channels) == (network.arch, network.in_channels)
    assert loaded.tanh_constant == network.tanh_constant
    assert not loaded.training and {value.dtype for value in loaded.parameters()} == {torch.float32}
    x = picture(20, 24, network.in_channels)
    assert torch.equal(loaded(x), network(x))


@archs
@channels
def test_what_is_saved_comes_back(tmp_path, arch, in_channels):
    network = random_network(arch, in_channels)
    save_style(network, tmp_path / "style.safetensors", {"style": "Hokusai"}, torch.float32)
    assert_same(load_style(tmp_path / "style.safetensors", in_channels), network)
    facts = style_facts(tmp_path / "style.safetensors")
    assert (facts.arch, facts.in_channels, facts.format) == (arch, in_channels, "safetensors")
    assert facts.metadata["style"] == "Hokusai"
    assert os.listdir(tmp_path) == ["style.safetensors"]


def test_half_precision_halves_the_file_and_costs_less_than_a_gray_level(tmp_path):
    network = random_network()
    save_style(network, tmp_path / "half.safetensors")
    save_style(network, tmp_path / "whole.safetensors", dtype=torch.float32)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "whole.safetensors").stat().st_size
    with torch.inference_mode():
        difference = load_style(tmp_path / "half.safetensors")(picture(20, 24)) - network(picture(20, 24))
    assert 0 < difference.abs().mean() < 1


def test_a_network_that_half_precision_cannot_hold_is_not_written(tmp_path):
    network = random_network()
    network[1].weight.data[0] = 1e6
    with pytest.raises(FavError, match="1.weight: expected finite values"):
        save_style(network, tmp_path / "style.safetensors")
    assert os.listdir(tmp_path) == []


@archs
@channels
@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        OrderedDict,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {f"module.{key}": value for key, value in state.items()},
    ],
)
def test_state_dicts_of_the_pytorch_port_are_read(tmp_path, arch, in_channels, wrap):
    network = random_network(arch, in_channels)
    path = save_pth(tmp_path / "checkpoint.pth", wrap(dict(network.state_dict())))
    assert_same(load_style(path, in_channels), network)
    assert style_facts(path).format == "pytorch"


def test_state_dicts_in_the_old_format_are_read(tmp_path):
    network = random_network()
    path = save_pth(tmp_path / "old.pth", network.state_dict(), _use_new_zipfile_serialization=False)
    assert_same(load_style(path), network)


@archs
@channels
@pytest.mark.parametrize("long", [8, 4])
@pytest.mark.parametrize("rows, cudnn", [(False, False), (True, False), (False, True)])
def test_the_authors_torch7_checkpoints_are_read(tmp_path, arch, in_channels, long, rows, cudnn):
    network = random_network(arch, in_channels)
    path = save(tmp_path / "checkpoint.t7", style_checkpoint(network, rows, cudnn), long, cuda=cudnn)
    assert_same(load_style(path, in_channels), network)
    assert style_facts(path).format == "torch7"


def test_a_torch7_model_that_was_written_alone_is_read(tmp_path):
    network = random_network()
    assert_same(load_style(save(tmp_path / "model.t7", style_checkpoint(network)["model"])), network)


@pytest.mark.parametrize(
    "arch", [DEFAULT_ARCH, SMALL, TRANSPOSED, "c9s1-4,d6,R6,U2,c3s1-5,c3s1-5,c9s1-3", "c9s1-3,d8,R8,u3,c9s1-3"]
)
def test_the_architecture_is_found_in_the_weights(arch):
    with torch.device("meta"):
        assert architecture_of(StyleNetwork(arch, 7).state_dict()) == arch


@pytest.mark.parametrize("arch", [arch for arch in STRINGS if arch.startswith("E")])
def test_a_style_with_entries_beyond_the_authors_is_read_as_it_was_written(tmp_path, arch):
    network = random_network(arch)
    save_style(network, tmp_path / "style.safetensors", dtype=torch.float32)
    assert_same(load_style(tmp_path / "style.safetensors"), network)
    assert style_facts(tmp_path / "style.safetensors").arch == arch
    with pytest.raises(FavError) as error:  # keys alone do not tell strides, borders and branches
        load_style(save_pth(tmp_path / "style.pth", network.state_dict()))
    assert "expect" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["whole.safetensors", "checkpoint.pth", "checkpoint.t7"])
def test_conversion_loses_nothing(tmp_path, name):
    network = random_network()
    {
        "whole.safetensors": lambda path: save_style(network, path, {"by": "Munch"}, torch.float32),
        "checkpoint.pth": lambda path: save_pth(path, network.state_dict()),
        "checkpoint.t7": lambda path: save(path, style_checkpoint(network)),
    }[name](tmp_path / name)
    convert(tmp_path / name, tmp_path / "converted.safetensors")
    assert_same(load_style(tmp_path / "converted.safetensors"), network)
    by = style_facts(tmp_path / "converted.safetensors").metadata.get("by")
    assert by == ("Munch" if name == "whole.safetensors" else None)


def test_conversion_keeps_half_precision_where_it_is_exact(tmp_path):
    network = random_network().half().float()
    save_pth(tmp_path / "style.pth", network.state_dict())
    convert(tmp_path / "style.pth", tmp_path / "style.safetensors")
    written = safetensors.torch.load_file(tmp_path / "style.safetensors")
    assert {value.dtype for value in written.values()} == {torch.float16}
    assert_same(load_style(tmp_path / "style.safetensors"), network)


@pytest.mark.parametrize("path", sorted(BUNDLED.parent.glob("*.safetensors")), ids=lambda path: path.stem)
def test_bundled_styles_are_small_video_models_that_tell_where_they_come_from(path):
    facts = style_facts(path)
    painting = f"{path.stem.removesuffix('_full')}.jpg"
    assert facts.in_channels == 7 and facts.arch == (WIDE_VIEW_FULL if path.stem.endswith("_full") else WIDE_VIEW)
    assert facts.metadata["style"] == painting
    command = facts.metadata["command"]
    assert command.startswith(f"fav train {painting} ") or f"--copy {path.name}" in command
    assert path.stat().st_size < (8e6 if path.stem.endswith("_full") else 2.1e6)


def test_the_wrong_number_of_channels_is_refused(tmp_path):
    save_style(random_network(in_channels=3), tmp_path / "image.safetensors")
    save_style(random_network(in_channels=7), tmp_path / "video.safetensors")
    save_style(random_network(in_channels=4), tmp_path / "other.safetensors")
    with pytest.raises(FavError, match=r"image.safetensors: expected a video model \(7 channels\), got an image model"):
        load_style(tmp_path / "image.safetensors", in_channels=7)
    with pytest.raises(FavError, match=r"video.safetensors: expected an image model \(3 channels\), got a video model"):
        load_style(tmp_path / "video.safetensors", in_channels=3)
    with pytest.raises(FavError, match="other.safetensors: expected an image model .*, got a model of 4 channels"):
        load_style(tmp_path / "other.safetensors")


class Payload:
    """Leaves a file behind where it is unpickled without care."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize(
    "write",
    [
        lambda path, payload: torch.save(payload, path),
        lambda path, payload: torch.save({"1.weight": torch.zeros(2), "x": payload}, path),
        lambda path, payload: torch.save(payload, path, _use_new_zipfile_serialization=False),
        lambda path, payload: path.write_bytes(pickle.dumps(payload, 2)),
        lambda path, payload: path.write_bytes(pickle.dumps(payload, 4)),
    ],
)
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path, write):
    write(tmp_path / "style.pth", Payload(tmp_path / "was here"))
    complaint = "style.pth: (refused, because it contains code|damaged .* or a pickle of something else).*state_dict"
    with pytest.raises(FavError, match=complaint) as error:
        load_style(tmp_path / "style.pth")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "was here").exists()


def test_a_whole_pickled_module_is_refused(tmp_path):
    with pytest.raises(FavError, match="refused.*StyleNetwork.*state_dict"):
        load_style(save_pth(tmp_path / "module.pth", random_network()))


def test_code_in_a_torch7_file_is_refused(tmp_path):
    path = tmp_path / "style.t7"
    path.write_bytes(struct.pack("<5i", 3, 1, 1, 2, 5) + b"model" + struct.pack("<3i", 8, 2, 4) + b"\x1bLua")
    with pytest.raises(FavError, match="style.t7.*Lua function"):
        load_style(path)


@pytest.mark.parametrize("name", ["style.safetensors", "style.pth", "old.pth", "style.t7"])
def test_truncated_files_are_refused(tmp_path, name):
    network, path = random_network(), tmp_path / name
    {
        "style.safetensors": lambda: save_style(network, path),
        "style.pth": lambda: save_pth(path, network.state_dict()),
        "old.pth": lambda: save_pth(path, network.state_dict(), _use_new_zipfile_serialization=False),
        "style.t7": lambda: save(path, style_checkpoint(network)),
    }[name]()
    whole = path.read_bytes()
    for size in [*range(0, 64, 3), 1000, len(whole) // 2, len(whole) - 100, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(FavError, match=name) as error:
            load_style(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content, complaint",
    [
        (b"", "got 0 bytes"),
        (b"hello, I am a text", "not a model: expected a style as .safetensors"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a model"),
        (b"PK\x03\x04" + bytes(100), "damaged .*expected a state dict"),
        (b"\x80\x02" + bytes(100), "damaged .*expected a state dict"),
        (struct.pack("<Q", 2**60) + b"{" + bytes(100), "damaged safetensors"),
        (struct.pack("<Q", 2) + b"{}", "1.weight"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, content, complaint):
    (tmp_path / "style").write_bytes(content)
    with pytest.raises(FavError, match=f"style: .*{complaint}") as error:
        load_style(tmp_path / "style")
    assert "\n" not in str(error.value)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FavError, match="missing: cannot be read: No such file"):
        load_style(tmp_path / "missing")
    with pytest.raises(FavError, match="cannot be read: Is a directory"):
        load_style(tmp_path)


def damaged(change) -> dict[str, torch.Tensor]:
    state = dict(random_network().state_dict())
    change(state)
    return state


WRONG = {
    "layer 4.bias: .* expects \\(6,\\), got none": lambda state: state.pop("4.bias"),
    "layer 10.0.0.3.weight: .* expects \\(8, 8, 3, 3\\), got \\(8, 8, 1, 3\\)": lambda state: state.update(
        {"10.0.0.3.weight": torch.zeros(8, 8, 1, 3)}
    ),
    "layer 2.running_mean: .* expects no such weights, got \\(4,\\)": lambda state: state.update(
        {"2.running_mean": torch.zeros(4)}
    ),
    "layer 24.weight: expected finite": lambda state: state["24.weight"].view(-1)[5:6].fill_(torch.nan),
    "weights 1.bias: expected floating-point numbers, got torch.int64": lambda state: state.update(
        {"1.bias": torch.zeros(4, dtype=torch.long)}
    ),
}


@pytest.mark.parametrize("complaint", WRONG)
def test_weights_that_do_not_fit_name_their_layer(tmp_path, complaint):
    safetensors.torch.save_file(damaged(WRONG[complaint]), tmp_path / "style.safetensors", {"arch": SMALL})
    with pytest.raises(FavError, match=f"style.safetensors: {complaint}"):
        load_style(tmp_path / "style.safetensors")


def test_weights_of_another_kind_of_network_are_refused(tmp_path):
    with pytest.raises(
        FavError, match="net.pth: expected the weights of a style network .*, got a classifier such as VGG"
    ):
        load_style(save_pth(tmp_path / "net.pth", {"features.0.weight": torch.zeros(3)}))
    with pytest.raises(FavError, match="net.pth: expected a state dict, got list"):
        load_style(save_pth(tmp_path / "net.pth", [torch.zeros(3)]))
    with pytest.raises(FavError, match="net.pth: weights 1.weight: expected floating-point numbers, got str"):
        load_style(save_pth(tmp_path / "net.pth", {"1.weight": "hello"}))


@pytest.mark.parametrize(
    "metadata, complaint",
    [
        ({"arch": "nonsense"}, "architecture 'nonsense': expected cKsS-C"),
        (
            {"arch": SMALL.replace("c3s1-6", "c3s1-9999")},
            "layer 18.weight: .* expects \\(9999, 8, 3, 3\\), got \\(6, 8",
        ),
        ({"arch": SMALL, "tanh_constant": "much"}, "tanh_constant: expected a number, got 'much'"),
    ],
)
def test_metadata_that_make_no_sense_are_refused(tmp_path, metadata, complaint):
    safetensors.torch.save_file(random_network().state_dict(), tmp_path / "style.safetensors", metadata)
    with pytest.raises(FavError, match=f"style.safetensors: {complaint}"):
        load_style(tmp_path / "style.safetensors")


def test_small_files_that_claim_much_memory_are_refused(tmp_path):
    state = {
        key: torch.zeros(1).expand(9000, 9000, 9, 9) if value.ndim == 4 else value
        for key, value in random_network().state_dict().items()
    }
    with pytest.raises(FavError, match="expected weights of at most"):
        load_style(save_pth(tmp_path / "spread.pth", state))
    save_pth(tmp_path / "plain.pth", {"1.weight": torch.zeros(1 << 22)})
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "packed.pth", "w") as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "packed.pth").stat().st_size < 100_000
    with pytest.raises(FavError, match="packed.pth: expected records of at most"):
        load_style(tmp_path / "packed.pth")
    claim = json.dumps({"1.weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (tmp_path / "claim.safetensors").write_bytes(struct.pack("<Q", len(claim)) + claim)
    with pytest.raises(FavError, match="damaged safetensors"):
        load_style(tmp_path / "claim.safetensors")


def set_field(number: int, **fields):
    return lambda modules: modules[number].fields.update(fields)


def replace(number: int, class_name: str):
    return lambda modules: modules.update({number: TorchObject(class_name, {})})


@pytest.mark.parametrize(
    "change, complaint",
    [
        (
            replace(3, "nn.SpatialBatchNormalization"),
            "layer 2: expected nn.SpatialBatchNormalization with running_mean and running_var, got others",
        ),
        (replace(3, "nn.ReLU"), "layer 2: expected nn.InstanceNormalization, got nn.ReLU"),
        (replace(26, "nn.Sigmoid"), "layer 25: nn.Sigmoid is not supported"),
        (set_field(1, pad_r=39.0), "layer 0: expected nn.SpatialReflectionPadding with pad_r 40, got 39"),
        (set_field(2, padW=0.0), "layer 1: expected nn.SpatialConvolution with padW 4, got 0"),
        (set_field(2, kH=7.0), "layer 1: expected nn.SpatialConvolution with kH 9, got 7"),
        (set_field(2, nOutputPlane=1e300), "layer 1: expected 1 to 9999 as nOutputPlane"),
        (
            set_field(2, nOutputPlane="many"),
            "layer 1: expected a number as nOutputPlane of nn.SpatialConvolution, got str",
        ),
        (
            set_field(2, weight=np.zeros((4, 7, 9, 8), np.float32)),
            r"layer 1.weight: expected \(4, 7, 9, 9\), got \(4, 7, 9, 8\)",
        ),
        (set_field(2, weight=None), r"layer 1.weight: expected \(4, 7, 9, 9\), got NoneType"),
        (set_field(3, eps=1e-3), "layer 2: expected nn.InstanceNormalization with eps 1e-05, got 0.001"),
        (set_field(11, modules={}), "layer 10: expected an nn.Sequential of ConcatTable and CAddTable"),
        (
            lambda modules: (
                modules[11].fields["modules"][1].fields["modules"].update({2: TorchObject("nn.Identity", {})})
            ),
            "layer 10.0: expected an nn.ConcatTable of Sequential and ShaveImage",
        ),
        (
            lambda modules: modules[11].fields["modules"][1].fields["modules"][2].fields.update(size=1.0),
            "layer 10.0.1: expected nn.ShaveImage with size 2, got 1",
        ),
        (lambda modules: modules.pop(1), "expected a list of modules"),
        (lambda modules: modules.pop(max(modules) - 1), "expected a list of modules"),
    ],
)
def test_torch7_models_that_are_built_otherwise_name_their_module(tmp_path, change, complaint):
    checkpoint = style_checkpoint(random_network())
    change(checkpoint["model"].fields["modules"])
    with pytest.raises(FavError, match=f"style.t7: .*{complaint}") as error:
        load_style(save(tmp_path / "style.t7", checkpoint))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "root, complaint",
    [
        ({"weights": 1}, "expected an nn.Sequential, or a table with one as its model, got a NoneType"),
        (
            {"model": TorchObject("nn.gModule", {})},
            "expected an nn.Sequential, or a table with one as its model, got nn.gModule",
        ),
        (sequence(), "expected convolutions and an nn.MulConstant after an nn.Tanh, got none"),
    ],
)
def test_torch7_files_of_something_else_are_refused(tmp_path, root, complaint):
    with pytest.raises(FavError, match=f"style.t7: {complaint}"):
        load_style(save(tmp_path / "style.t7", root))


def test_equal_styles_are_equal_files(tmp_path):
    """The library writes metadata in an order that differs from file to file."""
    metadata = {f"name {number}": f"né {number}" for number in range(20)}
    files = {
        save_style(random_network(), tmp_path / f"{number}.safetensors", metadata).read_bytes() for number in range(4)
    }
    assert len(files) == 1
    facts = style_facts(tmp_path / "0.safetensors")
    assert metadata.items() <= facts.metadata.items()
    assert load_style(tmp_path / "0.safetensors").arch == random_network().arch
