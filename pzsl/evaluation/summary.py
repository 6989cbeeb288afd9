"""Each image's best seen and best unseen class: all that generalised zero-shot metrics need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError

_BLOCK = 1 << 22
"""Scores per block."""


@dataclass(frozen=True)
class Summary:
    """The best seen and the best unseen class of n images.

    Attributes:
        seen_score: (n,) best score of a seen class, -inf without seen classes.
        seen_class: (n,) that class's id, -1 without seen classes.
        unseen_score: (n,) best score of an unseen class, -inf without unseen classes.
        unseen_class: (n,) that class's id, -1 without unseen classes.
        label: (n,) true class id, -1 where unknown.
        is_seen: (n,) whether the true class is seen.
    """

    seen_score: NDArray[np.floating]
    seen_class: NDArray[np.int64]
    unseen_score: NDArray[np.floating]
    unseen_class: NDArray[np.int64]
    label: NDArray[np.int64]
    is_seen: NDArray[np.bool_]

    @staticmethod
    def join(parts: Sequence[Summary]) -> Summary:
        """Concatenate summaries, in order."""
        names = [field.name for field in fields(Summary)]
        return Summary(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def summarise(
    scores: NDArray[np.floating], labels: NDArray[np.int64], seen: NDArray[np.bool_]
) -> Summary:
    """Reduce a block of scores to a summary; join the blocks with `Summary.join`.

    Args:
        scores: (n, C) score of each class, higher is better.
        labels: (n,) true class ids, -1 where unknown.
        seen: (C,) which classes are seen.

    Raises:
        UserError: shapes don't agree, a label is out of range, or a score is NaN.
    """
    scores, labels, seen = np.asarray(scores), np.asarray(labels), np.asarray(seen, dtype=np.bool_)
    if scores.shape != (len(labels), len(seen)):
        raise UserError(
            f"Evaluation: scores should be ({len(labels)}, {len(seen)}), one row for each label "
            f"and one column for each class, but are {scores.shape}."
        )
    if len(labels) and not -1 <= labels.min() <= labels.max() < len(seen):
        raise UserError(f"Evaluation: labels should lie in -1..{len(seen) - 1}.")
    sides = [_best(scores, np.flatnonzero(side)) for side in (seen, ~seen)]
    for score, _ in sides:
        bad = np.flatnonzero(np.isnan(score))
        if len(bad):
            raise UserError(f"Evaluation: row {bad[0]} of the scores holds NaN: check the model.")
    is_seen = seen[labels] & (labels >= 0)
    return Summary(*sides[0], *sides[1], labels.astype(np.int64), is_seen)


def _best(
    scores: NDArray[np.floating], columns: NDArray[np.int64]
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Best score and class id of each row among the given columns; ties go to the first."""
    count = len(scores)
    best = np.full(count, -np.inf, dtype=scores.dtype)
    best_class = np.full(count, -1, dtype=np.int64)
    if not len(columns):
        return best, best_class
    step = max(1, _BLOCK // len(columns))
    beside = columns[-1] - columns[0] == len(columns) - 1  # else they have to be copied
    chosen = slice(columns[0], columns[-1] + 1) if beside else columns
    for start in range(0, count, step):
        block = scores[start : start + step, chosen]
        at = block.argmax(axis=1)
        best[start : start + step] = np.take_along_axis(block, at[:, None], axis=1)[:, 0]
        best_class[start : start + step] = columns[at]
    return best, best_class
