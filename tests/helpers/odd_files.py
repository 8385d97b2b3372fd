"""What may lie in the place of a file, and what lies in a directory."""

import os
import socket
from pathlib import Path


def link(path: Path) -> None:
    (path.parent.parent / "victim").write_text("precious")
    path.symlink_to(path.parent.parent / "victim")


def dangling(path: Path) -> None:
    path.symlink_to(path.parent.parent / "nobody")


def bind(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def look(place: Path) -> list[tuple]:
    """All that lies there, and what is in it; of links where they lead, and what is in that."""
    found = []
    for path in sorted(place.rglob("*")):
        info = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found.append((path.name, info.st_mode, info.st_ino, os.readlink(path) if path.is_symlink() else None, content))
    return found
