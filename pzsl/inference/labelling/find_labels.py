"""Find wrong labels, what they should be, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pzsl.candidates import FROM_DATA
from pzsl.device import usual_torch
from pzsl.errors import UsageError
from pzsl.evaluation import encoder_fit, labels_doubt
from pzsl.inference.label_table import check_names, check_out, write_table
from pzsl.inference.labelling.label_rows import LabelRow, calibration_error, label_rows, share_right
from pzsl.inference.record import read_record
from pzsl.inference.restore import Trained, restore
from pzsl.progress import say
from pzsl.requests import check_counts, is_whole, say_unused, unless, with_paths
from pzsl.store import load_cache
from pzsl.training import RunConfig, train

UNSURE = 0.5
"""Confidence below which a label counts as unsure, and doubt above which an image is marked."""
RUNS = "runs"
"""The usual folder of run records."""
LISTED = 5
"""Candidates that a row lists at most."""


@with_paths
@usual_torch()
def labels(
    run: str | Path | None = None,
    out: str | Path = "labels.csv",
    *,
    cache: str | Path | None = None,
    review: int | None = None,
    listed: int | None = LISTED,
    runs: str | Path = "runs",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a row per training image: the given labels, the refined label, and why it is in doubt.

    Args:
        run: folder of a finished run; without one, the default method is trained on `cache` with
            its candidate sets, or with its single labels.
        out: the table, `.csv`, `.parquet`, `.json` or `.jsonl`, the most doubtful image first.
        cache: the run's cache if it has moved, or the one to train on.
        review: how many images to mark as worth a look; None: those whose doubt is at least one
            half.
        listed: most candidates listed in a row; None for all.
        runs: folder of run records, if a run is trained here.
        overwrite: replace an existing table.

    Returns:
        `out, run, images, changed` (had one label and should have another), `outside` (the label
        is none of the given ones), `review, unsure` (confidence below one half),
        `mean_confidence` and, where truth is known, `disambiguation` (right labels), in percent,
        and `expected_calibration_error`, 0 to 1; else these two are None. `unchecked`: test images,
        whose labels no run looks at.

    Raises:
        UserError: no such run, its cache is another one, the file exists already, or a class
            name can't stand in a CSV's list. UsageError: neither run nor cache, a negative number,
            or an ending of `out` that is unknown.
    """
    out = Path(out)
    if review is not None and not (is_whole(review) and review >= 0):
        raise UsageError(f"--review should be at least 0, not {review}.")
    check_counts(listed=listed)
    check_out(out, overwrite)
    folder = given_or_trained(run, cache, runs)
    record = read_record(folder, cache)
    trained = restore(record)
    check_names(out, trained.names)
    say_drawn(record.config)
    if run is not None:  # else the training has said it
        _say_doubt(trained, record.config)
    rows = label_rows(trained)
    chosen = worth_a_look(rows) if review is None else min(review, len(rows))
    write_table(out, _columns(rows, chosen, listed))
    unchecked = len(trained.cache.splits) - len(rows)
    place = {"out": str(out), "run": str(record.folder)}
    return {**place, **_summary(rows, chosen), "unchecked": unchecked}


def say_drawn(config: RunConfig) -> None:
    """Say if what counts as given was drawn for the run, and how to ask about the data's own."""
    if config.noise not in FROM_DATA:
        say(
            f"The given labels are sets that were drawn for this run (noise {config.noise}), not "
            "the data's own: give --cache in place of --run to ask about those."
        )


def _say_doubt(trained: Trained, config: RunConfig) -> None:
    """Warn if the encoder doesn't suit the images, or the noise that was estimated is too high."""
    described, annotated = trained.method.describe(), config.noise == "annotated"
    encoder = encoder_fit(trained.cache).warning
    if doubt := labels_doubt(described, config.eta, annotated, encoder):
        say(doubt)


def given_or_trained(
    run: str | Path | None, cache: str | Path | None, runs: str | Path = RUNS
) -> Path:
    """The folder of the given run, or else of the default method, trained on a cache.

    Raises:
        UsageError: no cache is given. UserError: those of `train`.
    """
    if run is not None:
        say_unused("the run is there already, as --run", runs=unless(RUNS, str(runs)))
        return Path(run)
    if cache is None:
        raise UsageError("Name a finished run with --run, or a cache to train on with --cache.")
    noise = "annotated" if load_cache(cache, check=False).annotation else "file"
    result = train(cache, noise=(noise,), seeds=1, runs=runs)
    return Path(result["runs"][0]["path"])


def worth_a_look(rows: Sequence[LabelRow]) -> int:
    """The number of rows that are more likely wrong than right."""
    return sum(row.doubt >= UNSURE for row in rows)


def _columns(rows: Sequence[LabelRow], review: int, listed: int | None) -> dict[str, Sequence[Any]]:
    """The table's columns, by name."""
    return {
        "path": [row.path for row in rows],
        "given": [row.given for row in rows],
        "label": [row.label for row in rows],
        "confidence": [round(row.confidence, 4) for row in rows],
        "runner_up": [row.runner_up for row in rows],
        "outside": [row.outside for row in rows],
        "doubt": [round(row.doubt, 4) for row in rows],
        "candidates": [row.candidates[:listed] for row in rows],
        "weights": [[round(weight, 4) for weight in row.weights[:listed]] for row in rows],
        "why": [row.why for row in rows],
        "review": [place < review for place in range(len(rows))],
        "split": ["trainval"] * len(rows),
    }


def _summary(rows: Sequence[LabelRow], review: int) -> dict[str, Any]:
    """Counts over all rows, and metrics if true labels are known."""
    right, error = share_right(list(rows)), calibration_error(list(rows))
    return {
        "images": len(rows),
        "changed": sum(row.changed for row in rows),
        "outside": sum(row.outside for row in rows),
        "review": review,
        "unsure": sum(row.confidence < UNSURE for row in rows),
        "mean_confidence": round(100 * float(np.mean([row.confidence for row in rows])), 2),
        "disambiguation": None if right is None else round(right, 2),
        "expected_calibration_error": None if error is None else round(error, 4),
    }
