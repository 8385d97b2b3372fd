"""The contact sheet of `fav try`: one image, and an HTML page with the same pictures in full size."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader

from fav.util.images import resize

CELL = 480  # pixels of width of a picture on the sheet
LINE, GAP = 22, 8  # pixels of a line of text, and between pictures
TEXT, PALE = (40, 40, 40), (120, 120, 120)
_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)


@dataclass
class Row:
    """A row of the sheet.

    Attributes:
        name: of the style.
        facts: a line about it.
        command: the command line that uses it.
        pictures: stylized frames, one per tried time of the video, (H, W, 3) uint8 BGR.
        files: the files of these.
    """

    name: str
    facts: str
    command: str
    pictures: list[np.ndarray]
    files: list[str]


def sheet(rows: list[Row]) -> np.ndarray:
    """Draw all rows into one image, (H, W, 3) uint8 BGR."""
    return np.vstack([_strip(row, max(len(row.pictures) for row in rows)) for row in rows])


def html(title: str, moments: list[str], rows: list[Row], complete: bool, mark: str) -> str:
    """Make the page.

    Args:
        title: of the page.
        moments: the tried times of the video, as text; the columns.
        rows: one per style and settings.
        complete: whether all pictures are there; until then, browsers reload the page every few seconds.
        mark: the page's `generator` tag, by which this program recognizes its own pages.
    """
    return _TEMPLATES.get_template("trial.html").render(
        title=title, moments=moments, rows=rows, complete=complete, mark=mark
    )


def _strip(row: Row, columns: int) -> np.ndarray:
    cells = [
        resize(picture, (CELL, max(round(picture.shape[0] * CELL / picture.shape[1]), 1))) for picture in row.pictures
    ]
    height = max(cell.shape[0] for cell in cells)
    strip = np.full((2 * LINE + GAP + height, columns * (CELL + GAP) + GAP, 3), 255, np.uint8)
    for column, cell in enumerate(cells):
        left = GAP + column * (CELL + GAP)
        strip[2 * LINE : 2 * LINE + cell.shape[0], left : left + CELL] = cell
    _write(strip, f"{row.name}   {row.facts}", LINE - 6, TEXT)
    _write(strip, row.command, 2 * LINE - 7, PALE)
    return strip


def _write(strip: np.ndarray, text: str, bottom: int, color: tuple[int, int, int]) -> None:
    plain = text.replace("×", "x").encode("ascii", "replace").decode()  # OpenCV's font has only ASCII characters
    cv2.putText(strip, plain, (GAP, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)
