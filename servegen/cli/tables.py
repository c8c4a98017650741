"""Rows of text as a table for standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_WIDE = 1000
"""Columns where nobody looks at a terminal: lines stay whole for grep."""


def show(columns: Sequence[str], rows: Sequence[Sequence[str]], *, indent: int = 0) -> None:
    """Print `rows` below a heading of `columns`; without names there is no heading."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=any(columns), header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row))
    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else _WIDE, soft_wrap=False)
    with console.capture() as capture:
        console.print(Padding(table, (0, 0, 0, indent), expand=False))
    text = capture.get()
    # rich pads every line to the width of the table.
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in text.splitlines()))
