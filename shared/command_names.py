"""How a command of this program is typed: as the user started the program, so that a message names a command he can repeat."""

import os
import sys
from pathlib import Path

CHECKOUT = (Path(__file__).resolve().parent.parent / "node.py").is_file()  # whether the program runs from one
ENTRY = "FAV_ENTRY"  # environment variable: what the user typed, for the processes that this one starts
SCRIPTS = {"node": "node.py", "check-fs": "bin/check-share"}  # of a checkout; coordinator.py has the other commands


def entry() -> str:
    """What the program was started by: `fav`, `python -m fav`, or `coordinator.py`, which stands for all scripts."""
    path = Path(sys.argv[0])
    if path.name in ("node.py", "coordinator.py"):
        return os.environ.get(ENTRY, "coordinator.py")
    if path.name == "__main__.py" and path.parent.name == "fav":
        return os.environ.get(ENTRY, "python -m fav")
    if path.name == "fav":
        return "fav"
    return "coordinator.py" if CHECKOUT else "fav"


def pass_on() -> None:
    """Let the processes that this one starts name commands as it does itself."""
    os.environ[ENTRY] = entry()


def command(name: str) -> str:
    """A command as the user types it: `fav status`, or `coordinator.py status`.

    Args:
        name: One of the commands of `fav`, like "status", "node" or "check-fs".
    """
    started = entry()
    if started == "coordinator.py":
        return SCRIPTS.get(name, f"{started} {name}")
    return f"{started} {name}"
