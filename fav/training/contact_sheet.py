"""A contact sheet: what the style does to photographs it has not learnt from, and to a moving and a still clip."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from fav.evaluation.metrics import distance, warping_error
from fav.flow.field import FlowField
from fav.model.network import StyleNetwork
from fav.model.runner import StyleRunner
from fav.stylize.recurrence import Recurrence
from fav.training.image_folder import Photo
from fav.training.motion_fields import still
from fav.training.synthetic_sequences import Layer, SyntheticSequence, compose, sample_background, sample_foreground
from fav.training.verdict import Measure, measures_of
from fav.util.images import encode_png, resize

FRAMES = 25
SHOWN = (0, 9, 24)  # the 1st, 10th and 25th frame
LABEL = 22  # pixels of height
TINY = 1e-9 / 255**2  # an error that nothing is divided by


@dataclass(frozen=True)
class Samples:
    """Photographs (H, W, 3) uint8, two clips of 25 frames, one of which stands still, and the painting (H, W, 3) uint8.

    paintings: with their captions; none where an image model is made steady.
    """

    photos: Sequence[np.ndarray]
    moving: SyntheticSequence
    quiet: SyntheticSequence
    paintings: Sequence[tuple[str, np.ndarray]] = ()


def samples_of(photos: Sequence[Photo], side: int, paintings: Sequence[tuple[str, np.ndarray]] = ()) -> Samples:
    """What a sheet shows, made of photographs that were held out; the same ones give the same samples."""
    rng = np.random.default_rng(1)
    background, place = sample_background(photos[:1], rng, side)
    pan = replace(still(), offset=np.array([1.7, 0.4]), matrix=0.002 * np.eye(2), centre=np.full(2, side / 2))
    drift = replace(still(), offset=np.array([-2.3, 0.9]))
    clips = []
    for motions in ([pan] * FRAMES, [still()] * FRAMES):
        thing = sample_foreground(
            photos[-1:], np.random.default_rng(2), side, [drift] * FRAMES if motions[0] is pan else motions
        )
        clips.append(compose([Layer(background, place, motions), thing], side, FRAMES - 1))
    return Samples([_centre(photo.read(side), side) for photo in photos], *clips, paintings=paintings)


def contact_sheet(
    network: StyleNetwork, samples: Samples, device: torch.device, mark: str, progress: str, losses: dict[str, float]
) -> tuple[bytes, list[Measure]]:
    """Make the sheet, whose pictures are made as those of a film are.

    Args:
        network: The style.
        samples: What is stylized.
        device: Where.
        mark: What says in the sheet what made it.
        progress: A line in the sheet on how far the training is.
        losses: On photographs that are not learnt from.

    Returns:
        The sheet as a PNG, and the measures of `fav.training.verdict`, which it shows, too.
    """
    runner = StyleRunner(copy.deepcopy(network), device=str(device))
    moving, quiet = _film(runner, samples.moving), _film(runner, samples.quiet)
    facts = {"moving": steadiness(runner, samples.moving, moving), "still": drift(quiet)}
    measures = measures_of(losses | facts)
    rows = [
        ("photographs that are not learnt from", samples.photos),
        ("each alone", [runner.stylize(photo) for photo in samples.photos]),
        ("moving clip: frames 1, 10, 25", [samples.moving.frames[number] for number in SHOWN]),
        ("stylized as a film", [moving[number] for number in SHOWN]),
        ("a still clip stylized as a film: frames 1, 10, 25", [quiet[number] for number in SHOWN]),
    ]
    body = _rows(rows)
    head = _head(samples, [progress, *map(str, measures)], body.shape[1])
    return encode_png(np.concatenate([head, body]), {"Source": mark}), measures


def steadiness(runner: StyleRunner, clip: SyntheticSequence, film: list[np.ndarray]) -> float:
    """Warping error of a film against that of the same frames each stylized alone: 1 means that the memory is of no use."""
    alone = [runner.stylize(frame) for frame in clip.frames]
    return _unrest(clip, film) / max(_unrest(clip, alone), TINY)


def drift(film: list[np.ndarray]) -> float:
    """How far the last frame of a still clip is from its second, in grey levels (root mean square)."""
    return distance(film[-1], film[1])


def _unrest(clip: SyntheticSequence, film: list[np.ndarray]) -> float:
    """The mean warping error on reliable pixels."""
    errors = [warping_error(*frames).reliable for frames in zip(film[1:], film, _geometry(clip))]
    return float(np.mean([error for error in errors if error is not None]))


def _film(runner: StyleRunner, clip: SyntheticSequence) -> list[np.ndarray]:
    return list(Recurrence(runner).film(zip(clip.frames, [None, *_geometry(clip)])))


def _geometry(clip: SyntheticSequence) -> list[FlowField]:
    """How each frame but the first hangs on the one before it."""
    return [FlowField(*pair) for pair in zip(clip.flow, clip.reliability)]


def _centre(picture: np.ndarray, side: int) -> np.ndarray:
    top, left = ((whole - side) // 2 for whole in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def _head(samples: Samples, lines: list[str], width: int) -> np.ndarray:
    """The paintings, at most as high as a row, beside lines of text: (H, width, 3) uint8."""
    side = samples.photos[0].shape[0]
    head, left = np.full((max(side, LABEL * (1 + len(lines))) + LABEL, width, 3), 255, np.uint8), 0
    for caption, painting in samples.paintings:
        height, length = painting.shape[:2]
        scale = min(side / height, 0.6 / len(samples.paintings) * width / length)
        picture = resize(painting, (max(1, round(length * scale)), max(1, round(height * scale))))
        _label(head, caption, 0, left + 4)
        head[LABEL : LABEL + picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + 12
    for number, line in enumerate(lines):
        _label(head, line, LABEL * (1 + number), max(left, 4))
    return head


def _label(sheet: np.ndarray, text: str, top: int, left: int) -> None:
    cv2.putText(sheet, text, (left, top + LABEL - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)


def _rows(rows: Sequence[tuple[str, Sequence[np.ndarray]]]) -> np.ndarray:
    side = rows[0][1][0].shape[0]
    columns = max(len(pictures) for _, pictures in rows)
    sheet = np.full((len(rows) * (side + LABEL), columns * side, 3), 255, np.uint8)
    for number, (label, pictures) in enumerate(rows):
        top = number * (side + LABEL)
        _label(sheet, label, top, 4)
        for column, picture in enumerate(pictures):
            sheet[top + LABEL : top + LABEL + side, column * side : (column + 1) * side] = picture
    return sheet
