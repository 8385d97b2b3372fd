"""How soon does a chain forget where it began? That of a whole take, against one that begins later from nothing."""

import sys
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.take import VIDEOS, Take, check, runner_of, takes
from fav import flow as flows
from fav.evaluation.comparison import use_threads
from fav.evaluation.metrics import distance
from fav.synthetic.motions import MOTIONS

PATH = click.Path(path_type=Path)
SHOWN = (0, 1, 2, 5, 10, 25, 50)
CURVES = {"RMSE": ".1f", "99.9th percentile": ".0f", "equal, %": ".0f"}


@dataclass(frozen=True)
class Difference:
    """Of two pictures: root mean square and 99.9th percentile, gray levels of all samples, and the share of equal pixels."""

    rmse: float
    most: float
    equal: float


def difference(picture: np.ndarray, other: np.ndarray) -> Difference:
    apart = np.abs(picture.astype(np.int16) - other)
    return Difference(distance(picture, other), float(np.percentile(apart, 99.9)), float((apart == 0).all(-1).mean()))


def forgetting(take: Take, starts: tuple[int, ...], after: int) -> np.ndarray:
    """The mean over `starts` of the difference k frames after a start: (k, 3), columns as CURVES."""
    whole = list(take.chain(0, max(starts) + after))
    curves = [
        [difference(whole[start + k], picture) for k, picture in enumerate(take.chain(start, start + after))]
        for start in starts
        if start + after <= len(take)
    ]
    return np.array([[(one.rmse, one.most, 100 * one.equal) for one in curve] for curve in curves]).mean(0)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("styles", nargs=-1, required=True, type=PATH)
@click.option("--motions", default=",".join(MOTIONS), show_default=True, help="Of the drawn takes.")
@click.option(
    "--video",
    "videos",
    type=PATH,
    multiple=True,
    default=VIDEOS,
    help="Of each its longest shot.  [default: "
    + ", ".join(video.name for video in VIDEOS)
    + " in the shared material]",
)
@click.option(
    "--starts", default="10,30,50", show_default=True, help="Frames at which the other begins; the mean is told."
)
@click.option("--after", type=click.IntRange(2), default=51, show_default=True, help="Frames compared from there on.")
@click.option("--width", type=click.IntRange(128), default=320, show_default=True)
@click.option("--flow", type=click.Choice(list(flows.METHODS)), default="dis", show_default=True)
@click.option("--out", type=PATH, metavar="DIR", help="Write NAME.forgetting.png, a plot, for each style here.")
@click.option("--threads", type=click.IntRange(1), help="Threads of OpenCV and PyTorch.  [default: theirs]")
def main(
    styles: tuple[Path, ...],
    motions: str,
    videos: tuple[Path, ...],
    starts: str,
    after: int,
    width: int,
    flow: str,
    out: Path | None,
    threads: int | None,
) -> None:
    """Print how far a chain in STYLES (.safetensors) that begins from nothing is from one that began with the take.

    Root mean square in gray levels, the 99.9th percentile of the samples' differences, and the share of pixels that are
    exactly equal: 0, 1, 2, 5, 10, 25 and 50 frames after the beginning.
    """

    def fail(words: str) -> None:
        raise click.ClickException(words)

    use_threads(threads)
    check(motions, videos, fail)
    begins = tuple(map(int, starts.split(",")))
    shown = [k for k in SHOWN if k < after]
    click.echo(f"{width} wide, flow {flow}, begun at frames {starts}; so many frames later:")
    click.echo(f"{'style, take':32}" + "".join(f"{name:^{6 * len(shown)}} " for name in CURVES))
    click.echo(f"{'':32}" + 3 * ("".join(f"{k:6}" for k in shown) + " "))
    for style in styles:
        found = {}
        for name, take in takes(runner_of(style), motions, videos, max(begins) + after, width, flow, again=False):
            usable = tuple(start for start in begins if start + after <= len(take))
            if not usable:
                click.echo(f"{style.stem}, {name}: only {len(take)} frames", err=True)
                continue
            found[name] = forgetting(take, usable, after)
            columns = zip(found[name].T, CURVES.values())
            cells = ("".join(f"{column[k]:6{form}}" for k in shown) for column, form in columns)
            click.echo(f"{f'{style.stem}, {name}':32}" + " ".join(cells))
        if out:
            out.mkdir(parents=True, exist_ok=True)
            plot(style.stem, found).savefig(out / f"{style.stem}.forgetting.png", dpi=100)


def plot(title: str, found: dict[str, np.ndarray]) -> Figure:
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    figure.suptitle(
        f"{title}: difference from the chain of the whole take, frames after another one began from nothing"
    )
    for axes, (column, name) in zip(figure.subplots(1, len(CURVES)), enumerate(CURVES)):
        for take, curve in found.items():
            axes.plot(curve[:, column], label=take)
        axes.set_title(f"{name}, gray levels" if column < 2 else name, fontsize="small")
        axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    main()
