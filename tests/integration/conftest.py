"""Whole programs run by the clock of the world."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shared.jobs import Job
from shared.shared_dir import SharedDir, open_share
from tests.helpers.job_system import make_share

if TYPE_CHECKING:
    import numpy as np

BEGINNING = 6  # frames of `plain`


@pytest.fixture
def share(root: Path) -> SharedDir:
    """An empty share, by the clock of the world."""
    return make_share(root)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, clip, style) -> Job:
    """A finished job of the default options: the first frames of the clip."""
    from tests.helpers.video_jobs import create, work

    job = create(open_share(tmp_path_factory.mktemp("plain")), clip, style, frames=BEGINNING)
    assert work(job)
    return job


@pytest.fixture(scope="module")
def sources(plain, clip) -> "list[np.ndarray]":
    """The frames of the clip that `plain` shows stylized."""
    from fav.video import FrameReader
    from tests.helpers.video_jobs import index_of

    with FrameReader(clip, (96, 64)) as reader:
        return [reader.read(number, index_of(plain)) for number in range(BEGINNING)]
