"""Carry drawn masks through their shots, as numbered images for `--mask`, with a sheet to judge it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from fav.flow import Flow
from fav.flow.carry import Carried, carry, drawn
from fav.stylize.timeline import Timeline
from fav.util.images import resize
from fav.video import DEFAULT_SETTINGS, FrameReader, SourceSettings

PATTERN, SHEET = "mask_%06d.png", "sheet.png"
CELL, LABEL, GAP = 320, 20, 6  # pixels of a sheet: width of an image, height of a label, distance
COLUMNS, CELLS = 3, 12  # images in a row, and on the sheet
DARK, UNSURE = 0.3, (255, 0, 255)  # brightness outside of the mask; color of the hatching of lost pixels, BGR
HATCH = 2  # pixels: the width of its lines


@dataclass
class CarriedMask:
    """What `carry_mask` did.

    Attributes:
        parts: by drawn frame, the frames that have its mask, `[start, stop)`; other frames are black.
        frames: number of frames of the video.
        followed: by frame, the fraction of the mask and its surroundings that can be followed to the drawn frame.
        cells: by frame, its image on the sheet.
    """

    parts: dict[int, range]
    frames: int
    followed: dict[int, float] = field(default_factory=dict)
    cells: dict[int, np.ndarray] = field(default_factory=dict)


def carry_mask(
    video: Path,
    timeline: Timeline,
    masks: dict[int, np.ndarray],
    flow: Flow,
    out: Path,
    settings: SourceSettings = DEFAULT_SETTINGS,
    report_progress: Callable[[], None] = lambda: None,
) -> CarriedMask:
    """Write the mask of each frame of a video, and the sheet, to the directory `out`.

    Args:
        video: the source.
        timeline: of the whole video, with its cuts.
        masks: by the frame on which it was drawn, (H, W) uint8, all of one size. Each frame gets the mask of the nearest drawn
            frame of its shot.
        flow: the method.
        out: an existing directory.
        settings: how to read the video.
        report_progress: called for each frame of the shot.
    """
    black = np.zeros_like(next(iter(masks.values())))
    height, width = black.shape
    found = CarriedMask({at: _part(timeline, at, masks) for at in sorted(masks)}, timeline.indexed_frames)
    every = [number for part in found.parts.values() for number in part]
    shown = {every[round(place)] for place in np.linspace(0, len(every) - 1, max(CELLS - len(masks), 1))} | set(masks)
    with FrameReader(video, size=(width, height), settings=settings) as reader:
        for at, part in found.parts.items():
            for number, frame, carried in _carried(reader, timeline, part, at, drawn(masks[at]), flow):
                _write(out / (PATTERN % number), carried.mask)
                found.followed[number] = carried.followed
                if number in shown:
                    found.cells[number] = _cell(number, frame, carried)
                report_progress()
    for number in range(found.frames):
        if number not in found.followed:
            _write(out / (PATTERN % number), black)
    _write(out / SHEET, sheet([found.cells[number] for number in sorted(found.cells)]))
    return found


def _part(timeline: Timeline, at: int, drawn_frames: Iterable[int]) -> range:
    """The frames of the shot of a drawn frame to which it is the nearest one."""
    _, start = timeline.shot_of(at)
    stop = min((cut for cut in timeline.cuts if cut > at), default=timeline.end)
    for other in drawn_frames:
        if start <= other < at:
            start = max(start, (other + at) // 2 + 1)
        elif at < other < stop:
            stop = min(stop, (at + other) // 2 + 1)
    return range(start, stop)


def _carried(
    reader: FrameReader, timeline: Timeline, part: range, at: int, start: Carried, flow: Flow
) -> Iterator[tuple[int, np.ndarray, Carried]]:
    """Yield number, frame and mask of the drawn frame, of those after it, and of those before it."""
    first = reader.read(at, timeline.index).copy()
    yield at, first, start
    for numbers in (range(at + 1, part.stop), range(at - 1, part.start - 1, -1)):
        carried, there = start, first
        for number in numbers:
            here = reader.read(number, timeline.index).copy()
            carried, there = carry(flow, start, first, carried, (here, there)), here
            yield number, here, carried


def sheet(cells: list[np.ndarray]) -> np.ndarray:
    """Put cells of one size into rows. Returns (H, W, 3) uint8 BGR."""
    height, width = cells[0].shape[:2]
    rows = -(-len(cells) // COLUMNS)
    whole = np.full((rows * (height + GAP) + GAP, min(len(cells), COLUMNS) * (width + GAP) + GAP, 3), 255, np.uint8)
    for number, cell in enumerate(cells):
        row, column = divmod(number, COLUMNS)
        top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
        whole[top : top + height, left : left + width] = cell
    return whole


def _cell(number: int, frame: np.ndarray, carried: Carried) -> np.ndarray:
    """The frame with what is outside of the mask darkened, and with what the flow lost hatched."""
    share = DARK + (1 - DARK) * carried.mask[..., None] / 255
    image = np.rint(frame * share).astype(np.uint8)
    rows, columns = np.indices(carried.mask.shape)
    hatched = (carried.field.reliability != 1) & ((rows + columns) // HATCH % 4 == 0)
    image[hatched] = (image[hatched] // 2 + np.array(UNSURE) // 2).astype(np.uint8)
    image = resize(image, (CELL, max(round(frame.shape[0] * CELL / frame.shape[1]), 1)))
    label = np.full((LABEL, CELL, 3), 255, np.uint8)
    words = f"frame {number}: {carried.followed:.0%} followed"
    cv2.putText(label, words, (2, LABEL - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([label, image])


def _write(path: Path, image: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
