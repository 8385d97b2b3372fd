"""Whole programs run by the clock of the world."""

from pathlib import Path

import pytest

from shared.shared_dir import SharedDir
from tests.helpers.job_system import make_share


@pytest.fixture
def share(root: Path) -> SharedDir:
    """An empty share, by the clock of the world."""
    return make_share(root)
