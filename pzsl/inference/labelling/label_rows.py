"""What a run makes of each training image's labels: one row an image, the most doubtful first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pzsl.evaluation import expected_calibration_error
from pzsl.inference.labelling.label_weights import reported_weights
from pzsl.inference.restore import Trained

SURE = 0.9
"""Confidence from which nothing is said about a label."""
SHOWN = 0.001
"""Weight from which a label is listed that is no candidate."""


class LabelRow(NamedTuple):
    """One training image.

    Attributes:
        path: its id.
        given: its candidate labels, or its one label, as they came.
        label: what it should have: the heaviest label.
        confidence: weight of that label, 0 to 1.
        runner_up: the next heaviest label, '' where there is none.
        outside: whether `label` is none of the given ones.
        doubt: 0 to 1, how likely it is that the label or the given set is wrong.
        candidates, weights: all labels in question, heaviest first.
        right: whether `label` is the true one; None where that is unknown.
        row: of the cache.
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
        """Whether the image came with one label and should have another."""
        return self.outside and len(self.given) == 1

    @property
    def why(self) -> str:
        """Why the image deserves a look, in plain words; '' where it doesn't."""
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
    """Rows by what a correction would gain, the most first: how likely the label is wrong.

    A wrong given label gains nothing where the run already has the right one in its place.
    """
    return sorted(rows, key=lambda row: (row.confidence, row.path))


def _rows(trained: Trained) -> Iterator[LabelRow]:
    """Each training image, in the order of the cache."""
    names, given = trained.names, trained.task.problem.candidates
    support, entry_weights = reported_weights(trained.method)
    weights, labels = entry_weights.cpu().numpy(), support.labels.cpu().numpy()
    chosen = support.heaviest(entry_weights).cpu().numpy()
    given_labels = given.labels.cpu().numpy()
    given_spans, spans = (pairwise(each.offsets.tolist()) for each in (given, support))
    for index, ((start, end), (first, last)) in enumerate(zip(spans, given_spans, strict=True)):
        own = given_labels[first:last].tolist()
        weight_of = dict(zip(labels[start:end].tolist(), weights[start:end].tolist(), strict=True))
        best, truth = int(chosen[index]), int(trained.task.truth[index])
        listed = [label for label in weight_of if label in own or weight_of[label] >= SHOWN]
        listed.sort(key=lambda label: (label != best, -weight_of[label], label))
        yield LabelRow(
            path=trained.cache.paths[trained.task.rows[index]],
            given=[names[label] for label in own],
            label=names[best],
            confidence=weight_of[best],
            runner_up=names[listed[1]] if len(listed) > 1 else "",
            outside=best not in own,
            doubt=_doubt(weight_of, own, best),
            candidates=[names[label] for label in listed],
            weights=[weight_of[label] for label in listed],
            right=best == truth if truth >= 0 else None,
            row=int(trained.task.rows[index]),
        )


def _doubt(weight_of: dict[int, float], given: list[int], best: int) -> float:
    """The larger of two chances: the label is wrong, or the given set is without the truth."""
    outside = 1.0 - sum(weight_of.get(label, 0.0) for label in given)
    return min(1.0, max(0.0, outside, 1.0 - weight_of[best]))


def calibration_error(rows: list[LabelRow]) -> float | None:
    """Expected calibration error of the confidences, 0 to 1; None where no truth is known."""
    known = [row for row in rows if row.right is not None]
    if not known:
        return None
    confidence = np.array([row.confidence for row in known])
    return expected_calibration_error(confidence, np.array([row.right for row in known]))


def share_right(rows: list[LabelRow]) -> float | None:
    """Percent of the labels that are the true ones; None where no truth is known."""
    known = [row.right for row in rows if row.right is not None]
    return 100 * float(np.mean(known)) if known else None
