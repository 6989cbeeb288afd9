"""Scores of held-out images by the folds' models, on which probabilities are calibrated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.evaluation import HeldOut
from pzsl.methods.core import Method
from pzsl.training.folds import seen_first, unseen_names

IMAGES, SCORES = 1000, 1 << 22
"""Most held-out images in a fold's sample, and most scores of these."""


@dataclass(frozen=True)
class FoldSample:
    """Scores of an even sample of a fold's held-out images.

    Attributes:
        trained: (n, C) by the fold's model; the first `seen` columns are of its seen classes.
        frozen: (n, C) by frozen CLIP, if the method fades; else None.
        seen: number of classes that are seen in the fold.
        rows, columns, weights: (m,) label weights of the images; see `HeldOut`.
    """

    trained: Tensor
    frozen: Tensor | None
    seen: int
    rows: Tensor
    columns: Tensor
    weights: Tensor

    def at(self, share: float, gamma: float) -> HeldOut:
        """Scores at a share of the trained ones, less gamma for seen classes, and label weights."""
        scores = self.trained if self.frozen is None else self.frozen.lerp(self.trained, share)
        scores = scores.clone()
        scores[:, : self.seen] -= gamma
        tensors = scores, self.rows, self.columns, self.weights
        return HeldOut(*(tensor.cpu().numpy() for tensor in tensors))


def sample_fold(fold: Method, whole: Method, seen_classes: Tensor, held_out: Tensor) -> FoldSample:
    """Score some held-out images of a fold.

    Args:
        fold: the fold's trained model, which has observed its queries.
        whole: the model of the whole problem, whose label weights stand for the truth.
        seen_classes: (K,) bool, which of the seen classes are seen in the fold, too.
        held_out: (n,) the held-out images, as rows of the whole problem.
    """
    problem, seen = whole.problem, int(seen_classes.sum())
    order = seen_first(seen_classes)
    width = len(seen_classes) + unseen_names(seen, len(seen_classes), len(problem.unseen))
    count = min(len(held_out), IMAGES, max(1, SCORES // width))
    rows = held_out[torch.arange(count, device=held_out.device) * len(held_out) // count]
    index, batch_row = whole.candidates.entries(rows)
    weights, weight_row = whole.weights.detach()[index].cpu(), batch_row.cpu()
    totals = torch.zeros(count).index_add(0, weight_row, weights)  # on a GPU in no fixed order
    weights = weights / totals.index_select(0, weight_row)
    with torch.no_grad():
        images = problem.images[rows]
        return FoldSample(
            trained=fold.scores(images)[:, :width],
            frozen=fold.frozen_scores(images)[:, :width] if fold.fades else None,
            seen=seen,
            rows=batch_row,
            columns=torch.argsort(order).index_select(0, whole.candidates.labels[index]),
            weights=weights,
        )
