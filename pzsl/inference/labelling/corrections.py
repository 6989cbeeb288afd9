"""Merge corrections made by hand into a table for the next run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pzsl.errors import UserError, nearest
from pzsl.files import check_output, check_regular
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
    """Write a table of all images of a run's cache, with labels corrected by hand.

    Args:
        corrections: CSV of the review page, `path, label`; an empty label means that the image
            shows none of the classes and is left out.
        run: folder of the run that was reviewed. cache: its cache, if it has moved.
        out: the table, `path, label, candidates, split, unseen`, which `pzsl extract --dataset
            table` reads. The label of a corrected image is its only candidate or, if the data had
            single labels, its label; the other images are unchanged.
        runs: folder of run records, if a run is trained here.
        overwrite: replace an existing table.

    Returns:
        `table, images, corrected, removed`.

    Raises:
        UserError: a file can't be read, or a correction names an image outside the training set or
            an unseen class. All corrections are checked before anything is written.
    """
    out = Path(out)
    check_out(out, overwrite)
    check_output(out, (corrections,))
    folder = Path(run) if run is not None else train_default(cache, runs)
    record = read_record(folder, cache)
    trained = restore(record)
    check_names(out, trained.names)
    chosen = _checked(Path(corrections), trained)
    single_labels = labels_are_candidates(trained.cache, record.config.noise)
    table = _table(trained, chosen, single_labels)
    write_table(out, table)
    return {
        "table": str(out),
        "images": len(table["path"]),
        "corrected": sum(label != "" for label in chosen.values()),
        "removed": sum(label == "" for label in chosen.values()),
    }


def _checked(file: Path, trained: Trained) -> dict[str, str]:
    """Read corrections: label by image id, both checked.

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
    train_paths = {trained.cache.paths[row] for row in trained.task.rows}
    chosen: dict[str, str] = {}
    for line, (path, label) in enumerate(zip(frame["path"], frame["label"], strict=True), 2):
        if path not in train_paths:
            raise UserError(f"{file}, row {line}: '{path}' is not a training image of this run.")
        if label and label not in seen:
            raise UserError(f"{file}, row {line}: unknown class '{label}'.{nearest(label, seen)}")
        if chosen.setdefault(path, label) != label:
            raise UserError(f"{file}, row {line}: '{path}' has a different label in a row above.")
    return chosen


def _table(trained: Trained, chosen: dict[str, str], single_labels: bool) -> dict[str, list[Any]]:
    """The columns of the new table; test images and uncorrected ones are unchanged.

    Single labels stay in the label column: if they moved to the candidates, that column would be
    taken for the true labels.
    """
    cache, candidates = trained.cache, trained.task.problem.candidates
    offsets, labels = candidates.offsets.tolist(), candidates.labels.tolist()
    place = {int(row): index for index, row in enumerate(trained.task.rows)}
    lines: list[tuple[Any, ...]] = []
    for row, path in enumerate(cache.paths):
        label_name = cache.classes[cache.labels[row]] if cache.labels[row] >= 0 else ""
        candidate_names: list[str] = []
        if row in place:
            start, end = offsets[place[row]], offsets[place[row] + 1]
            candidate_names = [trained.names[label] for label in labels[start:end]]
            candidate_names = [chosen[path]] if path in chosen else candidate_names
            label_name, candidate_names = (
                (candidate_names[0], []) if single_labels else (label_name, candidate_names)
            )
        if (label_name or candidate_names) and chosen.get(path) != "":
            unseen = bool(label_name) and label_name not in trained.names[: trained.seen]
            lines.append((path, label_name, candidate_names, str(cache.splits[row]), unseen))
    _tell_what_is_lost(cache.classes, lines, len(cache.paths) - len(lines))
    columns = ("path", "label", "candidates", "split", "unseen")
    return {name: [line[index] for line in lines] for index, name in enumerate(columns)}


def _tell_what_is_lost(classes: Sequence[str], lines: Sequence[Any], left_out: int) -> None:
    """Report images and classes that the table lacks."""
    occurring = {name for line in lines for name in (line[1], *line[2])}
    absent = [name for name in classes if name not in occurring]
    if left_out:
        say(f"{left_out} images are left out: they have no label, or show none of the classes.")
    if absent:
        say(
            f"{len(absent)} classes occur in no row, such as '{absent[0]}': list all with "
            "--classes."
        )
