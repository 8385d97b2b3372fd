"""Fixtures for the job system. FAV_TEST_MOUNT=/mnt/film aims the same tests at a real mount."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from shared.filesystem import FileSystem
from shared.identity import Identity
from shared.membership import Node
from shared.shared_dir import SharedDir, open_share
from tests import toy

os.environ.pop("FAV_SHARE", None)  # the user's: here every line says which directory it means

for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP):
    # Tests that run in the background or under nohup ignore some of them, and so would the nodes that they start.
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


class Clock(FileSystem):
    """The real file system with a clock that a test steps."""

    def __init__(self):
        super().__init__()
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


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


def join(share: SharedDir, host: str = "") -> Node:
    """A node that has joined; with `host`, one of another machine."""
    identity = Identity.here()
    if host:
        identity = Identity(**{**vars(identity), "host": host, "boot": f"boot of {host}"})
    node = Node(share, identity)
    node.join()
    return node


@pytest.fixture
def node(share: SharedDir) -> Node:
    return join(share)


@pytest.fixture
def job(share: SharedDir):
    return toy.create(share, chains=1, length=3)
