"""Print tables to a terminal or a file."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 160  # of a table where no terminal has a width


def show_table(heads: tuple[str, ...], rows: list[tuple[str, ...]], stderr: bool = False) -> None:
    """Print a table; what is in it is taken for text, whatever it looks like."""
    table = Table(*heads)
    for row in rows:
        table.add_row(*map(Text, row))
    terminal = Console(stderr=stderr).is_terminal
    Console(stderr=stderr, width=None if terminal else WIDTH).print(table)
