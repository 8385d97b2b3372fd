"""The command `fav try`: a contact sheet of a video in several styles, before a film is made."""

import itertools
import math
import shlex
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fav.cli.common import one_line_errors
from fav.cli.options import BACKEND, FILE, FPS, SOURCE, StyleWeightType, job_option, limits, options
from fav.cli.outputs import check_place
from fav.errors import FavError, sanitize
from fav.model.bundled_styles import named_styles, style_file
from fav.util.atomic import check_new, new_file, own_file
from fav.util.text import duration
from shared.option_types import WholeType

if TYPE_CHECKING:
    from fav.stylize.trial import Variant

MOMENTS = (0.15, 0.5, 0.85)  # of the video's length
MARK = "fav try"  # in every page of ours, so that only these are replaced
MAX_PICTURES = 100


class Moments(click.ParamType):
    """Times in seconds, separated by commas, as a tuple."""

    name = "seconds"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            moments = tuple(float(part) for part in value.split(","))
        except ValueError:
            moments = ()
        if not moments or not all(math.isfinite(moment) and moment >= 0 for moment in moments):
            self.fail(f"expected seconds from the beginning, like 12.5 or 3,12.5,40, got {value!r}", param, ctx)
        return moments


@click.command("try")
@click.argument("video", type=SOURCE)
@click.argument("styles", nargs=-1, type=FILE, metavar="[STYLE]...")
@click.option(
    "--at",
    "moments",
    type=Moments(),
    metavar="SECONDS,…",
    help="Times in the video.  [default: three, spread over it]",
)
@job_option("width")
@click.option(
    "--strength",
    "strengths",
    type=limits("strength"),
    multiple=True,
    help="Weight of the stylized frame; may be repeated.",
)
@click.option(
    "--style-scale",
    "scales",
    type=limits("style_scale"),
    multiple=True,
    help="Size of the strokes: 2 is twice as large; may be repeated.",
)
@click.option(
    "--mix",
    "mixes",
    type=StyleWeightType(),
    multiple=True,
    metavar="STYLE:WEIGHT",
    help="Also try each style with this one mixed in; may be repeated.",
)
@click.option("--preserve-colors", is_flag=True, help="Keep the colors of the source.")
@click.option(
    "--nodes",
    type=WholeType(2, 10000),
    metavar="N",
    default=8,
    show_default=True,
    help="Also print the time of the film on N machines like this one.",
)
@click.option("--threads", type=limits("threads"), help="CPU threads.  [default: all cores]")
@options(FPS)
@click.option(
    "--out",
    type=FILE,
    metavar="DIRECTORY",
    help="A new directory for the sheet.  [default: VIDEO.try in the current directory]",
)
@options(BACKEND)
@one_line_errors
def try_styles(
    video: str,
    styles: tuple[Path, ...],
    moments: tuple[float, ...] | None,
    width: int | None,
    strengths: tuple[float, ...],
    scales: tuple[float, ...],
    mixes: tuple[tuple[Path, float], ...],
    preserve_colors: bool,
    nodes: int,
    threads: int | None,
    fps: float | None,
    out: Path | None,
    device: str,
    backend: str,
) -> None:
    """Try styles on moments of a video.

    Without STYLE, the command tries all styles that `fav styles` lists. It makes a new directory with sheet.png, and with
    index.html, which shows the pictures in full size. Each row has the time of a frame and of the film, and the command that
    makes the film. Strokes have a fixed size in pixels, so use the width of the film.
    """
    from fav.model.backends import choose
    from fav.model.devices import best_precision, device_of
    from fav.pipeline.arguments import check_arguments
    from fav.pipeline.device_lock import acquire_device
    from fav.pipeline.film_output import film_size
    from fav.report.trial_sheet import Row
    from fav.stylize.trial import Variant, trials
    from fav.util.images import resize
    from fav.video import SourceSettings, probe
    from fav.video.sampling import frames_at

    found = [style_file(style) for style in styles] or list(named_styles().values())
    for style in (*found, *(style for style, _ in mixes)):
        check_arguments(video, style)
    settings = SourceSettings(fps=fps)
    source = probe(video, settings)
    length = source.seconds or (source.frames / float(source.rate) if source.frames and source.rate else None)
    moments = moments or (tuple(length * part for part in MOMENTS) if length else (0.0,))
    variants = [
        Variant(style, mix, scale, strength, preserve_colors)
        for style, mix, scale, strength in product(
            found, ((), *((mix,) for mix in mixes)), scales or (1.0,), strengths or (1.0,)
        )
    ]
    if len(variants) * len(moments) > MAX_PICTURES:
        raise FavError(
            f"expected at most {MAX_PICTURES} pictures, got {len(variants)} variants of {len(moments)} moments; leave "
            f"some out"
        )
    device = acquire_device(device, backend)
    precision = best_precision(device_of(device))
    backend = choose(backend, device)
    size = film_size(source, width, None)
    frames = [frames_at(video, moment, 2, settings) for moment in moments]
    out = _new_directory(out, video)
    page = _Page(out, f"{Path(video).name} at {size[0]}x{size[1]}", [f"{moment:.1f} s" for moment in moments])
    page.add(Row("the video", f"{size[0]}x{size[1]}", "", [], []))
    for number, pair in enumerate(frames):
        page.show(resize(pair[0], size), f"video-{number}.jpg")
    number = source.frames or (round(length * source.rate) if length and source.rate else None)
    for trial in trials(variants, frames, size, device, backend, precision, threads):
        variant = trial.variant
        if not trial.moment:
            page.add(Row(variant.name, "", _command(video, variant, width), [], []))
        page.rows[-1].facts = _facts(trial.seconds, number, nodes)
        page.show(trial.image, f"{len(page.rows) - 1:02d}-{variant.style.stem}-{trial.moment}.jpg")
        if trial.moment == len(frames) - 1:
            click.echo(f"{variant.name}: {page.rows[-1].facts}")
    page.finish()
    click.echo(f"done: {out / 'index.html'} and {out / 'sheet.png'}")


class _Page:
    """The directory of the sheet. The page is rewritten with each picture."""

    def __init__(self, out: Path, title: str, moments: list[str]):
        self.out, self.title, self.moments, self.rows = out, title, moments, []

    def add(self, row) -> None:
        self.rows.append(row)

    def show(self, picture, name: str) -> None:
        """Add a picture (H, W, 3) uint8 BGR to the last row, as a file with this name."""
        import cv2

        with new_file(self.out / name) as file:
            file.file.write_bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
        self.rows[-1].pictures.append(picture)
        self.rows[-1].files.append(name)
        self._write(False)

    def finish(self) -> None:
        """Write the sheet, and the page for the last time."""
        from fav.report.trial_sheet import sheet
        from fav.util.images import encode_png

        with new_file(self.out / "sheet.png") as file:
            file.file.write_bytes(encode_png(sheet(self.rows), {"Source": MARK}))
        self._write(True)

    def _write(self, complete: bool) -> None:
        from fav.report.trial_sheet import html

        with own_file(self.out / "index.html", MARK) as file:
            page = html(self.title, self.moments, self.rows, complete, MARK)
            file.file.write_text(page, encoding="utf-8")


def _new_directory(out: Path | None, video: str) -> Path:
    """Make the directory of the sheet. By default its name is the video's, with a number if that is taken."""
    if out is not None:
        check_new(check_place(out)).mkdir()
        return out
    stem = sanitize(Path(video).stem.replace("%", ""), 100) or "video"
    for number in itertools.count(1):
        out = Path(f"{stem}.try{'' if number == 1 else f'-{number}'}")
        try:
            out.mkdir()
        except FileExistsError:
            continue
        return out
    raise AssertionError("the numbers never end")


def _facts(seconds: float, frames: int | None, nodes: int) -> str:
    """The time of a frame here, and estimates for the film, here and on more machines."""
    each = f"{seconds:.2f} s a frame"
    if not frames:
        return each
    return f"{each}; the film takes about {duration(seconds * frames)} here, {duration(seconds * frames / nodes)} on {nodes} machines"


def _command(video: str, variant: "Variant", width: int | None) -> str:
    """The command line that makes the film."""
    style = variant.style.stem if named_styles().get(variant.style.stem) == variant.style else str(variant.style)
    words = ["fav run SHARED", shlex.quote(video), shlex.quote(style)]
    words += [f"--width {width}"] if width else []
    words += [f"--mix {shlex.quote(f'{mixed}:{weight:g}')}" for mixed, weight in variant.mix]
    words += [f"--style-scale {variant.style_scale:g}"] if variant.style_scale != 1 else []
    words += [f"--strength {variant.strength:g}"] if variant.strength != 1 else []
    words += ["--preserve-colors"] if variant.preserve_colors else []
    return " ".join(words)
