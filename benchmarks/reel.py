"""Clips to measure styles on, stylized with memory and frame by frame, in memory and without any encoding."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import tee
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fav import flow as flows
from fav.evaluation.comparison import FrameSample
from fav.flow.field import estimate
from fav.model.runner import StyleRunner
from fav.stylize.recurrence import Recurrence
from fav.synthetic.motions import MOTIONS
from fav.synthetic.scene import Scene, view
from fav.util.images import resize
from fav.video import decode
from fav.video.shot_detection import ShotSplitter

MATERIAL = ROOT.parent / "shared" / "data"
RATE = 25  # frames a second of clips that are drawn or played forth and back
LABEL, GAP = 20, 4  # pixels of a sheet: the height of a line of words, and the space between pictures

Frames = Iterable[tuple[np.ndarray, Fraction, bool]]  # (H, W, 3) uint8, seconds, whether a shot begins


def wrong_motions(motions: str, known: Iterable[str] = MOTIONS) -> str:
    """What is wrong with --motions, camera motions with commas between; "" if all are known."""
    unknown = set(filter(None, motions.split(","))) - set(known)
    return f"--motions: expected some of {', '.join(known)}, got {', '.join(sorted(unknown))}" if unknown else ""


def scene(motion: str, size: tuple[int, int], count: int) -> Frames:
    """So many frames of the test scene of `python -m fav sample --truth`, all of one shot."""
    drawn = Scene(*size, motion, frames=1)
    return ((view(drawn, number).image, Fraction(number, RATE), number == 0) for number in range(count))


def over_photograph(picture: np.ndarray, width: int, count: int) -> Frames:
    """So many frames of a camera that moves over a photograph on an ellipse, once around in four seconds.

    The frames show seven eighths of its width and of its height. They move by up to half a hundredth of the width a frame.
    """
    larger = at_width(picture, round(width * 8 / 7))
    height = round(larger.shape[0] * 7 / 8)
    margins = np.array((larger.shape[1] - width, larger.shape[0] - height))
    for number in range(count):
        angle = 2 * np.pi * number / (4 * RATE)
        x, y = margins * (1 + np.array((np.sin(angle), np.cos(angle)))) / 2
        image = cv2.warpAffine(
            larger,
            np.float32([[1, 0, -x], [0, 1, -y]]),
            (width, height),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT,
        )
        yield image, Fraction(number, RATE), number == 0


def video(path: Path, width: int) -> Frames:
    """All frames of a video at that width, its cuts found as they are when a film is made."""
    with decode(path) as decoding:
        splitter, base = ShotSplitter(), decoding.time_base
        cuts = {cut for frame in decoding for cut in splitter.push(frame)} | set(splitter.finish())
    with decode(path) as decoding:
        for frame in decoding:
            yield at_width(frame.image(), width), frame.pts * base, frame.number in cuts


def at_width(picture: np.ndarray, width: int) -> np.ndarray:
    """The picture at that width, its shape kept."""
    return resize(picture, (width, max(round(picture.shape[0] * width / picture.shape[1]), 1)))


def first_shot(frames: Frames) -> list[np.ndarray]:
    """The pictures before the first cut."""
    return next(_shots(frames), [])


def longest_shot(frames: Frames) -> list[np.ndarray]:
    """The pictures of the longest shot, the first of several."""
    return max(_shots(frames), key=len, default=[])


def _shots(frames: Frames) -> Iterator[list[np.ndarray]]:
    shot: list[np.ndarray] = []
    for picture, _, cut in frames:
        if cut and shot:
            yield shot
            shot = []
        shot.append(picture)
    if shot:
        yield shot


def period(pictures: Sequence) -> int:
    """After how many frames a clip that is played forth and back, without standing still at its ends, is where it was."""
    return max(2 * len(pictures) - 2, 1)


def forth_and_back(pictures: Sequence[np.ndarray], count: int) -> Frames:
    """So many frames of a clip that is played to its end, back to its beginning, and so on."""
    order = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    return ((pictures[order[number % len(order)]], Fraction(number, RATE), number == 0) for number in range(count))


def stylized(frames: Frames, runner: StyleRunner, flow: flows.Flow) -> Iterator[FrameSample]:
    """What a film with memory shows of each frame, and against it what one made with `--no-temporal` shows.

    Raw, as the network gives them, and with flow and reliability as in a film of the default options.
    """
    ours, theirs = tee(frames)

    def hung():
        before = None
        for picture, _, cut in ours:
            yield picture, None if cut or before is None else estimate(flow, picture, before)
            before = picture

    for number, ((picture, seconds, cut), film) in enumerate(zip(theirs, Recurrence(runner).film(hung()))):
        yield FrameSample(number, seconds, cut, picture, film, runner.stylize(picture))


def sheet(rows: Sequence[Sequence[tuple[str, np.ndarray]]]) -> np.ndarray:
    """Pictures with a line of words above each, row by row, on white."""
    lines = [_beside([_labelled(*cell) for cell in row]) for row in rows]
    widest = max(line.shape[1] for line in lines)
    return np.vstack([_padded(line, line.shape[0] + GAP, widest) for line in lines])


def _labelled(words: str, picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    cell = np.full((LABEL + height, width, 3), 255, np.uint8)
    cv2.putText(cell, words, (2, LABEL - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    cell[LABEL:] = picture
    return cell


def _beside(cells: Sequence[np.ndarray]) -> np.ndarray:
    highest = max(cell.shape[0] for cell in cells)
    return np.hstack([_padded(cell, highest, cell.shape[1] + GAP) for cell in cells])


def _padded(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    return cv2.copyMakeBorder(
        picture, 0, height - picture.shape[0], 0, width - picture.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
