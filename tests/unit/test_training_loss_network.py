"""Loss networks: every published form gives the same features, and what is none is refused in one line."""

import functools
import hashlib
import http.server
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from fav.errors import FavError
from fav.model.torch7 import TorchObject
from fav.perceptual import pretrained
from fav.perceptual.loss_network import LOSS_NETWORKS
from fav.perceptual.pretrained import cached_network, detect_network, load_loss_network
from tests.helpers.material import material
from tests.helpers.networks import BUNDLED
from tests.helpers.torch7_writer import save, sequence
from tests.helpers.training_material import picture, torchvision_state

X = torch.from_numpy(picture(3, 60, 68)).permute(2, 0, 1)[None].float()
LAYERS = {  # by torchvision's numbers: outputs of activations, and of fire modules
    "squeezenet1_0": {1: "conv1", 4: "fire3", 7: "fire5", 9: "fire7"},
    "squeezenet1_1": {1: "conv1", 4: "fire3", 7: "fire5", 10: "fire7"},
    "vgg16": {3: "conv1_2", 8: "conv2_2", 15: "conv3_3", 22: "conv4_3"},
}
POOLED = {"squeezenet1_0": (2, 6), "squeezenet1_1": (2, 5, 8), "vgg16": (4, 9, 16)}
PADDING = {"squeezenet1_0": 0, "squeezenet1_1": 0, "vgg16": 1}


def torchvision_features(kind: str, state: dict) -> dict[str, torch.Tensor]:
    """torchvision's own `features`, written down in torch's functions, on RGB in its normalization."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x, found = (X.flip(1) / 255 - mean) / std, {}
    number = 0
    while number <= max(LAYERS[kind]):
        name = f"features.{number}"
        if f"{name}.squeeze.weight" in state:
            x = F.conv2d(x, state[f"{name}.squeeze.weight"], state[f"{name}.squeeze.bias"]).relu()
            sides = [
                F.conv2d(x, state[f"{name}.{side}.weight"], state[f"{name}.{side}.bias"], padding=k)
                for k, side in enumerate(("expand1x1", "expand3x3"))
            ]
            x = torch.cat(sides, 1).relu()
        elif f"{name}.weight" in state:
            x = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], 1 if kind == "vgg16" else 2, PADDING[kind])
        elif number in POOLED[kind]:
            x = F.max_pool2d(x, 2, 2) if kind == "vgg16" else F.max_pool2d(x, 3, 2, ceil_mode=True)
        else:
            x = x.relu()
        if number in LAYERS[kind]:
            found[LAYERS[kind][number]] = x
        number += 1
    return found


def weights(kind: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return torchvision_state(kind, last=22)


def caffe(state: dict) -> dict:
    """SqueezeNet's weights by the names of the authors' Caffe files, for pictures in BGR, 0 to 255, minus the mean."""
    kind, ours, _ = detect_network(state)
    names = {".squeeze": "/squeeze1x1", ".expand1": "/expand1x1", ".expand3": "/expand3x3"}
    return {re.sub(r"\.(squeeze|expand\d)", lambda found: names[found[0]], name): value for name, value in ours.items()}


@pytest.mark.parametrize("kind", LOSS_NETWORKS)
def test_torchvisions_files_give_torchvisions_features(tmp_path, kind):
    state = weights(kind)
    torch.save(state, tmp_path / "network.pth")
    network, found, fingerprint = load_loss_network(str(tmp_path / "network.pth"))
    assert found == kind and len(fingerprint) == 32
    expected = torchvision_features(kind, state)
    features = network(X)
    assert set(features) == set(expected) and set(LOSS_NETWORKS[kind].style_layers) == set(expected)
    for layer, value in expected.items():
        torch.testing.assert_close(features[layer], value, rtol=1e-3, atol=1e-3)
    assert not any(value.requires_grad for value in network.parameters())


@pytest.mark.parametrize("kind", ["squeezenet1_0", "squeezenet1_1"])
def test_caffes_names_give_the_same_features_but_for_the_mean(tmp_path, kind):
    state = weights(kind)
    half = {key: value.half().contiguous() for key, value in caffe(state).items()}
    safetensors.torch.save_file(half, tmp_path / "n.safetensors")
    assert "fire2/squeeze1x1.weight" in half and "fire2/expand3x3.bias" in half
    torch.save(state, tmp_path / "n.pth")
    ours, found, _ = load_loss_network(str(tmp_path / "n.safetensors"))
    theirs, _, _ = load_loss_network(str(tmp_path / "n.pth"))
    assert found == kind
    shifted = X + ours.mean - theirs.mean
    for layer, value in theirs(X).items():
        torch.testing.assert_close(ours(shifted)[layer], value, rtol=0.02, atol=0.02 * value.max().item())


def test_the_lua_vgg_is_read(tmp_path):
    modules, state = [], {}
    for name, (sort, *sizes) in LOSS_NETWORKS["vgg16"].steps.items():
        if sort == "pool":
            modules.append(TorchObject("nn.SpatialMaxPooling", {}))
            continue
        inputs, outputs = sizes[:2]
        if name > "conv4_3":
            break
        normal = np.random.default_rng(inputs).standard_normal((outputs, inputs, 3, 3), np.float32)
        state[name] = normal * np.float32((9 * inputs) ** -0.5)
        fields = {"weight": state[name].reshape(outputs, -1), "bias": np.zeros(outputs, np.float32)}
        modules += [TorchObject("nn.SpatialConvolutionMM", fields), TorchObject("nn.ReLU", {})]
    network, kind, _ = load_loss_network(str(save(tmp_path / "vgg16.t7", sequence(*modules))))
    assert kind == "vgg16"
    seen = X - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    first = F.conv2d(seen, torch.from_numpy(state["conv1_1"]), padding=1).relu()
    expected = F.conv2d(first, torch.from_numpy(state["conv1_2"]), padding=1).relu()
    torch.testing.assert_close(network(X)["conv1_2"], expected, rtol=1e-3, atol=1e-2)


def test_the_real_network_tells_a_picture_from_its_mirror():
    network, kind, _ = load_loss_network(str(material("loss_network/squeezenet1_0.safetensors")))
    assert kind == "squeezenet1_0"
    features = network(X, ("fire5",))["fire5"]
    assert features.shape[1] == 256 and features.isfinite().all() and (features > 0).float().mean() > 0.05
    assert not torch.allclose(network(X.flip(3), ("fire5",))["fire5"], features)


def test_borders_are_not_black_where_that_is_asked_for(tmp_path):
    torch.save(weights("squeezenet1_1"), tmp_path / "n.pth")
    black, repeated, soft = (
        load_loss_network(str(tmp_path / "n.pth"), *words)[0](X) for words in ((), ("replicate",), ("zeros", "average"))
    )
    difference = (black["fire3"] - repeated["fire3"]).abs()
    assert difference[..., 4:-4, 4:-4].max() == 0 < difference.max()
    assert torch.equal(black["conv1"], soft["conv1"]) and not torch.allclose(black["fire3"], soft["fire3"])
    assert black["fire7"].shape == soft["fire7"].shape == repeated["fire7"].shape


def test_what_is_no_loss_network_is_refused_in_one_line(tmp_path):
    state = weights("squeezenet1_1")
    files = {"text.pth": b"nothing", "empty.pth": b""}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    torch.save({**state, "features.3.squeeze.weight": torch.zeros(16, 3, 1, 1)}, tmp_path / "shape.pth")
    torch.save({key: value for key, value in state.items() if "features.4." not in key}, tmp_path / "part.pth")
    save(tmp_path / "other.t7", sequence(TorchObject("nn.ReLU", {})))
    (tmp_path / "cut.pth").write_bytes((tmp_path / "shape.pth").read_bytes()[:1000])
    for name, words in {"text.pth": "begins with", "empty.pth": "begins with", "none.pth": "No such file",
                        "shape.pth": r"expected fire2.squeeze.weight \(16, 64, 1, 1\), got \(16, 3, 1, 1\)",
                        "part.pth": "expected fire3.squeeze.weight", "other.t7": "expected the convolutions of VGG-16",
                        "cut.pth": "damaged"}.items():  # fmt: skip
        with pytest.raises(FavError, match=words) as error:
            load_loss_network(str(tmp_path / name))
        assert name in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(FavError, match="expected SqueezeNet v1.0 or v1.1"):
        load_loss_network(str(BUNDLED))


def test_without_a_network_one_line_tells_what_to_download_and_where_to_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(pretrained, "URL", "http://127.0.0.1:9/models/")  # nobody listens there
    with pytest.raises(FavError) as error:
        load_loss_network("squeezenet1_1")
    told = str(error.value)
    assert "\n" not in told and "squeezenet1_1-b8a52dc0.pth" in told and "--loss-network" in told


@pytest.fixture
def server(tmp_path):
    """A real server of the files in a directory; its address."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    handler.log_message = lambda *words: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}/"
        served.shutdown()


def test_a_network_is_fetched_once_and_its_checksum_is_looked_at(tmp_path, monkeypatch, server):
    data = b"weights"
    name = f"network-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    (tmp_path / "served" / name).write_bytes(data)
    (tmp_path / "served" / "network-00000000.pth").write_bytes(data)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(pretrained, "URL", server)
    monkeypatch.setattr(pretrained, "PUBLISHED", {"good": name, "bad": "network-00000000.pth"})
    path = cached_network("good")
    assert path.read_bytes() == data and path.is_relative_to(tmp_path / "home")
    (tmp_path / "served" / name).unlink()
    assert cached_network("good") == path
    with pytest.raises(FavError, match="not the published file"):
        cached_network("bad")
    assert [file.name for file in Path(path).parent.iterdir()] == [name]
