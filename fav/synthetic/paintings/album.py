"""The four paintings by name, and as files."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fav.errors import FavError
from fav.synthetic.paintings.charcoal import charcoal
from fav.synthetic.paintings.stained_glass import stained_glass
from fav.synthetic.paintings.watercolor import watercolor
from fav.synthetic.paintings.woodcut import woodcut

PAINTINGS: dict[str, Callable[[], np.ndarray]] = {
    "charcoal": charcoal,
    "woodcut": woodcut,
    "watercolor": watercolor,
    "stained_glass": stained_glass,
}
QUALITY = 88  # of the JPEGs


def write_paintings(directory: Path) -> list[Path]:
    """Writes each painting to DIRECTORY/NAME.jpg, 1024×800 pixels; FavError where there is a file of that name."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{name}.jpg" for name in PAINTINGS]
    for path in paths:
        if path.exists():
            raise FavError(f"{path}: expected no file of this name, got one; remove it or name another directory")
    for path, painting in zip(paths, PAINTINGS.values(), strict=True):
        coded, data = cv2.imencode(".jpg", painting(), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not coded:
            raise FavError(f"{path}: expected a picture, got one that OpenCV does not encode")
        with path.open("xb") as file:
            file.write(data.tobytes())
    return paths
