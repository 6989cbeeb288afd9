"""Merge corrections made by hand into a table for the next run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pzsl.candidates import FROM_DATA
from pzsl.datasets.names import normal_form
from pzsl.datasets.own import plain_path, read_rows
from pzsl.device import usual_torch
from pzsl.errors import UserError, nearest
from pzsl.folders import same_letters
from pzsl.inference.label_table import check_names, check_out, write_table
from pzsl.inference.labelling.find_labels import given_or_trained
from pzsl.inference.record import read_record
from pzsl.inference.restore import Trained, restore
from pzsl.progress import counted, say
from pzsl.requests import check_output, with_paths
from pzsl.store import Cache


@with_paths
@usual_torch()
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
            table` reads. The label of a corrected image is its only candidate or, if the data have
            single labels, its label; the other images are unchanged, with the candidates that the
            data have: sets that were drawn for the run are not in the table.
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
    folder = given_or_trained(run, cache, runs)
    record = read_record(folder, cache)
    trained = restore(record)
    check_names(out, trained.names)
    chosen = _checked(Path(corrections), trained)
    table = _table(trained, chosen, record.config.noise in FROM_DATA)
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
    rows = read_rows(file)
    if not rows:
        say(f"{file} corrects no image.")
    if any(row.candidates or row.split for row in rows):
        say(
            f"{file} has more columns than the page saves: its column 'label' counts as corrected "
            f"by hand, for all of its {len(rows)} images."
        )
    cache, seen = trained.cache, list(trained.names[: trained.seen])
    train_paths = [cache.paths[row] for row in trained.task.rows]
    path_of = {plain_path(path): path for path in train_paths}
    spelt = same_letters((row.path for row in rows), path_of)
    name_of = {normal_form(name): name for name in seen} | {name: name for name in seen}
    chosen: dict[str, str] = {}
    for place, given_path, label, *_ in rows:
        where = f"{file}, {place}"
        if given_path not in spelt:
            raise UserError(f"{where}: {_no_training_image(given_path, cache)}")
        path = path_of[spelt[given_path]]
        name = name_of.get(label) or name_of.get(normal_form(label), "")
        if label and not name:
            raise UserError(f"{where}: {_no_seen_class(label, trained)}")
        if chosen.setdefault(path, name) != name:
            raise UserError(f"{where}: '{path}' has a different label in a row above.")
    return chosen


def _no_training_image(path: str, cache: Cache) -> str:
    if path in same_letters([path], map(plain_path, cache.paths)):
        return (
            f"'{path}' is a test image, and only labels of training images are corrected: take "
            "the row out, or extract again with the image for training."
        )
    return f"'{path}' is not a training image of this run."


def _no_seen_class(label: str, trained: Trained) -> str:
    seen, unseen = trained.names[: trained.seen], trained.names[trained.seen :]
    if normal_form(label) in map(normal_form, unseen):
        return (
            f"'{label}' is an unseen class, which no training image can have: leave the label "
            "empty to leave the image out, or extract again with the class as a seen one."
        )
    return f"unknown class '{label}'.{nearest(label, list(seen))}"


def _table(trained: Trained, chosen: dict[str, str], from_data: bool) -> dict[str, list[Any]]:
    """The columns of the new table; test images and uncorrected ones are unchanged.

    Single labels stay in the label column: if they moved to the candidates, that column would be
    taken for the true labels. Where sets were drawn (`from_data` is false), labels count as true,
    and a correction changes them.
    """
    cache, lines = trained.cache, []
    single_labels = cache.candidate_offsets is None
    for row, path in enumerate(cache.paths):
        label_name = cache.classes[cache.labels[row]] if cache.labels[row] >= 0 else ""
        candidate_names = _stored_candidates(cache, row)
        if chosen.get(path):
            candidate_names = [] if single_labels else [chosen[path]]
            label_name = chosen[path] if single_labels or not from_data else label_name
        if (label_name or candidate_names) and chosen.get(path) != "":
            unseen = bool(label_name) and label_name not in trained.names[: trained.seen]
            lines.append((path, label_name, candidate_names, str(cache.splits[row]), unseen))
    _tell_what_is_lost(cache.classes, lines, len(cache.paths) - len(lines))
    columns = ("path", "label", "candidates", "split", "unseen")
    return {name: [line[index] for line in lines] for index, name in enumerate(columns)}


def _stored_candidates(cache: Cache, row: int) -> list[str]:
    """The candidates of a training image that the cache holds; none without sets."""
    if cache.candidate_offsets is None or cache.candidate_labels is None:
        return []
    if cache.splits[row] != "trainval":
        return []
    start, end = cache.candidate_offsets[row : row + 2]
    return [cache.classes[label] for label in cache.candidate_labels[start:end]]


def _tell_what_is_lost(classes: Sequence[str], lines: Sequence[Any], left_out: int) -> None:
    """Report images and classes that the table lacks."""
    occurring = {name for line in lines for name in (line[1], *line[2])}
    absent = [name for name in classes if name not in occurring]
    if left_out:
        count = counted(left_out, "image")
        say(f"Left out: {count} without a label, or marked as none of the classes.")
    if absent:
        say(
            f"{counted(len(absent), 'class occurs', 'classes occur')} in no row, such as "
            f"'{absent[0]}': list all classes with --classes, and unseen ones with --unseen-file."
        )
