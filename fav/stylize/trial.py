"""Stylize single frames of a video with several styles and settings, and estimate the time of a film."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fav import flow as flows
from fav.flow.field import estimate
from fav.model.interpolation import load_mixture
from fav.model.runner import StyleRunner
from fav.stylize.blend import blend, transfer_chroma
from fav.stylize.settings import network_size
from fav.util.images import resize

MIN_FILTER = 7  # the default of --occlusion-erode; used to measure the time of the flow


@dataclass(frozen=True)
class Variant:
    """A style with settings: one row of the contact sheet."""

    style: Path
    mix: tuple[tuple[Path, float], ...] = ()
    style_scale: float = 1.0
    strength: float = 1.0
    preserve_colors: bool = False

    @property
    def name(self) -> str:
        """The style's name, and the settings that differ from the defaults."""
        parts = [self.style.stem, *(f"with {weight:g} {style.stem}" for style, weight in self.mix)]
        if self.style_scale != 1:
            parts.append(f"strokes × {self.style_scale:g}")
        if self.strength != 1:
            parts.append(f"strength {self.strength:g}")
        if self.preserve_colors:
            parts.append("colors of the video")
        return ", ".join(parts)

    @property
    def network_settings(self) -> tuple:
        """The settings that decide the network's output. The others are applied afterwards."""
        return self.style, self.mix, self.style_scale


@dataclass(frozen=True)
class Trial:
    """One moment of the video, stylized in one variant.

    Attributes:
        variant: the style with settings.
        moment: number of the moment.
        image: (H, W, 3) uint8 BGR.
        seconds: the estimated time of one frame of a film on this machine.
    """

    variant: Variant
    moment: int
    image: np.ndarray
    seconds: float


def trials(
    variants: list[Variant],
    moments: list[list[np.ndarray]],
    size: tuple[int, int],
    device: str,
    backend: str,
    precision: str,
    threads: int | None = None,
) -> Iterator[Trial]:
    """Stylize the first frame of each moment in each variant, one variant after the other.

    Args:
        variants: to try. Consecutive variants with equal `network_settings` share the network's output.
        moments: one or two frames (H, W, 3) uint8 BGR of each moment; with two, the time of the flow is measured.
        size: (width, height) of the film.
        device: as for `StyleRunner`.
        backend: as for `StyleRunner`.
        precision: as for `StyleRunner`.
        threads: CPU threads; None: as they are.

    Yields:
        A trial for each variant and moment.
    """
    sources = [[resize(frame, size) for frame in frames] for frames in moments]
    stylized: list[np.ndarray] = []
    current, runner, flow_s, network_s = None, None, None, 0.0
    for variant in variants:
        if runner is None or variant.network_settings != current:
            current, stylized = variant.network_settings, []
            runner = StyleRunner(load_mixture(variant.style, variant.mix), threads, device, backend, precision)
        for moment, frames in enumerate(sources):
            if moment == len(stylized):
                frame = resize(frames[0], network_size(size, variant.style_scale))
                if not moment:
                    runner.stylize(frame)  # warm-up: the first run is slower
                began = time.monotonic()
                stylized.append(runner.stylize(frame))
                network_s = time.monotonic() - began
                flow_s = flow_s or _flow_seconds(frames, frame.shape[1::-1])
            image = resize(stylized[moment], size)
            if variant.preserve_colors:
                image = transfer_chroma(image, frames[0])
            yield Trial(variant, moment, blend(frames[0], image, variant.strength), network_s + (flow_s or 0))


def _flow_seconds(frames: list[np.ndarray], size: tuple[int, int]) -> float | None:
    """Measure the time of the flow in both directions between two frames, in seconds; None if there is one frame."""
    if len(frames) < 2:
        return None
    here, before = (resize(frame, size) for frame in (frames[1], frames[0]))
    flow = flows.make("dis", None)
    began = time.monotonic()
    estimate(flow, here, before, MIN_FILTER)
    return time.monotonic() - began
