"""Per-class accuracy and harmonic mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def class_weights(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weight of each image in the mean over classes: 1 / (images of its class x classes).

    Args:
        labels: (n,) class ids; classes that don't occur are not counted.

    Returns:
        (n,), summing to 1.
    """
    _, class_index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (counts[class_index] * len(counts)), dtype=np.float64)


def per_class_accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float | None:
    """Mean over classes of the top-1 accuracy within the class (Xian et al. 2017, eq. 7).

    Args:
        predicted: (n,) class ids.
        labels: (n,) true class ids; -1 (unknown) is skipped.

    Returns:
        Percent, or None when no label is known.
    """
    labelled = labels >= 0
    if not labelled.any():
        return None
    right = predicted[labelled] == labels[labelled]
    _, class_index, counts = np.unique(labels[labelled], return_inverse=True, return_counts=True)
    return float(100 * (np.bincount(class_index, right) / counts).mean())


def harmonic_mean(seen: float | None, unseen: float | None) -> float | None:
    """H = 2 S U / (S + U), 0 when both are 0, None when one is None (Xian et al. 2017, eq. 9)."""
    if seen is None or unseen is None:
        return None
    return 2 * seen * unseen / (seen + unseen) if seen + unseen else 0.0
