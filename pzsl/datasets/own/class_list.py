"""The classes of a table: one spelling for each, and which of them are unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from pzsl.datasets.names import join_spellings, joined_spellings_message, normal_form, tidy
from pzsl.datasets.own.faults import Faults
from pzsl.datasets.own.row_checks import Classes
from pzsl.datasets.own.rows import Row
from pzsl.datasets.own.text_files import decode, read_bytes
from pzsl.errors import UserError
from pzsl.progress import counted, say


def join_rows(rows: Sequence[Row], listed: Sequence[str]) -> list[Row]:
    """Give each class one spelling in all rows: the listed one, or else the most frequent."""
    names = [name for row in rows for name in (row.label, *row.candidates) if name]
    spelling = join_spellings(names, listed)
    message = joined_spellings_message(spelling)
    if message:
        say(message)
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
    """Collect all classes of a table and find the unseen ones.

    Unseen are the classes that are marked or listed as unseen; without any, those that occur only
    as labels of test_unseen. Listed classes that occur nowhere are seen. A line names them, if
    others occur, and unseen ones that occur nowhere.

    Args:
        rows: of the table.
        listed: all classes in their order; empty to take those that occur, sorted.
        unseen_listed: the unseen classes; empty if only the table tells them.
        faults: collects unseen classes that aren't in the list.
    """
    trained = {name for row in rows for name in row.candidates if row.split != "test_unseen"}
    trained |= {row.label for row in rows if row.label and row.split != "test_unseen"}
    labels = {row.label for row in rows if row.label}
    marked = {row.label for row in rows if row.unseen and row.label}
    _say_partly_marked(rows, marked)
    listed_spelling = {normal_form(name): name for name in listed}
    marked |= {listed_spelling.get(normal_form(name), name) for name in unseen_listed}
    unseen = marked or labels - trained
    occurring = labels | trained | unseen
    if not listed:
        say_without_images("--unseen-file", unseen_listed, labels)
        return Classes(tuple(sorted(occurring)), frozenset(unseen))
    beyond = sorted(unseen - set(listed))
    if beyond:
        faults.note("", f"the unseen class '{beyond[0]}' is not listed in --classes: add it.")
    absent = [name for name in listed if name not in occurring]
    if absent and (labels or trained):  # else nobody has labelled any image
        say(
            f"{len(absent)} of {len(listed)} classes of --classes occur in no row, such as "
            f"'{absent[0]}': they are seen classes, which may be drawn as candidates. If they "
            "should be unseen, list all unseen classes in --unseen-file."
        )
    return Classes(tuple(listed), frozenset(unseen))


def _say_partly_marked(rows: Sequence[Row], marked: Collection[str]) -> None:
    """Warn about classes that are marked as unseen in some of their rows only."""
    unmarked = Counter(row.label for row in rows if row.label in marked and not row.unseen)
    if unmarked:
        name, count = unmarked.most_common(1)[0]
        say(
            f"{counted(len(unmarked), 'unseen class', 'unseen classes')} not marked in every row, "
            f"such as '{name}' (in {count:,} rows it is not): one mark makes a class unseen."
        )


def say_without_images(source: str, unseen: Sequence[str], labels: Collection[str]) -> None:
    """Warn about listed unseen classes that label no image: misspelt ones leave others seen.

    Args:
        source: of the list, for the message.
        unseen: the listed classes; they are unseen if they label no image.
        labels: the classes of all images.
    """
    without = [name for name in unseen if name not in labels]
    if without:
        say(
            f"{len(without)} of {len(unseen)} classes of {source} label no image, such as "
            f"'{without[0]}': they are unseen classes without a test image. Are they spelt as the "
            "labels are?"
        )


def read_class_list(file: Path) -> tuple[str, ...]:
    """Read class names from a file, one per line, in the encodings that a table may have.

    Raises:
        UserError: the file can't be read, or is empty.
    """
    where = f"The list of classes {file}"
    text, encoding = decode(read_bytes(file), where)
    if encoding == "cp1252":
        say(f"{where} is not UTF-8: read as Windows-1252.")
    names = tuple(tidy(line) for line in text.splitlines() if line.strip())
    if not names:
        raise UserError(f"{file} lists no class: write one a line.")
    return names
