"""SPyNet as it was published and as it runs here, in turns on one pair of frames: seconds of wall and of the cores, and ratios."""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import click
import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.procedure2020 import PlainSpyNet
from fav.cli.options import FILE, SizeType
from fav.flow import Flow
from fav.flow.spynet import SpyNet, load_weights, make_level, name_of
from fav.model.devices import best_precision
from fav.util.images import read_image, resize
from fav.util.malloc import tune_malloc


def channels_last(weights: Path) -> SpyNet:
    """With PyTorch's convolutions in place of those of `fav.flow.toom_cook`."""
    network, found = SpyNet(weights), load_weights(weights)
    levels = [make_level().eval() for _ in network.levels]
    for number, level in enumerate(levels):
        level.load_state_dict({key: found[name_of(number, key)] for key in level.state_dict()})
    network.levels = [network._pytorch_level(level.to(memory_format=torch.channels_last)) for level in levels]
    return network


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@click.option("--spynet", type=FILE, required=True, help="The authors' directory of modelL{1..6}_F.t7.")
@click.option(
    "--size", type=SizeType(), default="1024x436", show_default=True, metavar="WxH", help="The images are resized."
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Alternating; medians are shown.")
def main(first: Path, second: Path, spynet: Path, size: tuple[int, int], threads: int, rounds: int) -> None:
    """Print a table for both directions of flow between images FIRST and SECOND."""
    torch.set_num_threads(threads)
    tune_malloc()
    frames = [resize(read_image(path), size) for path in (first, second)]
    forms: dict[str, Flow] = {
        "as published": PlainSpyNet(spynet),
        "channels_last": channels_last(spynet),
        "here": SpyNet(spynet),
        "half": SpyNet(spynet, shrink=2),
    }
    if best_precision(torch.device("cpu")) == "bfloat16":  # elsewhere it takes minutes
        forms["bfloat16"] = SpyNet(spynet, precision="bfloat16")
    wall: dict[str, list[float]] = {name: [] for name in forms}
    cores: dict[str, list[float]] = {name: [] for name in forms}
    flows: dict[str, np.ndarray] = {}
    for number in range(rounds):
        for name, flow in forms.items():
            click.echo(f"round {number + 1} of {rounds}: {name} …", err=True)
            began = perf_counter(), process_time()
            flows[name] = both_ways(flow, frames)
            wall[name].append(perf_counter() - began[0])
            cores[name].append(process_time() - began[1])
    click.echo(f"{size[0]}x{size[1]}, both directions, {threads} threads")
    click.echo(f"{'':16}{'wall, s':>9}{'cores, s':>10}{'times as fast':>15}{'furthest, px':>14}{'mean, px':>10}")
    for name in forms:
        ratio = median(cores["as published"]) / median(cores[name])
        away = np.abs(flows[name] - flows["as published"])
        click.echo(
            f"{name:16}{median(wall[name]):9.2f}{median(cores[name]):10.2f}{ratio:15.2f}{away.max():14.4f}{away.mean():10.4f}"
        )


@torch.inference_mode()
def both_ways(flow: Callable, frames: list[np.ndarray]) -> np.ndarray:
    return np.stack([flow(*frames), flow(*frames[::-1])])


if __name__ == "__main__":
    main()
