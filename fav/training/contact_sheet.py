"""Make the contact sheet: held-out photographs and two synthetic clips, stylized by the current style."""

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
SHOWN_FRAMES = (0, 9, 24)  # the 1st, 10th and 25th frame
LABEL_HEIGHT = 22  # pixels
TINY = 1e-9 / 255**2  # minimum of a divisor


@dataclass(frozen=True)
class Samples:
    """The inputs of a contact sheet.

    Attributes:
        photos: Held-out photographs, (H, W, 3) uint8.
        moving: A clip of 25 frames with motion.
        static: A clip of 25 equal frames.
        paintings: Captions and images (H, W, 3) uint8 of the painting. Empty if the style is learned from an image
            model.
        parts: Parts of the painting to choose from, "X,Y,W,H" and an image (H, W, 3) uint8 each. Empty if one was chosen.
    """

    photos: Sequence[np.ndarray]
    moving: SyntheticSequence
    static: SyntheticSequence
    paintings: Sequence[tuple[str, np.ndarray]] = ()
    parts: Sequence[tuple[str, np.ndarray]] = ()


def samples_of(
    photos: Sequence[Photo],
    side: int,
    paintings: Sequence[tuple[str, np.ndarray]] = (),
    parts: Sequence[tuple[str, np.ndarray]] = (),
) -> Samples:
    """Make the samples of a sheet from held-out photographs. Deterministic.

    Args:
        photos: The photographs.
        side: The side of the samples, in pixels.
        paintings: Images of the painting, with captions.
        parts: Parts of the painting to choose from, with their positions.
    """
    rng = np.random.default_rng(1)
    background, origin = sample_background(photos[:1], rng, side)
    pan = replace(still(), offset=np.array([1.7, 0.4]), matrix=0.002 * np.eye(2), center=np.full(2, side / 2))
    slide = replace(still(), offset=np.array([-2.3, 0.9]))
    clips = []
    for background_motions, motions in (([pan] * FRAMES, [slide] * FRAMES), ([still()] * FRAMES, [still()] * FRAMES)):
        foreground = sample_foreground(photos[-1:], np.random.default_rng(2), side, motions)
        clips.append(compose([Layer(background, origin, background_motions), foreground], side, FRAMES - 1))
    return Samples([_center_crop(photo.read(side), side) for photo in photos], *clips, paintings=paintings, parts=parts)


def contact_sheet(
    network: StyleNetwork, samples: Samples, device: torch.device, mark: str, progress: str, losses: dict[str, float]
) -> tuple[bytes, list[Measure]]:
    """Stylize the samples, measure the results, and draw the sheet.

    Args:
        network: The style.
        samples: The photographs and clips.
        device: Of the network.
        mark: A text in the metadata of the PNG that identifies the training.
        progress: A line about the progress of the training, printed on the sheet.
        losses: The losses on held-out photographs.

    Returns:
        The sheet as a PNG, and the measures of `fav.training.verdict`, which are printed on it.
    """
    runner = StyleRunner(copy.deepcopy(network), device=str(device))
    moving, static = _stylize_clip(runner, samples.moving), _stylize_clip(runner, samples.static)
    metrics = {"moving": relative_warping_error(runner, samples.moving, moving), "still": drift(static)}
    measures = measures_of(losses | metrics)
    rows = [
        ("held-out photographs", samples.photos),
        ("each stylized alone", [runner.stylize(photo) for photo in samples.photos]),
        ("clip with motion: frames 1, 10, 25", [samples.moving.frames[number] for number in SHOWN_FRAMES]),
        ("stylized as a film", [moving[number] for number in SHOWN_FRAMES]),
        ("clip without motion, stylized as a film: frames 1, 10, 25", [static[number] for number in SHOWN_FRAMES]),
    ]
    if samples.parts:
        side = samples.photos[0].shape[0]
        cells = [_captioned(text, image, side) for text, image in samples.parts[: len(samples.photos)]]
        rows.append(("parts of the painting to learn from instead, with their --style-crop", cells))
    body = _draw_rows(rows)
    head = _draw_head(samples, [progress, *map(str, measures)], body.shape[1])
    return encode_png(np.concatenate([head, body]), {"Source": mark}), measures


def relative_warping_error(runner: StyleRunner, clip: SyntheticSequence, film: list[np.ndarray]) -> float:
    """Return the warping error of a film divided by that of its independently stylized frames.

    1 means that the recurrence has no benefit.
    """
    independent = [runner.stylize(frame) for frame in clip.frames]
    return _mean_warping_error(clip, film) / max(_mean_warping_error(clip, independent), TINY)


def drift(film: list[np.ndarray]) -> float:
    """Return the RMS difference between the last and the second frame of a film without motion, in gray levels."""
    return distance(film[-1], film[1])


def _mean_warping_error(clip: SyntheticSequence, film: list[np.ndarray]) -> float:
    """Return the mean warping error of the reliable pixels."""
    errors = [warping_error(*frames).reliable for frames in zip(film[1:], film, _flow_fields(clip))]
    return float(np.mean([error for error in errors if error is not None]))


def _stylize_clip(runner: StyleRunner, clip: SyntheticSequence) -> list[np.ndarray]:
    return list(Recurrence(runner).film(zip(clip.frames, [None, *_flow_fields(clip)])))


def _flow_fields(clip: SyntheticSequence) -> list[FlowField]:
    """Return the flow and reliability of each frame but the first."""
    return [FlowField(*pair) for pair in zip(clip.flow, clip.reliability)]


def _center_crop(image: np.ndarray, side: int) -> np.ndarray:
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def _draw_head(samples: Samples, lines: list[str], width: int) -> np.ndarray:
    """Draw the paintings, at most as high as a row, beside lines of text. Returns (H, width, 3) uint8."""
    side = samples.photos[0].shape[0]
    head, left = np.full((max(side, LABEL_HEIGHT * (1 + len(lines))) + LABEL_HEIGHT, width, 3), 255, np.uint8), 0
    for caption, painting in samples.paintings:
        height, length = painting.shape[:2]
        scale = min(side / height, 0.6 / len(samples.paintings) * width / length)
        resized = resize(painting, (max(1, round(length * scale)), max(1, round(height * scale))))
        _draw_text(head, caption, 0, left + 4)
        head[LABEL_HEIGHT : LABEL_HEIGHT + resized.shape[0], left : left + resized.shape[1]] = resized
        left += resized.shape[1] + 12
    for number, line in enumerate(lines):
        _draw_text(head, line, LABEL_HEIGHT * (1 + number), max(left, 4))
    return head


def _captioned(caption: str, image: np.ndarray, side: int) -> np.ndarray:
    """An image below its caption, in a white square. Returns (side, side, 3) uint8."""
    cell = np.full((side, side, 3), 255, np.uint8)
    height, width = image.shape[:2]
    scale = min((side - LABEL_HEIGHT) / height, (side - 4) / width)
    small = resize(image, (max(1, round(width * scale)), max(1, round(height * scale))))
    _draw_text(cell, caption, 0, 4)
    cell[LABEL_HEIGHT : LABEL_HEIGHT + small.shape[0], : small.shape[1]] = small
    return cell


def _draw_text(sheet: np.ndarray, text: str, top: int, left: int) -> None:
    position = left, top + LABEL_HEIGHT - 7
    cv2.putText(sheet, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)


def _draw_rows(rows: Sequence[tuple[str, Sequence[np.ndarray]]]) -> np.ndarray:
    """Draw rows of square images, each below its label."""
    side = rows[0][1][0].shape[0]
    columns = max(len(images) for _, images in rows)
    sheet = np.full((len(rows) * (side + LABEL_HEIGHT), columns * side, 3), 255, np.uint8)
    for number, (label, images) in enumerate(rows):
        top = number * (side + LABEL_HEIGHT)
        _draw_text(sheet, label, top, 4)
        for column, image in enumerate(images):
            sheet[top + LABEL_HEIGHT : top + LABEL_HEIGHT + side, column * side : (column + 1) * side] = image
    return sheet
