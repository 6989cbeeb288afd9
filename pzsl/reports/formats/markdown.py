"""Tables as GitHub Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from pzsl.reports.table_parts import Cell, Table
from pzsl.reports.wording import MEANING

_MARKS = {"best": "**{}**", "tie": "<ins>{}</ins>"}


def markdown(parts: Sequence[tuple[str, Sequence[Table]]], warnings: Sequence[str]) -> str:
    """The report: warnings, the tables of each data set, and the meaning of the columns."""
    lines = ["# Report", ""]
    lines += [f"> * {escape(warning)}" for warning in warnings] + [""] * bool(warnings)
    for title, tables in parts:
        lines += [f"## {escape(title)}", ""] if title else []
        for table in tables:
            lines += [f"### {escape(table.title)}", ""] if table.title != title else []
            lines += [*_table(table), "", escape(table.caption), ""]
    lines += [f"* {name}: {meaning}." for name, meaning in MEANING.items()]
    return "\n".join(lines) + "\n"


def _table(table: Table) -> list[str]:
    heads = [*map(escape, table.stubs), *map(escape, table.full_columns)]
    numbers = len(heads) - min(len(table.stubs), 2)
    rule = "|" + "---|" * (len(heads) - numbers) + "---:|" * numbers
    lines = [_line(heads), rule]
    for block in table.blocks:
        for line in block.lines:
            lines.append(_line([*map(escape, line.stubs), *map(_cell, line.cells)]))
    return lines


def _cell(cell: Cell) -> str:
    return _MARKS.get(cell.mark, "{}").format(escape(cell.text))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escape(text: str) -> str:
    """Escape a text for Markdown."""
    return re.sub(r"([\\`*_~$\[\]|])", r"\\\1", html.escape(text, quote=False))
