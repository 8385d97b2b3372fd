"""Every optical flow method on pairs with ground truth: error, time, and how much of a frame it makes reliable."""

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

from fav import flow as flows  # noqa: E402
from fav.consistency import reliability  # noqa: E402
from fav.errors import FavError  # noqa: E402
from fav.flow import dis  # noqa: E402
from fav.flow_io import read_flo  # noqa: E402
from fav.images import read_image  # noqa: E402

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
@click.option("--data", type=PATH, default=MATERIAL / "flow", show_default=True, help="Directory of NAME_img1.ppm, NAME_img2.ppm, NAME_flow.flo.")
@click.option("--spynet", type=PATH, default=MATERIAL / "spynet", show_default=True, help="SPyNet's weights.")
@click.option("--threads", type=click.IntRange(1), default=None, help="Threads of OpenCV and PyTorch.  [default: theirs]")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Timed runs of every method on every pair; the median is shown.")
@click.option("--dis", "variants", is_flag=True, help="Compare settings of DIS in place of the methods.")
def main(data: Path, spynet: Path, threads: int | None, rounds: int, variants: bool) -> None:
    """Print a table of optical flow methods: error against the truth, milliseconds, share of reliable pixels."""
    pairs = [read_pair(file) for file in sorted(data.glob("*_img1.ppm"))]
    if not pairs:
        raise click.ClickException(f"{data}: expected pairs NAME_img1.ppm, … (see --help), got none; give their directory with --data")
    if threads:
        import torch

        cv2.setNumThreads(threads)
        torch.set_num_threads(threads)
    entries, missing = {}, {}
    for name, make in (settings_of_dis() if variants else methods(spynet)).items():
        try:
            entries[name] = Entry(make())
        except FavError as error:
            missing[name] = error
    measure(entries, pairs, rounds)
    height, width = pairs[0][2].shape[:2]
    click.echo(f"{len(pairs)} pairs of {width}x{height}, {threads or cv2.getNumThreads()} threads, OpenCV {cv2.__version__}")
    click.echo(f"{'method':24}{'EPE, px':>9}{'ms':>9}{'reliable':>10}")
    for name, entry in entries.items():
        click.echo(f"{name:24}{np.mean(entry.errors):9.2f}{1000 * median(entry.seconds):9.1f}{np.mean(entry.reliable):10.1%}")
    for name, error in missing.items():
        click.echo(f"{name:24}missing: {error}")


def read_pair(first: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both frames, and the true flow from NAME_img1.ppm to NAME_img2.ppm."""
    name = first.name.removesuffix("_img1.ppm")
    return read_image(first), read_image(first.with_name(f"{name}_img2.ppm")), read_flo(first.with_name(f"{name}_flow.flo"))


def methods(spynet: Path) -> dict[str, Callable[[], flows.Flow]]:
    return {name: partial(flows.make, name, spynet if method.weights else None) for name, method in flows.METHODS.items()}


def settings_of_dis() -> dict[str, Callable[[], flows.Flow]]:
    settings = [(scale, refinements) for scale in (2, 1, 0) for refinements in (0, 5, 10)]
    return {f"scale {scale}, {refinements} refinements": partial(dis.make, scale, refinements) for scale, refinements in settings}


if __name__ == "__main__":
    main()
