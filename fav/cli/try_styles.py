"""The command `fav try`: a contact sheet of a video in several styles, before a film is made."""

import itertools
import math
import shlex
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fav.cli.common import one_line_errors
from fav.cli.options import (
    BACKEND,
    FILE,
    SOURCE,
    CurveType,
    StyleCurveType,
    job_option,
    limits,
    options,
    request_of,
)
from fav.cli.outputs import check_place
from fav.errors import FavError, sanitize
from fav.model.bundled_styles import named_styles, style_file
from fav.pipeline.arguments import check_arguments
from fav.pipeline.option import CURVE, FRAMES, OUTPUT, Option, format_number, is_unset
from fav.pipeline.request import Request
from fav.pipeline.spec import OPTIONS
from fav.util.atomic import check_new, new_file, own_file
from fav.util.text import duration
from shared.option_types import WholeType

if TYPE_CHECKING:
    from fav.video import VideoInfo

MOMENTS = (0.15, 0.5, 0.85)  # of the video's length
MARK = "fav try"  # in every page of ours, so that only these are replaced
MAX_PICTURES = 100
PICTURE_OPTIONS = ("preserve_colors", "mask", "mask_strength")  # of those that only change the output


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


# Options of a film that do not change pictures, or that the sheet replaces; the others are taken.
PIECES = ("range", "frames")
SEQUENCE = ("no_cuts", "read_cuts", "cut_threshold", "chunk", "reverse")
SEVERAL = ("strength", "style_scale", "mix")  # each of their values is a variant
TAKEN = [
    name
    for name, option in OPTIONS.items()
    if not option.job_only
    and name not in (*PIECES, *SEQUENCE, *SEVERAL)
    and (option.changes == FRAMES or name in PICTURE_OPTIONS)
]


class TryCommand(click.Command):
    """`try`: it says of an option of a film that it does not take why it does not."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            option = next(
                (each for each in OPTIONS.values() if error.option_name in (each.flag, each.former_flag)), None
            )
            if option is None:
                raise
            raise click.UsageError(f"{option.flag} {_why_not(option)}; leave it out here", ctx) from None


def _why_not(option: Option) -> str:
    """Why `try` does not take an option of a film."""
    if option.name in PIECES:
        return "says which frames a film has: here, --at says which moments are tried"
    if option.name in SEQUENCE:
        return "decides how frames follow each other, and each picture here is the first one of a shot"
    if option.changes == OUTPUT:
        return "decides the file of a film, not its pictures"
    return "is for a job, and changes no pictures"


@click.command("try", cls=TryCommand)
@click.argument("video", type=SOURCE)
@click.argument("styles", nargs=-1, type=FILE, metavar="[STYLE]...")
@click.option(
    "--at",
    "moments",
    type=Moments(),
    metavar="SECONDS,…",
    help="Times in the video.  [default: three, spread over it]",
)
@click.option(
    "--strength",
    "strengths",
    type=CurveType(0, 1),
    multiple=True,
    metavar=CURVE,
    help="A number, or a curve over time, such as 0:0,5:1; may be repeated.",
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
    type=StyleCurveType(),
    multiple=True,
    metavar="STYLE:WEIGHT",
    help="Also try each style with this one mixed in; or STYLE@CURVE, such as wave@0:1,10:0; may be repeated.",
)
@options([job_option(name) for name in TAKEN])
@click.option(
    "--nodes",
    type=WholeType(2, 10000),
    metavar="N",
    default=8,
    show_default=True,
    help="Also print the time of the film on N machines like this one.",
)
@click.option("--threads", type=limits("threads"), help="CPU threads.  [default: all cores]")
@click.option(
    "--out",
    type=FILE,
    metavar="DIRECTORY",
    help="A new directory for the sheet.  [default: VIDEO.try in the current directory]",
)
@options(BACKEND)
@click.pass_context
@one_line_errors
def try_styles(
    context: click.Context,
    video: str,
    styles: tuple[Path, ...],
    moments: tuple[float, ...] | None,
    strengths: tuple[float | str, ...],
    scales: tuple[float, ...],
    mixes: tuple[tuple[Path, float | str], ...],
    nodes: int,
    threads: int | None,
    out: Path | None,
    device: str,
    backend: str,
    **values,
) -> None:
    """Try styles on moments of a video.

    Without STYLE, the command tries all styles that `fav styles` lists. It makes a new directory with sheet.png, and with
    index.html, which shows the pictures in full size. Each row has the time of a frame and of the film, and the command that
    makes the film. Strokes have a fixed size in pixels, so use the width of the film.

    The command takes the options of a film that change its pictures. Each picture is as the film has it at that time, if a
    shot begins there.
    """
    found = [style_file(style) for style in styles] or list(named_styles().values())
    combined = product(found, ((), *((mix,) for mix in mixes)), scales or (1.0,), strengths or (1.0,))
    requests = [
        request_of(context, video, style, {**values, "mix": mix, "style_scale": scale, "strength": strength})
        for style, mix, scale, strength in combined
    ]
    for request in requests:
        request.check()
        check_arguments(video, request.style)
    if len(requests) * len(moments or MOMENTS) > MAX_PICTURES:
        raise FavError(
            f"expected at most {MAX_PICTURES} pictures, got {len(requests)} variants of {len(moments or MOMENTS)} moments; "
            f"leave some out"
        )
    # What follows imports PyTorch, which takes seconds.
    from fav.model.backends import choose
    from fav.model.devices import device_of
    from fav.pipeline.check_request import check_request
    from fav.pipeline.device_lock import acquire_device
    from fav.pipeline.film_output import film_size
    from fav.pipeline.over_time import check_times
    from fav.pipeline.projection import projection_notes
    from fav.pipeline.spec_fields import settings_from_request
    from fav.report.trial_sheet import Row
    from fav.stylize.trial import FrameTimes, Variant, needs_numbers, trials
    from fav.util.images import resize
    from fav.video.sampling import moment_at

    source = _source_of(requests, check_request)
    for request in requests:
        check_times(request, source)
    length = source.seconds or (source.frames / float(source.rate) if source.frames and source.rate else None)
    count = source.frames or (round(length * source.rate) if length and source.rate else None)
    if moments is None:
        moments = tuple(length * part for part in MOMENTS) if length and count != 1 else (0.0,)
    elif length and (late := next((moment for moment in moments if moment > length + 1), None)) is not None:
        raise FavError(f"--at: expected at most {length:.2f} s, the length of {video}, got {late:g} s")
    device = acquire_device(device, backend)
    device_of(device)
    backend = choose(backend, device)
    variants = []
    for request in requests:
        settings, finish, *_ = settings_from_request(request, source)
        variants.append(Variant(_name(request), settings, replace(finish, sixteen_bit=False), not request.no_temporal))
    size = film_size(source, requests[0].width, requests[0].scale)
    exact = needs_numbers(variants)
    shown = [moment_at(video, moment, 2, requests[0].source, exact) for moment in moments]
    for note in projection_notes(requests[0], source):
        click.echo(note)
    out = _new_directory(out, video)
    page = _Page(out, f"{Path(video).name} at {size[0]}x{size[1]}", [f"{moment:.1f} s" for moment in moments])
    page.add(Row("the video", f"{size[0]}x{size[1]}", "", [], []))
    for number, moment in enumerate(shown):
        page.show(resize(moment.frames[0], size), f"video-{number}.jpg")
    times, refusals = FrameTimes(), []
    for settings, group in itertools.groupby(zip(variants, requests), lambda pair: pair[0].settings):
        pairs = list(group)
        lines = {variant: _command(request) for variant, request in pairs}
        try:
            for trial in trials(list(lines), shown, device, backend, threads, times):
                variant = trial.variant
                if not trial.moment:
                    page.add(Row(variant.name, "", lines[variant], [], []))
                if trial.seconds is not None:
                    page.rows[-1].facts = _facts(trial.seconds, count, nodes)
                page.show(trial.image, f"{len(page.rows) - 1:02d}-{settings.style.stem}-{trial.moment}.jpg")
                if trial.moment == len(shown) - 1:
                    click.echo(f"{variant.name}: {page.rows[-1].facts}")
        except FavError as error:  # of one style: those after it are still wanted
            refusals.append(f"{pairs[0][0].name}: left out: {error}")
            click.echo(refusals[-1], err=True)
    if len(page.rows) == 1:
        raise FavError(f"{video}: expected a style that can be tried, got none ({'; '.join(refusals)[:1000]})")
    page.finish()
    click.echo(f"done: {out / 'index.html'} and {out / 'sheet.png'}")


def _source_of(requests: list[Request], check: Callable[[Request], "VideoInfo"]) -> "VideoInfo":
    """Check the first request whose style fits; return what its video is. If none fits, raises what the first one lacks."""
    refusal = None
    for request in {request.style: request for request in reversed(requests)}.values():
        try:
            return check(request)
        except FavError as error:
            refusal = refusal or error
    raise refusal or FavError("expected a style to try, got none")


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


def _name(request: Request) -> str:
    """The style's name, and the settings that differ from the defaults."""
    parts = [request.style.stem]
    for style, weight in request.mix:
        mixed = f"with {style.stem} {weight}" if isinstance(weight, str) else f"with {weight:g} {style.stem}"
        parts.append(mixed)
    if request.style_scale != 1:
        parts.append(f"strokes × {request.style_scale:g}")
    if request.strength != 1:
        parts.append(f"strength {format_number(request.strength)}")
    if request.preserve_colors:
        parts.append("colors of the video")
    if request.mask:
        parts.append(f"outside of the mask {request.outside.stem}" if request.outside else "with the mask")
    return ", ".join(parts)


def _command(request: Request) -> str:
    """The command line that makes the film."""
    named = lambda style: Path(style.stem) if named_styles().get(style.stem) == style else style
    words = ["fav run SHARED", shlex.quote(request.video), shlex.quote(str(named(request.style)))]
    for name, option in OPTIONS.items():
        value = getattr(request, name)
        if is_unset(value) or value == option.default or name == "precision" and name not in request.given:
            continue
        if name == "mix":
            value = tuple((named(style), weight) for style, weight in value)
        words.append(option.as_typed(named(value) if name == "outside" else value))
    return " ".join(words)
