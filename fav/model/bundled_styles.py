"""Styles by their names alone: those that ship, from a checkout or from what was installed, and the user's own."""

import os
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
SUFFIX = ".safetensors"


@cache
def directory() -> Path:
    """Where the styles that ship lie: inside the package if it was installed, else beside it in the checkout."""
    inside = _PACKAGE / "styles"
    return inside if inside.is_dir() else _PACKAGE.parent / "styles"


def users_directory() -> Path:
    """Where a user's own styles lie; it need not be there."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "fav" / "styles"


def named_styles() -> dict[str, Path]:
    """The files of all styles that can be named, by their names; the user's own before one of that name that ships."""
    found = {path.stem: path for place in (directory(), users_directory()) for path in place.glob(f"*{SUFFIX}")}
    return dict(sorted(found.items()))


def names() -> list[str]:
    """The names of the styles that `style_file` knows."""
    return list(named_styles())


def style_file(word: Path) -> Path:
    """The file that a user means by `word`: that file if there is one, else the style of that name.

    Args:
        word: A path; or the name of a style, with or without its ending, like `wave`. A name has no slash.

    Returns:
        The path of the style of that name; `word` itself where there is none.
    """
    is_name = len(word.parts) == 1 and word.name and word.suffix in ("", SUFFIX) and not word.exists()
    return named_styles().get(word.stem, word) if is_name else word
