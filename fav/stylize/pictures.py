"""Single pictures and folders of unrelated ones: each stylized by itself, upright, with its name and its alpha kept."""

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
from fav.util.images import read_image, resize
from fav.util.reading import read_file

READ = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
WRITTEN = {".png", ".jpg", ".jpeg"}
FILMS = {".mp4", ".mkv", ".mov"}
QUALITY = 95  # of a JPEG, 0 to 100
MAX_BYTES = 1 << 29


@dataclass(frozen=True)
class PictureSettings:
    """How pictures are made: as options of a film. width or scale, where given, decide their size."""

    width: int | None = None
    scale: float | None = None
    style_scale: float = 1.0
    strength: float = 1.0
    preserve_colors: bool = False
    fill: str = FILLS[0]

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the picture that is made of one of that size."""
        scale = self.scale or (self.width / width if self.width else 1.0)
        return self.width or max(round(width * scale), 1), max(round(height * scale), 1)


def is_pictures(source: str, out: Path) -> bool:
    """Whether a source is one picture or a folder, and no video or numbered sequence; a film of one picture is a film."""
    if "%" in source:
        return False
    return Path(source).is_dir() or Path(source).suffix.lower() in READ and out.suffix.lower() not in FILMS


def planned(source: Path, out: Path) -> list[tuple[Path, Path]]:
    """Each picture to read, and the one to write, all of them free names.

    Args:
        source: A picture, or a folder of them; what lies in folders below it is left alone.
        out: The picture to write (.png or .jpg), or the folder for pictures of the same names; a source of a kind that
            is not written becomes a .png.

    Raises:
        FavError: There is nothing to read, or a name is taken or would be given twice.
    """
    if not source.is_dir():
        if out.suffix.lower() not in WRITTEN:
            raise FavError(f"{out}: expected a picture to write, .png or .jpg, got {out.suffix or 'no ending'}")
        return [(source, out)]
    if out.suffix.lower() in WRITTEN:
        raise FavError(f"{out}: expected a directory for the pictures of {source}, got the name of a picture")
    if out.exists() and not out.is_dir():
        raise FavError(f"{out}: expected a directory for the pictures of {source}, got a file")
    if out.resolve() == source.resolve():
        raise FavError(f"{out}: expected another directory than that of the pictures")
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in READ and path.is_file())
    if not found:
        raise FavError(f"{source}: expected pictures ({', '.join(sorted(READ))}), found none")
    pairs = [(path, out / (path.name if path.suffix.lower() in WRITTEN else f"{path.stem}.png")) for path in found]
    names = [target.name for _, target in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise FavError(f"{source}: expected pictures whose results have names of their own, got {twice[0]} twice")
    if taken := next((target for _, target in pairs if target.exists() or target.is_symlink()), None):
        raise FavError(f"{taken}: expected a new name, but the file exists; choose another directory")
    return pairs


def stylized_pictures(
    runner: StyleRunner, pairs: list[tuple[Path, Path]], settings: PictureSettings, say: Callable[[str], None]
) -> Iterator[tuple[Path, bytes]]:
    """The target of each picture and its content. What cannot be read is said and left out, unless it is the only one."""
    for path, target in pairs:
        try:
            picture, alpha = read_image(path), alpha_of(path)
            stylized = stylized_picture(runner, picture, settings)
        except FavError as error:
            if len(pairs) == 1:
                raise
            say(f"left out: {error}")
            continue
        if alpha is not None and alpha.shape != picture.shape[:2]:
            say(f"{sanitize(path.name)}: its alpha is not kept, since it is stored turned")
        elif alpha is not None and target.suffix.lower() != ".png":
            say(f"{sanitize(path.name)}: its alpha is not kept, JPEG has none")
        elif alpha is not None:
            size = stylized.shape[1::-1]
            stylized = np.dstack([stylized, cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)])
        yield target, encoded(stylized, target)


def stylized_picture(runner: StyleRunner, picture: np.ndarray, settings: PictureSettings) -> np.ndarray:
    """A picture (H, W, 3) uint8 BGR in a style: as the first frame of a shot, of the size that the settings say."""
    size = settings.size(*picture.shape[1::-1])
    source = resize(picture, size)
    frame = resize(picture, network_size(size, settings.style_scale))
    stylized = resize(runner.stylize(frame, fill=fill_for(settings.fill, "", 0, frame.shape)), size)
    if settings.preserve_colors:
        stylized = transfer_chroma(stylized, source)
    return blend(source, stylized, settings.strength)


def alpha_of(path: Path) -> np.ndarray | None:
    """The alpha (H, W) uint8 of a picture file as it is stored; None where it has none, or is opaque."""
    data = read_file(path, f"picture {path}", MAX_BYTES)
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 3 or stored.shape[2] != 4:
        return None
    alpha = stored[..., 3]
    if alpha.dtype != np.uint8:
        levels = 257 if alpha.dtype == np.uint16 else 1 / 255  # of a sample that is opaque, by 255
        alpha = (alpha / levels).astype(np.uint8)
    return None if alpha.min() == 255 else alpha


def encoded(picture: np.ndarray, target: Path) -> bytes:
    """A picture (H, W, 3 or 4) uint8 as a file of the kind that the target's name says."""
    jpeg = target.suffix.lower() != ".png"
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if jpeg else [cv2.IMWRITE_PNG_COMPRESSION, 6]
    return cv2.imencode(".jpg" if jpeg else ".png", picture, options)[1].tobytes()
