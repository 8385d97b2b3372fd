"""Which version of this program it is: told by its sources themselves, whether they came by git, by rsync or by hand."""

import hashlib
import os
import threading
from functools import cache
from pathlib import Path

ROOT = (
    Path(__file__).resolve().parent.parent
)  # the checkout; where the program is installed, the directory fav/_private
PRIVATE = "_private"
PARTS = {"fav": ("**/*.py", "**/*.html"), "shared": ("**/*.py",)}
POLL_INTERVAL_S = 5.0  # how often a node looks whether its sources were replaced


@cache  # a checkout that is replaced under a process that runs does not change that process
def version(root: Path = ROOT) -> str:
    """Twelve hexadecimal digits that differ where any source does; the ends of lines do not count.

    A checkout and what was installed from it have the same.
    """
    digest = hashlib.blake2b(digest_size=6)
    for name, path in sorted(_files(root).items()):
        digest.update(os.fsencode(name) + b"\0")
        digest.update(_content(path) + b"\0")
    return digest.hexdigest()


def _files(root: Path) -> dict[str, Path]:
    """Each source by its name in a checkout."""
    places = {package: root / package for package in PARTS}
    if root.name == PRIVATE:
        places["fav"] = root.parent
    found = {}
    for package, place in places.items():
        for path in (path for part in PARTS[package] for path in place.glob(part)):
            inside = path.relative_to(place)
            if inside.parts[0] != PRIVATE and path.is_file():  # editors leave dangling links
                found[f"{package}/{inside.as_posix()}"] = path
    return found


def _content(path: Path) -> bytes:
    return path.read_bytes().replace(b"\r\n", b"\n")


class Sources:
    """The sources as they were when this was made, to tell whether they are still those that a process runs.

    Files that were added since do not count: they are not of the program that runs.
    """

    def __init__(self, root: Path = ROOT):
        self._prints = {path: (_stamp(path), _print(path)) for path in _files(root).values()}

    def replaced(self) -> bool:
        """Whether one of them is another by now, or gone. False where that cannot be seen just now."""
        for path, (stamp, known) in self._prints.items():
            try:
                now = _stamp(path)
                if now != stamp:
                    if _print(path) != known:
                        return True
                    self._prints[path] = now, known
            except (FileNotFoundError, NotADirectoryError):
                return True
            except OSError:
                return False  # its disk is away
        return False


class SourceWatcher(threading.Thread):
    """Looks at the sources now and then, in a thread of its own: they may lie on a server that is away."""

    def __init__(self, sources: Sources):
        super().__init__(daemon=True)
        self.sources = sources
        self.replaced = threading.Event()

    def run(self) -> None:
        while not self.sources.replaced():
            threading.Event().wait(POLL_INTERVAL_S)
        self.replaced.set()


def _stamp(path: Path) -> tuple[int, ...]:
    info = path.stat()
    return info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_ino


def _print(path: Path) -> bytes:
    return hashlib.blake2b(_content(path)).digest()
