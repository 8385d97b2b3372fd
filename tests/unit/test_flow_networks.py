"""RAFT by torchvision and LiteFlowNet by ptlflow, with random weights: theirs are not part of the project."""

import subprocess
import sys
import types

import numpy as np
import pytest
import torch

from fav import flow as flows
from fav.errors import FavError
from fav.flow import ptlflow, raft
from tests.helpers.moving_texture import shifted_pair, texture


@pytest.fixture(scope="module")
def models():
    try:
        return raft.import_models()
    except FavError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("size", ["small", "large"])
def test_raft_reads_weights_and_keeps_the_size_of_any_frame(size, models, tmp_path):
    torch.manual_seed(0)
    torch.save(
        {"small": models.raft_small, "large": models.raft_large}[size](weights=None).state_dict(), tmp_path / "raft.pth"
    )
    flows.check(f"raft-{size}", tmp_path / "raft.pth")
    flow = flows.make(f"raft-{size}", tmp_path / "raft.pth")
    for shape in ((5, 9), (130, 150)):
        found = flow(texture(*shape), texture(*shape, seed=1))
        assert found.shape == (*shape, 2) and np.isfinite(found).all() and found.any()
    assert "torchvision" in flows.version_string(f"raft-{size}")


def test_weights_of_another_raft_are_refused(models, tmp_path):
    torch.save(models.raft_small(weights=None).state_dict(), tmp_path / "small.pth")
    with pytest.raises(FavError, match="expected a state dict of torchvision's raft_large"):
        flows.check("raft-large", tmp_path / "small.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(FavError, match="expected a state dict of torchvision's raft_small"):
        flows.check("raft-small", tmp_path / "other.pth")


class KnownNetwork(torch.nn.Module):
    """Remembers what it is shown, and returns the place of each pixel in the picture that it sees."""

    def forward(self, *seen):
        self.seen = seen
        first = seen[0]["images"][0] if isinstance(seen[0], dict) else seen[0]
        y, x = torch.meshgrid(*(torch.arange(float(side)) for side in first.shape[-2:]), indexing="ij")
        flow = torch.stack([x, y])[None]
        return {"flows": flow[None]} if isinstance(seen[0], dict) else [flow * 0, flow]


def test_raft_sees_rgb_from_minus_1_to_1_continued_to_what_it_needs(monkeypatch):
    network = KnownNetwork()
    monkeypatch.setattr(raft, "load_network", lambda size, weights: network)
    a, b = shifted_pair(70, 139)
    found = flows.make("raft-small")(a, b)
    assert np.array_equal(found, np.dstack(np.meshgrid(np.arange(139.0), np.arange(70.0))))
    for seen, frame in zip(network.seen, (a, b)):
        assert seen.shape == (1, 3, 128, 144)
        expected = torch.tensor(frame[..., ::-1].copy()).permute(2, 0, 1) / 127.5 - 1
        torch.testing.assert_close(seen[0, :, :70, :139], expected.float())
        assert torch.equal(seen[0, :, :70, 139:], seen[0, :, :70, 138:139].expand(-1, -1, 5))


def test_liteflownet_sees_both_frames_from_0_to_1(monkeypatch):
    network = KnownNetwork()
    library = types.SimpleNamespace(get_model=lambda name, ckpt_path: network, __version__="0.1")
    monkeypatch.setitem(sys.modules, "ptlflow", library)
    a, b = shifted_pair(70, 80)
    assert np.array_equal(flows.make("liteflownet")(a, b), np.dstack(np.meshgrid(np.arange(80.0), np.arange(70.0))))
    seen = network.seen[0]["images"]
    torch.testing.assert_close(seen[0, 1], torch.tensor(b).permute(2, 0, 1) / 255)
    assert flows.version_string("liteflownet").endswith("ptlflow 0.1")


def test_liteflownet_with_random_weights_keeps_the_size(tmp_path):
    try:
        library = ptlflow.library()
    except FavError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    torch.save({"state_dict": library.get_model("liteflownet").state_dict()}, tmp_path / "weights.ckpt")
    found = flows.make("liteflownet", tmp_path / "weights.ckpt")(*shifted_pair(70, 90))
    assert found.shape == (70, 90, 2) and np.isfinite(found).all()


@pytest.mark.parametrize(
    "name, package", [("raft-small", "torchvision"), ("raft-large", "torchvision"), ("liteflownet", "ptlflow")]
)
def test_a_library_that_is_not_there_is_one_line_with_the_cure(name, package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "torchvision.models", raising=False)
    monkeypatch.delitem(sys.modules, "torchvision.models.optical_flow", raising=False)
    for act in (flows.check, flows.make):
        with pytest.raises(FavError, match=f"expected .*{package}.*install") as error:
            act(name)
        assert "\n" not in str(error.value)
    assert package not in flows.version_string(name)


def test_weights_that_cannot_be_downloaded_are_one_line_with_their_address(models, monkeypatch):
    def fails(weights):
        raise OSError("no route")

    monkeypatch.setattr(models, "raft_small", fails)
    with pytest.raises(
        FavError,
        match="got 'no route'; download https://.*raft_small.* on another machine and give it with --flow-weights",
    ):
        flows.make("raft-small")


def test_no_library_is_imported_for_the_list_of_methods():
    code = "import sys, fav.flow; print(*(name in sys.modules for name in ('torch', 'torchvision', 'ptlflow', 'cv2')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False"] * 4
