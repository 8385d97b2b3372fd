"""Resolve paths of a job's manifest, and check that none leads out of the shared directory."""

import os
from pathlib import Path, PurePosixPath
from typing import overload

from fav.errors import FavError, file_type


@overload
def resolve_inside(root: Path, relative: str) -> Path: ...
@overload
def resolve_inside(root: Path, relative: str | None) -> Path | None: ...
def resolve_inside(root: Path, relative: str | None) -> Path | None:
    """A path of the manifest on this machine. Raises FavError if it leads out of the shared directory."""
    if relative is None:
        return None
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts or not _is_name(relative):
        raise FavError(f"job: expected a path inside the shared directory, got {relative[:200]!r}")
    return root / path


@overload
def resolve_input(root: Path, relative: str) -> Path: ...
@overload
def resolve_input(root: Path, relative: str | None) -> Path | None: ...
def resolve_input(root: Path, relative: str | None) -> Path | None:
    """The path of an input on this machine.

    Raises FavError if it leads out of the shared directory, also by a link, or is neither a file nor a directory: to open
    such an entry may block for ever.
    """
    path = resolve_inside(root, relative)
    if path is None:
        return None
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(root)):
        raise FavError(f"{path}: expected an input inside the shared directory, got a link to {real}")
    if real.exists() and not (real.is_file() or real.is_dir()):
        raise FavError(f"{path}: expected a file, got {file_type(real.stat().st_mode)}; move it away")
    return path


def _is_name(path: str) -> bool:
    """Whether the system accepts this as a path."""
    try:
        data = os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return b"\0" not in data and len(data) < 1000 and max(map(len, data.split(b"/"))) < 256
