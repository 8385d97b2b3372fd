"""The videos, pictures and styles that a page may name: files of the shared directory, and installed styles.

A page sends keys, not paths. A key is the name of a style, or the path of a file relative to the shared directory. Each
request resolves its keys again. A key that leads out of the directory is refused, also if it does so through a link.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fav.errors import FavError, sanitize
from fav.model.bundled_styles import named_styles
from fav.pipeline.arguments import IMAGES, STYLES, VIDEOS
from fav.util.safe_path import resolve_input
from shared.paths import SharedDirPaths

DEPTH = 4  # levels of subdirectories that are listed
MOST = 500  # maximum number of files of a list
MOST_LOOKED_AT = 20_000  # maximum number of directory entries that are read
KINDS = {"video": VIDEOS, "picture": IMAGES, "style": STYLES}


def kind_of(name: str) -> str | None:
    """`video`, `picture` or `style`, by the suffix of a file; None for another suffix."""
    suffix = Path(name).suffix.lower()
    return next((kind for kind, suffixes in KINDS.items() if suffix in suffixes), None)


def listed(root: Path, kind: str) -> list[str]:
    """The keys of the user's files of a kind in the shared directory, the latest first. Files of nodes are left out."""
    found: list[tuple[float, str]] = []
    for entry in _files(root):
        if kind_of(entry.name) == kind:
            with suppress(OSError):  # it was removed meanwhile
                found.append((entry.stat(follow_symlinks=False).st_mtime, os.path.relpath(entry.path, root)))
    return [key for _, key in sorted(found, key=lambda one: (-one[0], one[1]))[:MOST]]


def styles(root: Path) -> dict[str, Path]:
    """All styles that a page may name, by their keys: first installed styles, then those in the shared directory."""
    return named_styles() | {key: root / key for key in sorted(listed(root, "style"))}


def style_of(root: Path, key: object) -> Path:
    """The file of a style. Raises FavError if there is no style with this key."""
    if isinstance(key, str) and (named := named_styles().get(key)):
        return named
    return file_of(root, key, "style")


def file_of(root: Path, key: object, *kinds: str) -> Path:
    """The file of a key.

    Args:
        root: The shared directory.
        key: The key.
        kinds: The allowed kinds; empty: all.

    Raises:
        FavError: It leads out of the shared directory, or is not a regular file, or has another kind.
    """
    if not isinstance(key, str) or not key or "\0" in key or "%" in Path(key).name:
        raise FavError(f"expected the name of a file in the shared directory, got {sanitize(repr(key))}")
    path = resolve_input(root, key)
    if kinds and kind_of(path.name) not in kinds:
        raise FavError(f"{sanitize(key)}: expected a {' or a '.join(kinds)}, got a file of another kind")
    if Path(os.path.normpath(key)).parts[0] in _reserved(root) and not is_input(root, key):
        raise FavError(f"{sanitize(key)}: expected a file of your own, got one that nodes write")
    os.close(open_inside(root, path))
    return path


def is_input(root: Path, key: str) -> bool:
    """Whether a key is an input of a job, in the job's directory."""
    parts = Path(os.path.normpath(key)).parts
    return len(parts) == 4 and parts[0] == SharedDirPaths(root).jobs.name and parts[2] == "inputs"


def open_inside(root: Path, path: Path) -> int:
    """Open a regular file inside the shared directory for reading; return its descriptor. Raises FavError for anything else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FavError(f"{sanitize(path)}: expected a file that can be read, got an error ({error.strerror})") from None
    try:
        real = os.path.realpath(f"/proc/self/fd/{fd}") if os.path.exists("/proc/self/fd") else os.path.realpath(path)
        if not stat.S_ISREG(os.fstat(fd).st_mode) or not Path(real).is_relative_to(os.path.realpath(root)):
            raise FavError(f"{sanitize(path)}: expected a regular file inside the shared directory, got something else")
        return fd
    except BaseException:
        os.close(fd)
        raise


def _reserved(root: Path) -> set[str]:
    return {path.name for path in SharedDirPaths(root).reserved_names()}


def _files(root: Path) -> Iterator[os.DirEntry]:
    """Yield the user's regular files, the top level first. Links are not followed."""
    rest, seen, reserved = [(root, 0)], 0, _reserved(root)
    while rest:
        directory, depth = rest.pop(0)
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            seen += 1
            if seen > MOST_LOOKED_AT:
                return
            if entry.name.startswith(".") or not depth and entry.name in reserved or not entry.name.isprintable():
                continue
            try:
                if entry.is_dir(follow_symlinks=False) and depth < DEPTH:
                    rest.append((Path(entry.path), depth + 1))
                elif entry.is_file(follow_symlinks=False):
                    yield entry
            except OSError:
                continue
