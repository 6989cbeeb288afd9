"""From scores to answers: the likeliest classes of an image, as plain values."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pzsl.inference.restore import Trained


class Answer(NamedTuple):
    """What is said of one image.

    Attributes:
        path: what it is called.
        classes: `{name, score, probability, seen}` of each, the likeliest first; none where the
            image can't be read.
        failed: why it can't be read; '' where it can.
    """

    path: str
    classes: list[dict[str, Any]]
    failed: str = ""

    def plain(self) -> dict[str, Any]:
        """As a value for JSON: `{path, classes}` or `{path, reason}`."""
        if self.failed:
            return {"path": self.path, "reason": self.failed}
        return {"path": self.path, "classes": self.classes}


def answers(trained: Trained, names: list[str], images: Tensor, top: int) -> list[Answer]:
    """The likeliest classes of images.

    Args:
        trained: what answers.
        names: (n,) of the images.
        images: (n, D) unit embeddings.
        top: how many classes of each are named.
    """
    with torch.no_grad():
        scores = trained.method.scores(images)
    scores[:, : trained.seen] -= trained.gamma
    shares = scores.softmax(dim=1)
    best = scores.topk(min(top, scores.shape[1]), dim=1).indices
    columns = best, scores.gather(1, best), shares.gather(1, best)
    listed = zip(*(column.tolist() for column in columns), strict=True)
    return [
        Answer(
            name,
            [
                {
                    "name": trained.names[label],
                    "score": round(score, 4),
                    "probability": round(share, 4),
                    "seen": label < trained.seen,
                }
                for label, score, share in zip(*own, strict=True)
            ],
        )
        for name, own in zip(names, listed, strict=True)
    ]
