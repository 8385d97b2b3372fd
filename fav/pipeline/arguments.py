"""Check SHARED, VIDEO and STYLE of a command line for common mistakes: wrong order, an image as style, a URL."""

import shlex
from difflib import get_close_matches
from pathlib import Path

from fav.errors import FavError
from fav.model.bundled_styles import names

ORDER, SHORT_ORDER = "the order is SHARED VIDEO STYLE", "VIDEO comes before STYLE"
STYLES = {".safetensors", ".pth", ".t7", ".model", ".pt", ".onnx"}
VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".wmv", ".vob"}
IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".exr"}


def check_arguments(video: str, style: Path, shared: Path | None = None) -> None:
    """Check the arguments by their names, and whether the style exists. Files are not read.

    Args:
        video: VIDEO as it was typed.
        style: STYLE; the name of a bundled style is resolved already.
        shared: SHARED; None for commands without it.

    Raises:
        FavError: the arguments seem to be in the wrong order, or one of them cannot be valid.
    """
    order = SHORT_ORDER if shared is None else ORDER
    if shared is not None and shared.is_file():
        raise FavError(f"{shared}: expected a directory that all machines mount, got a file; {ORDER}")
    kind = Path(video).suffix.lower()
    if kind in STYLES:
        raise FavError(f"{video}: expected a video, got the name of a style; {order}")
    if "://" in video:
        raise FavError(f"{video}: expected a file, got a URL; download the video first, URLs are not fetched")
    if style.suffix.lower() in VIDEOS:
        raise FavError(f"{style}: expected a style, got the name of a video; {order}")
    if style.is_dir():
        raise FavError(f"{style}: expected a style, got a directory; {order}")
    if style.suffix.lower() in IMAGES:
        raise FavError(
            f"{style}: expected a trained style, got an image; train a style with it first: "
            f"fav train {shlex.quote(str(style))}"
        )
    check_style_name(style)


def check_style_name(style: Path) -> None:
    """Raise FavError if a style was typed as a name, and no style has it."""
    if not style.suffix and len(style.parts) == 1 and not style.exists():
        similar = get_close_matches(style.name, names(), 1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        raise FavError(f"{style}: expected the name of a bundled style, one of {', '.join(names())}{hint}")
