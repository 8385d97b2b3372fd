"""Where the program lies that is tested, and its sources."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    ROOT / "node.py",
    ROOT / "coordinator.py",
    *sorted(ROOT.glob("fav/**/*.py")),
    *sorted(ROOT.glob("shared/**/*.py")),
]
