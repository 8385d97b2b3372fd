"""Write the reference page of all commands from their own help: `python -m fav.cli.reference`, in the checkout."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path("docs/reference/commands.md")
HEAD = """# Commands

This page lists every command with its options. The command `python -m fav.cli.reference` writes it from the help texts;
`-h` prints the same text in a terminal. In a checkout, `python node.py` is `fav node`, `bash bin/check-share` is
`fav check-fs`, and `python coordinator.py` has the commands for jobs and nodes.
"""


def commands() -> list[tuple[str, click.Command]]:
    """Every command of the program: how it is typed, and its click command. Groups stand for all commands in them."""
    from fav.cli import tools

    return [("fav", tools.main)]


def page(listed: list[tuple[str, click.Command]]) -> str:
    """The reference page in Markdown, with one section for each command and each command of a group."""
    return "\n".join([HEAD, *(line for typed, command in listed for line in _section(typed, command, 2))])


def _section(typed: str, command: click.Command, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=typed)
    yield f"{'#' * level} `{_words(typed)}`\n"
    if isinstance(command, click.Group):
        yield _description(command)
        yield "| Command | Purpose |\n|---|---|"
        for name, member in sorted(command.commands.items()):
            if not member.hidden:
                link = _words(f"{typed} {name}").replace(".", "").replace(" ", "-")
                yield f"| [`{name}`](#{link}) | {_cell(member.get_short_help_str(1000))} |"
        yield ""
        for name, member in sorted(command.commands.items()):
            if not member.hidden:
                yield from _section(f"{typed} {name}", member, level + 1)
        return
    yield f"    {typed} {' '.join(command.collect_usage_pieces(context))}\n"
    yield _description(command)
    rows = [record for option in command.params if (record := option.get_help_record(context))]
    if rows:
        yield "| Option | Meaning |\n|---|---|"
        yield from (f"| <code>{_cell(names)}</code> | {_cell(meaning)} |" for names, meaning in rows)
        yield ""


def _words(typed: str) -> str:
    """A command without the interpreter that runs it."""
    return typed.removeprefix("python -m ").removeprefix("python ").removeprefix("bash ")


def _description(command: click.Command) -> str:
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "".join(f"{_paragraph(text)}\n\n" for text in paragraphs).rstrip("\n") + "\n"


def _paragraph(text: str) -> str:
    """A paragraph of a help text; one that click leaves as it is (after a \\b) becomes a block of code."""
    if text.startswith("\b"):
        return "\n".join(f"    {line}" for line in text.splitlines()[1:])
    return _plain(text)


def _cell(text: str) -> str:
    """A text in one cell of a table: a backslash before a bar would be shown by some readers of Markdown."""
    return _plain(" ".join(text.split())).replace("|", "&#124;")


def _plain(text: str) -> str:
    """A text in which Markdown finds no tags and no emphasis."""
    return text.replace("<", "&lt;").replace("*", "&#42;")


if __name__ == "__main__":
    PAGE.write_text(page(commands()), encoding="utf-8")
