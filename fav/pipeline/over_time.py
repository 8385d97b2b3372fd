"""Check the options that change over time against the video."""

from collections.abc import Mapping
from math import ceil
from pathlib import Path

from fav.errors import FavError, sanitize
from fav.model.interpolation import fractions_at
from fav.pipeline.option import format_number
from fav.pipeline.request import Request
from fav.pipeline.spec import OPTIONS
from fav.util.curve import Curve
from fav.video import VideoInfo

CURVES = ("strength", "mask_strength")  # options that are a number or a curve


def mix_at_start(mix: tuple[tuple[Path, float | str], ...]) -> tuple[tuple[Path, float], ...]:
    """Further styles with their weights at the beginning of the video."""
    return mixtures(mix)[0] if mix else ()


def mixtures(mix: tuple[tuple[Path, float | str], ...]) -> list[tuple[tuple[Path, float], ...]]:
    """The mixtures at the points of the curves, as if all curves had their points at the same times; one without curves."""
    curves = [(style, Curve.of(weight)) for style, weight in mix]
    found = []
    for number in range(max((len(curve.points) for _, curve in curves), default=1)):
        values = [(style, Curve.constant(curve.values[min(number, len(curve.points) - 1)])) for style, curve in curves]
        found.append(tuple(zip((style for style, _ in curves), fractions_at(values))))
    return found


def check_times(request: Request, source: VideoInfo) -> None:
    """Raise FavError if a curve of a request ends after its video."""
    check_curves({name: getattr(request, name) for name in CURVES}, request.video, source)
    for style, weight in request.mix:
        _check_end(f"--mix {sanitize(style)}", Curve.of(weight), request.video, source)


def check_curves(values: Mapping[str, float | str], video: Path | str, source: VideoInfo) -> None:
    """Raise FavError if a curve ends after the video. `values` are those of options in CURVES, by their names."""
    for name, value in values.items():
        _check_end(OPTIONS[name].flag, Curve.of(value), video, source)


def _check_end(flag: str, curve: Curve, video: Path | str, source: VideoInfo) -> None:
    """Check a curve against the length that the container reports. If it reports none, every curve is accepted."""
    rate = float(source.rate) if source.rate else None
    frames = source.frames or (ceil(source.seconds * rate) + 1 if source.seconds and rate else None)
    seconds = source.seconds or (source.frames / rate if source.frames and rate else None)
    if curve.in_frames and frames is not None and curve.end > frames:
        end, got = f"{frames}f", f"{curve.end:.0f}f"
    elif not curve.in_frames and seconds is not None and curve.end > seconds + (1 / rate if rate else 0):
        end, got = f"{format_number(round(seconds, 2))} s", f"{format_number(curve.end)} s"
    else:
        return
    raise FavError(
        f"{flag}: expected times up to {end}, the end of {sanitize(video)}, got {got}; leave later times out"
    )
