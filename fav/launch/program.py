"""The commands that start this program: the scripts of a checkout, or `python -m fav` for an installed program."""

import sys

from shared.command_names import CHECKOUT
from shared.source_hash import ROOT

# -P: do not import from a directory `fav` in the current directory.
INSTALLED = [sys.executable, "-P", "-m", "fav"]
NODE = [sys.executable, str(ROOT / "node.py")] if CHECKOUT else [*INSTALLED, "node"]
COORDINATOR = [sys.executable, str(ROOT / "coordinator.py")] if CHECKOUT else INSTALLED

# The command on another machine, after its Python; and the directory to run it in.
REMOTE_NODE = ["node.py"] if CHECKOUT else ["-m", "fav", "node"]
REMOTE_PATH = str(ROOT) if CHECKOUT else "/"


def python_in(path: str) -> str:
    """The Python of the checkout `path`; for an installed program, the same path as on this machine."""
    return f"{path}/.venv/bin/python" if CHECKOUT or path != REMOTE_PATH else sys.executable
