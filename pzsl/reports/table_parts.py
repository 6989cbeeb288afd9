"""The parts of a table, which all formats (HTML, Markdown, LaTeX, terminal) print alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Cell(NamedTuple):
    """One cell: a value, a note in small print beside it, and a mark.

    `mark` is '', `best` (bold), `tie` (underlined) or `fewer` (a dagger).
    """

    value: str
    note: str = ""
    mark: str = ""

    @property
    def text(self) -> str:
        """The cell as plain text."""
        dagger = "†" if self.mark == "fewer" else ""
        return " ".join(part for part in (self.value, self.note, dagger) if part)


class Line(NamedTuple):
    """One line: its row headings, and its cells."""

    stubs: tuple[str, ...]
    cells: tuple[Cell, ...]


class Block(NamedTuple):
    """Lines that compete with each other; a single block has no title ('') and no notes (())."""

    title: str
    notes: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: the data set's or the setting's name.
        caption: how to read it.
        stubs: headings of the columns of row headings.
        groups: headings that span several columns, with their number of columns.
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
        """Column headings with the heading of their group, for a single line of headings."""
        groups = [name for name, width in self.groups for _ in range(width)]
        return (
            tuple(f"{g}: {c}" for g, c in zip(groups, self.columns, strict=False)) or self.columns
        )


class View(NamedTuple):
    """How the rows are shown.

    Attributes:
        layout: one of `LAYOUTS`.
        metrics: columns; () means all in the layout `settings`, in the others H, or S where no
            class is unseen.
        precision: digits after the point.
    """

    layout: str = "settings"
    metrics: tuple[str, ...] = ()
    precision: int = 2
