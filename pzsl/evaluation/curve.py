"""The seen-unseen curve: the trade-off between S and U as gamma varies.

Chao et al. 2016, 'An empirical study and analysis of generalized zero-shot learning'. The curve is
exact: S and U change only where gamma passes an image's margin, which is its best seen score minus
its best unseen score.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pzsl.errors import UserError
from pzsl.evaluation.accuracy import class_weights
from pzsl.evaluation.summary import Summary, summarise

Values = NDArray[np.float64]


class Curve(TypedDict):
    """Points of the seen-unseen curve: `S` falls and `U` rises (percent) as `gamma` rises."""

    gamma: Values
    S: Values
    U: Values


def seen_unseen_curve(summary: Summary) -> Curve | None:
    """Every point of the curve, in O(n log n).

    Args:
        summary: of n test images.

    Returns:
        One point between any two neighbouring margins (gamma half-way), and one beyond each end;
        None unless there are images of both seen and unseen classes.
    """
    labelled = summary.label >= 0
    seen, unseen = labelled & summary.is_seen, labelled & ~summary.is_seen
    if not seen.any() or not unseen.any():
        return None
    right_seen = seen & (summary.seen_class == summary.label)
    right_unseen = unseen & (summary.unseen_class == summary.label)
    loss, gain = np.zeros(len(labelled)), np.zeros(len(labelled))
    loss[seen] = 100 * class_weights(summary.label[seen])
    gain[unseen] = 100 * class_weights(summary.label[unseen])
    matters = right_seen | right_unseen
    margins = summary.seen_score[matters].astype(np.float64) - summary.unseen_score[matters]
    order = np.argsort(margins, kind="stable")
    margins = margins[order]
    last = np.append(margins[1:] != margins[:-1], True)[: len(margins)]
    start = (loss * right_seen).sum()
    fallen = np.cumsum((loss * right_seen)[matters][order])[last]
    risen = np.cumsum((gain * right_unseen)[matters][order])[last]
    return Curve(
        gamma=_between(margins[last]),
        S=np.maximum(np.concatenate([[start], start - fallen]), 0.0),
        U=np.concatenate([[0.0], risen]),
    )


def area(curve: Curve | None) -> float | None:
    """Area under a seen-unseen curve by the trapezoidal rule, in percent of the unit square."""
    if curve is None:
        return None
    height = (curve["S"][1:] + curve["S"][:-1]) / 2
    return float(height @ np.diff(curve["U"]) / 100)


def ausuc(
    scores: NDArray[np.floating], labels: NDArray[np.int64], seen: NDArray[np.bool_]
) -> float | None:
    """Area under the seen-unseen curve, in percent; takes the arguments of `evaluate`."""
    return area(seen_unseen_curve(summarise(scores, labels, seen)))


def best_gamma(
    scores: NDArray[np.floating], labels: NDArray[np.int64], seen: NDArray[np.bool_]
) -> float:
    """The gamma with the highest H on a labelled set; of equally good ones the one nearest 0.

    It uses the labels, so call it on validation data only, never on test images.

    Args:
        scores: (n, C) score of each class for each validation image.
        labels: (n,) true class ids; -1 (unknown) is skipped.
        seen: (C,) which classes count as seen.

    Raises:
        UserError: there is no image of a seen class, or none of an unseen class.
    """
    curve = seen_unseen_curve(summarise(scores, labels, seen))
    if curve is None:
        raise UserError("best_gamma needs labelled images of both seen and unseen classes.")
    total = curve["S"] + curve["U"]
    harmonic = 2 * curve["S"] * curve["U"] / np.where(total > 0, total, 1.0)
    best = curve["gamma"][harmonic >= harmonic.max() - 1e-9]
    return float(best[np.abs(best).argmin()])


def _between(margins: Values) -> Values:
    """A gamma below all margins (ascending, distinct), one between any two, one above all."""
    if not len(margins):
        return np.zeros(1)
    middle = margins[:-1] + np.diff(margins) / 2
    return np.concatenate([[margins[0] - 1.0], middle, [margins[-1] + 1.0]])
