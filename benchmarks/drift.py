"""Does a style wander away from its source along a shot? Measured over 500 frames without a cut, with and without memory.

Two clips are drawn (the test scene), one is real and played forth and back, so that every frame comes again: a film that
is steady then repeats itself.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import reel
from fav import flow as flows
from fav.evaluation.comparison import FrameSample, use_threads
from fav.evaluation.metrics import distance, local_contrast, tone
from fav.model.checkpoints import load_style
from fav.model.runner import StyleRunner
from fav.synthetic.motions import MOTIONS

PATH = click.Path(path_type=Path)
LOOKS = ("blue", "green", "red", "contrast", "saturation", "local contrast")
SHORT = ("blue", "green", "red", "contr.", "satur.", "local")
COLORS = ("tab:blue", "tab:green", "tab:red", "black", "tab:purple", "tab:orange")
PAIRS = (("film", "source"), ("against", "source"), ("film", "against"))
WORDS = {"film": "memory", "against": "independent", "source": "source"}
SHOWN_S = (1, 2, 5, 10, 20)
FORTH_AND_BACK = "forth and back"


@dataclass(frozen=True, eq=False)
class Course:
    """What one clip looked like over time: for each of film, against and source (N, 6) gray levels, the columns LOOKS.

    apart (N,): how far the film with memory is from the one without, root mean square in gray levels. again (M,): how far,
    with memory, a frame is from the one that shows the same frame of the source a round earlier (without memory they are the
    same); empty where none comes twice. kept: some moments, to look at.
    """

    looks: dict[str, np.ndarray]
    apart: np.ndarray
    again: np.ndarray
    kept: tuple[FrameSample, ...]

    def away(self, film: str, other: str) -> np.ndarray:
        """How a film differs from another, (N, 6), counted from the mean of its first second."""
        difference = self.looks[film] - self.looks[other]
        return difference - difference[: reel.RATE].mean(0)

    def slope(self, film: str, other: str) -> np.ndarray:
        """Of the straight line through the difference (least squares), gray levels per 100 frames."""
        away = self.away(film, other)
        return 100 * np.polyfit(np.arange(len(away)), away, 1)[0]

    def last_minus_first(self, film: str, other: str) -> np.ndarray:
        """The mean of the last second less that of the first."""
        return self.away(film, other)[-reel.RATE :].mean(0)


def look(picture: np.ndarray) -> list[float]:
    """The columns LOOKS of one picture. Saturation is the mean difference of a pixel's largest and smallest color."""
    seen = tone(picture)
    saturation = float((picture.max(-1) - picture.min(-1)).mean())
    return [seen.blue, seen.green, seen.red, seen.contrast, saturation, local_contrast(picture)]


def followed(moments: Iterable[FrameSample], period: int | None, report_progress: Callable[[], None]) -> Course:
    """What moments look like; after `period` frames, where it is known, the source comes again."""
    looks, kept, apart, again, lap = {name: [] for name in WORDS}, [], [], [], deque()
    for now in moments:
        for name, column in looks.items():
            column.append(look(getattr(now, name)))
        apart.append(distance(now.film, now.against))
        if now.number in [seconds * reel.RATE - 1 for seconds in SHOWN_S]:
            kept.append(now)
        if period and len(lap) == period:
            again.append(distance(now.film, lap.popleft()))
        if period:
            lap.append(now.film)
        report_progress()
    return Course(
        {name: np.array(column) for name, column in looks.items()}, np.array(apart), np.array(again), tuple(kept)
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("styles", nargs=-1, required=True, type=PATH)
@click.option("--motions", default="tripod,pan", show_default=True, help=f"Of the drawn clips: {', '.join(MOTIONS)}.")
@click.option(
    "--video",
    type=PATH,
    default=reel.MATERIAL / "videos" / "bigbuckbunny.mp4",
    show_default=True,
    help="Its first shot is played forth and back.",
)
@click.option("--frames", type=click.IntRange(2 * reel.RATE), default=500, show_default=True)
@click.option("--width", type=click.IntRange(48), default=320, show_default=True)
@click.option("--flow", type=click.Choice(list(flows.METHODS)), default="dis", show_default=True)
@click.option(
    "--out",
    type=PATH,
    metavar="DIR",
    help="Write NAME.drift.png, a plot, and NAME.frames.png, pictures at "
    + ", ".join(map(str, SHOWN_S))
    + " s, for each style here.",
)
@click.option("--threads", type=click.IntRange(1), help="Threads of OpenCV and PyTorch.  [default: theirs]")
def main(
    styles: tuple[Path, ...],
    motions: str,
    video: Path,
    frames: int,
    width: int,
    flow: str,
    out: Path | None,
    threads: int | None,
) -> None:
    """Print how far films in STYLES (.safetensors) wander away from their source in one long shot.

    Three rows a clip: the film with memory and the film made frame by frame (`--no-temporal`), both against the source, and
    the one against the other, in which what the style makes of a scene that changes is left out. There also: how far, root
    mean square, the pictures of the two films are apart, and the film with memory from itself where the source is the same
    one round later.
    """
    use_threads(threads)
    clips = {
        motion: (lambda motion=motion: reel.scene(motion, (width, round(width * 9 / 16)), frames), None)
        for motion in filter(None, motions.split(","))
    }
    if words := reel.wrong_motions(motions):
        raise click.ClickException(words)
    if video.exists():
        shot = reel.first_shot(reel.video(video, width))
        clips[FORTH_AND_BACK] = lambda: reel.forth_and_back(shot, frames), reel.period(shot)
    else:
        click.echo(f"{video}: not there; without a clip played forth and back (--video)", err=True)
    click.echo(f"{frames} frames of 25 a second, {width} wide, flow {flow}; gray levels")
    click.echo(f"{'':57}{'least squares, per 100 frames':51}{'last second less the first':56}{'RMS apart':14}RMS, a")
    columns = 2 * f"{''.join(f'{name:>8}' for name in SHORT)}   "
    click.echo(f"{'style, clip':33}{'':21}{columns}{'first s':>10}{'last s':>8}{'round later':>16}")
    for style in styles:
        runner, courses = StyleRunner(load_style(style, in_channels=7)), {}
        for name, (begin, lap) in clips.items():
            with Progress(transient=True, disable=not Console().is_terminal) as progress:
                bar = progress.add_task(f"{style.stem}, {name}", total=frames)
                moments = reel.stylized(begin(), runner, flows.make(flow))
                courses[name] = followed(moments, lap, lambda: progress.advance(bar))
            tell(f"{style.stem}, {name}", courses[name])
        if out:
            out.mkdir(parents=True, exist_ok=True)
            plot(style.stem, courses).savefig(out / f"{style.stem}.drift.png", dpi=100)
            cv2.imwrite(str(out / f"{style.stem}.frames.png"), pictures(courses))


def tell(name: str, course: Course) -> None:
    second = reel.RATE
    parted = [float(course.apart[part].mean()) for part in (slice(1, second), slice(-second, None))]  # they begin alike
    for pair in PAIRS:
        figures = (course.slope(*pair), ".2f"), (course.last_minus_first(*pair), ".1f")
        cells = "   ".join("".join(f"{value:+8{form}}" for value in values) for values, form in figures)
        told = ""
        if pair == PAIRS[-1]:
            told = f"{parted[0]:13.1f}{parted[1]:8.1f}" + (
                f"{np.median(course.again):16.1f}" if len(course.again) else ""
            )
        click.echo(f"{name:33}{' - '.join(WORDS[film] for film in pair):21}{cells}{told}")


def plot(title: str, courses: dict[str, Course]) -> Figure:
    """A row of panels a clip: with memory, without, and the one against the other; the last also a round later."""
    figure = Figure(figsize=(15, 3.2 * len(courses)), layout="constrained")
    figure.suptitle(f"{title}: gray levels away from the first second")
    panels = figure.subplots(len(courses), len(PAIRS), sharex=True, sharey="row", squeeze=False)
    for (name, course), line in zip(courses.items(), panels):
        for axes, pair in zip(line, PAIRS):
            for values, label, color in zip(course.away(*pair).T, LOOKS, COLORS):
                axes.plot(values, color=color, linewidth=0.9, label=label)
            axes.axhline(0, color="black", linewidth=0.5)
            axes.set_title(f"{name}: {WORDS[pair[0]]} − {WORDS[pair[1]]}", fontsize="small")
        line[-1].plot(course.apart, color="tab:gray", linewidth=0.9, label="RMS apart")
        if len(course.again):
            first = len(course.looks["film"]) - len(course.again)
            line[-1].plot(
                range(first, first + len(course.again)),
                course.again,
                color="tab:gray",
                linestyle="--",
                label="RMS, same source frame a round later",
            )
        line[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    return figure


def pictures(courses: dict[str, Course]) -> np.ndarray:
    """Of each clip a line of its frames, one with memory, one without."""

    def line(name: str, course: Course, film: str) -> list[tuple[str, np.ndarray]]:
        return [
            (f"{name}, {WORDS[film]}, {(now.number + 1) / reel.RATE:g} s", getattr(now, film)) for now in course.kept
        ]

    return reel.sheet(
        [line(name, course, film) for name, course in courses.items() for film in ("source", "film", "against")]
    )


if __name__ == "__main__":
    main()
