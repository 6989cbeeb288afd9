"""Details behind S and U: hits per class, the most confused pairs of classes, a thinned curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pzsl.evaluation.curve import seen_unseen_curve
from pzsl.evaluation.metrics import predict
from pzsl.evaluation.summary import Summary

Counts = NDArray[np.int64]
SMALLEST = 1e-12


def class_hits(summary: Summary, gamma: float, classes: int) -> tuple[Counts, Counts]:
    """Test images of each class, and how many of them are classified correctly.

    Args:
        summary: of the test images; unknown labels are skipped.
        gamma: subtracted from the scores of seen classes.
        classes: how many there are.

    Returns:
        (C,) images and (C,) hits.
    """
    labelled = summary.label >= 0
    labels = summary.label[labelled]
    right = predict(summary, gamma)[labelled] == labels
    images = np.bincount(labels, minlength=classes)
    return images, np.bincount(labels[right], minlength=classes)


def top_confusions(summary: Summary, gamma: float, count: int) -> list[tuple[int, int, int]]:
    """The pairs of classes that are confused most often.

    Args:
        summary: of the test images. gamma: subtracted from the scores of seen classes.
        count: the most pairs to return.

    Returns:
        True class, predicted class and number of images, the most frequent pair first.
    """
    predicted = predict(summary, gamma)
    wrong = (summary.label >= 0) & (predicted != summary.label)
    pairs = np.stack([summary.label[wrong], predicted[wrong]], axis=1)
    distinct, images = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-images, kind="stable")[:count]
    return [(int(distinct[i, 0]), int(distinct[i, 1]), int(images[i])) for i in order]


def thin_curve(summary: Summary, points: int) -> tuple[list[float], list[float]]:
    """The seen-unseen curve at some points, evenly spaced along its length, and at its highest H.

    Returns:
        S and U in percent, at most `points` and one more; empty unless there are images of both
        seen and unseen classes.
    """
    curve = seen_unseen_curve(summary)
    if curve is None:
        return [], []
    seen, unseen = curve["S"], curve["U"]
    way = np.cumsum(np.abs(np.diff(seen, prepend=seen[0]))) + unseen
    best = np.argmax(seen * unseen / np.maximum(seen + unseen, SMALLEST))
    at = np.unique([*np.searchsorted(way, np.linspace(way[0], way[-1], points)), best])
    return seen[at].round(3).tolist(), unseen[at].round(3).tolist()
