"""S, U, H, T1 and AUSUC of generalised zero-shot learning, in percent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pzsl.evaluation.accuracy import harmonic_mean, per_class_accuracy
from pzsl.evaluation.curve import area, seen_unseen_curve
from pzsl.evaluation.summary import Summary, summarise

Metrics = dict[str, float | None]


def evaluate(
    scores: NDArray[np.floating], labels: NDArray[np.int64], seen: NDArray[np.bool_]
) -> Metrics:
    """The metrics of the generalised zero-shot protocol (Xian et al. 2017; AUSUC: Chao et al.).

    Args:
        scores: (n, C) score of each class for each test image, higher is better.
        labels: (n,) true class ids; -1 (unknown) is skipped.
        seen: (C,) which classes are seen.

    Returns:
        Percentages. `S`, `U`: per-class accuracy of images of seen (unseen) classes, predicted
        over all classes together; `H`: their harmonic mean; `T1`: per-class accuracy of unseen
        images over the unseen classes only; `AUSUC`: area under the seen-unseen curve. A metric
        without images is None; classes without an image are not counted.
    """
    return evaluate_summary(summarise(scores, labels, seen))


def evaluate_summary(summary: Summary, gamma: float = 0.0) -> Metrics:
    """`evaluate` on a summary, with `gamma` subtracted from the scores of the seen classes."""
    predicted = predict(summary, gamma)
    unseen = ~summary.is_seen
    accuracy = {
        "S": per_class_accuracy(predicted[summary.is_seen], summary.label[summary.is_seen]),
        "U": per_class_accuracy(predicted[unseen], summary.label[unseen]),
    }
    return {
        **accuracy,
        "H": harmonic_mean(accuracy["S"], accuracy["U"]),
        "T1": per_class_accuracy(summary.unseen_class[unseen], summary.label[unseen]),
        "AUSUC": area(seen_unseen_curve(summary)),
    }


def predict(summary: Summary, gamma: float = 0.0) -> NDArray[np.int64]:
    """Predicted class ids (n,) over all classes; ties go to the lower id."""
    lead = summary.seen_score - gamma
    first = (summary.seen_class < summary.unseen_class) | (summary.unseen_class < 0)
    seen_wins = (lead > summary.unseen_score) | ((lead == summary.unseen_score) & first)
    return np.where(seen_wins & (summary.seen_class >= 0), summary.seen_class, summary.unseen_class)


def stack(
    scores: NDArray[np.floating], seen: NDArray[np.bool_], gamma: float
) -> NDArray[np.floating]:
    """Subtract `gamma` from seen columns of (n, C): calibrated stacking (Chao et al. 2016)."""
    return scores - (np.asarray(seen) * gamma).astype(scores.dtype)
