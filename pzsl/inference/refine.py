"""Clean labels: what a run made of each training image's candidates."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pzsl.errors import UserError
from pzsl.files import write_atomic
from pzsl.inference.restore import Trained, read_record, restore
from pzsl.training.run import refined_labels

UNSURE = 0.5
"""Confidence below which a label is worth a look."""
SHOWN = 0.001
"""Weight from which a label is listed that is no candidate."""
COLUMNS = ("path", "label", "confidence", "outside", "candidates", "weights", "split")


class Refined(NamedTuple):
    """One image: its label, how sure that is, and all labels in question, heaviest first."""

    path: str
    label: str
    confidence: float
    outside: bool
    candidates: list[str]
    weights: list[float]


def refine(
    run: str | Path,
    out: str | Path,
    *,
    cache: str | Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the label that a run settled on for each training image, as CSV.

    Args:
        run: folder of a finished run.
        out: the table: `path, label, confidence, outside, candidates, weights, split`, which
            `pzsl extract --dataset table` takes again; candidates and
            their weights are separated by `|`, heaviest first. `outside` is yes where the label is
            none of the image's own candidates (only where the run estimated that this happens).
        cache: the run's cache, where it has moved.
        overwrite: replace a file that is there.

    Returns:
        `out, images, outside, unsure` (confidence below one half), `mean_confidence` in percent,
        and `disambiguation`, the share of right labels in percent (None where truth is unknown).

    Raises:
        UserError: no such run, its cache is another, or the file is there already.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise UserError(f"{out} is there already: give another --out, or --overwrite.")
    trained = restore(read_record(run, cache))
    rows = list(_rows(trained))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        weights = "|".join(f"{weight:.4f}" for weight in row.weights)
        yes = "yes" if row.outside else "no"
        line = (row.path, row.label, f"{row.confidence:.4f}", yes, "|".join(row.candidates))
        writer.writerow((*line, weights, "trainval"))
    write_atomic(out, text.getvalue())
    truth = trained.task.truth
    known = truth >= 0
    right = refined_labels(trained.method).cpu().numpy()[known] == truth[known]
    return {
        "out": str(out),
        "images": len(rows),
        "outside": sum(row.outside for row in rows),
        "unsure": sum(row.confidence < UNSURE for row in rows),
        "mean_confidence": round(100 * float(np.mean([row.confidence for row in rows])), 2),
        "disambiguation": round(100 * float(right.mean()), 2) if len(right) else None,
    }


def _rows(trained: Trained) -> Iterator[Refined]:
    """Each training image, in the order of the cache."""
    method, cache, names = trained.method, trained.cache, trained.names
    support, given = method.support, trained.task.problem.candidates
    weights, labels = method.weights.cpu().numpy(), support.labels.cpu().numpy()
    chosen = refined_labels(method).cpu().numpy()
    own_labels, own = given.labels.cpu().numpy(), list(pairwise(given.offsets.tolist()))
    spans = list(pairwise(support.offsets.tolist()))
    for row, (start, end), (first, last), best in zip(
        trained.task.rows, spans, own, chosen, strict=True
    ):
        mine = set(own_labels[first:last].tolist())
        held = dict(zip(labels[start:end].tolist(), weights[start:end].tolist(), strict=True))
        listed = [label for label in held if label in mine or held[label] >= SHOWN]
        listed.sort(key=lambda label: (-held[label], label))
        yield Refined(
            cache.paths[row],
            names[best],
            held[int(best)],
            int(best) not in mine,
            [names[label] for label in listed],
            [held[label] for label in listed],
        )
