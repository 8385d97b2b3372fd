"""What tests of all rings share: shared directories and nodes, a clip and a style, material to train with; and their time limit.

FAV_TEST_MOUNT=/mnt/film aims the tests of the job system at a real mount. Fixtures import what needs PyTorch when they are
asked for: tests of the job system begin without it.
"""

import atexit
import gc
import importlib
import logging
import os
import re
import signal
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from shared.membership import Node
from shared.shared_dir import SharedDir, open_share
from tests.helpers import toy_plan as toy
from tests.helpers.checkout import ROOT
from tests.helpers.job_system import Clock, join

# The user's settings of threads, colors, proxies, and of this program: the nodes of a test compute as the test does, pages come from
# this machine, and every line says which directory it means.
USERS = r"(OMP|GOMP|KMP|MKL|OPENBLAS|NUMEXPR|DASK)_.*|(https?|all)_proxy|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|XDG_DATA_HOME|FAV_SHARE|FAV_ENTRY"
for _name in list(os.environ):
    if re.fullmatch(USERS, _name, re.IGNORECASE):
        del os.environ[_name]
# Threads of PyTorch that wait must not spin: several tests run at a time. `node.py` sets the same for its worker.
os.environ["GOMP_SPINCOUNT"] = "0"

for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP):
    # Tests that run in the background or under nohup ignore some of them, and so would the nodes that they start.
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

gc.disable()  # until all tests are collected: thousands of objects, of which none is garbage
atexit.register(gc.freeze)

UNLIMITED = ("long", "nfs", "slurm")  # marks of tests that may take hours


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.get_closest_marker(mark) for mark in UNLIMITED):
            item.add_marker(pytest.mark.timeout(0))
    if hasattr(config, "workerinput"):  # one of several: short files at the end keep all of them busy to the last
        tests_of = Counter(item.path for item in items)
        items.sort(key=lambda item: ("unit" in item.path.parts, -tests_of[item.path], item.path))


def pytest_collection_finish() -> None:
    gc.freeze()  # collections need not look at what was imported
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Record what is logged from INFO on, whatever the test before has set.

    pytest's own log_level would set it a dozen times for each test, and each time clear the caches of all loggers.
    """
    root = logging.getLogger()
    if root.level != logging.INFO:
        root.setLevel(logging.INFO)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Of several workers, each begins with other modules, and finds the others compiled when it comes to them.

    All workers collect all tests. If all began with the first module, each would rewrite the asserts of every module itself.
    """
    worker = getattr(collector.config, "workerinput", None)
    if worker is None or not isinstance(collector, pytest.Session) or collector.config.args != ["tests"]:
        return
    modules = sorted(ROOT.glob("tests/*/**/test_*.py"))
    begin = len(modules) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for module in modules[begin:]:
        with suppress(Exception, pytest.skip.Exception):  # collecting the module tells it
            importlib.import_module(".".join(module.relative_to(ROOT).with_suffix("").parts))


# ---- the job system
@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty directory that is shared: local, or on the mount under test."""
    mount = os.environ.get("FAV_TEST_MOUNT")
    return Path(tempfile.mkdtemp(dir=mount)) if mount else tmp_path / "share with 'quotes' and spaces"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def share(root: Path, clock: Clock) -> SharedDir:
    root.mkdir(exist_ok=True)
    return open_share(root, clock)


@pytest.fixture(params=["hard links", "no hard links"])
def any_share(request, share: SharedDir) -> SharedDir:
    """The share, once as it is and once as if its file system refused hard links."""
    if request.param == "no hard links":
        share.hard_links = False
    return share


@pytest.fixture
def node(share: SharedDir) -> Node:
    return join(share)


@pytest.fixture
def job(share: SharedDir):
    return toy.create(share, chains=1, length=3)


# ---- videos, networks and training
@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """The clip of `make_clip`."""
    from tests.helpers.video_jobs import make_clip

    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="module")
def style(tmp_path_factory) -> Path:
    """The style of `make_style`."""
    from tests.helpers.video_jobs import make_style

    return make_style(tmp_path_factory.mktemp("style") / "tiny.safetensors")


@pytest.fixture
def tiny_spynet(tmp_path: Path) -> Path:
    """The SPyNet of `make_tiny_spynet`."""
    from tests.helpers.networks import make_tiny_spynet

    return make_tiny_spynet(tmp_path / "spynet.safetensors")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A directory of 24 photographs."""
    from tests.helpers.training_material import make_photos

    return make_photos(tmp_path / "photos of 'mine'")


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    """Diagonal stripes in red and yellow."""
    from tests.helpers.training_material import make_painting

    return make_painting(tmp_path / "stripes.png")


@pytest.fixture
def loss_network(tmp_path: Path) -> Path:
    """The loss network of `make_loss_network`."""
    from tests.helpers.training_material import make_loss_network

    return make_loss_network(tmp_path / "random.pth")
