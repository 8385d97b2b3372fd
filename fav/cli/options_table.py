"""Write the table of a job's options for the documentation: `python -m fav.cli.options_table > docs/reference/job-options.md`."""

import click

from fav.pipeline.option import KINDS, Option, format_number, is_unset
from fav.pipeline.spec import OPTIONS

HEAD = """# Options of a job

`coordinator.py run` and `coordinator.py submit` take all of these options. `python -m fav stylize` takes `--threads`
and those without \\*. "Changes" says what another value changes: the frames, so that all of them are made again; only
the output, which is the film and the files beside it; or only the scheduling. `coordinator.py stitch` makes another
film of the same frames with {stitch}.

This page is written by `python -m fav.cli.options_table`, from `fav/pipeline/spec.py`.

"""


def rows() -> list[str]:
    """Make the table, a line of Markdown each: the head, and a row for each option."""
    table = [("Option", "Value", "Default", "Changes", "Meaning")] + [
        (
            f"`{option.flag}`" + (r" \*" if option.job_only else ""),
            _value(option),
            _default(option),
            option.changes,
            option.help,
        )
        for option in OPTIONS.values()
    ]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table]
    return [lines[0], "|---|---|---|---|---|", *lines[1:]]


def page() -> str:
    """Make the page docs/reference/job-options.md."""
    stitch = ", ".join(f"`{option.flag}`" for option in OPTIONS.values() if option.output_only)
    return HEAD.format(stitch=stitch) + "\n".join(rows()) + "\n"


def _value(option: Option) -> str:
    if option.kind == KINDS["flag"]:
        return ""
    if option.allowed_values:
        return ", ".join(f"`{word}`" for word in option.allowed_values)
    form = f"`{option.metavar}`" if option.metavar else ""
    return ": ".join(filter(None, (form, option.expected if option.least is not None or not form else "")))


def _default(option: Option) -> str:
    if is_unset(option.default):
        return option.unset or ""
    return f"`{format_number(option.default)}`"


@click.command()
def main() -> None:
    """Print the page docs/reference/job-options.md."""
    click.echo(page(), nl=False)


if __name__ == "__main__":
    main()
