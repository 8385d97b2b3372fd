"""What runs the network, compared: seconds a frame, and how far each film is from that of PyTorch in float32."""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import click
import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fav import flow as flows
from fav.cli.options import SizeType
from fav.errors import FavError
from fav.flow.field import (
    FlowField,
    estimate,
)
from fav.model.architecture import DEFAULT_ARCH, HALF_WIDTH
from fav.model.backends import BACKENDS, choose
from fav.model.checkpoints import load_style
from fav.model.devices import best_precision, device_of
from fav.model.network import StyleNetwork
from fav.model.preprocessing import network_input
from fav.model.runner import StyleRunner
from fav.stylize.recurrence import Recurrence
from fav.stylize.settings import PRECISIONS
from fav.util.images import resize

MATERIAL = ROOT.parent / "shared" / "data"
PATH = click.Path(path_type=Path)
BASELINE = "eager float32, as published"
LATEST = 10  # frames at either end of a chain
SIDE = 4096  # of the matrices whose product tells what the machine can do

Link = tuple[np.ndarray, FlowField | None]


def network_of(arch: str) -> StyleNetwork:
    torch.manual_seed(0)
    return StyleNetwork(arch).requires_grad_(False).eval()


def published(network: StyleNetwork, seen: np.ndarray, device: torch.device) -> Callable[[], object]:
    """The layers one after the other, NCHW, without any shortcut, gradients off: what every speed here is compared with."""
    network = network.to(device)
    x = torch.from_numpy(seen).permute(2, 0, 1)[None].contiguous().to(device)
    return torch.inference_mode()(lambda: nn.Sequential.forward(network, x).cpu())


def flops(run: Callable[[], object]) -> int:
    """Of one run: two for each multiplication in a convolution or a product of matrices, with what is added to it."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def product_rate(precision: str, device: torch.device) -> float:
    """What this machine reaches in a product of large matrices, in FLOP/s: the best of a few."""
    a = torch.ones(SIDE, SIDE, dtype=getattr(torch, precision), device=device)

    def run() -> float:
        began = perf_counter()
        (a @ a)[0, 0].item()  # waits for a card
        return perf_counter() - began

    return 2 * SIDE**3 / min(run() for _ in range(5))


def seconds(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Medians; the ways take turns, so that a busy moment of the machine hits all of them."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first round warms up
        for name, way in ways.items():
            began = perf_counter()
            way()
            if number:
                took[name].append(perf_counter() - began)
    return {name: median(times) for name, times in took.items()}


def print_speed(names: list[str], size: tuple[int, int], rounds: int, device: str) -> None:
    width, height = size
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    prior, reliability = frame[::-1].astype(np.float32), np.ones((height, width), np.uint8)
    here = device_of(device)
    precisions = [one for one in PRECISIONS if one in ("float32", best_precision(here))]
    if len(precisions) < len(PRECISIONS):
        click.echo("bfloat16 is not timed: this device is not made for it, and takes minutes", err=True)
    ways: dict[str, Callable[[], object]] = {}
    starts: dict[str, float] = {}
    for word, arch in ("full", DEFAULT_ARCH), ("half", HALF_WIDTH):
        ways[f"{word}: {BASELINE}"] = published(network_of(arch), network_input(frame, prior, reliability), here)
        for name in names:
            for precision in precisions:
                way = f"{word}: {name} {precision}"
                click.echo(f"starting {way} …", err=True)
                began = perf_counter()
                runner = StyleRunner(network_of(arch), device=device, backend=name, precision=precision)
                ways[way] = lambda runner=runner: runner.stylize(frame, prior, reliability)
                ways[way]()
                starts[way] = perf_counter() - began
    click.echo(f"timing {len(ways)} ways, {rounds} rounds …", err=True)
    took = seconds(ways, rounds)
    rates = {precision: product_rate(precision, here) for precision in precisions}
    work = flops(ways[f"full: {BASELINE}"])
    click.echo(
        f"a product of matrices: {', '.join(f'{rate / 1e9:.0f} GFLOP/s in {name}' for name, rate in rates.items())}; "
        f"the network of full width: {work / 1e9:.0f} GFLOP a frame"
    )
    click.echo(
        f"{width}x{height}, {device}, {torch.get_num_threads()} threads; s a frame and how many times as fast as the first line, at\n"
        f"full and half width; the one against the other; s until the first frame of full width is there; the rate of\n"
        f"full width by that of the product of matrices"
    )
    click.echo(f"{'':32}{'full':>8}{'':>8}{'half':>8}{'':>8}{'full/half':>11}{'start':>8}{'rate':>7}")
    for way in [BASELINE, *(f"{name} {precision}" for name in names for precision in precisions)]:
        full, half = took[f"full: {way}"], took[f"half: {way}"]
        gain = took[f"full: {BASELINE}"] / full, took[f"half: {BASELINE}"] / half
        start = f"{starts[f'full: {way}']:8.2f}" if f"full: {way}" in starts else " " * 8
        rate = work / full / rates["bfloat16" if way.endswith("bfloat16") else "float32"]
        click.echo(
            f"{way:32}{full:8.3f}{gain[0]:7.1f}x{half:8.3f}{gain[1]:7.1f}x{full / half:10.1f}x{start}{rate:7.0%}"
        )


def links_of(video: Path, width: int, count: int) -> list[Link]:
    """Its first frames at a width, and how each hangs on the one before; no cuts are looked for, as that makes it harder."""
    capture, flow, links = cv2.VideoCapture(str(video)), flows.make("dis"), []
    for _ in range(count):
        there, frame = capture.read()
        if not there:
            raise click.ClickException(f"{video}: expected a video of {count} frames, got {len(links)}")
        frame = resize(frame, (width, round(frame.shape[0] * width / frame.shape[1])))
        links.append((frame, estimate(flow, frame, links[-1][0]) if links else None))
    return links


def psnr(found: np.ndarray, expected: np.ndarray) -> float:
    """Of two frames (H, W, 3) uint8, in dB; 99 for equal ones."""
    error = np.square(found.astype(np.float32) - expected).mean()
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


class Nudged(StyleRunner):
    """Paints the first frame with one sample of it a gray level off: what the film makes of that is the style's doing."""

    first = True

    def stylize(self, *pieces, **more) -> np.ndarray:
        picture = super().stylize(*pieces, **more)
        picture[picture.shape[0] // 2, picture.shape[1] // 2, 0] ^= self.first
        self.first = False
        return picture


def print_honesty(style: Path, names: list[str], videos: list[Path], width: int, count: int, device: str) -> None:
    load = lambda: load_style(style, in_channels=7)
    click.echo(f"\n{style.name}, {width} pixels wide, {count} frames in a chain; PSNR in dB against torch float32")
    click.echo(f"{'':44}{'one step':>9}{'first 10':>9}{'last 10':>9}{'lowest':>9}")
    for video in videos:
        click.echo(f"{video.name}: chains of {count} frames …", err=True)
        links = links_of(video, width, count)
        expected = list(Recurrence(StyleRunner(load())).film(links))
        runners = {"torch float32, one sample nudged": Nudged(load())}
        for name in names:
            for precision in PRECISIONS:
                if (name, precision, device) != ("torch", "float32", "cpu"):
                    runners[f"{name} {precision}"] = StyleRunner(
                        load(), device=device, backend=name, precision=precision
                    )
        for name, runner in runners.items():
            along = [psnr(*pair) for pair in zip(Recurrence(runner).film(links), expected)]
            steps = [
                psnr(Recurrence(runner).next(frame, expected[number], geometry), expected[number + 1])
                for number, (frame, geometry) in enumerate(links[1:])
                if number % 10 == 0
            ]
            figures = np.mean(steps), np.mean(along[:LATEST]), np.mean(along[-LATEST:]), min(along)
            click.echo(f"{f'{video.stem}: {name}':44}" + "".join(f"{figure:9.1f}" for figure in figures))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--backend",
    "names",
    multiple=True,
    type=click.Choice(list(BACKENDS)),
    help="Only these.  [default: torch, and what auto takes here]",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda:0 and so on.")
@click.option("--threads", type=click.IntRange(1), help="[default: PyTorch's]")
@click.option(
    "--size", type=SizeType(), default=(1024, 436), metavar="WxH", help="Of the timed frame.  [default: 1024x436]"
)
@click.option(
    "--rounds",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Timed frames of each; the median is shown. 0 for none.",
)
@click.option("--style", "styles", multiple=True, type=PATH, help="Of the films.  [default: starry_night]")
@click.option("--data", type=PATH, default=MATERIAL / "videos", show_default=True, help="Videos for the films.")
@click.option("--width", type=click.IntRange(16), default=320, show_default=True, help="Of the films.")
@click.option("--frames", type=click.IntRange(0), default=100, show_default=True, help="Of the films. 0 for none.")
def main(
    names: tuple[str, ...],
    device: str,
    threads: int | None,
    size: tuple[int, int],
    rounds: int,
    styles: tuple[Path, ...],
    data: Path,
    width: int,
    frames: int,
) -> None:
    """Print how fast each backend and precision is, and how far the films that they make are apart.

    A chain hands on what differs from frame to frame, and each style makes of that what it will: "one step" is what a
    backend adds to a frame, painted from the very same frame before it; "nudged" is what becomes of a single sample
    that was one gray level off in the first frame.
    """
    if threads:
        torch.set_num_threads(threads)
    try:
        device_of(device)
        here = [choose(name, device) for name in names or dict.fromkeys(["torch", choose("auto", device)])]
    except FavError as error:
        raise click.ClickException(str(error)) from None
    if rounds:
        print_speed(here, size, rounds, device)
    videos = sorted(data.glob("*.mp4")) if frames else []
    if frames and not videos:
        raise click.ClickException(
            f"{data}: expected videos, got none; give their directory with --data, or --frames 0"
        )
    for style in (styles or [ROOT / "styles" / "starry_night.safetensors"]) if frames else ():
        print_honesty(style, here, videos, width, frames, device)


if __name__ == "__main__":
    main()
