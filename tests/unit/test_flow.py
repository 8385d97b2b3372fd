import os
import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fav import flow as flows
from fav.errors import FavError
from fav.flow import deepflow2, spynet
from fav.flow.io import read_flo
from fav.model.torch7 import TorchObject
from tests.helpers.material import material
from tests.helpers.moving_texture import shifted_pair, texture
from tests.helpers.torch7_writer import save, sequence

OPENCV = ["dis", "farneback", "deepflow"]


def error(flow, x, y):
    return np.median(np.linalg.norm(flow - np.float32([x, y]), axis=-1))


@pytest.mark.parametrize("name", OPENCV)
@pytest.mark.parametrize("size", [(120, 160), (101, 77), (64, 200)])
def test_a_shift_is_found_and_leads_from_the_first_frame_to_the_second(name, size):
    flow = flows.make(name)(*shifted_pair(*size))
    assert flow.shape == (*size, 2) and flow.dtype == np.float32 and flow.flags.c_contiguous
    assert error(flow, 3, -2) < 0.25


@pytest.mark.parametrize("name", OPENCV)
@pytest.mark.parametrize("size", [(16, 16), (24, 90), (90, 24)])
def test_small_frames_have_a_flow_too(name, size):
    a = texture(*size)
    b = cv2.warpAffine(a, np.float32([[1, 0, 1], [0, 1, 0]]), size[::-1], borderMode=cv2.BORDER_REPLICATE)
    assert error(flows.make(name)(a, b), 1, 0) < 0.25


@pytest.mark.parametrize("name", [*OPENCV, "spynet"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2)])
def test_no_frame_is_too_small(name, size, tiny_spynet):
    flow = flows.make(name, tiny_spynet if name == "spynet" else None)
    assert flow(texture(*size), texture(*size, seed=1)).shape == (*size, 2)


@pytest.mark.parametrize("name", OPENCV)
def test_the_number_of_threads_and_what_came_before_change_no_bit(name):
    pairs = [shifted_pair(131, 170), (texture(90, 70), texture(90, 70, seed=1))]
    threads, results = cv2.getNumThreads(), []
    try:
        for number in (1, 2, 3):
            cv2.setNumThreads(number)
            flow = flows.make(name)
            results += [
                [flow(*pair).tobytes() for pair in pairs],
                [flow(*pair).tobytes() for pair in pairs[::-1]][::-1],
            ]
    finally:
        cv2.setNumThreads(threads)
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("name, most", [("dis", 1.8), ("farneback", 2.5), ("deepflow", 1.7)])
def test_flow_of_real_pairs_is_near_the_truth(name, most):
    assert mean_error(flows.make(name)) < most


def mean_error(flow):
    errors = []
    for pair in ("00001", "00002"):
        a, b = (cv2.imread(str(material(f"flow/{pair}_img{number}.ppm"))) for number in (1, 2))
        errors.append(np.linalg.norm(flow(a, b) - read_flo(material(f"flow/{pair}_flow.flo")), axis=-1).mean())
    return np.mean(errors)


def test_frames_that_differ_in_size_or_kind_are_refused():
    flow = flows.make("dis")
    with pytest.raises(FavError, match=r"flow dis: expected two frames \(70, 80, 3\) uint8, got \(80, 70, 3\) uint8"):
        flow(texture(70, 80), texture(80, 70))
    with pytest.raises(FavError, match="float32"):
        flow(texture(70, 80).astype(np.float32), texture(70, 80))


def test_unknown_methods_and_weights_too_few_or_too_many_are_refused_before_any_work(tmp_path):
    with pytest.raises(
        FavError, match="one of dis, farneback, spynet, spynet-half, deepflow, deepflow2, raft-small, .*, got 'raft'"
    ):
        flows.check("raft")
    with pytest.raises(
        FavError, match="expected weights, got none; give with --flow-weights .*github.com/anuragranj/spynet"
    ):
        flows.check("spynet")
    with pytest.raises(FavError, match="flow dis: expected no weights"):
        flows.check("dis", tmp_path)
    for name in OPENCV:
        flows.check(name)


def test_the_registry_does_not_import_pytorch_for_a_method_that_needs_none():
    code = "import sys, fav.flow; fav.flow.check('dis'); fav.flow.make('dis'); print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


# SPyNet


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_spynet_with_its_published_weights_is_near_the_truth(precision):
    assert mean_error(flows.make("spynet", material("spynet"), precision=precision)) < 1.3


def test_a_spynet_that_adds_nothing_finds_no_motion(tmp_path, tiny_spynet):
    weights = {key: torch.zeros_like(value) for key, value in load_file(tiny_spynet).items()}
    spynet.save_weights(weights, tmp_path / "zero.safetensors")
    assert (flows.make("spynet", tmp_path / "zero.safetensors")(texture(70, 99), texture(70, 99, seed=1)) == 0).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_each_level_of_spynet_doubles_the_flow_of_the_level_before(tmp_path, tiny_spynet, precision):
    """All weights 0 but the coarsest level's last bias (1, -2): with 3 levels, 1 pixel there is 4 in the picture."""
    weights = {key: torch.zeros_like(value) for key, value in load_file(tiny_spynet).items()}
    weights["netBasic.0.netBasic.8.bias"] = torch.tensor([1.0, -2.0])
    spynet.save_weights(weights, tmp_path / "one.safetensors")
    flow = flows.make("spynet", tmp_path / "one.safetensors", precision=precision)
    assert np.allclose(flow(texture(64, 96), texture(64, 96)), [4, -8])
    scaled = flow(texture(65, 100), texture(65, 100))
    assert np.allclose(scaled, [4 * 100 / 128, -8 * 65 / 96], rtol=1e-5)


def test_spynet_reads_every_layout_of_the_same_weights_alike(tmp_path, tiny_spynet):
    weights = load_file(tiny_spynet)
    torch.save(weights, tmp_path / "new.pth")
    torch.save(
        {key.replace("netBasic", "moduleBasic"): value for key, value in weights.items()}, tmp_path / "old.pytorch"
    )
    write_torch7(weights, tmp_path / "lua")
    for path in (tmp_path / "new.pth", tmp_path / "old.pytorch", tmp_path / "lua"):
        found = spynet.load_weights(path)
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[key], weights[key]) for key in weights)
        flows.check("spynet", path)


def write_torch7(weights, directory):
    directory.mkdir()
    for level in range(spynet.LEVELS):
        layers = []
        for number in range(9):
            key = f"netBasic.{level}.netBasic.{number}."
            convolution = TorchObject(
                "nn.SpatialConvolution",
                {name: weights[key + name].numpy() for name in ("weight", "bias") if key + name in weights},
            )
            layers.append(TorchObject("nn.ReLU", {"inplace": True}) if number % 2 else convolution)
        save(directory / f"modelL{level + 1}_F.t7", sequence(*layers))


def test_published_weights_become_one_file(tmp_path):
    weights = spynet.load_weights(material("spynet"))
    spynet.save_weights(weights, tmp_path / "one.safetensors")
    again = spynet.load_weights(tmp_path / "one.safetensors")
    assert all(torch.equal(again[key], weights[key]) for key in weights)


def test_what_is_no_spynet_is_named(tmp_path, tiny_spynet):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"netBasic.0.netBasic.0.weight": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "empty.pth").touch()
    torch.save([1], tmp_path / "list.pth")
    weights = load_file(tiny_spynet)
    save_file({key: value for key, value in weights.items() if "3" not in key}, tmp_path / "part.safetensors")
    save_file(weights | {"netBasic.2.netBasic.4.bias": torch.zeros(5)}, tmp_path / "shape.safetensors")
    (tmp_path / "nothing").mkdir()
    for name, complaint in (
        ("missing.pth", "No such file"),
        ("missing.safetensors", "No such file"),
        ("evil.pth", "does not read as one"),
        ("text.pth", "does not read as one"),
        ("text.safetensors", "does not read as one"),
        ("empty.pth", "does not read as one"),
        ("list.pth", "expected a state dict, got list"),
        ("part.safetensors", "expected netBasic.3.netBasic.0.weight (32, 8, 7, 7), got none"),
        ("shape.safetensors", "expected netBasic.2.netBasic.4.bias (32,), got (5,)"),
        ("nothing", "modelL1_F.t7"),
    ):
        with pytest.raises(FavError) as error:
            flows.check("spynet", tmp_path / name)
        assert (
            complaint in str(error.value) and str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)
        )
    assert not (tmp_path / "ran").exists()


# DeepFlow 2, by programs that stand in for the authors'

MATCHING = """
import os, sys
a, b, *rest = sys.argv[1:]
assert rest == ["-nt", os.environ.get("NT", "0"), "-downscale", os.environ.get("DOWNSCALE", "2")], rest
assert cv2.imread(a).shape == cv2.imread(b).shape
for number in range(20000):
    print("0 0 3 -2 1.0", number)
"""
FLOW2 = """
import sys, numpy as np
a, b, out, flag = sys.argv[1:]
assert flag == "-match"
assert len(sys.stdin.readlines()) == 20000
grays = [cv2.imread(name, cv2.IMREAD_GRAYSCALE) for name in (a, b)]
flow = cv2.DISOpticalFlow.create(1).calc(*grays, None)
with open(out, "wb") as file:
    file.write(b"PIEH" + np.int32(flow.shape[1::-1]).tobytes() + flow.tobytes())
print("done")
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Writes stand-ins for the two programs and puts them on a PATH whose name has a blank."""
    bin = tmp_path / "the bin"
    bin.mkdir()
    monkeypatch.setenv("PATH", f"{bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(deepflow2, "BIN", tmp_path / "nothing here")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def write(matching=MATCHING, flow2=FLOW2, into=bin):
        into.mkdir(exist_ok=True)
        for name, text in (("deepmatching-static", matching), ("deepflow2-static", flow2)):
            if text is not None:
                (into / name).write_text(f"#!{sys.executable}\nimport cv2\n{text}")
                (into / name).chmod(0o755)

    write.bin = bin
    return write


def leftovers(tmp_path):
    return [path.name for path in tmp_path.iterdir() if path.name.startswith("fav-")]


def test_deepflow2_pipes_the_matches_into_the_flow(programs, tmp_path):
    programs()
    flows.check("deepflow2")
    flow = flows.make("deepflow2")(*shifted_pair(120, 161))
    assert error(flow, 3, -2) < 0.25
    assert leftovers(tmp_path) == []


def test_threads_and_downscale_reach_deepmatching(programs, monkeypatch):
    programs()
    monkeypatch.setenv("NT", "3")
    monkeypatch.setenv("DOWNSCALE", "1")
    flows.make("deepflow2", threads=3, downscale=1)(*shifted_pair(70, 80))


def test_programs_in_bin_come_before_those_on_the_path(programs, monkeypatch, tmp_path):
    programs()
    programs(into=tmp_path / "checkout bin")
    monkeypatch.setattr(deepflow2, "BIN", tmp_path / "checkout bin")
    assert deepflow2.program("deepflow2-static").parent == tmp_path / "checkout bin"


def test_words_tell_one_version_of_the_programs_from_another(programs):
    programs()
    before = flows.version_string("deepflow2")
    assert re.fullmatch("deepflow2 by [0-9a-f]{8} [0-9a-f]{8}", before) and flows.version_string("deepflow2") == before
    programs(flow2=FLOW2 + "# of another year\n")
    assert (
        flows.version_string("deepflow2").split()[:3] == before.split()[:3]
        and flows.version_string("deepflow2") != before
    )


def test_words_tell_which_pytorch_and_which_version_of_ours_compute_spynet():
    assert (
        flows.version_string("spynet") == f"spynet 3 by torch {torch.__version__}"
        and flows.version_string("dis") == "dis"
    )


def test_missing_programs_are_named_with_the_place_to_get_them(programs):
    programs(flow2=None)
    with pytest.raises(
        FavError, match="the program deepflow2-static in .* or on PATH, got none; get it from .*https://"
    ):
        flows.check("deepflow2")
    (programs.bin / "deepflow2-static").write_text("not executable")
    with pytest.raises(FavError, match="make it executable"):
        flows.make("deepflow2")


DIES = "import sys; print('reading', file=sys.stderr); sys.exit('no memory left')"


@pytest.mark.parametrize(
    "broken, complaint",
    [
        ({"matching": DIES}, "deepmatching-static ended with 1: no memory left"),
        ({"flow2": DIES}, "deepflow2-static ended with 1: no memory left"),
        ({"matching": DIES, "flow2": DIES}, "deepmatching-static ended with 1: no memory left"),
        ({"flow2": "import os; os.kill(os.getpid(), 11)"}, "deepflow2-static ended with -11: it printed no error"),
        ({"flow2": "import sys; sys.stdin.read()"}, "out.flo: No such file"),
        ({"flow2": "import sys; sys.stdin.read(); open(sys.argv[3], 'wb').write(b'PIEH')"}, "expected a .flo file"),
        (
            {"flow2": FLOW2.replace("flow = ", "flow = np.ones((5, 5, 2), np.float32) #")},
            "expected (70, 80, 2), got (5, 5, 2)",
        ),
        (
            {"flow2": FLOW2.replace("with open", "flow[3, 3] = np.nan\nwith open")},
            "expected finite values, got 2 that are not",
        ),
    ],
)
def test_a_program_that_fails_is_named_with_its_last_words(programs, tmp_path, broken, complaint):
    """A matching program that is killed by the broken pipe, as a C program is, does not take the blame."""
    matching = "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n" + MATCHING
    programs(**({"matching": matching} | broken))
    with pytest.raises(FavError) as error:
        flows.make("deepflow2")(*shifted_pair(70, 80))
    assert complaint in str(error.value)
    assert leftovers(tmp_path) == []


def test_a_program_for_another_machine_is_named(programs):
    programs()
    (programs.bin / "deepflow2-static").write_bytes(b"\x7fELF garbage")
    with pytest.raises(FavError, match="deepflow2-static does not start: Exec format error"):
        flows.make("deepflow2")(*shifted_pair(70, 80))


def test_programs_that_hang_are_killed(programs, tmp_path):
    programs(flow2=f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    began = time.monotonic()
    with pytest.raises(FavError, match="did not end in 2 s"):
        deepflow2.make(None, 2, hang_s=2)(*shifted_pair(70, 80))
    assert time.monotonic() - began < 10
    pid = tmp_path / "pid"
    assert not pid.exists() or not pid.read_text() or not Path("/proc", pid.read_text()).exists()
    assert leftovers(tmp_path) == []
