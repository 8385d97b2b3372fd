"""The videos, pictures and styles that a page may name, all of them inside the shared directory or shipped with the program.

A page never sends a path: it sends a key, which is the place of a file relative to the shared directory, or the name of a
style. A key is looked up anew each time; what leads out of the directory, be it by a link, is refused.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fav.errors import FavError, sanitize
from fav.model.bundled_styles import named_styles
from fav.pipeline.arguments import IMAGES, STYLES, VIDEOS
from fav.util.safe_path import resolve_input
from shared.paths import SharedDirPaths

DEPTH = 4  # directories that are looked into, below one another
MOST = 500  # files of a list
MOST_LOOKED_AT = 20_000  # entries
KINDS = {"video": VIDEOS, "picture": IMAGES, "style": STYLES}


def kind_of(name: str) -> str | None:
    """`video`, `picture` or `style`, by a file's name; None for another one."""
    suffix = Path(name).suffix.lower()
    return next((kind for kind, suffixes in KINDS.items() if suffix in suffixes), None)


def listed(root: Path, kind: str) -> list[str]:
    """Keys of the files of a kind in the shared directory, the latest first; not those that nodes write."""
    found: list[tuple[float, str]] = []
    for entry in _files(root):
        if kind_of(entry.name) == kind:
            found.append((entry.stat(follow_symlinks=False).st_mtime, os.path.relpath(entry.path, root)))
    return [key for _, key in sorted(found, key=lambda one: (-one[0], one[1]))[:MOST]]


def styles(root: Path) -> dict[str, Path]:
    """All styles that a page may name, by their keys: those that have a name, then those in the shared directory."""
    return named_styles() | {key: root / key for key in sorted(listed(root, "style"))}


def style_of(root: Path, key: object) -> Path:
    """The file of a style; FavError where there is none of that key."""
    if isinstance(key, str) and (named := named_styles().get(key)):
        return named
    return file_of(root, key, "style")


def file_of(root: Path, key: object, *kinds: str) -> Path:
    """The file of a key; `kinds` are those that it may have, none for any.

    Raises:
        FavError: It leads out of the shared directory, or is no regular file, or of another kind.
    """
    if not isinstance(key, str) or not key or "\0" in key or "%" in Path(key).name:
        raise FavError(f"expected the name of a file in the shared directory, got {sanitize(repr(key))}")
    path = resolve_input(root, key)
    if kinds and kind_of(path.name) not in kinds:
        raise FavError(f"{sanitize(key)}: expected a {' or a '.join(kinds)}, got a file of another kind")
    if Path(os.path.normpath(key)).parts[0] in _reserved(root) and not is_input(root, key):
        raise FavError(f"{sanitize(key)}: expected a file of yours, got one of the nodes'")
    os.close(open_inside(root, path))
    return path


def is_input(root: Path, key: str) -> bool:
    """Whether it is the video of a job, which lies in the job's directory."""
    parts = Path(os.path.normpath(key)).parts
    return len(parts) == 4 and parts[0] == SharedDirPaths(root).jobs.name and parts[2] == "inputs"


def open_inside(root: Path, path: Path) -> int:
    """A descriptor of a regular file inside the shared directory, opened to read; FavError for anything else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FavError(f"{sanitize(path)}: expected a file, got none that can be read ({error.strerror})") from None
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
    """Regular files of people, from the top down; links are not followed."""
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
