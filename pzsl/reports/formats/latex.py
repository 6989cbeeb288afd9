r"""Tables as LaTeX with booktabs, to `\input` into a paper."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pzsl.reports.table_parts import Cell, Table

_MARKS = {"best": r"\textbf{{{}}}", "tie": r"\underline{{{}}}"}
_SPECIAL = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{"±": r"$\pm$", "†": r"$\dagger$", "\N{REPLACEMENT CHARACTER}": "?"},
    **{letter: f"{{{letter}}}" for letter in "-[]*"},
}
_COLUMN, _PAGE, _SMALL = 44, 84, 130
"""Letters per line that fit into a column, into a page, and into a page in small print."""


def latex(parts: Sequence[tuple[str, Sequence[Table]]]) -> str:
    """Each table as a float with caption and label; the best value in bold, ties underlined."""
    tables = [table for _, tables in parts for table in tables]
    labels: dict[str, int] = {}
    blocks = ["\n".join(_table(table, _label(table.title, labels))) for table in tables]
    head = "% Needs \\usepackage{booktabs} and UTF-8 input.\n"
    return head + "\n\n".join(blocks) + "\n"


def _label(title: str, label_counts: dict[str, int]) -> str:
    """A label of plain letters; repeated labels are numbered."""
    name = "tab:" + (re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "table")
    label_counts[name] = label_counts.get(name, 0) + 1
    return name if label_counts[name] == 1 else f"{name}-{label_counts[name]}"


def _table(table: Table, label: str) -> Iterator[str]:
    texts = min(len(table.stubs), 2)
    width = len(table.stubs) + len(table.columns)
    letters = _letters(table)
    wide = letters > _COLUMN
    yield "\\begin{table*}" if wide else "\\begin{table}"
    yield "\\centering"
    yield f"\\caption{{{escape(table.title)}. {escape(table.caption)}}}"
    yield f"\\label{{{label}}}"
    yield "\\smallskip"
    if letters > _PAGE:
        yield "\\scriptsize" if letters <= _SMALL else "\\tiny"
        yield "\\setlength{\\tabcolsep}{3pt}"
    yield f"\\begin{{tabular}}{{{'l' * texts}{'r' * (width - texts)}}}"
    yield "\\toprule"
    yield from _groups(table)
    yield _line([_heading(name) for name in (*table.stubs, *table.columns)])
    for block in table.blocks:
        yield "\\midrule"
        for line in block.lines:
            yield _line([*map(escape, line.stubs), *map(_cell, line.cells)])
    yield from ("\\bottomrule", "\\end{tabular}")
    yield "\\end{table*}" if wide else "\\end{table}"


def _letters(table: Table) -> int:
    """Width of the table in letters: the sum of each column's longest cell."""
    heads = [*table.stubs, *table.columns]
    lines = [[*line.stubs, *(c.text for c in line.cells)] for b in table.blocks for line in b.lines]
    return sum(max(map(len, column)) + 2 for column in zip(heads, *lines, strict=True))


def _groups(table: Table) -> Iterator[str]:
    """The line of headings that span several columns, with a rule below each."""
    if not table.groups:
        return
    start, rules = len(table.stubs) + 1, []
    heads = [""] * len(table.stubs)
    for name, span in table.groups:
        heads.append(f"\\multicolumn{{{span}}}{{c}}{{{escape(name)}}}")
        rules.append(f"\\cmidrule(lr){{{start}-{start + span - 1}}}")
        start += span
    yield _line(heads)
    yield " ".join(rules)


def _heading(name: str) -> str:
    return "$n$" if name == "n" else escape(name)


def _cell(cell: Cell) -> str:
    text = re.sub(r"\{-\}(?=\d)", "$-$", escape(cell.text))
    return _MARKS.get(cell.mark, "{}").format(text)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def escape(text: str) -> str:
    """Escape a text for LaTeX."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)
