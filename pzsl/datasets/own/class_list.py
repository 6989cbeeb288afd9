"""The classes of a table: one spelling for each, and which of them are unseen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pzsl.datasets.names import join_spellings, normal_form, tidy, told_joins
from pzsl.datasets.own.faults import Faults
from pzsl.datasets.own.row_checks import Classes
from pzsl.datasets.own.rows import Row
from pzsl.errors import UserError
from pzsl.files import read_text
from pzsl.progress import say


def join_rows(rows: Sequence[Row], listed: Sequence[str]) -> list[Row]:
    """The rows with one spelling for each class: that of a list, else the commonest."""
    written = [name for row in rows for name in (row.label, *row.candidates) if name]
    spelling = join_spellings(written, listed)
    told = told_joins(spelling)
    if told:
        say(told)
    return [
        row._replace(
            label=spelling.get(row.label, ""),
            candidates=tuple(dict.fromkeys(spelling[name] for name in row.candidates)),
        )
        for row in rows
    ]


def find_classes(
    rows: Sequence[Row], listed: Sequence[str], unseen_listed: Sequence[str], faults: Faults
) -> Classes:
    """All classes, and the unseen ones: marked or listed, or else those of test_unseen only.

    Args:
        rows: of the table.
        listed: all classes in their order; none where they are those that occur.
        unseen_listed: the unseen ones; none where the table tells them.
        faults: gets unseen classes that aren't in the list.
    """
    trained = {name for row in rows for name in row.candidates if row.split != "test_unseen"}
    trained |= {row.label for row in rows if row.label and row.split != "test_unseen"}
    marked = {row.label for row in rows if row.unseen and row.label}
    own = {normal_form(name): name for name in listed}
    marked |= {own.get(normal_form(name), name) for name in unseen_listed}
    unseen = marked or {row.label for row in rows if row.label} - trained
    occurring = {row.label for row in rows if row.label} | trained | unseen
    if not listed:
        return Classes(tuple(sorted(occurring)), frozenset(unseen))
    beyond = sorted(unseen - set(listed))
    if beyond:
        faults.note("", f"the unseen class '{beyond[0]}' is not listed in --classes: add it.")
    return Classes(tuple(listed), frozenset(unseen))


def read_class_list(file: Path) -> tuple[str, ...]:
    """Class names from a file, one a line.

    Raises:
        UserError: it can't be read, or lists none.
    """
    try:
        lines = read_text(Path(file), "utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The list of classes {file} can't be read: {error}.") from None
    names = tuple(tidy(line) for line in lines if line.strip())
    if not names:
        raise UserError(f"{file} lists no class: write one a line.")
    return names
