"""How a command of this program is typed, for messages: in the form in which the user started the program."""

import os
import sys
from pathlib import Path

CHECKOUT = (Path(__file__).resolve().parent.parent / "node.py").is_file()  # whether the program runs from one
ENTRY = "FAV_ENTRY"  # environment variable: what the user typed, for the processes that this one starts
SCRIPTS = {"node": "node.py", "check-fs": "bin/check-share"}  # in a checkout; coordinator.py has the other commands


def entry() -> str:
    """How the program was started: `fav`, `python -m fav`, or `coordinator.py` for any script of a checkout."""
    path = Path(sys.argv[0])
    if path.name in ("node.py", "coordinator.py"):
        return os.environ.get(ENTRY, "coordinator.py")
    if path.name == "__main__.py" and path.parent.name == "fav":
        return os.environ.get(ENTRY, "python -m fav")
    if path.name == "fav":
        return "fav"
    return "coordinator.py" if CHECKOUT else "fav"


def export_entry() -> None:
    """Set ENTRY, so that messages of child processes name commands in the same form."""
    os.environ[ENTRY] = entry()


def command(name: str) -> str:
    """A command as the user would type it: `fav status`, or `coordinator.py status`.

    Args:
        name: One of the commands of `fav`, like "status", "node" or "check-fs".
    """
    started = entry()
    if started == "coordinator.py":
        return SCRIPTS.get(name, f"{started} {name}")
    return f"{started} {name}"
