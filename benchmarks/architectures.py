"""Architectures of the style network, compared: what they weigh, how far they see, and how long a frame takes."""

import sys
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import click
import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.backends import flops, network_of
from fav.cli.options import SizeType
from fav.errors import FavError
from fav.model.architecture import HALF_WIDTH, WIDE_VIEW, receptive_field
from fav.model.backends import BACKENDS, choose
from fav.model.devices import best_precision, device_of
from fav.model.runner import StyleRunner

CANDIDATES = {
    "half": HALF_WIDTH,
    "third level": "c9s1-16,d32,d64,d128,R128,R128,R128,R128,R128,U2,c3s1-64,U2,c3s1-32,U2,c9s1-3",
    "dilated": "E,c5s2-16,d40,R40,R40d2,R40d4,R40d4,R40,U2,c3s1-24,U2,c5s1-3",
    "strided": "E,c7s2-16,d32,d80,R80,R80d2,R80,R80,R80,U2,c3s1-32,U2,c3s1-24,U2,c5s1-3",
    "quarter": "E,c9s4-32,R32,[d96,R96,R96,R96,R96,U2,c3s1-32],R32,U4,c9s1-3",
    "one branch": "E,c5s2-16,d32,[d96,R96,R96,R96,R96,U2,c3s1-32],R32,U2,c3s1-24,U2,c5s1-3",
    "separable": (
        "E,c7s2-16,d48,S48x2k7,[d96,S96x2k7,S96x2k7,S96x2k7,S96x2k7,S96x2k7,U2,c3s1-48],S48x2k7,U2,c3s1-24,U2,c5s1-3"
    ),
    "branches": "E,c7s2-16,d32,R32,[d64,R64,[d128,R128,R128,U2,c3s1-64],R64,U2,c3s1-32],R32,U2,c3s1-24,U2,c5s1-3",
    "sub-pixel": "E,c5s2-16,d32,R32,[d64,R64,[d128,R128,R128,p3s2-64],R64,p3s2-32],R32,p3s2-24,p3s2-3",
    "wide-view": WIDE_VIEW,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--arch",
    "named",
    multiple=True,
    metavar="NAME=STRING",
    help="Compare these with half width.  [default: what was weighed against each other]",
)
@click.option(
    "--size",
    "sizes",
    type=SizeType(),
    multiple=True,
    metavar="WxH",
    help="Of the timed frames.  [default: 1024x436 and 1920x1080]",
)
@click.option(
    "--backend",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", *BACKENDS]),
    help="What runs the network.",
)
@click.option("--threads", type=click.IntRange(1), help="[default: PyTorch's]")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Timed frames; the median is shown."
)
def main(named: tuple[str, ...], sizes: tuple, backend: str, threads: int | None, rounds: int) -> None:
    """Print a table of architectures: parameters, work of a frame of 1024x436, receptive field, milliseconds a frame, and their
    ratio to half width, which take turns."""
    if threads:
        torch.set_num_threads(threads)
    candidates = CANDIDATES
    if named:
        candidates = {"half": HALF_WIDTH, **dict(one.partition("=")[::2] for one in named)}
    try:
        name = choose(backend, "cpu")
        networks = {word: network_of(arch) for word, arch in candidates.items()}
    except FavError as error:
        raise click.ClickException(str(error)) from None
    sizes = sizes or ((1024, 436), (1920, 1080))
    precision = best_precision(device_of("cpu"))
    took = {size: _timed(candidates, size, name, precision, rounds) for size in sizes}
    click.echo(
        f"{name} {precision}, {torch.get_num_threads()} threads; GFLOP of a frame of 1024x436; ms a frame, on the wall and of\n"
        f"processor time, and the latter by half width's"
    )
    heads = "".join(f"{f'{width}x{height}':>12}{'cores':>8}{'ratio':>7}" for width, height in sizes)
    click.echo(f"{'':16}{'parameters':>11}{'GFLOP':>7}{'sees px':>8}{heads}")
    for word, network in networks.items():
        weights = sum(value.numel() for value in network.parameters())
        times = ""
        for size in sizes:
            wall, cores = took[size][word]
            times += f"{wall:12.1f}{cores:8.1f}{cores / took[size]['half'][1]:7.2f}"
        click.echo(f"{word:16}{weights:11,}{work(network):7.1f}{receptive_field(network.arch):8}{times}")
    for word, network in networks.items():
        click.echo(f"{word}: {network.arch}")


@torch.inference_mode()
def work(network: torch.nn.Module) -> float:
    """GFLOP of a frame of 1024x436, two for each multiplication, with what is saved behind upsamplings."""
    with torch.device("meta"):
        return flops(lambda: network.to("meta")(torch.empty(1, 7, 436, 1024))) / 1e9


def _timed(
    candidates: dict[str, str], size: tuple[int, int], backend: str, precision: str, rounds: int
) -> dict[str, tuple[float, float]]:
    """Milliseconds a frame, on the wall and of processor time, by the name of the architecture: medians of runs that take turns."""
    width, height = size
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    prior, reliability = frame[::-1].astype(np.float32), np.ones((height, width), np.uint8)
    click.echo(f"timing {len(candidates)} networks at {width}x{height}, {rounds} rounds …", err=True)
    runners = {
        word: StyleRunner(network_of(arch), backend=backend, precision=precision) for word, arch in candidates.items()
    }
    took: dict[str, list[tuple[float, float]]] = {word: [] for word in candidates}
    for number in range(rounds + 1):  # the first round warms up
        for word, runner in runners.items():
            began = perf_counter(), process_time()
            runner.stylize(frame, prior, reliability)
            if number:
                took[word].append((1000 * (perf_counter() - began[0]), 1000 * (process_time() - began[1])))
    return {
        word: (median(wall for wall, _ in times), median(cores for _, cores in times)) for word, times in took.items()
    }


if __name__ == "__main__":
    main()
