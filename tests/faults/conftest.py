"""Nobody waits; a disk that can be filled up; and a place in memory for many small shares."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import control
from shared.filesystem import FileSystem
from shared.notify import ChangeNotifier
from tests.helpers.failing_filesystem import step
from tests.helpers.full_disk import Disk
from tests.helpers.strangers_world import MEMORY


@pytest.fixture
def at_once(monkeypatch) -> None:
    """In this process nobody waits for a notification or a disk."""
    monkeypatch.setattr(ChangeNotifier, "wait", lambda notifier, seconds: step(notifier.node.share.system, seconds))
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture(scope="module")
def all_at_once() -> Iterator[None]:
    """In this module nobody waits for a notification, a disk or the world's clock."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ChangeNotifier, "wait", lambda notifier, seconds: notifier.node.share.system.sleep(seconds))
        patched.setattr(FileSystem, "sleep", lambda system, seconds: None)
        patched.setattr(os, "fsync", lambda fd: None)
        patched.setattr(control, "KEEP_S", 0.0)
        yield


@pytest.fixture(scope="module")
def above(tmp_path_factory) -> Iterator[Path]:
    """Where examples are tried: in memory, if that can be. On a disk, removing a directory takes milliseconds."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path_factory.mktemp("strangers")
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        yield Path(directory)


@pytest.fixture
def disk(request, tmp_path: Path) -> Iterator[Disk]:
    """The disk of the kind that the test asks for."""
    disk = Disk(getattr(request, "param", "tmpfs"), tmp_path / "disk")
    yield disk
    disk.end()
