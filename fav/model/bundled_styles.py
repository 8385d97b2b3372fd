"""The styles that ship: a file by its name alone, from a checkout or from what was installed."""

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
SUFFIX = ".safetensors"


@cache
def directory() -> Path:
    """Where the styles that ship lie: inside the package if it was installed, else beside it in the checkout."""
    inside = _PACKAGE / "styles"
    return inside if inside.is_dir() else _PACKAGE.parent / "styles"


def names() -> list[str]:
    """The names of the styles that ship, as `style_file` takes them."""
    return sorted(path.stem for path in directory().glob(f"*{SUFFIX}"))


def style_file(word: Path) -> Path:
    """The file that a user means by `word`: that file if there is one, else the style of that name that ships.

    Args:
        word: A path; or the name of a style that ships, with or without its ending, like `wave`. A name has no slash.

    Returns:
        The path of the style that ships; `word` itself where there is none of that name.
    """
    if (
        len(word.parts) == 1
        and word.name
        and word.suffix in ("", SUFFIX)
        and not word.exists()
        and word.stem in names()
    ):
        return directory() / f"{word.stem}{SUFFIX}"
    return word
