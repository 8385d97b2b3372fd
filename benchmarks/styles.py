"""How good is a style, on real videos: one line a style and a video, with and without memory, and contact sheets."""

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import click
import cv2
import numpy as np
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import reel
from fav import flow as flows
from fav.evaluation.comparison import EvaluationConfig, FrameSample, measure, use_threads
from fav.evaluation.metrics import FrameLosses, mean_and_95th
from fav.evaluation.motion import motion_error
from fav.evaluation.perceptual_metrics import losses_of
from fav.evaluation.perceptual_metrics import style_image_of as painting_seen
from fav.evaluation.report import GOOD_RATIOS, Evaluation
from fav.evaluation.strokes import stroke_width
from fav.flow.field import estimate
from fav.model.checkpoints import load_style
from fav.model.runner import StyleRunner
from fav.synthetic.motions import MOTIONS
from fav.util.images import read_image

PATH = click.Path(path_type=Path)
VIDEOS = tuple(reel.MATERIAL / "videos" / name for name in ("bigbuckbunny.mp4", "scene_cuts.mp4"))
SHOWN_S = (1, 2, 5)
ROWS = {"source": "source", "film": "memory", "against": "independent"}
# Of the table: a measure, the film that the one with memory is divided by, and what the quotient should be.
GOALS = (("warping_error", "against", "<=", 1 / 3), ("warping_error", "source", "<=", GOOD_RATIOS["warping_error"]),
         ("style_loss", "against", "<=", 1.1), ("local_contrast", "against", ">=", 0.9),
         *((measure, "source", "<=", GOOD_RATIOS[measure]) for measure in ("lattice", "edge_width")))  # fmt: skip
HEADS = ("memory", "independent", "source", "/indep.", "/source", "memory", "/indep.", "contrast", "lattice", "/source",
         "strokes", "edges", "/source", "palette", "motion", "goals")  # fmt: skip
WIDTHS = (11, 13, 11, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 8, 8)


class Motion:
    """Lets moments pass, and measures how far the film's motion is from its source's (`fav.evaluation.motion`)."""

    def __init__(self, flow: flows.Flow):
        self.flow, self.errors = flow, []

    def watch(self, moments: Iterable[FrameSample]) -> Iterator[FrameSample]:
        before = None
        for now in moments:
            if before is not None and not now.cut:
                seen = estimate(self.flow, now.source, before.source)
                self.errors.append(motion_error(self.flow(now.film, before.film), seen.flow, seen.reliability))
            before = now
            yield now

    @property
    def mean(self) -> float | None:
        found = mean_and_95th(self.errors)
        return found and found[0]


class Sheet:
    """Lets moments pass, and keeps those 1, 2 and 5 s after a shot's beginning, of the shot that has most of them."""

    def __init__(self):
        self.kept: list[tuple[float, FrameSample]] = []

    def watch(self, moments: Iterable[FrameSample]) -> Iterator[FrameSample]:
        begin, mine = None, []
        for now in moments:
            if begin is None or now.cut:
                begin, mine = now.seconds, []
            if len(mine) < len(SHOWN_S) and now.seconds - begin >= SHOWN_S[len(mine)]:
                mine.append((SHOWN_S[len(mine)], now))
                self.kept = max(self.kept, mine, key=len)
            yield now


def painting_of(style: Path, paintings: Path) -> Path | None:
    """The picture in a directory that a style is named after: of those whose name the style's begins with, the longest."""
    named = [
        picture
        for picture in sorted(paintings.glob("*"))
        if style.stem.startswith(picture.stem) and picture.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif", ".webp")
    ]
    return max(named, key=lambda picture: len(picture.stem), default=None)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("styles", nargs=-1, required=True, type=PATH)
@click.option(
    "--video",
    "videos",
    type=PATH,
    multiple=True,
    default=VIDEOS,
    help="Once for each.  [default: " + ", ".join(video.name for video in VIDEOS) + " in the shared material]",
)
@click.option(
    "--paintings",
    type=PATH,
    default=reel.MATERIAL / "styles",
    metavar="DIR",
    help="Where NAME.jpg is that NAME….safetensors was learned from.  [default: in the shared material]",
)
@click.option(
    "--loss-network",
    default=str(reel.MATERIAL / "loss_network" / "squeezenet1_0.safetensors"),
    metavar="NAME|FILE",
    help="As for `python -m fav train`.  [default: in the shared material]",
)
@click.option(
    "--motions", default="", metavar="NAME,…", help=f"Measure on drawn scenes, too, by camera: {', '.join(MOTIONS)}."
)
@click.option(
    "--photograph",
    "photographs",
    type=PATH,
    multiple=True,
    help="Measure on a camera that moves over this photograph, too. Once for each.",
)
@click.option("--width", type=click.IntRange(16), default=320, show_default=True)
@click.option("--flow", type=click.Choice(list(flows.METHODS)), default="dis", show_default=True)
@click.option(
    "--sheets",
    type=PATH,
    metavar="DIR",
    help="Write NAME.sheet.png for each style here: the painting, and frames 1, 2 and 5 s into a shot of each video.",
)
@click.option(
    "--blind",
    type=PATH,
    metavar="DIR",
    help="Write VIDEO.blind.png here: one frame in all STYLES, in an order drawn by lot, with letters; names.txt tells them.",
)
@click.option("--frames", type=click.IntRange(1), help="Measure so many frames of each video.  [default: all]")
@click.option("--threads", type=click.IntRange(1), help="Threads of OpenCV and PyTorch.  [default: theirs]")
def main(
    styles: tuple[Path, ...],
    videos: tuple[Path, ...],
    paintings: Path,
    loss_network: str,
    motions: str,
    photographs: tuple[Path, ...],
    width: int,
    flow: str,
    sheets: Path | None,
    blind: Path | None,
    frames: int | None,
    threads: int | None,
) -> None:
    """Print how steady films in STYLES (.safetensors) are, how much of the painting is in them, and how crisp they are.

    Each video is stylized with memory and frame by frame (as with `--no-temporal`), raw, without an encoder, and measured
    as by `python -m fav evaluate --against`. docs/how-to/evaluate.md has what lattice, strokes, edges and palette mean;
    motion is how far the film's own motion is from the source's, pixels a frame (tOF).
    """
    use_threads(threads)
    if missing := [str(file) for file in (*videos, *photographs) if not file.exists()]:
        raise click.ClickException(
            f"expected videos and photographs, but there is no {', '.join(missing)}; say --video FILE, --photograph FILE"
        )
    if words := reel.wrong_motions(motions):
        raise click.ClickException(words)
    clips = clips_of(videos, motions, photographs, width, frames)
    click.echo(
        f"{width} wide, flow {flow}. Warping error: the mean over the frames of that on reliable pixels. Quotients: with memory "
        f"by without, the second by the source. Goals: {', '.join(f'{sign} {goal:.2g}' for *_, sign, goal in GOALS)}"
    )
    click.echo(
        f"{'':40}{'warping error':^55}{'style loss':>20}{'local':>10}{'gray levels':>20}{'pixels':>10}"
        f"{'pixels':>20}{'levels':>10}{'pixels':>8}"
    )
    click.echo(f"{'style, video':40}" + "".join(f"{head:>{width}}" for head, width in zip(HEADS, WIDTHS)))
    judged: dict[str, list[tuple[str, np.ndarray]]] = {}  # by video: a frame in each style
    for style in styles:
        runner, painting = StyleRunner(load_style(style, in_channels=7)), painting_of(style, paintings)
        if painting:
            click.echo(
                f"{painting.stem}, the painting: strokes of {told(stroke_width(painting_seen(painting)), '.1f')} pixels"
            )
        rows = [[(f"{painting.stem}, the painting", reel.at_width(read_image(painting), width))]] if painting else []
        for clip, pictures in clips:
            sheet, losses = Sheet(), losses_of(painting, loss_network) if painting else None
            motion = Motion(flows.make(flow))
            shown = islice(pictures(), frames)
            evaluation = evaluated(clip, shown, style, runner, width, flow, losses, sheet, motion)
            click.echo(line(f"{style.stem}, {clip}", evaluation, motion.mean))
            if sheet.kept:
                judged.setdefault(clip, []).append((style.stem, sheet.kept[-1][1].film))
            rows += [
                [(f"{clip}, {words}, {seconds} s", getattr(now, film)) for seconds, now in sheet.kept]
                for film, words in ROWS.items()
                if sheet.kept
            ]
        if sheets and rows:
            sheets.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(sheets / f"{style.stem}.sheet.png"), reel.sheet(rows))
    if blind:
        write_blind(blind, judged, random.Random())


def write_blind(directory: Path, judged: dict[str, list[tuple[str, np.ndarray]]], lots: random.Random) -> None:
    """For each video a sheet of its pictures, by letters in an order drawn by lot; names.txt says which is which."""
    directory.mkdir(parents=True, exist_ok=True)
    told = []
    for video, pictures in judged.items():
        drawn = [(chr(ord("A") + number), *one) for number, one in enumerate(lots.sample(pictures, len(pictures)))]
        rows = [
            [(letter, picture) for letter, _, picture in drawn[start : start + 2]] for start in range(0, len(drawn), 2)
        ]
        cv2.imwrite(str(directory / f"{video}.blind.png"), reel.sheet(rows))
        told += [f"{video} {letter}: {name}" for letter, name, _ in drawn]
    (directory / "names.txt").write_text("\n".join(told) + "\n")


def clips_of(
    videos: Iterable[Path], motions: str, photographs: Iterable[Path], width: int, frames: int | None
) -> list[tuple[str, Callable[[], reel.Frames]]]:
    """What to measure on, with names: whole videos, and drawn scenes and photographs of so many frames, or of two seconds."""
    count, size = frames or 2 * reel.RATE, (width, round(width * 9 / 16))
    drawn = filter(None, motions.split(","))
    return [
        *((video.stem, partial(reel.video, video, width)) for video in videos),
        *((motion, partial(reel.scene, motion, size, count)) for motion in drawn),
        *((photo.stem, partial(reel.over_photograph, read_image(photo), width, count)) for photo in photographs),
    ]


def evaluated(
    clip: str,
    shown: reel.Frames,
    style: Path,
    runner: StyleRunner,
    width: int,
    flow: str,
    losses: FrameLosses | None,
    sheet: Sheet,
    motion: Motion,
) -> Evaluation:
    """A clip in a style, with memory, against the same without it."""
    with Progress(transient=True, disable=not Console().is_terminal) as progress:
        bar = progress.add_task(f"{style.stem}, {clip}", total=None)
        moments = motion.watch(sheet.watch(reel.stylized(shown, runner, flows.make(flow))))
        found = []
        for row in measure(moments, flows.make(flow), losses):
            found.append(row)
            progress.advance(bar)
    return Evaluation(EvaluationConfig(clip, style.stem, "independent", flow=flow), (width, 0), tuple(found))


def line(name: str, evaluation: Evaluation, motion: float | None) -> str:
    errors = [mean(evaluation, film, "warping_error") for film in ("film", "against", "source")]
    quotients = [evaluation.ratio(measure, other) for measure, other, *_ in GOALS]
    known = [(value, sign, goal) for value, (*_, sign, goal) in zip(quotients, GOALS) if value is not None]
    met = [value <= goal if sign == "<=" else value >= goal for value, sign, goal in known]
    by_independent, by_source, style, contrast, lattice, edges = quotients
    cells = [
        *(told(error, ".3g") for error in errors),
        told(by_independent, ".2f"),
        told(by_source, ".2f"),
        told(mean(evaluation, "film", "style_loss"), ".3f"),
        told(style, ".2f"),
        told(contrast, ".2f"),
        told(mean(evaluation, "film", "lattice"), ".2f"),
        told(lattice, ".2f"),
        told(mean(evaluation, "film", "stroke_width"), ".1f"),
        told(mean(evaluation, "film", "edge_width"), ".2f"),
        told(edges, ".2f"),
        told(mean(evaluation, "film", "palette_distance"), ".1f"),
        told(motion, ".2f"),
        f"{sum(met)} of {len(met)}",
    ]
    return f"{name:40}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS))


def mean(evaluation: Evaluation, film: str, measure: str) -> float | None:
    found = mean_and_95th(evaluation.values(film, measure))
    return found and found[0]


def told(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


if __name__ == "__main__":
    main()
