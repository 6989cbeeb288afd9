"""Tables as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from pzsl.reports.table_parts import Cell, Table

_MARKS = {"best": " *", "tie": " ~"}
LEGEND = (
    "* highest mean, ~ not significantly different from it (paired t-test over the seeds, 5 %), "
    "† fewer seeds."
)


def plain(parts: Sequence[tuple[str, Sequence[Table]]]) -> str:
    """All tables, each below its title, and at the end the meaning of the marks."""
    tables = [table for _, group in parts for table in group]
    cells = chain.from_iterable(
        line.cells for table in tables for block in table.blocks for line in block.lines
    )
    legend = [LEGEND] if any(cell.mark for cell in cells) else []
    return "\n\n".join([*map(_table, tables), *legend])


def _table(table: Table) -> str:
    lines = [line for block in table.blocks for line in block.lines]
    body = [[*line.stubs, *map(_cell, line.cells)] for line in lines]
    rows = [[*table.stubs, *table.full_columns], *body]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = (
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join([table.title, *texts])


def _cell(cell: Cell) -> str:
    return cell.text + _MARKS.get(cell.mark, "")
