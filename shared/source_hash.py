"""The version of this program: a hash of its source files, so it does not matter how they were installed."""

import hashlib
import os
import threading
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # the checkout; for an installed program, the directory fav/_private
PRIVATE = "_private"
PARTS = {"fav": ("**/*.py", "**/*.html"), "shared": ("**/*.py",)}
POLL_INTERVAL_S = 5.0  # how often a node checks whether its sources were replaced


@cache  # a running process keeps its version when its checkout is replaced
def version(root: Path = ROOT) -> str:
    """Twelve hexadecimal digits that differ if any source file differs; line endings do not count.

    A checkout and an installation from it have the same version.
    """
    digest = hashlib.blake2b(digest_size=6)
    for name, path in sorted(_files(root).items()):
        digest.update(os.fsencode(name) + b"\0")
        digest.update(_content(path) + b"\0")
    return digest.hexdigest()


def _files(root: Path) -> dict[str, Path]:
    """The source files by their names in a checkout."""
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
    """The source files at one time, to find out later whether they were replaced. Files added since do not count."""

    def __init__(self, root: Path = ROOT):
        self._fingerprints = {path: (_stamp(path), _fingerprint(path)) for path in _files(root).values()}

    def replaced(self) -> bool:
        """Whether one of them has changed or is gone. False if they cannot be read now."""
        for path, (stamp, known) in self._fingerprints.items():
            try:
                now = _stamp(path)
                if now != stamp:
                    if _fingerprint(path) != known:
                        return True
                    self._fingerprints[path] = now, known
            except (FileNotFoundError, NotADirectoryError):
                return True
            except OSError:
                return False  # the disk cannot be reached
        return False


class SourceWatcher(threading.Thread):
    """Checks the sources now and then, in a thread: their server may not answer."""

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


def _fingerprint(path: Path) -> bytes:
    return hashlib.blake2b(_content(path)).digest()
