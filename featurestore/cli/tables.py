"""Tables on a terminal or in a pipe.

Belongs here: how a table of texts is printed. Does not: what is in it (the verbs).

No text of a user, a store or a file is ever markup: the console reads neither `[tags]` nor `:emoji:`, and control
characters are shown as `?`.
"""

import sys
from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from featurestore.display import plain


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, width: int, right: Collection[str] = ()
) -> None:
    """Print a table to stdout.

    Parameters
    ----------
    columns
        Their headers.
    rows
        Cells, one text a column; long ones are folded, never cut.
    width
        Characters a line where stdout is no terminal.
    right
        Columns aligned at their right end.
    """
    table = Table(box=None)
    for name in columns:
        table.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell), overflow="fold") for cell in row))
    console = Console(width=None if sys.stdout.isatty() else width, markup=False, emoji=False, highlight=False)
    console.print(table)
