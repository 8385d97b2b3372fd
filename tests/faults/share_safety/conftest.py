"""A shared directory beside the files of other people, a clock that is moved on by hours, and a film."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.jobs import Job
from shared.shared_dir import open_share
from tests.helpers import video_jobs as films
from tests.helpers.strangers_world import HANGS_S, Ticking, in_time, scratch


@pytest.fixture
def base(above: Path) -> Iterator[Path]:
    """A directory with the world outside in `home`; the share is to be beside it."""
    with scratch(above) as directory, in_time(HANGS_S):
        yield directory


@pytest.fixture
def root(base: Path) -> Path:
    (path := base / "share").mkdir(mode=0o775)
    return path


@pytest.fixture
def home(base: Path) -> Path:
    return base / "home"


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> tuple[str, str]:
    place = tmp_path_factory.mktemp("inputs")
    return str(films.make_clip(place / "clip.mp4", "32x32")), str(films.make_style(place / "tiny.safetensors"))


@pytest.fixture
def film(root: Path, inputs) -> Job:
    """A job of three frames in a share of its own."""
    return films.create(open_share(root), *map(Path, inputs), frames=3, name="film", no_space_check=True)
