"""Recognise the columns of a table by their headers, in any case and with common synonyms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pzsl.datasets.names import normal_form
from pzsl.datasets.own.faults import Faults
from pzsl.progress import shell_word

SYNONYMS: dict[str, tuple[str, ...]] = {
    "path": (
        *("path", "file", "filename", "file name", "file path", "filepath", "image path"),
        *("image file", "image filename", "image name", "imagepath", "image", "img path", "img"),
        *("picture", "photo", "image id", "datei", "dateiname", "dateipfad", "pfad", "bild"),
    ),
    "label": (
        *("label", "class", "class name", "classname", "class label", "category", "species"),
        *("true label", "truth", "ground truth", "target", "klasse", "kategorie", "etikett"),
    ),
    "candidates": (
        *("candidates", "candidate", "candidate labels", "candidate label", "candidate set"),
        *("partial labels", "labels", "classes", "tags", "categories", "kandidaten", "klassen"),
        *("kategorien", "etiketten"),
    ),
    "split": ("split", "subset", "partition", "set", "fold", "aufteilung"),
    "unseen": ("unseen", "is unseen"),
}
"""Kind of column -> its headers in normal form: pzsl's own first, then the likelier ones."""
OF_LABELS, OF_ANSWERS = {"given", "weights"}, {"classes", "probabilities"}
"""Columns that tables of `pzsl labels` and of `pzsl predict` have beside the label."""
LISTED = 8
"""Most headers that a message lists: a table can have one for each class, or each image."""


def kind_of(header: str) -> str | None:
    """The kind of column that has this header, a key of `SYNONYMS`; None if it is unknown."""
    form = normal_form(header)
    return next((kind for kind, names in SYNONYMS.items() if form in names), None)


def find_columns(headers: Sequence[str], people: Sequence[str], faults: Faults) -> dict[str, int]:
    """Find the column of each kind, and of each annotator, whose answers replace `candidates`.

    Args:
        headers: as written.
        people: headers of the annotators' columns, which have to exist.
        faults: collects missing and duplicate columns.

    Returns:
        Kind, or annotator's header -> number of the column.
    """
    forms = [normal_form(header) for header in headers]
    column_of: dict[str, int] = {}
    for kind, names in SYNONYMS.items():
        if people and kind == "candidates":
            continue
        first = next((name for name in names if name in forms), None)
        if first is not None:
            column_of[kind] = forms.index(first)
    for name in people:
        if normal_form(name) in forms:
            column_of[name] = forms.index(normal_form(name))
    for kind, column in column_of.items():
        note_repeated(headers, column, faults)
        if kind in SYNONYMS and kind in people and kind != "candidates":
            faults.note("", f"the column '{kind}' can't hold a person's answers.")
    missing = [name for name in people if name not in column_of]
    if "path" not in column_of:
        missing.insert(0, "path")
    if not missing and not {"label", "candidates", *people} & set(column_of):
        missing = ["label"]
    for name in missing:
        way = _numbered(headers) if name == "label" else ""
        empty = " (the label may be empty)" if name == "label" else ""
        way = way or f"; they should be path, label, candidates, split{empty}."
        faults.note("", no_column(name, headers) + way)
    return column_of


def note_repeated(headers: Sequence[str], column: int, faults: Faults) -> None:
    """Note that another column has the header of this one: either could be meant."""
    if [normal_form(header) for header in headers].count(normal_form(headers[column])) > 1:
        faults.note("", f"two columns are called '{headers[column]}': rename one.")


def no_column(name: str, headers: Sequence[str]) -> str:
    """The start of a message that a column is missing: names the first that are there."""
    named = [header for header in headers if header]
    remaining = f" and {len(named) - LISTED} more" if len(named) > LISTED + 1 else ""
    listed = ", ".join(named[:LISTED] if remaining else named) or "none"
    return f"no column '{name}': its columns are {listed}{remaining}"


def _numbered(headers: Sequence[str]) -> str:
    """How to join the columns `label 1`, `label 2`, ...; '' if there are none such."""
    kinds = {header: kind_of(header.rstrip("0123456789").rstrip(" _-.#")) for header in headers}
    labels = [
        header
        for header, kind in kinds.items()
        if kind in ("label", "candidates") and header[-1:].isdigit()
    ]
    if not labels:
        return ""
    return f"; to join several columns of labels, add --annotators '{','.join(labels)}'."


def left_out(
    headers: Sequence[str], column_of: Mapping[str, int], people: Sequence[str] = ()
) -> list[str]:
    """Notes on columns that could be read as well: of the same kind as one that is read.

    Args:
        headers: as written.
        column_of: kind, or annotator's header -> number of the column that is read.
        people: headers of the annotators' columns.
    """
    read_columns = set(column_of.values())
    notes = []
    for column, header in enumerate(headers):
        kind = "" if column in read_columns else kind_of(header) or ""
        if kind in column_of:
            notes.append(f"'{header}' is left out, as '{headers[column_of[kind]]}' is the {kind}")
        elif kind == "candidates" and people:
            notes.append(f"'{header}' is left out, as --annotators names the columns of candidates")
    return notes


def weighed_candidates(
    name: str, headers: Sequence[str], column_of: Mapping[str, int]
) -> list[str]:
    """A note if the candidates are those that pzsl found, whose weights nobody reads."""
    if not {"label", "candidates"}.issubset(column_of):
        return []
    if OF_LABELS.issubset(map(normal_form, headers)):
        return [
            "training learns from 'candidates', which holds all that pzsl labels gave some weight; "
            "for a table to learn from 'label' alone: pzsl review --run RUN "
            f"--apply {shell_word(name)} --out TABLE.csv"
        ]
    if OF_ANSWERS.issubset(map(normal_form, headers)):
        return [
            "training learns from 'classes', the likeliest ones of pzsl predict, whatever their "
            "probabilities; to learn from 'label' alone, take that column out"
        ]
    return []
