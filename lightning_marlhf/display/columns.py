"""Texts in columns, for a terminal."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lightning_marlhf.display.text import printable

if TYPE_CHECKING:
    from lightning_marlhf.display.document import Table

_GAP = "  "


def align(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Make columns of cells.

    >>> list(align([["", "all"], ["passed", "5 %"]]))
    ['        all', 'passed  5 %']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield _GAP.join(cells).rstrip()


def plain_lines(table: "Table") -> Iterator[str]:
    """Yield the lines of a report's table, its caption last."""
    rows = [[printable(f"{cell.value} {cell.detail}".strip(), keep="") for cell in row] for row in table.rows]
    yield from align([table.header, *rows])
    if table.caption:
        yield table.caption
