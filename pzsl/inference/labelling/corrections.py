"""Corrections made by hand, merged into a table for the next run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pzsl.errors import UserError, nearest
from pzsl.files import check_regular
from pzsl.inference.label_table import check_names, check_out, write_table
from pzsl.inference.labelling.find_labels import train_default
from pzsl.inference.record import read_record
from pzsl.inference.restore import Trained, restore
from pzsl.progress import say
from pzsl.training.ambiguity import labels_are_candidates

COLUMNS = ("path", "label")


def apply_corrections(
    corrections: str | Path,
    run: str | Path | None = None,
    out: str | Path = "table.csv",
    *,
    cache: str | Path | None = None,
    runs: str | Path = "runs",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a table of all images of a run's cache, with the labels that were corrected by hand.

    Args:
        corrections: CSV of the review page, `path, label`; an empty label means that the image
            shows none of the classes: it is left out.
        run: folder of the run that was reviewed. cache: its cache, where it has moved.
        out: the table, `path, label, candidates, split, unseen`, which `pzsl extract --dataset
            table` takes. A corrected image has its one label as the only candidate, or as its label
            where single labels were asked about; the others are as they came.
        runs: folder of run records, where a run is trained here.
        overwrite: replace a table that is there.

    Returns:
        `table, images, corrected, removed`.

    Raises:
        UserError: a file can't be read, or a correction names an image that isn't trained on or
            a class that isn't seen; all that can be wrong is checked before anything is written.
    """
    out = Path(out)
    check_out(out, overwrite)
    folder = Path(run) if run is not None else train_default(cache, runs)
    record = read_record(folder, cache)
    trained = restore(record)
    check_names(out, trained.names)
    chosen = _checked(Path(corrections), trained)
    asked = labels_are_candidates(trained.cache, record.config.noise)
    table = _table(trained, chosen, asked)
    write_table(out, table)
    return {
        "table": str(out),
        "images": len(table["path"]),
        "corrected": sum(label != "" for label in chosen.values()),
        "removed": sum(label == "" for label in chosen.values()),
    }


def _checked(file: Path, trained: Trained) -> dict[str, str]:
    """Label by image id, each of them known.

    Raises:
        UserError: see `apply_corrections`.
    """
    import pandas as pd

    try:
        check_regular(file)
        frame = pd.read_csv(
            file,
            dtype=str,
            header=None,  # else pandas numbers columns of one name
            keep_default_na=False,
            encoding="utf-8-sig",
            compression=None,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{file} can't be read as a CSV ({error}).") from None
    frame = frame.set_axis(frame.iloc[0], axis=1).iloc[1:]
    if any([*frame.columns].count(name) != 1 for name in COLUMNS):
        raise UserError(
            f"{file} should have the columns path and label, each once, as the page saves them."
        )
    seen = list(trained.names[: trained.seen])
    known = {trained.cache.paths[row] for row in trained.task.rows}
    chosen: dict[str, str] = {}
    for line, (path, label) in enumerate(zip(frame["path"], frame["label"], strict=True), 2):
        if path not in known:
            raise UserError(f"{file}, row {line}: '{path}' is no training image of this run.")
        if label and label not in seen:
            raise UserError(f"{file}, row {line}: unknown class '{label}'.{nearest(label, seen)}")
        if chosen.setdefault(path, label) != label:
            raise UserError(f"{file}, row {line}: '{path}' has another label further up.")
    return chosen


def _table(trained: Trained, chosen: dict[str, str], asked: bool) -> dict[str, list[Any]]:
    """The columns of the new table: test images and uncorrected ones as they came.

    Where the labels were `asked` about they still are: as candidates they would leave the label
    beside them to pass for the truth.
    """
    cache, given = trained.cache, trained.task.problem.candidates
    offsets, labels = given.offsets.tolist(), given.labels.tolist()
    place = {int(row): index for index, row in enumerate(trained.task.rows)}
    lines: list[tuple[Any, ...]] = []
    for row, path in enumerate(cache.paths):
        own = cache.classes[cache.labels[row]] if cache.labels[row] >= 0 else ""
        sets: list[str] = []
        if row in place:
            start, end = offsets[place[row]], offsets[place[row] + 1]
            sets = [trained.names[label] for label in labels[start:end]]
            sets = [chosen[path]] if path in chosen else sets
            own, sets = (sets[0], []) if asked else (own, sets)
        if (own or sets) and chosen.get(path) != "":
            unseen = bool(own) and own not in trained.names[: trained.seen]
            lines.append((path, own, sets, str(cache.splits[row]), unseen))
    _tell_what_is_lost(cache.classes, lines, len(cache.paths) - len(lines))
    names = ("path", "label", "candidates", "split", "unseen")
    return {name: [line[index] for line in lines] for index, name in enumerate(names)}


def _tell_what_is_lost(classes: Sequence[str], lines: Sequence[Any], left_out: int) -> None:
    """Say which images and classes the table is without."""
    named = {name for line in lines for name in (line[1], *line[2])}
    gone = [name for name in classes if name not in named]
    if left_out:
        say(f"{left_out} images are left out: they have no label, or show none of the classes.")
    if gone:
        say(f"{len(gone)} classes occur in no row, such as '{gone[0]}': list all with --classes.")
