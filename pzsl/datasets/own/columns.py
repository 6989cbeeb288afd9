"""Which column of a table holds what, by its header: any case, and the usual synonyms."""

from __future__ import annotations

from collections.abc import Sequence

from pzsl.datasets.names import normal_form
from pzsl.datasets.own.faults import Faults

SYNONYMS: dict[str, tuple[str, ...]] = {
    "path": (
        *("path", "file", "filename", "file name", "file path", "filepath", "image path"),
        *("image file", "image filename", "image name", "imagepath", "image", "img path", "img"),
        *("picture", "photo", "image id", "datei", "dateiname", "dateipfad", "pfad", "bild"),
    ),
    "label": (
        *("label", "class", "class name", "classname", "class label", "category", "species"),
        *("true label", "truth", "ground truth", "target", "klasse", "kategorie"),
    ),
    "candidates": (
        *("candidates", "candidate", "candidate labels", "candidate label", "candidate set"),
        *("partial labels", "labels", "classes", "tags", "categories", "kandidaten", "klassen"),
    ),
    "split": ("split", "subset", "partition", "set", "fold", "aufteilung"),
    "unseen": ("unseen", "is unseen"),
}
"""Headers of each kind of column in normal form, the one of our own first, then by likelihood."""


def kind_of(header: str) -> str | None:
    """What a column of this header holds, a key of `SYNONYMS`; None where that isn't known."""
    form = normal_form(header)
    return next((kind for kind, names in SYNONYMS.items() if form in names), None)


def find_columns(headers: Sequence[str], people: Sequence[str], faults: Faults) -> dict[str, int]:
    """The number of the column for each kind that there is, and for each of these people.

    Args:
        headers: as written.
        people: further columns that have to be there.
        faults: gets what is missing, or there twice.
    """
    forms = [normal_form(header) for header in headers]
    found: dict[str, int] = {}
    for kind, names in SYNONYMS.items():
        first = next((name for name in names if name in forms), None)
        if first is not None:
            found[kind] = forms.index(first)
    for name in people:
        if normal_form(name) in forms:
            found[name] = forms.index(normal_form(name))
    for kind, column in found.items():
        if forms.count(forms[column]) > 1:
            faults.note("", f"two columns are called '{headers[column]}': rename one.")
        elif kind in SYNONYMS and kind in people and kind != "candidates":
            faults.note("", f"the column '{kind}' can't hold a person's answers.")
    missing = [name for name in people if name not in found]
    if "path" not in found:
        missing.insert(0, "path")
    if not missing and not {"label", "candidates", *people} & set(found):
        missing = ["label"]
    for name in missing:
        listed = ", ".join(filter(None, headers)) or "none"
        faults.note(
            "",
            f"no column '{name}': its columns are {listed}; they should be path, label, "
            "candidates, split.",
        )
    return found
