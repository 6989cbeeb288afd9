"""A run's view of each training image's labels: one row per image, the most doubtful first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pzsl.evaluation import expected_calibration_error
from pzsl.inference.labelling.label_weights import reported_weights
from pzsl.inference.restore import Trained

SURE = 0.9
"""Confidence above which a label needs no remark."""
SHOWN = 0.001
"""Weight above which a label outside the candidate set is listed."""


class LabelRow(NamedTuple):
    """One training image.

    Attributes:
        path: its id.
        given: its candidate labels, or its single label, as in the data.
        label: the refined label, which has the largest weight.
        confidence: weight of that label, 0 to 1.
        runner_up: the label of the second-largest weight; '' if there is none.
        outside: whether `label` is none of the given ones.
        doubt: 0 to 1, how likely it is that the label or the given set is wrong.
        candidates, weights: all listed labels, largest weight first.
        right: whether `label` is the true one; None if that is unknown.
        row: its row of the cache.
    """

    path: str
    given: list[str]
    label: str
    confidence: float
    runner_up: str
    outside: bool
    doubt: float
    candidates: list[str]
    weights: list[float]
    right: bool | None
    row: int

    @property
    def changed(self) -> bool:
        """Whether the image had a single label and should have another."""
        return self.outside and len(self.given) == 1

    @property
    def why(self) -> str:
        """Why the image is worth a look, in plain words; '' if it isn't."""
        share = f"{100 * self.confidence:.0f} %"
        if self.changed:
            return f"given '{self.given[0]}', but '{self.label}' fits better ({share})"
        if self.outside:
            return f"'{self.label}' fits best ({share}), but is not among the given labels"
        if self.confidence >= SURE:
            return ""
        if self.runner_up:
            second = f"{100 * self.weights[1]:.0f} %"
            return f"'{self.label}' ({share}) or '{self.runner_up}' ({second})"
        return f"'{self.label}' is not sure ({share})"


def label_rows(trained: Trained) -> list[LabelRow]:
    """A row for each training image of a run, the most doubtful first."""
    rows = list(_rows(trained))
    return sorted(rows, key=lambda row: (-row.doubt, row.path))


def by_gain(rows: Iterable[LabelRow]) -> list[LabelRow]:
    """Rows by the gain of a correction, the largest first: how likely the refined label is wrong.

    Correcting a wrong given label gains nothing if the refined label is already right.
    """
    return sorted(rows, key=lambda row: (row.confidence, row.path))


def _rows(trained: Trained) -> Iterator[LabelRow]:
    """Each training image, in the order of the cache."""
    names, given_sets = trained.names, trained.task.problem.candidates
    candidates, entry_weights = reported_weights(trained.method)
    weights, labels = entry_weights.cpu().numpy(), candidates.labels.cpu().numpy()
    chosen = candidates.heaviest(entry_weights).cpu().numpy()
    given_labels = given_sets.labels.cpu().numpy()
    given_spans, spans = (pairwise(sets.offsets.tolist()) for sets in (given_sets, candidates))
    for index, ((start, end), (first, last)) in enumerate(zip(spans, given_spans, strict=True)):
        given = given_labels[first:last].tolist()
        weight_of = dict(zip(labels[start:end].tolist(), weights[start:end].tolist(), strict=True))
        best, truth = int(chosen[index]), int(trained.task.truth[index])
        listed = [label for label in weight_of if label in given or weight_of[label] >= SHOWN]
        listed.sort(key=lambda label: (label != best, -weight_of[label], label))
        yield LabelRow(
            path=trained.cache.paths[trained.task.rows[index]],
            given=[names[label] for label in given],
            label=names[best],
            confidence=weight_of[best],
            runner_up=names[listed[1]] if len(listed) > 1 else "",
            outside=best not in given,
            doubt=_doubt(weight_of, given, best),
            candidates=[names[label] for label in listed],
            weights=[weight_of[label] for label in listed],
            right=best == truth if truth >= 0 else None,
            row=int(trained.task.rows[index]),
        )


def _doubt(weight_of: dict[int, float], given: list[int], best: int) -> float:
    """The larger of two probabilities: the label is wrong; the given set lacks the true label."""
    outside = sum(weight for label, weight in weight_of.items() if label not in given)
    wrong = sum(weight for label, weight in weight_of.items() if label != best)
    return min(1.0, max(outside, wrong))  # sums, because 1 - weight would round small doubts to 0


def calibration_error(rows: list[LabelRow]) -> float | None:
    """Expected calibration error of the confidences, 0 to 1; None if no true label is known."""
    checked = [row for row in rows if row.right is not None]
    if not checked:
        return None
    confidence = np.array([row.confidence for row in checked])
    return expected_calibration_error(confidence, np.array([row.right for row in checked]))


def share_right(rows: list[LabelRow]) -> float | None:
    """Percentage of right labels; None if no true label is known."""
    hits = [row.right for row in rows if row.right is not None]
    return 100 * float(np.mean(hits)) if hits else None
