"""Candidate sets of several annotators, joined into one for each instance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pzsl.candidates.ragged import CandidateSets

ROUNDING = 1e-9
"""Sums of weights that miss the threshold by less than this reach it."""


def join(
    sets: Sequence[CandidateSets], weights: Sequence[float], agree: float | None = None
) -> CandidateSets:
    """The labels that enough annotators name (ours).

    Args:
        sets: of each annotator, all of the same N instances; none is empty.
        weights: one above 0 for each annotator.
        agree: a label joins when the weights of those who name it sum up to this; None lets every
            label in that anyone names. Where none reaches it, the heaviest are taken.

    Returns:
        N candidate sets; none is empty.
    """
    count = len(sets[0])
    width = 1 + max(int(one.labels.max(initial=0)) for one in sets)
    keys = np.concatenate([one.rows() * width + one.labels for one in sets])
    each = np.repeat(np.asarray(weights, dtype=np.float64), [len(one.labels) for one in sets])
    entries, place = np.unique(keys, return_inverse=True)
    rows = entries // width
    if agree is not None:
        total = np.bincount(place, weights=each)
        heaviest = np.zeros(count)
        np.maximum.at(heaviest, rows, total)
        kept = total >= np.minimum(agree, heaviest)[rows] - ROUNDING
        entries, rows = entries[kept], rows[kept]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))])
    return CandidateSets(offsets.astype(np.int64), (entries % width).astype(np.int32))
