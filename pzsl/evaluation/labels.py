"""How well label weights have told the true label from the other candidates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 16
"""Instances that are looked at together: their entries alone are copied."""


def disambiguation_accuracy(
    weights: NDArray[np.floating],
    offsets: NDArray[np.int64],
    labels: NDArray[np.int32],
    truth: NDArray[np.int64],
) -> float | None:
    """How often the heaviest candidate is the true label. For reporting only.

    Args:
        weights: (M,) weight of each candidate; of equal ones the first counts.
        offsets: (N + 1,) start of each instance's candidates, and the end; none is empty.
        labels: (M,) class ids of the candidates.
        truth: (N,) true class ids; -1 (unknown) is skipped.

    Returns:
        Percent of the instances whose truth is known; None if there are none.
    """
    known = truth >= 0
    if not known.any():
        return None
    right = 0
    for start in range(0, len(truth), BLOCK):
        own = truth[start : start + BLOCK]
        bounds = offsets[start : start + len(own) + 1]
        some, starts = weights[bounds[0] : bounds[-1]], bounds[:-1] - bounds[0]
        heaviest = np.repeat(np.maximum.reduceat(some, starts), np.diff(bounds))
        at = np.flatnonzero(some == heaviest)
        first = at[np.searchsorted(at, starts)]
        answer = labels[bounds[0] + first]
        right += int((answer == own)[own >= 0].sum())
    return 100 * right / int(known.sum())


def mean_entropy(weights: NDArray[np.floating], offsets: NDArray[np.int64]) -> float:
    """Mean over instances of the entropy of their label weights, in nats.

    Args:
        weights: (M,) weight of each candidate, summing to 1 within an instance.
        offsets: (N + 1,) start of each instance's candidates, and the end.
    """
    total = 0.0
    for start in range(0, len(weights), 16 * BLOCK):
        some = weights[start : start + 16 * BLOCK]
        positive = some[some > 0].astype(np.float64)
        total -= float((positive * np.log(positive)).sum())
    return total / max(len(offsets) - 1, 1)
