"""How well label weights separate the true label from the other candidates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 16
"""Instances per block; only the entries of one block are copied at a time."""


def disambiguation_accuracy(
    weights: NDArray[np.floating],
    offsets: NDArray[np.int64],
    labels: NDArray[np.int32],
    truth: NDArray[np.int64],
) -> float | None:
    """How often the candidate with the largest weight is the true label. For reporting only.

    Args:
        weights: (M,) weight of each candidate; ties go to the first.
        offsets: (N + 1,) start of each instance's candidates, and the end; no set is empty.
        labels: (M,) class ids of the candidates.
        truth: (N,) true class ids; -1 (unknown) is skipped.

    Returns:
        Percent of the instances whose truth is known; None if there are none.
    """
    labelled = truth >= 0
    if not labelled.any():
        return None
    right = 0
    for start in range(0, len(truth), BLOCK):
        block_truth = truth[start : start + BLOCK]
        bounds = offsets[start : start + len(block_truth) + 1]
        block_weights, starts = weights[bounds[0] : bounds[-1]], bounds[:-1] - bounds[0]
        heaviest = np.repeat(np.maximum.reduceat(block_weights, starts), np.diff(bounds))
        heaviest_entries = np.flatnonzero(block_weights == heaviest)
        first = heaviest_entries[np.searchsorted(heaviest_entries, starts)]
        answer = labels[bounds[0] + first]
        right += int((answer == block_truth)[block_truth >= 0].sum())
    return 100 * right / int(labelled.sum())


def mean_entropy(weights: NDArray[np.floating], offsets: NDArray[np.int64]) -> float:
    """Mean over instances of the entropy of their label weights, in nats.

    Args:
        weights: (M,) weight of each candidate, summing to 1 within an instance.
        offsets: (N + 1,) start of each instance's candidates, and the end.
    """
    total = 0.0
    for start in range(0, len(weights), 16 * BLOCK):
        block_weights = weights[start : start + 16 * BLOCK]
        positive = block_weights[block_weights > 0]
        total -= float((positive * np.log(positive)).sum(dtype=np.float64))
    return total / max(len(offsets) - 1, 1)
