"""The command `fav styles`: list the named styles, or show the metadata of a style file."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from fav.cli.common import one_line_errors
from fav.cli.options import FILE
from fav.errors import FavError, sanitize
from fav.model.bundled_styles import directory, named_styles, style_file, users_directory


@click.command()
@click.argument("words", type=FILE, nargs=-1, metavar="[show] [STYLE]")
@one_line_errors
def styles(words: tuple[Path, ...]) -> None:
    """List styles, or show one.

    A style that is listed can be typed by its name alone. Put your own into ~/.local/share/fav/styles. With STYLE, the
    command shows what the file says of itself: the painting, the network, and the line that trained it; of an image model,
    whose layout it has and which values it takes.
    """
    if len(words) > 1 and words[0] == Path("show"):
        words = words[1:]
    if len(words) > 1:
        raise FavError(f"styles: expected one style, got {len(words)} words")
    style = words[0] if words else None
    from fav.model.checkpoints import KINDS
    from fav.model.onnx_style import model_facts  # imports torch

    if style is not None:
        path = style_file(style)
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
        return
    table = Table(*(Column(head, overflow="fold") for head in ("style", "learnt from", "network", "file")))
    for name, path in named_styles().items():
        try:
            facts = model_facts(path)
        except FavError as error:
            table.add_row(*map(Text, (name, "?", "?", sanitize(error, 200))))
            continue
        table.add_row(*map(Text, (name, sanitize(facts.metadata.get("style", "?"), 100), facts.arch, str(path))))
    Console().print(table)
    click.echo(f"{directory()} has those that ship, {users_directory()} is for your own. To see them: fav try VIDEO")
