"""Validate candidate sets that come from a file or an annotator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pzsl.candidates.ragged import CandidateSets
from pzsl.errors import UserError


def validate(
    offsets: NDArray[np.int64],
    labels: NDArray[np.int32],
    seen: NDArray[np.bool_],
    where: str,
    rows: NDArray[np.int64] | None = None,
) -> CandidateSets:
    """Check candidate sets from a file or an annotator; after this they are trusted.

    Args:
        offsets: (N + 1,) start of each row in `labels`, and the end.
        labels: (M,) class ids, in any order within a row.
        seen: (C,) which classes are seen.
        where: the file or argument that they came from, for messages.
        rows: the instances to check and return (the training ones); by default all.

    Returns:
        The sets of `rows`, ascending within each.

    Raises:
        UserError: a row is empty, or has a class that is duplicate, outside 0..C-1 or unseen; the
            message names the first such row.
    """
    _check_layout(offsets, labels, where)
    _check_range(offsets, labels, len(seen), where)
    sets = CandidateSets(offsets.astype(np.int64), labels.astype(np.int32))
    numbers = np.arange(len(sets)) if rows is None else rows
    sets = sets.subset(numbers)
    entry_rows = sets.rows()
    order = np.lexsort((sets.labels, entry_rows))
    sets = CandidateSets(sets.offsets, sets.labels[order])
    _check_sets(sets, seen, where, numbers)
    return sets


def _check_layout(offsets: NDArray[np.int64], labels: NDArray[np.int32], where: str) -> None:
    for name, values in (("offsets", offsets), ("labels", labels)):
        if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
            raise UserError(
                f"{where}: candidate {name} should be a row of integers, "
                f"but are {values.shape} {values.dtype}: write them again."
            )
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(labels):
        ends = f"{offsets[0]}..{offsets[-1]}" if len(offsets) else "nothing"
        raise UserError(
            f"{where}: candidate offsets should run from 0 to {len(labels)} (the number of "
            f"labels), but run over {ends}: write them again."
        )
    falls = np.flatnonzero(np.diff(offsets) < 0)
    if len(falls):
        raise UserError(f"{where}: candidate offsets fall at row {falls[0]}: write them again.")


def _check_range(
    offsets: NDArray[np.int64], labels: NDArray[np.int32], classes: int, where: str
) -> None:
    """Refuse labels that int32 can't hold: 2**32 would become class 0."""
    limits = np.iinfo(np.int32)
    if labels.size and (int(labels.min()) < limits.min or int(labels.max()) > limits.max):
        at = int(np.flatnonzero((labels < limits.min) | (labels > limits.max))[0])
        row = int(np.searchsorted(offsets, at, side="right")) - 1
        raise UserError(
            f"{where}: row {row} has candidate {labels[at]}, outside "
            f"0..{classes - 1}: use 0-based rows of the class list."
        )


def _check_sets(
    sets: CandidateSets, seen: NDArray[np.bool_], where: str, numbers: NDArray[np.int64]
) -> None:
    empty = np.flatnonzero(sets.sizes() == 0)
    if len(empty):
        raise UserError(
            f"{where}: row {numbers[empty[0]]} has no candidate label ({len(empty)} such rows): "
            "give each training image at least one seen class, or leave it out."
        )
    rows, labels = sets.rows(), sets.labels
    outside = np.flatnonzero((labels < 0) | (labels >= len(seen)))
    if len(outside):
        at = outside[0]
        raise UserError(
            f"{where}: row {numbers[rows[at]]} has candidate {labels[at]}, outside "
            f"0..{len(seen) - 1}: use 0-based rows of the class list."
        )
    twice = np.flatnonzero((labels[1:] == labels[:-1]) & (rows[1:] == rows[:-1]))
    if len(twice):
        at = twice[0]
        raise UserError(
            f"{where}: row {numbers[rows[at]]} has candidate {labels[at]} twice: list it once."
        )
    unseen = np.flatnonzero(~seen[labels])
    if len(unseen):
        row, label = rows[unseen[0]], labels[unseen[0]]
        problem = (
            f"has the unseen class {label} among its candidates"
            if seen[sets.row(int(row))].any()
            else f"has no seen class among its candidates, only unseen ones such as {label}"
        )
        raise UserError(
            f"{where}: row {numbers[row]} {problem}: candidates are seen classes; "
            "remove it, or mark the class as seen."
        )
