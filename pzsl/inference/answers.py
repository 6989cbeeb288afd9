"""From scores to answers: the likeliest classes of an image, as plain values."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pzsl.inference.restore import Scorer


class AnswerOptions(NamedTuple):
    """What an answer should contain.

    Attributes:
        top: how many classes to name.
        threshold: lowest probability of a class in the set of likely classes; None for no sets.
    """

    top: int
    threshold: float | None = None


class Answer(NamedTuple):
    """The answer for one image.

    Attributes:
        path: the image's name.
        classes: `{name, score, probability, seen}` per class, the likeliest first; empty if the
            image can't be read.
        likely: the conformal set at the given error rate, or the likeliest class where that is
            empty; None without an error rate.
        unsure: whether the conformal set has several classes or none.
        failed: why the image can't be read; '' if it can.
    """

    path: str
    classes: list[dict[str, Any]]
    likely: list[str] | None = None
    unsure: bool = False
    failed: str = ""

    def plain(self) -> dict[str, Any]:
        """As a value for JSON: `{path, classes}`, with `{unsure, likely}`; or `{path, reason}`."""
        if self.failed:
            return {"path": self.path, "reason": self.failed}
        fields: dict[str, Any] = {"path": self.path, "classes": self.classes}
        if self.likely is not None:
            fields |= {"unsure": self.unsure, "likely": self.likely}
        return fields


def answers(
    scorer: Scorer, names: list[str], images: Tensor, options: AnswerOptions
) -> list[Answer]:
    """The likeliest classes of images.

    Args:
        scorer: the trained method.
        names: (n,) names of the images.
        images: (n, D) unit embeddings.
        options: what each answer should contain.
    """
    with torch.no_grad():
        scores = scorer.method.scores(images)
    scores[:, : scorer.seen] -= scorer.gamma
    shares = (scores / scorer.calibration.temperature).softmax(dim=1)
    best = scores.topk(min(options.top, scores.shape[1]), dim=1).indices
    likely = _likely_sets(scorer, shares, options.threshold)
    columns = best, scores.gather(1, best), shares.gather(1, best)
    best_classes = zip(*(column.tolist() for column in columns), strict=True)
    return [
        Answer(
            name,
            [_class(scorer, *best_class) for best_class in zip(*image_classes, strict=True)],
            *likely_set,
        )
        for name, image_classes, likely_set in zip(names, best_classes, likely, strict=True)
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
) -> list[tuple[list[str] | None, bool]]:
    """Per image, the classes above a probability, and whether they are several or none.

    Likeliest first, and always at least one: where none is, the likeliest is the best guess.
    """
    if threshold is None:
        return [(None, False)] * len(shares)
    sizes = (shares >= threshold).sum(dim=1).tolist()
    order = shares.topk(max(1, *sizes), dim=1).indices.tolist() if sizes else []
    return [
        ([scorer.names[label] for label in labels[: max(1, size)]], size != 1)
        for labels, size in zip(order, sizes, strict=True)
    ]
