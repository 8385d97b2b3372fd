"""Mistakes in SHARED VIDEO STYLE that their names alone show: a wrong order, a picture as style, a URL."""

from difflib import get_close_matches
from pathlib import Path

from fav.errors import FavError
from fav.model.bundled_styles import names

ORDER = "the order is SHARED VIDEO STYLE"
STYLES = {".safetensors", ".pth", ".t7", ".model", ".pt", ".onnx"}
VIDEOS = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".wmv", ".vob"}
IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".exr"}


def check_arguments(video: str, style: Path, shared: Path | None = None) -> None:
    """Look at the names of what a command was given, and at whether there is such a file.

    Args:
        video: VIDEO as it was typed.
        style: STYLE: a file, or the name of a style that ships, resolved already.
        shared: SHARED, for commands that take it.

    Raises:
        FavError: One of them seems to be meant as another, or cannot be what it is given for.
    """
    if shared is not None and shared.is_file():
        raise FavError(f"{shared}: expected a directory that all machines mount, got a file; {ORDER}")
    kind = Path(video).suffix.lower()
    if kind in STYLES:
        raise FavError(f"{video}: expected a video, got the name of a style; {ORDER}")
    if "://" in video:
        raise FavError(f"{video}: expected a file, got a URL; download the video first, URLs are not fetched")
    if style.suffix.lower() in VIDEOS:
        raise FavError(f"{style}: expected a style, got the name of a video; {ORDER}")
    if style.is_dir():
        raise FavError(f"{style}: expected a style, got a directory; {ORDER}")
    if style.suffix.lower() in IMAGES:
        raise FavError(
            f"{style}: expected a trained style, got a picture; learn a style from it first: "
            f"fav train {style} PHOTOS_DIR {style.stem}.safetensors"
        )
    if not style.suffix and len(style.parts) == 1 and not style.exists():
        near = get_close_matches(style.name, names(), 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise FavError(f"{style}: there is no style of that name; those that ship are {', '.join(names())}{meant}")
