"""What runs the network: every backend and precision paints the same picture, and each the same bytes whoever runs it."""

import hashlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import coordinator
from fav.errors import FavError
from fav.model import runner as runner_module
from fav.model.backends import BACKENDS, choose
from fav.model.backends.pytorch import to_bfloat16
from fav.model.devices import best_precision
from fav.model.runner import StyleRunner
from fav.pipeline.spec import JobSpec
from fav.pipeline.task_names import frame_task
from fav.util.images import png_text
from shared.jobs import all_jobs
from tests.helpers.cases import usual
from tests.helpers.checkout import ROOT
from tests.helpers.job_system import make_share
from tests.helpers.networks import MARKED, STRINGS, picture, random_network
from tests.helpers.video_jobs import create, work

SIZES = [(1, 1), (3, 50), (43, 50)]
MIRRORED = [(17, 21), (12, 50), (43, 50)]  # a mirror image needs something to mirror
EACH_LAYER = [
    *(STRINGS[number] for number in (1, 2, 6, 7, 8, 11)),
    *MARKED[:3],
]  # every kind of layer and entry is in one of them
BFLOAT16 = best_precision(torch.device("cpu"))  # where the processor is not made for it, float32 is tested twice


@pytest.fixture
def share(root):
    """An empty share, by the clock of the world."""
    return make_share(root)


@pytest.fixture(params=["torch", "openvino"])
def backend(request) -> str:
    if missing := BACKENDS[request.param].missing():
        pytest.skip(missing)
    return request.param


def pieces(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A frame, a warped prior and its reliability."""
    rng = np.random.default_rng(seed)
    prior = rng.integers(0, 256, (height, width, 3)).astype(np.float32)
    return rng.integers(0, 256, (height, width, 3), np.uint8), prior, rng.integers(0, 2, (height, width), np.uint8)


@pytest.mark.parametrize("in_channels", [3, 7])
@pytest.mark.parametrize("arch", usual(STRINGS + MARKED, *EACH_LAYER))
def test_all_paint_what_the_network_paints(backend, arch, in_channels):
    plain = StyleRunner(random_network(arch, in_channels))
    exact = StyleRunner(random_network(arch, in_channels), backend=backend)
    rough = StyleRunner(random_network(arch, in_channels), backend=backend, precision="bfloat16")
    sizes = MIRRORED if "m" in arch else SIZES
    for size in sizes:  # one after the other: a backend must take up a frame of another size
        expected = plain.stylize(*pieces(*size)).astype(int)
        found = exact.stylize(*pieces(*size))
        assert found.dtype == np.uint8 and found.flags.c_contiguous
        assert np.abs(found - expected).max() <= 1 and np.mean(found != expected) < 0.01
        roughly = rough.stylize(*pieces(*size))
        assert roughly.shape == expected.shape and roughly.dtype == np.uint8
        # A norm over one pixel makes a large difference of a rounding.
        assert size == (1, 1) or np.abs(roughly - expected).mean() < 1


@pytest.mark.parametrize("arch", STRINGS + MARKED)
def test_lowered_a_network_paints_nearly_the_same(arch):
    """Also on processors that are not made for bfloat16, where no runner would lower it."""
    network, x = random_network(arch), picture(43, 50)
    with torch.inference_mode():
        assert (to_bfloat16(network)(x.bfloat16()) - network(x)).abs().mean() < 0.8


def test_a_frame_stays_as_it_was_and_what_was_returned_is_not_painted_over(backend):
    runner, (frame, prior, reliability) = StyleRunner(random_network(), backend=backend), pieces(20, 28)
    first = runner.stylize(frame, prior, reliability)
    kept = first.copy()
    assert np.array_equal(frame, pieces(20, 28)[0]) and np.array_equal(prior, pieces(20, 28)[1])
    runner.stylize(*pieces(20, 28, seed=1))
    assert np.array_equal(first, kept) and np.array_equal(runner.stylize(frame, prior, reliability), kept)


SCRIPT = """
import sys
import torch
from tests.unit.test_backends import prints
torch.set_num_threads(int(sys.argv[1]))
print(*prints(), sep="\\n")
"""


def prints() -> list[str]:
    """A hash of what each backend and precision paints, with its numeric class."""
    found = []
    for name in ("torch", "openvino"):
        for precision in ("float32", "bfloat16") if BACKENDS[name].missing() is None else ():
            network = random_network("c9s1-16,d32,d64,R64,R64,U2,c3s1-32,U2,c9s1-3")
            runner = StyleRunner(network, backend=name, precision=precision)
            picture = runner.stylize(*pieces(75, 118))
            found.append(f"{hashlib.sha256(picture).hexdigest()} {runner.numeric_class()}")
    return found


def test_processes_of_one_numeric_class_paint_the_same_bytes():
    expected = prints()
    words = sys.executable, "-c", SCRIPT, str(torch.get_num_threads())
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.splitlines() == expected, run.stderr
    classes = {line.partition(" ")[2] for line in expected}
    assert len(classes) == len(expected) / (1 if BFLOAT16 == "bfloat16" else 2)


def test_a_processor_that_is_not_made_for_bfloat16_computes_in_float32(backend, monkeypatch):
    exact = StyleRunner(random_network(), backend=backend)
    monkeypatch.setattr(runner_module, "best_precision", lambda device: "float32")
    runner = StyleRunner(random_network(), backend=backend, precision="bfloat16")
    assert runner.numeric_class() == exact.numeric_class() and "float32" in runner.numeric_class()
    assert np.array_equal(runner.stylize(*pieces(20, 28)), exact.stylize(*pieces(20, 28)))


@pytest.mark.skipif(BFLOAT16 == "float32", reason="this processor is not made for bfloat16")
def test_the_numeric_class_tells_backend_and_precision(backend):
    exact = StyleRunner(random_network(), backend=backend).numeric_class()
    rough = StyleRunner(random_network(), backend=backend, precision="bfloat16").numeric_class()
    assert exact.startswith(f"{backend} ") and rough == exact.replace("float32", "bfloat16")


def test_auto_is_openvino_on_the_processor_where_it_is_installed(monkeypatch):
    assert choose("auto", "cuda:0") == "torch"
    assert choose("auto", "cpu") == ("torch" if BACKENDS["openvino"].missing() else "openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert choose("auto", "cpu") == "torch"


@pytest.mark.parametrize(
    "name, device, complaint",
    [
        ("openvino", "cpu", "backend openvino: expected the package openvino, got .*pip install openvino, or leave"),
        ("openvino", "cuda:0", "backend openvino: expected --device cpu, got cuda:0"),
        ("compile", "cpu", r"backend compile: expected a C\+\+ compiler .*apt install g\+\+, or leave --backend out"),
        ("caffe", "cpu", "backend: expected auto or one of torch, compile, openvino, got 'caffe'"),
    ],
)
def test_a_backend_that_is_not_here_is_refused_in_one_line(name, device, complaint, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FavError, match=complaint) as error:
        choose(name, device)
    assert "\n" not in str(error.value)


SIGNALS = """
import signal, subprocess, sys
from fav.util.malloc import malloc_trim
from fav.model.runner import StyleRunner
from tests.unit.test_backends import pieces
from tests.helpers.networks import random_network
signal.signal(signal.SIGCHLD, lambda *words: None)
runners = []
for _ in range(4):
    runners = [*runners[-1:], StyleRunner(random_network(), backend=sys.argv[1])]
    runners[-1].stylize(*pieces(20, 28))
runners.clear()
malloc_trim()
subprocess.run(["true"], check=True)
"""


@pytest.mark.slow
def test_a_child_may_end_after_runners_have_come_and_gone(backend):
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SIGNALS, backend], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.long
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("arch", ["c9s1-4,d8,R8,U2,c9s1-3", "E,c5s2-8,[d8,S8x2k5,R8d2,U2,c5s1-8],p3s2-3"])
def test_compiled_it_paints_what_the_network_paints(arch, precision):
    expected = StyleRunner(random_network(arch)).stylize(*pieces(43, 50)).astype(int)
    runner = StyleRunner(random_network(arch), backend="compile", precision=precision)
    assert np.abs(runner.stylize(*pieces(43, 50)) - expected).mean() < 0.8
    assert runner.numeric_class().startswith("torch compile ")


def submitted(share, *words):
    return CliRunner().invoke(coordinator.main, ["submit", str(share.layout.root), *map(str, words)])


def test_a_job_records_the_precision_that_auto_means_where_it_is_made(clip, style, share):
    assert submitted(share, clip, style, "--name", "unsaid").exit_code == 0
    for precision in ("auto", "float32", "bfloat16"):
        assert submitted(share, clip, style, "--name", precision, "--precision", precision).exit_code == 0
    precisions = {job.name: JobSpec.from_json(job.manifest.spec).precision for job in all_jobs(share)}
    assert precisions == {"unsaid": BFLOAT16, "auto": BFLOAT16, "float32": "float32", "bfloat16": "bfloat16"}


def test_another_precision_is_another_job_and_auto_joins_any(clip, style, share):
    line = clip, style, "--name", "job", "--precision"
    assert "created" in submitted(share, *line, "bfloat16").output
    assert "joined" in submitted(share, *line, "bfloat16").output and "joined" in submitted(share, *line, "auto").output
    refusal = submitted(share, *line, "float32")
    assert refusal.exit_code == 2 and "--precision bfloat16, not --precision float32" in refusal.output


def test_jobs_of_before_there_was_a_choice_are_float32_and_a_strange_one_is_refused(clip, style, share):
    record = create(share, clip, style).manifest.spec
    assert (
        JobSpec.from_json({name: value for name, value in record.items() if name != "precision"}).precision == "float32"
    )
    with pytest.raises(FavError, match="expected precision to be float32 or bfloat16, got 'float8'"):
        JobSpec.from_json({**record, "precision": "float8"})


def test_each_frame_tells_what_painted_it(clip, style, share, backend):
    job = create(share, clip, style, precision="bfloat16", frames=2)
    assert work(job, backend=backend)
    told = png_text(job.layout.result(frame_task(1)).read_bytes())["numeric-class"]
    assert told.startswith(f"{backend} ") and f" cpu {BFLOAT16} " in told
