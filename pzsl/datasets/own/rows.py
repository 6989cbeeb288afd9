"""Read the rows of a table as plain values, each with its place in the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from pzsl.cells import (
    SEPARATOR,
    cell_fault,
    list_separator,
    names_of,
    printed_list,
    text_of,
)
from pzsl.datasets.annotators import Annotators
from pzsl.datasets.names import tidy
from pzsl.datasets.own.columns import (
    find_columns,
    left_out,
    no_column,
    note_repeated,
    weighed_candidates,
)
from pzsl.datasets.own.faults import Faults
from pzsl.datasets.own.table_files import Table, read_table
from pzsl.progress import counted, say

if TYPE_CHECKING:
    import pandas as pd

CANDIDATES = Annotators((("candidates", 1.0),))
"""The column of candidates that is read by default."""
YES = ("1", "true", "t", "yes", "y", "x", "ja", "wahr", "oui", "vrai")
NO = ("", "0", "false", "f", "no", "n", "nein", "falsch", "non", "faux")
"""What marks a class as unseen, or not: as people write it, and spreadsheets in their language."""
KINDS = ("path", "label", "candidates", "split", "unseen")
SEPARATOR_WORDS = {";": "semicolons", ",": "commas"}


class Row(NamedTuple):
    """One image of a table.

    Attributes:
        place: `line 7` of a text file, `row 6` of others; for messages.
        path: with forward slashes.
        label: '' if unknown.
        candidates: unique.
        split: as written; '' if the table has none.
        unseen: whether the label is marked as an unseen class.
    """

    place: str
    path: str
    label: str
    candidates: tuple[str, ...]
    split: str
    unseen: bool


def read_rows(table: Path | pd.DataFrame) -> list[Row]:
    """Read a table, a file or a frame.

    Raises:
        UserError: the file can't be read, a column is missing, or rows are malformed.
    """
    content = read_table(table)
    rows = rows_of(content)
    content.faults.check()
    return rows


def read_paths(table: Path | pd.DataFrame) -> tuple[str, ...]:
    """The unique image paths of a table, with forward slashes; other columns are ignored.

    Rows without a path, and further rows of an image, are counted and left out.

    Raises:
        UserError: the file can't be read, has no column of images, or rows are malformed.
    """
    content = read_table(table)
    headers = list(content.frame.columns)
    column = find_columns(headers, (), Faults("")).get("path", -1)
    if column < 0:
        content.faults.note("", f"{no_column('path', headers)}.")
        content.faults.check()
    note_repeated(headers, column, content.faults)
    cells = content.frame.iloc[:, column]
    for place, value in zip(content.frame.index, cells, strict=True):
        _note_cells(content, place, {"path": value})
    content.faults.check()
    paths = [plain_path(text_of(value)) for value in cells]
    unique = tuple(dict.fromkeys(filter(None, paths)))
    notes = [*content.notes, *left_out(headers, {"path": column})]
    empty = paths.count("")
    repeated = len(paths) - empty - len(unique)
    if empty:
        notes.append(f"{counted(empty, 'row')} without a path left out")
    if repeated:
        notes.append(f"{counted(repeated, 'row')} left out whose image is listed before")
    if notes:
        say(f"{content.name}: {'; '.join(notes)}.")
    return unique


def rows_of(table: Table, annotators: Annotators = CANDIDATES) -> list[Row]:
    """The rows of a table.

    Args:
        table: its cells; errors are added to its `faults`, guesses about its format to its `notes`.
        annotators: the columns whose answers are joined into candidates.
    """
    people = () if annotators is CANDIDATES else annotators.columns
    headers = list(table.frame.columns)
    column_of = find_columns(headers, people, table.faults)
    if table.faults.noted and not ("path" in column_of and {*KINDS[1:3], *people} & {*column_of}):
        return []  # without a column of images, or of labels, each row would be at fault
    table.notes += [
        f"'{headers[column]}' is the {kind}"
        for kind, column in column_of.items()
        if kind in KINDS and headers[column].strip().lower() != kind
    ]
    table.notes += left_out(headers, column_of, people)
    table.notes += weighed_candidates(table.name, headers, column_of)
    if "label" not in column_of and not people:
        _labels_of_candidates(table, column_of)
    cells = {kind: table.frame.iloc[:, column].tolist() for kind, column in column_of.items()}
    none: list[Any] = [None] * len(table.frame)
    labels = _labels(table, cells.get("label", none))
    answers = _answers(
        table, annotators, [cells.get(name, none) for name in annotators.columns], labels
    )
    rows = []
    for number, place in enumerate(table.frame.index):
        row_cells = {kind: column[number] for kind, column in cells.items()}
        _note_cells(table, place, row_cells)
        row = Row(
            place=place,
            path=plain_path(text_of(row_cells["path"])),
            label=labels[number],
            candidates=annotators.joined(answers[number]),
            split=text_of(row_cells.get("split")),
            unseen=_is_marked(table, place, row_cells.get("unseen")),
        )
        rows.append(row)
    return rows


def _is_marked(table: Table, place: str, cell: Any) -> bool:
    """Whether a cell of the column `unseen` says yes; what is neither yes nor no is a fault."""
    marked = tidy(text_of(cell)).lower()  # 1.0 is 1
    if marked not in (*YES, *NO):
        table.faults.note(place, f"'unseen' is {marked!r}; write 1 or 0.")
    return marked in YES


def _answers(
    table: Table, annotators: Annotators, columns: Sequence[Sequence[Any]], labels: Sequence[str]
) -> list[tuple[tuple[str, ...], ...]]:
    """The names that each annotator gives each image.

    Args:
        table: gets notes on separators, and on images without enough votes for any label.
        annotators: of the columns.
        columns: the cells of each.
        labels: of the images, which tell whether a comma belongs to a name.
    """
    separators = [
        _separator(table, name, column, labels)
        for name, column in zip(annotators.columns, columns, strict=True)
    ]
    answers = [tuple(map(names_of, cells, separators)) for cells in zip(*columns, strict=True)]
    too_few = sum(map(annotators.fall_short, answers))
    if too_few:
        table.notes.append(
            f"no label of {too_few:,} of {len(answers):,} images reaches --agree "
            f"{annotators.agree:g}: those with the largest sum are their candidates"
        )
    return answers


def _note_cells(table: Table, place: str, cells: dict[str, Any]) -> None:
    """Note the first cell of a row that holds neither a text nor, where allowed, a list."""
    for kind, value in cells.items():
        fault = cell_fault(value, as_list=kind not in ("path", "split", "unseen"))
        if fault:
            table.faults.note(place, f"the column '{kind}': {fault}")
            return


def _labels(table: Table, values: Sequence[Any]) -> list[str]:
    """The class name in each cell; a printed list with one name counts as that name."""
    labels = []
    for place, value in zip(table.frame.index, values, strict=True):
        names = (
            names_of(value, SEPARATOR)
            if hasattr(value, "tolist") or isinstance(value, list | tuple | set)
            else printed_list(text_of(value))
        )
        if names is not None and len(names) > 1:
            table.faults.note(place, "several names as the label: call the column 'candidates'.")
        labels.append(text_of(value) if names is None else text_of((*names, None)[0]))
    return labels


def plain_path(text: str) -> str:
    """The form in which paths of tables are compared: forward slashes, no `./`, no `//`."""
    return str(PurePosixPath(text.replace("\\", "/"))) if text else ""


def _separator(table: Table, name: str, values: Sequence[Any], labels: Sequence[str]) -> str:
    separator = list_separator((text_of(v) for v in values if isinstance(v, str)), labels)
    if separator in SEPARATOR_WORDS:
        table.notes.append(f"the names in '{name}' are separated by {SEPARATOR_WORDS[separator]}")
    return separator


def _labels_of_candidates(table: Table, column_of: dict[str, int]) -> None:
    """Take a column called `labels` or the like for the label if it has one name per row."""
    column = column_of.get("candidates")
    if column is None or re.match("candidate", table.frame.columns[column], re.I):
        return
    values = table.frame.iloc[:, column].tolist()
    texts = [text_of(value) for value in values if isinstance(value, str)]
    separator = list_separator(texts)
    if all(len(names_of(value, separator)) <= 1 for value in values):
        column_of["label"] = column_of.pop("candidates")
        table.notes.append(f"'{table.frame.columns[column]}' holds one name a row: the label")
