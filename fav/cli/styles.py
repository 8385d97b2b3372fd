"""The command `fav styles`: list the named styles, or show the metadata of a style file."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from fav.cli.common import one_line_errors
from fav.cli.options import FILE
from fav.cli.outputs import check_place, check_suffix
from fav.errors import FavError, sanitize
from fav.model.bundled_styles import SUFFIX, directory, named_styles, style_file, users_directory
from fav.pipeline.arguments import check_style_name
from fav.util.atomic import check_new, new_file

SIZE = (640, 360)  # pixels of the frame on the sheet


@click.command()
@click.argument("words", type=FILE, nargs=-1, metavar="[show] [STYLE|SHARED]")
@click.option(
    "--sheet",
    type=FILE,
    metavar="FILE.png",
    help="Also write a picture that shows the listed styles, or STYLE, on the same drawn frame. This takes one or two seconds per style.",
)
@one_line_errors
def styles(words: tuple[Path, ...], sheet: Path | None) -> None:
    """List styles, or show one.

    A listed style can be typed by its name alone. Your own styles belong in ~/.local/share/fav/styles. With SHARED, the list
    also has the style files in the shared directory. With STYLE, the command shows the metadata of the file: the painting,
    the network, and the command that trained it. For an image model, it shows the layout and the range of its values.
    """
    if len(words) > 1 and words[0] == Path("show"):
        words = words[1:]
    if len(words) > 1:
        raise FavError(f"styles: expected one style, got {len(words)} words")
    style = words[0] if words and not words[0].is_dir() else None
    if sheet:
        check_suffix(sheet, ".png", ".jpg")
        check_new(check_place(sheet))
    from fav.model.checkpoints import KINDS
    from fav.model.onnx_style import model_facts  # imports torch

    if style is not None:
        path = style_file(style)
        check_style_name(path)
        facts = model_facts(path)
        lines = {
            "file": path,
            "format": facts.format,
            "arch": facts.arch,
            "in_channels": KINDS.get(facts.in_channels, facts.in_channels),
            **facts.metadata,
        }
        for name, text in lines.items():
            click.echo(f"{name.replace('_', ' ')}: {sanitize(text, 4000)}")
        if sheet:
            _write_sheet(sheet, {str(style): path})
        return
    table = Table(*(Column(head, overflow="fold") for head in ("style", "learned from", "network", "file")))
    found = named_styles() | (styles_in(words[0]) if words else {})
    for name, path in found.items():
        try:
            facts = model_facts(path)
        except FavError as error:
            table.add_row(*map(Text, (name, "?", "?", sanitize(error, 200))))
            continue
        table.add_row(*map(Text, (name, sanitize(facts.metadata.get("style", "?"), 100), facts.arch, str(path))))
    Console().print(table)
    click.echo(f"{directory()} has the bundled styles, {users_directory()} is for your own. To see them: fav try VIDEO")
    if sheet:
        _write_sheet(sheet, found)


def styles_in(shared: Path) -> dict[str, Path]:
    """The style files of people in a shared directory, by the paths to type."""
    from fav.web.places import listed

    return {str(shared / key): shared / key for key in sorted(listed(shared, "style")) if key.endswith(SUFFIX)}


def _write_sheet(out: Path, found: dict[str, Path]) -> None:
    """Write a picture of styles on the same drawn frame. A style that cannot be used is left out, and a line says so."""
    import cv2

    from fav.model.backends import choose
    from fav.model.devices import best_precision, device_of
    from fav.pipeline.device_lock import acquire_device
    from fav.report.trial_sheet import Row, sheet
    from fav.stylize.trial import FrameTimes, plain_variant, trials
    from fav.synthetic.sample_clip import coast
    from fav.video.sampling import Moment

    frame, device, times = coast(*SIZE, 1.0), acquire_device("auto"), FrameTimes()
    backend, precision = choose("auto", device), best_precision(device_of(device))
    rows = [Row("the frame itself", "", "", [frame], [])]
    for name, path in found.items():
        try:
            variant = plain_variant(path, SIZE, precision=precision)
            trial = next(trials([variant], [Moment([frame])], device, backend, times=times))
        except FavError as error:
            click.echo(f"{name}: left out of the sheet: {sanitize(error, 200)}")
            continue
        rows.append(Row(name, f"{trial.seconds or 0:.2f} s a frame of {SIZE[0]}x{SIZE[1]} here", "", [trial.image], []))
    with new_file(out) as picture:
        picture.file.write_bytes(cv2.imencode(out.suffix, sheet(rows))[1].tobytes())
    click.echo(f"done: {picture.out}")
