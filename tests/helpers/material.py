"""Real material to test with: videos, flow pairs, weights and paintings that are not part of the project."""

import os
from pathlib import Path

import pytest

from tests.helpers.checkout import ROOT

DATA = Path(os.environ.get("FAV_TEST_DATA", ROOT.parent / "shared" / "data"))


def material(name: str) -> Path:
    """Path of a piece of the real material; skips the test, and says which piece, where it is missing."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real material {name} is not there (set FAV_TEST_DATA to its directory)")
    return path
