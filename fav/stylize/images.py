"""Stylize single images and directories of unrelated images. Names, orientation and alpha channels are kept."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fav.errors import FavError, sanitize
from fav.model.preprocessing import FILLS, fill_for
from fav.model.runner import StyleRunner
from fav.stylize.blend import blend, transfer_chroma
from fav.stylize.settings import network_size
from fav.util.atomic import check_new
from fav.util.image_sequence import pattern_hint
from fav.util.images import read_image, resize
from fav.util.reading import read_file

READ_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
WRITTEN_SUFFIXES = {".png", ".jpg", ".jpeg"}
FILM_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm"}
JPEG_QUALITY = 95  # 0 to 100
MAX_BYTES = 1 << 29
SHOWN = 5  # names in a note


@dataclass(frozen=True)
class ImageSettings:
    """How to stylize images; the options of a film with the same names.

    Attributes:
        width: of the results in pixels; the height follows.
        scale: size of the results relative to the source; ignored with `width`. Without both, the size is kept.
        style_scale: size of the strokes.
        strength: weight of the stylized image, 0 to 1.
        preserve_colors: keep the chroma of the source.
        fill: what the network sees as the previous frame, as for `fill_for`.
    """

    width: int | None = None
    scale: float | None = None
    style_scale: float = 1.0
    strength: float = 1.0
    preserve_colors: bool = False
    fill: str = FILLS[0]

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the result for a source of this size."""
        scale = self.scale or (self.width / width if self.width else 1.0)
        return self.width or max(round(width * scale), 1), max(round(height * scale), 1)


def is_image_source(source: str, out: Path) -> bool:
    """Whether a source is an image or a directory of images, not a video or image sequence.

    An image is treated as a video if `out` is the name of a film.
    """
    if "%" in source:
        return False
    return (
        Path(source).is_dir()
        or Path(source).suffix.lower() in READ_SUFFIXES
        and out.suffix.lower() not in FILM_SUFFIXES
    )


def entries_left_out(source: Path) -> str:
    """A note on what `plan_outputs` does not take of a directory; empty if it takes all. Hidden files are not counted."""
    names = sorted(
        f"{path.name}/" if path.is_dir() else path.name
        for path in source.iterdir()
        if not (path.name.startswith(".") or _is_picture(path))
    )
    if not names:
        return ""
    shown = ", ".join(sanitize(name) for name in names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
    kinds = ", ".join(sorted(READ_SUFFIXES))
    return f"left out, because only files that end in {kinds} are read: {len(names)} of {source}: {shown}"


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in READ_SUFFIXES and path.is_file()


def plan_outputs(source: Path, out: Path) -> list[tuple[Path, Path]]:
    """Choose the images to read, and the path of each result.

    Args:
        source: an image, or a directory of images. Subdirectories are ignored.
        out: the image to write (.png or .jpg), or the directory for results with the names of their sources. A source
            in another format becomes a .png.

    Returns:
        Pairs of the source and the result, which does not exist yet.

    Raises:
        FavError: there is nothing to read, a result exists already, or two results would have the same name.
    """
    if not source.is_dir():
        if out.suffix.lower() not in WRITTEN_SUFFIXES:
            raise FavError(f"{out}: expected an image to write, .png or .jpg, got {out.suffix or 'no suffix'}")
        return [(source, out)]
    if out.suffix.lower() in WRITTEN_SUFFIXES:
        raise FavError(f"{out}: expected a directory for the images of {source}, got the name of an image")
    if out.suffix.lower() in FILM_SUFFIXES:
        raise FavError(
            f"{out}: expected a directory for the images of {source}, got the name of a film{pattern_hint(str(source))}"
        )
    if out.exists() and not out.is_dir():
        raise FavError(f"{out}: expected a directory for the images of {source}, got a file")
    if out.resolve() == source.resolve():
        raise FavError(f"{out}: expected another directory than that of the source images")
    if not out.is_dir():
        check_new(out)
    found = sorted(filter(_is_picture, source.iterdir()))
    if not found:
        raise FavError(f"{source}: expected images ({', '.join(sorted(READ_SUFFIXES))}), found none")
    pairs = [
        (path, out / (path.name if path.suffix.lower() in WRITTEN_SUFFIXES else f"{path.stem}.png")) for path in found
    ]
    sources: dict[str, str] = {}
    for path, target in pairs:
        if other := sources.get(target.name):
            raise FavError(
                f"{source}: expected images whose results have different names, got {other} and {path.name}, which both "
                f"become {target.name}; rename one, or move it to another directory"
            )
        sources[target.name] = path.name
    if taken := next((target for _, target in pairs if target.exists() or target.is_symlink()), None):
        raise FavError(f"{taken}: expected a new name, but the file exists; choose another directory")
    return pairs


def stylize_images(
    runner: StyleRunner, pairs: list[tuple[Path, Path]], settings: ImageSettings, note: Callable[[str], None]
) -> Iterator[tuple[Path, bytes]]:
    """Stylize images, and yield the path and the encoded content of each result.

    Args:
        runner: the style network.
        pairs: of `plan_outputs`.
        settings: how to stylize.
        note: called with a message for each unreadable image, which is left out, and for each lost alpha channel.

    Raises:
        FavError: the only image cannot be read.
    """
    for path, target in pairs:
        try:
            image, alpha = read_image(path), alpha_of(path)
            stylized = stylize_image(runner, image, settings)
        except FavError as error:
            if len(pairs) == 1:
                raise
            note(f"left out: {error}")
            continue
        if alpha is not None and alpha.shape != image.shape[:2]:
            note(f"{sanitize(path.name)}: its alpha channel is not kept, because its EXIF data rotate it")
        elif alpha is not None and target.suffix.lower() != ".png":
            note(f"{sanitize(path.name)}: its alpha channel is not kept, because JPEG has none")
        elif alpha is not None:
            size = stylized.shape[1::-1]
            stylized = np.dstack([stylized, cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)])
        yield target, encode(stylized, target)


def stylize_image(runner: StyleRunner, image: np.ndarray, settings: ImageSettings) -> np.ndarray:
    """Stylize an image (H, W, 3) uint8 BGR like the first frame of a shot. The settings decide the result's size."""
    size = settings.size(*image.shape[1::-1])
    source = resize(image, size)
    frame = resize(image, network_size(size, settings.style_scale))
    stylized = resize(runner.stylize(frame, fill=fill_for(settings.fill, "", 0, frame.shape)), size)
    if settings.preserve_colors:
        stylized = transfer_chroma(stylized, source)
    return blend(source, stylized, settings.strength)


def alpha_of(path: Path) -> np.ndarray | None:
    """The alpha channel (H, W) uint8 of an image file, without EXIF rotation; None if it has none or is opaque."""
    data = read_file(path, f"picture {path}", MAX_BYTES)
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 3 or stored.shape[2] != 4:
        return None
    alpha = stored[..., 3]
    if alpha.dtype != np.uint8:
        divisor = 257 if alpha.dtype == np.uint16 else 1 / 255  # maps opaque (65535 or 1.0) to 255
        alpha = (alpha / divisor).astype(np.uint8)
    return None if alpha.min() == 255 else alpha


def encode(image: np.ndarray, target: Path) -> bytes:
    """Encode an image (H, W, 3 or 4) uint8 in the format of the target's suffix."""
    jpeg = target.suffix.lower() != ".png"
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if jpeg else [cv2.IMWRITE_PNG_COMPRESSION, 6]
    return cv2.imencode(".jpg" if jpeg else ".png", image, options)[1].tobytes()
