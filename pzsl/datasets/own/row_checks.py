"""Check the rows of a table: each by itself, against the class list, and for missing images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from pzsl.datasets.base import SPLITS
from pzsl.datasets.own.faults import Faults
from pzsl.datasets.own.rows import Row
from pzsl.errors import nearest
from pzsl.files import real_path
from pzsl.folders import spelt_on_disk
from pzsl.progress import say
from pzsl.remote import as_remote

SHOWN = 3
"""How many missing images a message names."""


@dataclass(frozen=True)
class Classes:
    """The class list of a table: names, and which of them are unseen."""

    names: tuple[str, ...]
    unseen: frozenset[str]


def check_rows(rows: Sequence[Row], class_list: Classes, faults: Faults, empty: str) -> None:
    """Note each row that is invalid, contradicts the class list, or repeats an image.

    Args:
        rows: of the table.
        class_list: names of the classes, and the unseen ones.
        faults: collects what is wrong.
        empty: see `load_table`.
    """
    listed = frozenset(class_list.names)
    before: dict[str, Row] = {}
    wrong = faults.places
    for row in rows:
        fault = (
            None
            if row.place in wrong
            else _fault_of_place(row) or _fault_of_labels(row, class_list, listed, empty)
        )
        if not fault and row.path in before:
            fault = _fault_of_repetition(before[row.path], row)
        if fault:
            faults.note(row.place, fault)
        before.setdefault(row.path, row)


def below_root(rows: Sequence[Row], base: Path, faults: Faults) -> list[Row]:
    """Rows with absolute paths made relative to `base`; those outside of it are noted."""
    folders = [] if as_remote(base) else [base.absolute(), base.resolve()]
    return [_below(row, folders, faults) if _is_absolute(row) else row for row in rows]


def _is_absolute(row: Row) -> bool:
    return PurePath(row.path).is_absolute()


def _below(row: Row, folders: Sequence[Path], faults: Faults) -> Row:
    path = PurePath(row.path)
    for folder in folders:
        if path.is_relative_to(folder):
            return row._replace(path=path.relative_to(folder).as_posix())
    if folders:
        faults.note(
            row.place,
            f"the path '{row.path}' leads out of the folder of images, {folders[0]}: give a folder "
            "above all images as --root.",
        )
    return row


def _fault_of_repetition(first: Row, row: Row) -> str:
    together = "|".join(dict.fromkeys((*_labels(first), *_labels(row))))
    join = f", or write all its labels into one row, as candidates: {together}"
    way = "keep one of them" + (join if _labels(first) != _labels(row) else "")
    return f"'{row.path}' is listed in {first.place} already: {way}."


def _labels(row: Row) -> tuple[str, ...]:
    """The names that a row gives its image; its candidates include the label, if both are there."""
    return row.candidates or ((row.label,) if row.label else ())


def _fault_of_place(row: Row) -> str | None:
    path = PurePosixPath(row.path)
    if not path.parts:
        return "the path is empty."
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return f"the path '{row.path}' leads out of the folder of images: write it relative to it."
    if not row.split:
        return "the split is empty: give each image one, or leave the column empty throughout."
    if row.split not in SPLITS:
        return f"unknown split '{row.split}'.{nearest(row.split, list(SPLITS))}"
    return None


def _fault_of_labels(
    row: Row, class_list: Classes, listed: frozenset[str], empty: str
) -> str | None:
    named = (row.label, *row.candidates) if row.split == "trainval" else (row.label,)
    for name in named:
        if name and name not in listed:
            return f"the class '{name}' is not in the list of classes: add it there."
    if row.split == "trainval" and not row.label and not row.candidates and empty != "unlabelled":
        return "a training image needs a label or candidates."
    if row.split != "trainval" and not row.label:
        return f"an image of {row.split} needs a label."
    for name in named[1:]:
        if name in class_list.unseen:
            return f"the candidate '{name}' is an unseen class: candidates are seen classes."
    if row.label and (row.label in class_list.unseen) != (row.split == "test_unseen"):
        kind = "an unseen" if row.label in class_list.unseen else "a seen"
        return f"'{row.label}' is {kind} class, so its image can't be in {row.split}."
    return None


def note_missing(rows: Sequence[Row], base: Path, faults: Faults, on_error: str) -> set[str]:
    """Find rows whose image is missing: one fault (`fail`), or a message (`skip`).

    Args:
        rows: of the table; those that already have a fault are not checked.
        base: folder that the paths are relative to.
        faults: collects missing images, and links that lead out of the folder.
        on_error: `fail` or `skip`.

    Returns:
        The places of the rows whose image is missing.
    """
    if not base.is_dir():
        faults.note(
            "", f"--root {base} is not a folder: give the folder that the paths start from."
        )
        return set()
    inside, missing, wrong = base.resolve(), [], faults.places
    checked = [row for row in rows if row.place not in wrong]
    address = as_remote(base)
    remote_files = address.below(row.path for row in checked) if address else None
    for row in checked:
        file = base / row.path
        if not (file.is_file() if remote_files is None else row.path in remote_files):
            missing.append(row)
        elif file.is_symlink() and not real_path(file).is_relative_to(inside):
            faults.note(row.place, f"'{row.path}' is a link out of {base}.")
    spelt = {} if address else spelt_on_disk(base, (row.path for row in missing))
    missing = [row for row in missing if row.path not in spelt]
    if missing:
        named = ", ".join(f"{row.path} ({row.place})" for row in missing[:SHOWN])
        remaining = ", ..." if len(missing) > SHOWN else ""
        text = f"{len(missing)} of {len(rows)} images are not below {base}: {named}{remaining}."
        if on_error == "fail" or len(missing) == len(rows):
            all_missing = len(missing) == len(rows) and not address
            near = folder_of(missing[0].path, base) if all_missing else None
            way = (
                f"They are below {near}: give that as --root."
                if near
                else "Give their folder as --root, or leave them out: --on-error skip."
            )
            faults.note("", f"{text} {way}")
        else:
            say(f"{faults.where}: {text} They are left out.")
    return {row.place for row in missing}


def folder_of(path: str, base: Path) -> Path | None:
    """A folder next to the root in which a missing image is: the root was one folder off."""
    try:
        within = [entry for entry in sorted(base.iterdir()) if entry.is_dir()]
        folders = (base.resolve().parent, *within)
        return next((near for near in folders if (near / path).is_file()), None)
    except OSError:
        return None  # a neighbour that can't be looked into: the images are missing all the same
