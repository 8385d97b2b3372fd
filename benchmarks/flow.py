"""Every optical flow method on ground truth: error, time, and what the consistency check makes of it.

On pairs with known flow, or (--scene) on our own test scene, where it is known, too, what is hidden from what.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import click
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fav import flow as flows
from fav.errors import FavError
from fav.flow import dis
from fav.flow.consistency import reliability
from fav.flow.field import (
    FlowField,
    compose,
    estimate,
    estimate_long_range,
)
from fav.flow.io import read_flo
from fav.synthetic.motions import MOTIONS
from fav.synthetic.scene import HIDDEN, RELIABLE, Scene, Truth, view
from fav.synthetic.scene import truth as truth_of
from fav.util.images import read_image

MATERIAL = ROOT.parent / "shared" / "data"
PATH = click.Path(path_type=Path)


@dataclass
class Entry:
    """A method at work, and what was measured."""

    flow: flows.Flow
    errors: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    reliable: list[float] = field(default_factory=list)


def measure(entries: dict[str, Entry], pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]], rounds: int) -> None:
    """Alternate between the methods, so that a busy moment of the machine hits all of them."""
    for number in range(rounds + 1):  # the first round warms up, and gives the errors
        click.echo(f"round {number} of {rounds}: {len(entries)} methods, {len(pairs)} pairs …", err=True)
        for entry in entries.values():
            for frame_a, frame_b, truth in pairs:
                began = perf_counter()
                forward = entry.flow(frame_a, frame_b)
                took = perf_counter() - began
                if number:
                    entry.seconds.append(took)
                else:
                    entry.errors.append(float(np.linalg.norm(forward - truth, axis=-1).mean()))
                    entry.reliable.append(float(reliability(entry.flow(frame_b, frame_a), forward, frame_b).mean()))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data",
    type=PATH,
    default=MATERIAL / "flow",
    show_default=True,
    help="Directory of NAME_img1.ppm, NAME_img2.ppm, NAME_flow.flo.",
)
@click.option("--spynet", type=PATH, default=MATERIAL / "spynet", show_default=True, help="SPyNet's weights.")
@click.option(
    "--threads", type=click.IntRange(1), default=None, help="Threads of OpenCV and PyTorch.  [default: theirs]"
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Timed runs of every method on every pair; the median is shown.",
)
@click.option(
    "--scene",
    "on_scene",
    is_flag=True,
    help="Measure on the test scene of `python -m fav sample --truth` in place of pairs.",
)
@click.option("--flow", "names", multiple=True, type=click.Choice(list(flows.METHODS)), help="Only these methods.")
@click.option(
    "--apart",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="With --scene: frames from the one to the other. Above 1, direct flow, composed steps, and steps matched once more are compared.",
)
@click.option("--dis", "variants", is_flag=True, help="Compare settings of DIS in place of the methods.")
def main(
    data: Path,
    spynet: Path,
    threads: int | None,
    rounds: int,
    on_scene: bool,
    names: tuple[str, ...],
    apart: int,
    variants: bool,
) -> None:
    """Print a table of optical flow methods: error against the truth, milliseconds, share of reliable pixels.

    With --scene also how many of the pixels that the consistency check calls reliable are truly in sight in both frames
    (precision), how many of those that are it finds (recall), and how many of the hidden ones it does not call reliable;
    pixels on the edge of two layers do not count.
    """
    if threads:
        import torch

        cv2.setNumThreads(threads)
        torch.set_num_threads(threads)
    makers = settings_of_dis() if variants else methods(spynet)
    entries, missing = {}, {}
    for name, make in makers.items():
        if names and name.partition(",")[0] not in names:
            continue
        try:
            entries[name] = Entry(make())
        except FavError as error:
            missing[name] = error
    if on_scene:
        print_scene(entries, apart)
    else:
        print_pairs(entries, data, threads, rounds)
    for name, error in missing.items():
        click.echo(f"{name:24}missing: {error}")


def print_pairs(entries: dict[str, Entry], data: Path, threads: int | None, rounds: int) -> None:
    pairs = [read_pair(file) for file in sorted(data.glob("*_img1.ppm"))]
    if not pairs:
        raise click.ClickException(
            f"{data}: expected pairs NAME_img1.ppm, … (see --help), got none; give their directory with --data"
        )
    measure(entries, pairs, rounds)
    height, width = pairs[0][2].shape[:2]
    click.echo(
        f"{len(pairs)} pairs of {width}x{height}, {threads or cv2.getNumThreads()} threads, OpenCV {cv2.__version__}"
    )
    click.echo(f"{'method':24}{'EPE, px':>9}{'ms':>9}{'reliable':>10}")
    for name, entry in entries.items():
        click.echo(
            f"{name:24}{np.mean(entry.errors):9.2f}{1000 * median(entry.seconds):9.1f}{np.mean(entry.reliable):10.1%}"
        )


def print_scene(entries: dict[str, Entry], apart: int) -> None:
    """A line for each motion of the camera and each method; the mean over three pairs of each."""
    size = Scene(width=512, height=288, frames=1)
    click.echo(
        f"test scene, {size.width}x{size.height}, frames {apart} apart; EPE in pixels, where both show the point"
    )
    heads = {
        "EPE": 9,
        "of reliable": 13,
        "precision": 11,
        "recall": 9,
        "hidden found": 14,
        "reliable": 10,
        "in sight": 10,
    }
    click.echo(f"{'motion':10}{'method':26}" + "".join(f"{head:>{width}}" for head, width in heads.items()))
    for motion in MOTIONS:
        click.echo(f"{motion} …", err=True)
        scene = Scene(size.width, size.height, motion, frames=1)
        runs = [[view(scene, number) for number in range(first, first + apart + 1)] for first in (5, 40, 75)]
        known = [truth_of(run[-1], run[0]) for run in runs]
        for name, entry in entries.items():
            found: dict[str, list[FlowField]] = {}
            for run in runs:
                for way, geometry in ways(entry.flow, [seen.image for seen in run]).items():
                    found.setdefault(f"{name}{way}", []).append(geometry)
            for way, geometries in found.items():
                figures = np.nanmean([judged(*pair) for pair in zip(geometries, known)], axis=0)
                click.echo(
                    f"{motion:10}{way:26}"
                    + "".join(
                        f"{figure:{width}{'.2f' if head in ('EPE', 'of reliable') else '.1%'}}"
                        for figure, (head, width) in zip(figures, heads.items())
                    )
                )


def ways(flow: flows.Flow, images: list[np.ndarray]) -> dict[str, FlowField]:
    """How the last image hangs on the first, by flow from one to the other and, where others lie between, by way of them."""
    direct = estimate(flow, images[-1], images[0])
    if len(images) == 2:
        return {"": direct}
    steps = [estimate(flow, here, there) for there, here in zip(images, images[1:])][::-1]
    again = estimate_long_range(flow, images[-1], images[0], steps)
    return {", direct": direct, ", composed": compose(steps), ", matched again": again}


def judged(found: FlowField, known: Truth) -> tuple[float, ...]:
    """EPE in sight, EPE where it is also called reliable, precision, recall, the share of hidden pixels that are not called
    reliable, and the shares of the picture that are called reliable and that are in sight. NaN where there is none."""
    error, trusted = np.linalg.norm(found.flow - known.flow, axis=-1), found.reliability == 1
    visible, hidden = known.seen == RELIABLE, known.seen == HIDDEN
    right, wrong = np.count_nonzero(trusted & visible), np.count_nonzero(trusted & hidden)
    return (
        error[visible].mean(), error[trusted & visible].mean() if right else np.nan,
        right / (right + wrong) if right + wrong else np.nan, right / np.count_nonzero(visible),
        1 - wrong / np.count_nonzero(hidden) if hidden.any() else np.nan, trusted.mean(), visible.mean(),
    )  # fmt: skip


def read_pair(first: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both frames, and the true flow from NAME_img1.ppm to NAME_img2.ppm."""
    name = first.name.removesuffix("_img1.ppm")
    return (
        read_image(first),
        read_image(first.with_name(f"{name}_img2.ppm")),
        read_flo(first.with_name(f"{name}_flow.flo")),
    )


def methods(spynet: Path) -> dict[str, Callable[[], flows.Flow]]:
    needs = lambda method: method.weights and not method.downloads
    return {
        name: partial(flows.make, name, spynet if needs(method) else None) for name, method in flows.METHODS.items()
    }


def settings_of_dis() -> dict[str, Callable[[], flows.Flow]]:
    settings = [(scale, refinements) for scale in (2, 1, 0) for refinements in (0, 5, 10)]
    return {
        f"scale {scale}, {refinements} refinements": partial(dis.make, scale, refinements)
        for scale, refinements in settings
    }


if __name__ == "__main__":
    main()
