"""The procedure of 2020 and this program on the same video, in one run: seconds a frame, step by step and as a whole."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import click
import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import clip_of, untrained
from benchmarks.steps import Measured, measure_node, measured
from fav.cli.common import one_line_errors
from fav.cli.options import FILE, SizeType
from fav.model.devices import best_precision

# A line of the table: steps of the procedure of 2020 (`procedure2020.py`), and of a node (`steps.py`).
LINES = {
    "source frames": (
        ("split", "read"),
        ("index and cuts", "decode", "decode: checksum", "decode: YUV to BGR", "decode: resize"),
    ),
    "flow, two directions": (("flow",), ("flow, two directions", "flow: rounding")),
    "files of flow": (("files of flow",), ()),
    "consistency": (("consistency",), ("consistency",)),
    "warp, network input": (("input",), ("warp", "network input")),
    "network": (("network",), ("network",)),
    "PNG, publish": (("PNG",), ("PNG", "publish: write, sync", "publish: link, unlink")),
    "claims, lists": ((), ("claims, lists",)),
    "film": (("film",), ("film: read frames", "film: encode")),
    "load models": (("load models",), ("load models",)),
}


def measure_2020(video: Path, style: Path, spynet: Path, frames: int, threads: int) -> Measured:
    """A film of `video`, of so many frames, by the procedure of 2020."""
    with tempfile.TemporaryDirectory(prefix="procedure2020-") as place:
        film, steps = Path(place, "film.mp4"), Path(place, "steps.json")
        program = Path(__file__).with_name("procedure2020.py")
        return measured(frames, [sys.executable, program, video, film, style, spynet, place, steps, threads], steps)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("video", type=FILE)
@click.argument("style", type=FILE, required=False)
@click.option("--spynet", type=FILE, required=True, help="The authors' directory of modelL{1..6}_F.t7.")
@click.option(
    "--size",
    type=SizeType(),
    default="1024x436",
    show_default=True,
    metavar="WxH",
    help="VIDEO is brought to this size before, for both.",
)
@click.option("--frames", type=click.IntRange(3), default=12, show_default=True, help="The first frames of VIDEO.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of both.  [default: all cores]")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Films by each, alternating; medians are shown.",
)
@one_line_errors
def main(
    video: Path, style: Path | None, spynet: Path, size: tuple[int, int], frames: int, threads: int | None, rounds: int
) -> None:
    """Print a table of what the procedure of 2020 and a node of this program take for a film of VIDEO in STYLE.

    Both are whole commands, from the video file to the film, in turns; ours with its default flow, with that of
    2020, and with that at half size. The procedure of 2020 knows the authors' network alone. Without a STYLE there are
    two tables: for that network in full width, and in half width, with random weights.

    Steps of a node are measured one after the other; "whole" is a node as it works, with flow beside the network.
    """
    threads = threads or len(os.sched_getaffinity(0))
    click.echo(f"cutting {frames} frames, then {rounds} rounds of 7 films for each style …", err=True)
    with tempfile.TemporaryDirectory(prefix="baseline-") as place:
        clip = clip_of(video, Path(place), size, frames)
        for path in [style] if style else [untrained(Path(place), name) for name in ("full", "half")]:
            click.echo(f"\n{path.name}, {size[0]}x{size[1]}, {frames} frames, {threads} threads; {speeds(threads)}")
            print_table(compared(clip, path, spynet, frames, threads, rounds), frames)


def compared(
    clip: Path, style: Path, spynet: Path, frames: int, threads: int, rounds: int
) -> dict[str, list[tuple[Measured, Measured]]]:
    """For each pipeline the runs of which the steps are shown, beside those of which the whole is."""
    node = lambda **options: (
        measure_node(clip, style, frames, threads, True, **options),
        measure_node(clip, style, frames, threads, **options),
    )
    pipelines = {
        "2020": lambda: (measure_2020(clip, style, spynet, frames, threads),) * 2,
        "ours": node,
        "ours, spynet": lambda: node(flow="spynet", flow_weights=spynet),
        "spynet-half": lambda: node(flow="spynet-half", flow_weights=spynet),
    }
    runs: dict[str, list] = {name: [] for name in pipelines}
    for number in range(rounds):
        for name, run in pipelines.items():
            began = perf_counter()
            runs[name].append(run())
            click.echo(f"round {number + 1} of {rounds}: {name}: {perf_counter() - began:.0f} s", err=True)
    return runs


def print_table(runs: dict[str, list[tuple[Measured, Measured]]], frames: int) -> None:
    """Seconds a frame; the last lines also tell how many times as long the procedure of 2020 takes."""

    def line(name: str, value: Callable[[str], float], ratios: bool = False) -> None:
        values = {pipeline: value(pipeline) for pipeline in runs}
        click.echo(
            f"{name:22}"
            + "".join(f"{seconds:14.3f}" for seconds in values.values())
            + (
                f"   2020 / ours {values['2020'] / values['ours']:.1f}, "
                f"with its flow {values['2020'] / values['ours, spynet']:.1f}, "
                f"at half size {values['2020'] / values['spynet-half']:.1f}"
                if ratios
                else ""
            )
        )

    click.echo(f"{'seconds a frame':22}" + "".join(f"{name:>14}" for name in runs))
    for name, names in LINES.items():
        line(
            name,
            lambda pipeline: (
                median(
                    sum(steps.steps.get(step, 0.0) for step in names[pipeline != "2020"]) for steps, _ in runs[pipeline]
                )
                / frames
            ),
        )
    line("start, imports, rest", lambda pipeline: median(steps.rest for steps, _ in runs[pipeline]) / frames)
    line("whole", lambda pipeline: median(whole.whole for _, whole in runs[pipeline]) / frames, ratios=True)
    line("core-seconds", lambda pipeline: median(whole.cores for _, whole in runs[pipeline]) / frames, ratios=True)


@torch.inference_mode()
def speeds(threads: int) -> str:
    """What this machine does in GFLOP/s, at best of a few: a matrix product, and the convolution that the network is full of."""
    torch.set_num_threads(threads)
    square, picture, filters = torch.rand(2048, 2048), torch.rand(1, 128, 129, 276), torch.rand(128, 128, 3, 3)
    products = {
        "matrix product": (lambda: square @ square, 2 * 2048**3),
        "3x3 convolution of 128 channels": (lambda: F.conv2d(picture, filters), 2 * 127 * 274 * 9 * 128**2),
    }
    if best_precision(torch.device("cpu")) == "bfloat16":  # elsewhere it takes minutes
        halved = square.bfloat16()
        products["bf16"] = lambda: halved @ halved, 2 * 2048**3
    return (
        ", ".join(
            f"{name} {work / min(timed(product) for _ in range(8)) / 1e9:.0f}"
            for name, (product, work) in products.items()
        )
        + " GFLOP/s"
    )


def timed(function: Callable) -> float:
    began = perf_counter()
    function()
    return perf_counter() - began


if __name__ == "__main__":
    main()
