"""Find styles by name: the bundled ones, and the user's own."""

import os
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
SUFFIX = ".safetensors"


@cache
def directory() -> Path:
    """Return the directory of the bundled styles: in an installed package, or beside it in a checkout."""
    installed = _PACKAGE / "styles"
    return installed if installed.is_dir() else _PACKAGE.parent / "styles"


def users_directory() -> Path:
    """Return the directory of the user's own styles. It may not exist."""
    # Not `Path.home`, which raises where a user has neither HOME nor an entry in passwd, as in many containers.
    data = os.environ.get("XDG_DATA_HOME") or Path(os.path.expanduser("~")) / ".local" / "share"
    return Path(data) / "fav" / "styles"


def named_styles() -> dict[str, Path]:
    """Return the files of all styles by name. A style of the user hides a bundled one of the same name."""
    styles = {path.stem: path for folder in (directory(), users_directory()) for path in folder.glob(f"*{SUFFIX}")}
    return dict(sorted(styles.items()))


def names() -> list[str]:
    """Return the names of all styles."""
    return list(named_styles())


def style_file(argument: Path) -> Path:
    """Resolve a user's argument to a style file: an existing file, else the style of that name.

    Args:
        argument: A path; or the name of a style, with or without suffix, like `wave`. A name has no slash.

    Returns:
        The path of the style; `argument` unchanged if there is no such style.
    """
    is_name = len(argument.parts) == 1 and argument.name and argument.suffix in ("", SUFFIX)
    is_name = is_name and not os.path.exists(argument)  # not `Path.exists`, which raises for a name that is too long
    return named_styles().get(argument.stem, argument) if is_name else argument
