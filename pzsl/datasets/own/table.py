"""`table`: your own images as a table with `path, label, candidates, split`.

| column | what |
|---|---|
| `path` | of the image, relative to the table's folder or `root` |
| `label` | its class; empty if unknown (training images with candidates only) |
| `candidates` | its candidate labels, separated by `|`; empty means the label alone |
| `split` | `trainval`, `test_seen` or `test_unseen`; without the column it is drawn |
| `unseen` | optional: `1`, `true` or `yes` if the label is an unseen class |

Unseen are the classes marked in `unseen` or listed in a file; without either, those that occur
only as labels of test_unseen. A candidate set may lack the label (annotators make mistakes), but it
must hold seen classes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pzsl.datasets.annotators import Annotators
from pzsl.datasets.base import UNKNOWN, Candidates, Dataset
from pzsl.datasets.names import normal_form
from pzsl.datasets.own.class_list import find_classes, join_rows, read_class_list
from pzsl.datasets.own.drawn_split import (
    draw_splits,
    say_inferred,
    some_classes,
    translate_splits,
)
from pzsl.datasets.own.faults import Faults
from pzsl.datasets.own.folder import TEST, UNSEEN, check_shares
from pzsl.datasets.own.row_checks import Classes, below_root, check_rows, note_missing
from pzsl.datasets.own.rows import CANDIDATES, Row, rows_of
from pzsl.datasets.own.same_image import check_once
from pzsl.datasets.own.table_files import identity_of, read_table
from pzsl.datasets.reading import FileReader, reader_below
from pzsl.errors import UsageError, UserError
from pzsl.files import real_path
from pzsl.folders import spelt_on_disk
from pzsl.progress import counted, say
from pzsl.remote import as_path, as_remote
from pzsl.requests import say_unused, unless

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Reading:
    """How a table is read; see `load_table`."""

    unseen_file: Path | None = None
    classes: Path | None = None
    annotators: Annotators = CANDIDATES
    empty: str = "skip"
    seed: int = 0
    unseen: float = UNSEEN
    test: float = TEST
    on_error: str = "fail"

    def __post_init__(self) -> None:
        if self.on_error not in ("fail", "skip"):
            raise UsageError(f"Unknown way to treat errors '{self.on_error}': use fail or skip.")
        if self.empty not in ("fail", "skip", "unlabelled"):
            raise UsageError(f"--empty is skip, unlabelled or fail, not '{self.empty}'.")
        check_shares(self.unseen, self.test)


class Rows(NamedTuple):
    """What a table says: its rows, their class list, and where they come from."""

    rows: list[Row]
    class_list: Classes
    origin: tuple[tuple[str, str], ...]


def load_table(
    table: str | Path | pd.DataFrame,
    root: str | Path | None = None,
    unseen_file: str | Path | None = None,
    classes: str | Path | None = None,
    on_error: str = "fail",
    annotators: Annotators = CANDIDATES,
    empty: str = "skip",
    seed: int = 0,
    unseen: float = UNSEEN,
    test: float = TEST,
) -> Dataset:
    """Load the images that a table lists.

    Args:
        table: a text file with separators, `.parquet`, `.jsonl`, `.json`, or a pandas frame; this
            and the other files and folders may be given by addresses.
        root: folder that the paths are relative to; by default the table's own.
        unseen_file: names of the unseen classes, one per line.
        classes: names of all classes in order, one per line; by default all that occur, sorted.
        on_error: missing images: `fail`, or `skip` to leave them out.
        annotators: the annotators' columns, whose answers are joined into `candidates`.
        empty: images without label and candidates: `skip`, `unlabelled` (every seen class becomes
            a candidate), or `fail`.
        seed, unseen, test: of a drawn split, if the table has none: its seed, the share of unseen
            classes, and the share of each seen class's labelled images to test on.

    Returns:
        The data set; `candidates` is None if the column is missing or empty throughout.

    Raises:
        UsageError: an option has an unknown value.
        UserError: a file is missing, or rows are invalid: up to twenty are listed, each with its
            line.
    """
    given = annotators, empty, seed, unseen, test, on_error
    reading = Reading(_file(unseen_file), _file(classes), *given)
    source = _source(table)
    base = as_path(root) if root else (source.parent if isinstance(source, PurePath) else Path())
    faults = Faults("")
    content = _read(source, reading, faults, base)
    rows = content.rows
    if on_error == "skip":
        missing = note_missing(rows, base, faults, "skip")
        faults.check()
        rows = [row for row in rows if row.place not in missing]
    spelt = {}
    if not as_remote(base):  # servers have no links
        spelt = spelt_on_disk(base, (row.path for row in rows))
        real = {row.path: real_path(base / spelt.get(row.path, row.path)) for row in rows}
        check_once(faults.where, [(row.path, row.split) for row in rows], real)
    data = _dataset(rows, content, empty)
    reader = reader_below(base, data.paths, spelt)
    origin = (*data.origin, ("root", str(base.resolve())), *_annotator_origin(annotators))
    return replace(data, reader=reader, origin=origin)


def load_rows(
    table: str | Path | pd.DataFrame,
    unseen_file: str | Path | None = None,
    classes: str | Path | None = None,
    annotators: Annotators = CANDIDATES,
) -> Dataset:
    """Load a table about images that need not exist, because their features do.

    Args:
        table, unseen_file, classes, annotators: as for `load_table`.

    Raises:
        UserError: a file is missing, or rows are invalid.
    """
    source = _source(table)
    reading = Reading(_file(unseen_file), _file(classes), annotators, "fail")
    content = _read(source, reading, Faults(""), None)
    data = _dataset(content.rows, content, "fail")
    return replace(data, origin=(*data.origin, *_annotator_origin(annotators)))


def _file(path: str | Path | None) -> Path | None:
    return as_path(path) if path else None


def _source(table: str | Path | pd.DataFrame) -> Path | pd.DataFrame:
    return as_path(table) if isinstance(table, str | PurePath) else table


def _annotator_origin(annotators: Annotators) -> tuple[tuple[str, str], ...]:
    return () if annotators is CANDIDATES else (("annotators", str(annotators)),)


def _read(source: Path | pd.DataFrame, reading: Reading, faults: Faults, base: Path | None) -> Rows:
    """Read and check the rows and classes of a table.

    Args:
        source: the table.
        reading: how to read it.
        faults: collects all that is wrong, and raises it; gets the table's name.
        base: folder that the paths are relative to; None if the images need not exist.
    """
    table = read_table(source)
    faults.where, faults.noted = table.name, table.faults.noted
    rows = rows_of(table, reading.annotators)
    if not rows:
        faults.check()
        raise UserError(f"{table.name} lists no image.")
    if table.notes:
        say(f"{table.name}: {'; '.join(table.notes)}.")
    rows = rows if base is None else below_root(rows, base, faults)
    rows = _without_empty(table.name, rows, reading.empty)
    listed = read_class_list(reading.classes) if reading.classes else ()
    unseen_listed = read_class_list(reading.unseen_file) if reading.unseen_file else ()
    rows = join_rows(rows, [*listed, *unseen_listed])
    rows, split_origin = _with_splits(table.name, rows, reading, unseen_listed)
    class_list = find_classes(rows, listed, unseen_listed, faults)
    check_rows(rows, class_list, faults, reading.empty)
    if base is not None and reading.on_error == "fail":
        note_missing(rows, base, faults, "fail")
    faults.check()
    return Rows(rows, class_list, (*identity_of(source), *split_origin))


def _without_empty(name: str, rows: list[Row], empty: str) -> list[Row]:
    """Report images without label and candidates, and leave them out if `empty` is `skip`.

    Raises:
        UserError: all images would be left out.
    """
    without = [row for row in rows if not row.label and not row.candidates and row.path]
    if len(without) == len(rows) and empty == "skip":
        raise UserError(
            f"{name}: no image has a label or candidates: give --empty unlabelled and, with "
            "--classes FILE, the names of all classes; then 'pzsl annotate --overwrite'."
        )
    if not without or empty == "fail" or len(without) == len(rows):
        return rows
    treatment = "left out" if empty == "skip" else "kept, with every seen class as a candidate"
    say(
        f"{name}: {len(without)} of {len(rows)} images have neither label nor candidates "
        f"({without[0].place} is the first): they are {treatment}"
        + (" (--empty unlabelled keeps them)." if empty == "skip" else ".")
    )
    left_out = {row.place for row in without} if empty == "skip" else set()
    return [row for row in rows if row.place not in left_out]


def _with_splits(
    name: str, rows: list[Row], reading: Reading, listed: Sequence[str]
) -> tuple[list[Row], tuple[tuple[str, str], ...]]:
    """The rows with their splits, and the settings of a drawn split for the data set's origin."""
    forms = {normal_form(name) for name in listed}
    marked = {row.label for row in rows if row.unseen or normal_form(row.label) in forms}
    marked = (marked | {*listed}) - {""}
    unseen, test = unless(UNSEEN, reading.unseen), unless(TEST, reading.test)
    if any(row.split for row in rows):
        seed = unless(0, reading.seed)
        say_unused(f"{name} has a split", split_seed=seed, unseen=unseen, test_share=test)
        translated = translate_splits(rows, marked)
        say_inferred(name, rows, translated, marked)
        return translated, ()
    if marked:
        say_unused(f"{name} or --unseen-file names the unseen classes", unseen=unseen)
    rows = draw_splits(rows, marked, reading.unseen, reading.test, reading.seed)
    hidden = sorted({row.label for row in rows if row.split == "test_unseen"})
    tested = sum(row.split == "test_seen" for row in rows)
    if not hidden and not tested:
        say(f"{name} has no split: all images are for training.")
    else:
        say(
            f"{name} has no split; drawn with seed {reading.seed}: {some_classes(hidden)} unseen, "
            f"{counted(tested, 'image')} of the others to test on."
        )
    shares = {"seed": reading.seed, "unseen": reading.unseen, "test": reading.test}
    return rows, tuple((key, str(value)) for key, value in shares.items())


def _dataset(rows: Sequence[Row], content: Rows, empty: str) -> Dataset:
    class_list = content.class_list
    number = {name: i for i, name in enumerate(class_list.names)}
    seen = np.array([name not in class_list.unseen for name in class_list.names])
    every = np.flatnonzero(seen).tolist() if empty == "unlabelled" else []
    return Dataset(
        name="table",
        classes=class_list.names,
        seen=seen,
        paths=tuple(row.path for row in rows),
        labels=np.array([number.get(row.label, UNKNOWN) for row in rows], dtype=np.int64),
        splits=np.array([row.split for row in rows]),
        reader=FileReader(Path()),
        candidates=_candidates(rows, number, every),
        origin=content.origin,
    )


def _candidates(
    rows: Sequence[Row], number: dict[str, int], every: Sequence[int]
) -> Candidates | None:
    """The candidate sets: without candidates a training image has its label; test images have none.

    Args:
        rows: of the table.
        number: class name -> id.
        every: the candidates of a training image without label and candidates.
    """
    training = [row for row in rows if row.split == "trainval"]
    if not any(row.candidates or not row.label for row in training):
        return None
    sets: list[Sequence[int]] = [
        sorted({number[name] for name in row.candidates or (row.label,) if name}) or every
        if row.split == "trainval"
        else []
        for row in rows
    ]
    offsets = np.cumsum([0, *map(len, sets)], dtype=np.int64)
    labels = np.array(
        [label for labels_of_image in sets for label in labels_of_image], dtype=np.int32
    )
    return Candidates(offsets, labels)
