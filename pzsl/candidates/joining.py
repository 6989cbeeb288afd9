"""Join the candidate sets of several annotators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pzsl.candidates.ragged import CandidateSets
from pzsl.progress import say

ROUNDING = 1e-9
"""Tolerance when sums of weights are compared with the threshold."""


def join(
    sets: Sequence[CandidateSets], weights: Sequence[float], agree: float | None = None
) -> CandidateSets:
    """Join candidate sets by a weighted vote (ours).

    Args:
        sets: one per annotator, all of the same N instances; none is empty.
        weights: one above 0 per annotator.
        agree: keep a label if the weights of the annotators who name it sum up to this; None keeps
            every label. If no label of an instance reaches it, those with the largest sum are kept,
            and such instances are counted in a message.

    Returns:
        N candidate sets; none is empty.
    """
    count = len(sets[0])
    width = 1 + max(int(annotated.labels.max(initial=0)) for annotated in sets)
    keys = np.concatenate([annotated.rows() * width + annotated.labels for annotated in sets])
    entry_weights = np.repeat(
        np.asarray(weights, dtype=np.float64), [len(annotated.labels) for annotated in sets]
    )
    entries, place = np.unique(keys, return_inverse=True)
    rows = entries // width
    if agree is not None:
        total = np.bincount(place, weights=entry_weights)
        heaviest = np.zeros(count)
        np.maximum.at(heaviest, rows, total)
        too_light = int((heaviest < agree - ROUNDING).sum())
        if too_light:
            say(
                f"No label of {too_light:,} of {count:,} images reaches --agree {agree:g}: those "
                "with the largest sum are their candidates."
            )
        enough = total >= np.minimum(agree, heaviest)[rows] - ROUNDING
        entries, rows = entries[enough], rows[enough]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))])
    return CandidateSets(offsets.astype(np.int64), (entries % width).astype(np.int32))
