"""From scores to answers: the likeliest classes of an image, as plain values."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pzsl.inference.restore import Scorer


class Wanted(NamedTuple):
    """What is to be said of each image.

    Attributes:
        top: how many classes are named.
        threshold: the least probability of a class in the set of likely ones; None for no sets.
    """

    top: int
    threshold: float | None = None


class Answer(NamedTuple):
    """What is said of one image.

    Attributes:
        path: what it is called.
        classes: `{name, score, probability, seen}` of each, the likeliest first; none where the
            image can't be read.
        likely: the set that holds the class but for the error rate; None where none was given.
        failed: why it can't be read; '' where it can.
    """

    path: str
    classes: list[dict[str, Any]]
    likely: list[str] | None = None
    failed: str = ""

    def plain(self) -> dict[str, Any]:
        """As a value for JSON: `{path, classes}`, with `{unsure, likely}`; or `{path, reason}`."""
        if self.failed:
            return {"path": self.path, "reason": self.failed}
        said: dict[str, Any] = {"path": self.path, "classes": self.classes}
        if self.likely is not None:
            said |= {"unsure": len(self.likely) > 1, "likely": self.likely}
        return said


def answers(scorer: Scorer, names: list[str], images: Tensor, wanted: Wanted) -> list[Answer]:
    """The likeliest classes of images.

    Args:
        scorer: what answers.
        names: (n,) of the images.
        images: (n, D) unit embeddings.
        wanted: what is to be said.
    """
    with torch.no_grad():
        scores = scorer.method.scores(images)
    scores[:, : scorer.seen] -= scorer.gamma
    shares = (scores / scorer.calibration.temperature).softmax(dim=1)
    best = scores.topk(min(wanted.top, scores.shape[1]), dim=1).indices
    likely = _likely_sets(scorer, shares, wanted.threshold)
    columns = best, scores.gather(1, best), shares.gather(1, best)
    listed = zip(*(column.tolist() for column in columns), strict=True)
    return [
        Answer(name, [_class(scorer, *one) for one in zip(*own, strict=True)], sets)
        for name, own, sets in zip(names, listed, likely, strict=True)
    ]


def _class(scorer: Scorer, label: int, score: float, share: float) -> dict[str, Any]:
    return {
        "name": scorer.names[label],
        "score": round(score, 4),
        "probability": round(share, 4),
        "seen": label < scorer.seen,
    }


def _likely_sets(
    scorer: Scorer, shares: Tensor, threshold: float | None
) -> list[list[str]] | list[None]:
    """The classes (n lists) of at least a probability, the likeliest first and never none."""
    if threshold is None:
        return [None] * len(shares)
    sizes = (shares >= threshold).sum(dim=1).clamp(min=1).tolist()
    order = shares.topk(max(sizes), dim=1).indices.tolist() if sizes else []
    return [
        [scorer.names[label] for label in labels[:size]]
        for labels, size in zip(order, sizes, strict=True)
    ]
