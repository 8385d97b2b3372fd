"""Print tables to a terminal or a file."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 160  # characters of a table outside of a terminal


def show_table(heads: tuple[str, ...], rows: list[tuple[str, ...]], stderr: bool = False) -> None:
    """Print a table. The cells are literal text, without markup."""
    table = Table(*heads)
    for row in rows:
        table.add_row(*map(Text, row))
    terminal = Console(stderr=stderr).is_terminal
    Console(stderr=stderr, width=None if terminal else WIDTH).print(table)
