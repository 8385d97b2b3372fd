"""How this program is started: from a checkout by its scripts, where it is installed by `python -m fav`."""

import sys

from shared.command_names import CHECKOUT
from shared.source_hash import ROOT

# -P: no directory that happens to be called `fav` where the operator is.
INSTALLED = [sys.executable, "-P", "-m", "fav"]
NODE = [sys.executable, str(ROOT / "node.py")] if CHECKOUT else [*INSTALLED, "node"]
COORDINATOR = [sys.executable, str(ROOT / "coordinator.py")] if CHECKOUT else INSTALLED

# On another machine, after its Python and in this directory.
NODE_THERE = ["node.py"] if CHECKOUT else ["-m", "fav", "node"]
PATH_THERE = str(ROOT) if CHECKOUT else "/"


def python_in(path: str) -> str:
    """The Python that install.sh has made in a checkout; without one, the Python of the same path as here."""
    return f"{path}/.venv/bin/python" if CHECKOUT or path != PATH_THERE else sys.executable
