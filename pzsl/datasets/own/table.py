"""`table`: one's own images as a CSV or Parquet file with `path, label, candidates, split`.

| column | what |
|---|---|
| `path` | of the image, below the table's folder or `root` |
| `label` | its class; empty where unknown (training images with candidates only) |
| `candidates` | its candidate labels, separated by `|`; empty means the label alone |
| `split` | `trainval`, `test_seen` or `test_unseen` |
| `unseen` | optional: `1`, `true` or `yes` where the label is an unseen class |

Unseen are the classes marked in `unseen` or listed in a file; where neither is given, those that
occur as labels of test_unseen only. A candidate set need not hold the label (annotators err), but
it holds seen classes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from pzsl.datasets.annotators import Annotators
from pzsl.datasets.base import SPLITS, UNKNOWN, Candidates, Dataset
from pzsl.datasets.names import join_spellings, normal_form, tidy, told_joins
from pzsl.datasets.own.rows import CANDIDATES, Row, read_rows
from pzsl.datasets.own.same_image import check_once
from pzsl.datasets.reading import FileReader
from pzsl.errors import UsageError, UserError, nearest
from pzsl.files import sha256_of
from pzsl.progress import say

SHOWN = 3
"""How many missing images a message names."""


@dataclass(frozen=True)
class Classes:
    """The class list of a table: names, and which of them are unseen."""

    names: tuple[str, ...]
    unseen: frozenset[str]


def load_table(
    table: Path,
    root: Path | None = None,
    unseen_file: Path | None = None,
    classes: Path | None = None,
    on_error: str = "fail",
    annotators: Annotators = CANDIDATES,
) -> Dataset:
    """Load the images that a table lists.

    Args:
        table: a `.csv` (UTF-8, comma-separated, with a header) or `.parquet` file.
        root: folder that the paths start from; by default the table's own.
        unseen_file: names of the unseen classes, one a line.
        classes: names of all classes in their order, one a line; by default all that occur, sorted.
        on_error: what to do about missing images: `fail`, or `skip` to leave them out.
        annotators: the columns of several people, whose answers are joined into `candidates`.

    Returns:
        The data set; `candidates` is None where the column is missing or empty throughout.

    Raises:
        UsageError: `on_error` is neither of the two.
        UserError: a file is missing, or a row isn't as it should be (its number is named).
    """
    if on_error not in ("fail", "skip"):
        raise UsageError(f"Unknown way to treat errors '{on_error}': use fail or skip.")
    table = Path(table)
    rows, known = _checked_rows(table, unseen_file, classes, annotators)
    base = Path(root) if root else table.parent
    data = _dataset(table, base, _present(table, base, rows, on_error), known)
    origin = (*data.origin, ("root", str(base.resolve())), *_told(annotators))
    return replace(data, origin=origin)


def load_rows(
    table: Path,
    unseen_file: Path | None = None,
    classes: Path | None = None,
    annotators: Annotators = CANDIDATES,
) -> Dataset:
    """Load what a table says of images that need not be here: their features are.

    Args:
        table, unseen_file, classes, annotators: as for `load_table`.

    Raises:
        UserError: a file is missing, or a row isn't as it should be (its number is named).
    """
    table = Path(table)
    rows, known = _checked_rows(table, unseen_file, classes, annotators)
    data = _dataset(table, table.parent, rows, known)
    return replace(data, origin=(*data.origin, *_told(annotators)))


def _told(annotators: Annotators) -> tuple[tuple[str, str], ...]:
    return () if annotators is CANDIDATES else (("annotators", str(annotators)),)


def _checked_rows(
    table: Path, unseen_file: Path | None, classes: Path | None, annotators: Annotators
) -> tuple[list[Row], Classes]:
    rows = read_rows(table, annotators)
    if not rows:
        raise UserError(f"{table} lists no image.")
    lists = [_names(file) if file else () for file in (classes, unseen_file)]
    rows = _joined(rows, [*lists[0], *lists[1]])
    known = _classes(table, rows, unseen_file, classes)
    _check_rows(table, rows, known)
    return rows, known


def _dataset(table: Path, base: Path, rows: Sequence[Row], known: Classes) -> Dataset:
    number = {name: i for i, name in enumerate(known.names)}
    return Dataset(
        name="table",
        classes=known.names,
        seen=np.array([name not in known.unseen for name in known.names]),
        paths=tuple(row.path for row in rows),
        labels=np.array([number.get(row.label, UNKNOWN) for row in rows], dtype=np.int64),
        splits=np.array([row.split for row in rows]),
        reader=FileReader(base.resolve()),
        candidates=_candidates(rows, number),
        origin=(
            ("table", str(table.resolve())),
            ("table_sha256", sha256_of(table)),
        ),
    )


def _classes(
    table: Path, rows: Sequence[Row], unseen_file: Path | None, classes_file: Path | None
) -> Classes:
    """All classes, and the unseen ones: marked or listed, or else those of test_unseen only."""
    trained = {name for row in rows for name in row.candidates}
    trained |= {row.label for row in rows if row.label and row.split != "test_unseen"}
    marked = {row.label for row in rows if row.unseen and row.label}
    own = {normal_form(name): name for name in _names(classes_file)} if classes_file else {}
    if unseen_file:
        marked |= {own.get(normal_form(name), name) for name in _names(unseen_file)}
    unseen = marked or {row.label for row in rows if row.label} - trained
    occurring = {row.label for row in rows if row.label} | trained | unseen
    if not classes_file:
        return Classes(tuple(sorted(occurring)), frozenset(unseen))
    names = _names(classes_file)
    beyond = sorted(unseen - set(names))
    if beyond:
        raise UserError(f"The unseen class '{beyond[0]}' is not listed in {classes_file}: add it.")
    return Classes(names, frozenset(unseen))


def _joined(rows: Sequence[Row], listed: Sequence[str]) -> list[Row]:
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


def _names(file: Path) -> tuple[str, ...]:
    try:
        lines = Path(file).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The list of classes {file} can't be read: {error}.") from None
    names = tuple(tidy(line) for line in lines if line.strip())
    if not names:
        raise UserError(f"{file} lists no class: write one a line.")
    return names


def _check_rows(table: Path, rows: Sequence[Row], known: Classes) -> None:
    """Refuse a row that is wrong in itself, contradicts the class list, or comes twice."""
    listed = frozenset(known.names)
    before: dict[str, str] = {}
    for row in rows:
        fault = _fault_of_place(row) or _fault_of_labels(row, known, listed)
        if not fault and row.path in before:
            fault = f"'{row.path}' is listed in {before[row.path]} already: keep one of them."
        if fault:
            raise UserError(f"{table}, {row.place}: {fault}")
        before[row.path] = row.place


def _fault_of_place(row: Row) -> str | None:
    path = PurePosixPath(row.path)
    if not path.parts:
        return "the path is empty."
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return f"the path '{row.path}' leads out of the folder of images: write it relative to it."
    if row.split not in SPLITS:
        return f"unknown split '{row.split}'.{nearest(row.split, list(SPLITS))}"
    return None


def _fault_of_labels(row: Row, known: Classes, listed: frozenset[str]) -> str | None:
    for name in (row.label, *row.candidates):
        if name and name not in listed:
            return f"the class '{name}' is not in the list of classes: add it there."
    if row.split == "trainval" and not row.label and not row.candidates:
        return "a training image needs a label or candidates."
    if row.split != "trainval" and not row.label:
        return f"an image of {row.split} needs a label."
    for name in row.candidates:
        if name in known.unseen:
            return f"the candidate '{name}' is an unseen class: candidates are seen classes."
    if row.label and (row.label in known.unseen) != (row.split == "test_unseen"):
        kind = "an unseen" if row.label in known.unseen else "a seen"
        return f"'{row.label}' is {kind} class, so its image can't be in {row.split}."
    return None


def _present(table: Path, base: Path, rows: list[Row], on_error: str) -> list[Row]:
    """The rows whose image exists (`skip`), or a message that tells of the others (`fail`)."""
    if not base.is_dir():
        raise UserError(f"--root {base} is no folder: give the folder that the paths start from.")
    inside = base.resolve()
    missing, real = [], {}
    for row in rows:
        file = base / row.path
        if not file.is_file():
            missing.append(row)
        elif file.is_symlink() and not file.resolve().is_relative_to(inside):
            raise UserError(f"{table}, {row.place}: '{row.path}' is a link out of {base}.")
        real[row.path] = file.resolve()
    check_once(str(table), [(row.path, row.split) for row in rows if row.path in real], real)
    if not missing:
        return rows
    named = ", ".join(f"{row.path} ({row.place})" for row in missing[:SHOWN])
    more = ", ..." if len(missing) > SHOWN else ""
    text = f"{table}: {len(missing)} of {len(rows)} images are not below {base}: {named}{more}."
    if on_error == "fail" or len(missing) == len(rows):
        raise UserError(f"{text} Give their folder as --root, or leave them out: --on-error skip.")
    say(f"{text} They are left out.")
    gone = {id(row) for row in missing}
    return [row for row in rows if id(row) not in gone]


def _candidates(rows: Sequence[Row], number: dict[str, int]) -> Candidates | None:
    """The candidate sets; a training image without one has its label alone, others have none."""
    if not any(row.candidates for row in rows):
        return None
    sets = [
        sorted({number[name] for name in row.candidates or (row.label,)})
        if row.split == "trainval"
        else []
        for row in rows
    ]
    offsets = np.cumsum([0, *map(len, sets)], dtype=np.int64)
    labels = np.array([label for one in sets for label in one], dtype=np.int32)
    return Candidates(offsets, labels)
