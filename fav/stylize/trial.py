"""Stylize single frames of a video with several styles and settings, and estimate the time of a film.

The pictures are those that a film of these settings has at its moments, if each of them begins a shot.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fav.model.checkpoints import load_style
from fav.stylize.engine import FrameStylizer
from fav.stylize.postprocess import finish_frame, mask_frames
from fav.stylize.settings import PRECISIONS, PostprocessSettings, StyleSettings, network_size
from fav.util.curve import Curve
from fav.util.images import resize
from fav.video.sampling import Moment

EROSION, FILL = 7, "vgg-mean"  # the defaults of --occlusion-erode and --occlusion-fill


@dataclass(frozen=True)
class Variant:
    """A style with settings: one row of the contact sheet.

    Attributes:
        name: for people.
        settings: of the stylized frame. Consecutive variants with equal ones share the network's output.
        finish: what is done with it.
        temporal: whether frames of the film depend on the frame before them.
    """

    name: str
    settings: StyleSettings
    finish: PostprocessSettings
    temporal: bool = True


@dataclass(frozen=True)
class Trial:
    """One moment of the video, stylized in one variant.

    Attributes:
        variant: the style with settings.
        moment: number of the moment.
        image: (H, W, 3) uint8 BGR.
        seconds: the estimated time of one frame of a film on this machine; None: not measured yet. The last moment has it.
    """

    variant: Variant
    moment: int
    image: np.ndarray
    seconds: float | None


def needs_numbers(variants: list[Variant]) -> bool:
    """Whether pictures depend on the exact numbers of their frames."""
    for variant in variants:
        settings, finish = variant.settings, variant.finish
        curves = (finish.strength, finish.mask_strength, *(curve for _, curve in settings.mix))
        files = finish.mask, settings.init_frame, settings.flow_from, settings.flow_forward_from
        if any(curve.in_frames for curve in curves) or any(files) or settings.occlusion_fill != FILL:
            return True
    return False


class FrameTimes(dict[tuple, float]):
    """Measured times of frames. Networks of one architecture take the same time, so it is measured once."""


def plain_variant(
    style: Path,
    size: tuple[int, int],
    mix: tuple[tuple[Path, float], ...] = (),
    style_scale: float = 1.0,
    precision: str = PRECISIONS[0],
    projection: str = "flat",
) -> Variant:
    """A variant in full strength, with the defaults of a film of `size` (width, height)."""
    settings = StyleSettings(
        style,
        network_size(size, style_scale),
        "dis",
        occlusion_erode=EROSION,
        occlusion_fill=FILL,
        precision=precision,
        projection=projection,
        mix=tuple((other, Curve.constant(weight)) for other, weight in mix),
    )
    return Variant(style.stem, settings, PostprocessSettings(size, Curve.constant(1), False, None))


def trials(
    variants: list[Variant],
    moments: list[Moment],
    device: str,
    backend: str,
    threads: int | None = None,
    times: FrameTimes | None = None,
) -> Iterator[Trial]:
    """Stylize the first frame of each moment in each variant, one variant after the other.

    Args:
        variants: to try.
        moments: with two frames each, the time of the flow is measured, too.
        device: as for `FrameStylizer`.
        backend: as for `FrameStylizer`.
        threads: CPU threads; None: all cores.
        times: measured before, by the same device, backend and threads; new ones are added.

    Yields:
        A trial for each variant and moment.

    Raises:
        FavError: a style cannot be read, or does not fit.
    """
    times = FrameTimes() if times is None else times
    masks: dict[tuple, np.ndarray] = {}
    stylizer: FrameStylizer | None = None
    stylized: list[np.ndarray] = []
    try:
        for variant in variants:
            if stylizer is None or variant.settings != stylizer.settings:
                if stylizer is not None:
                    stylizer.close()
                stylizer, stylized = (
                    FrameStylizer(None, variant.settings, threads=threads, device=device, backend=backend),
                    [],
                )
                if variant.temporal and stylizer.runner.in_channels != 7:
                    load_style(variant.settings.style, in_channels=7)  # it says what is wrong
            key = _what_takes_time(stylizer, variant, moments[0])
            for number, moment in enumerate(moments):
                if number == len(stylized):
                    picture, seconds = _timed_paint(stylizer, moment)
                    stylized.append(picture)
                    if number and key not in times:  # the first picture of a network takes longer
                        times[key] = seconds + _flow_seconds(stylizer, variant, moments[0])
                if number == len(moments) - 1 and key not in times:
                    _, seconds = _timed_paint(stylizer, moment)
                    times[key] = seconds + _flow_seconds(stylizer, variant, moments[0])
                image = _finished(stylized[number], moment, variant.finish, masks)
                yield Trial(variant, number, image, times.get(key))
    finally:
        if stylizer is not None:
            stylizer.close()


def _what_takes_time(stylizer: FrameStylizer, variant: Variant, moment: Moment) -> tuple:
    """What the time of a frame depends on, besides the machine."""
    settings, network = variant.settings, stylizer.runner.network
    changing = len(settings.mix) if not all(curve.is_constant for _, curve in settings.mix) else 0
    return (
        getattr(network, "arch", settings.style), settings.size, settings.precision, settings.projection, settings.outside,
        settings.flow, settings.flow_weights, settings.flow_from, settings.flow_forward_from, changing,
        variant.temporal and len(moment.frames) > 1,
    )  # fmt: skip


def _paint(stylizer: FrameStylizer, moment: Moment) -> np.ndarray:
    """The stylized frame of a moment, as a job publishes it."""
    source = stylizer.as_source(resize(moment.frames[0], stylizer.settings.size))
    return stylizer.picture(stylizer.first_of(source, moment.number, moment.seconds, moment.number == 0))


def _timed_paint(stylizer: FrameStylizer, moment: Moment) -> tuple[np.ndarray, float]:
    """The stylized frame of a moment, and the seconds that it took."""
    began = time.monotonic()
    return _paint(stylizer, moment), time.monotonic() - began


def _finished(
    stylized: np.ndarray, moment: Moment, finish: PostprocessSettings, masks: dict[tuple, np.ndarray]
) -> np.ndarray:
    """The picture as the film has it. `masks` has the masks that were read before."""
    mask, key = None, (finish.mask, finish.size, moment.number)
    if finish.mask:
        if key not in masks:
            masks[key] = next(mask_frames(finish.mask, finish.size, moment.number))
        mask = masks[key]
    source = resize(moment.frames[0], finish.size) if finish.needs_source else None
    return finish_frame(stylized, source, mask, finish, moment.number, moment.seconds)


def _flow_seconds(stylizer: FrameStylizer, variant: Variant, moment: Moment) -> float:
    """Measure the time of the flow between two frames, in seconds; 0 if the film needs none, or there is one frame."""
    if not variant.temporal or len(moment.frames) < 2:
        return 0.0
    before, here = (stylizer.as_source(resize(frame, stylizer.settings.size)) for frame in moment.frames[:2])
    began = time.monotonic()
    stylizer.flow_of(here, before, moment.number + 1, moment.number)
    return time.monotonic() - began
