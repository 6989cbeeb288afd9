"""The parts of a table: HTML, Markdown, LaTeX and the terminal print these, so that they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Cell(NamedTuple):
    """One cell: a value, what stands small beside it, and how it is marked.

    `mark` is '', `best` (bold), `tie` (underlined) or `fewer` (a dagger).
    """

    value: str
    note: str = ""
    mark: str = ""

    @property
    def text(self) -> str:
        """All of it, in plain letters."""
        dagger = "†" if self.mark == "fewer" else ""
        return " ".join(part for part in (self.value, self.note, dagger) if part)


class Line(NamedTuple):
    """One line: the texts that name it, and its cells."""

    stubs: tuple[str, ...]
    cells: tuple[Cell, ...]


class Block(NamedTuple):
    """Lines that compete with each other; title and notes are '' and () where there is one only."""

    title: str
    notes: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: the data set's or the setting's name.
        caption: how to read it.
        stubs: headings of the texts that name a line.
        groups: what spans several columns, with how many; empty where nothing does.
        columns: headings of the cells.
        blocks: the lines.
    """

    title: str
    caption: str
    stubs: tuple[str, ...]
    groups: tuple[tuple[str, int], ...]
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def full_columns(self) -> tuple[str, ...]:
        """Column headings with their group's, for one single line of headings."""
        groups = [name for name, width in self.groups for _ in range(width)]
        return (
            tuple(f"{g}: {c}" for g, c in zip(groups, self.columns, strict=False)) or self.columns
        )


class View(NamedTuple):
    """What is shown of the rows.

    Attributes:
        layout: one of `LAYOUTS`.
        metrics: columns; () for all in the layout `settings`, and for H in the others.
        precision: digits after the point.
    """

    layout: str = "settings"
    metrics: tuple[str, ...] = ()
    precision: int = 2
