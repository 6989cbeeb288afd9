"""What Co-Reg finds out of its training data before it trains."""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl.methods.co_reg.pseudo_labels import Candidates
from pzsl.methods.core import CandidateEntries, Problem

LEAST_SHARE = 0.1
"""A class that CLIP hardly ever names counts as a tenth of the mean in the prior."""
STEADY = 0.7
"""Strong views are learnt from where frozen CLIP still names a candidate in this share of them."""


def choose_views(problem: Problem, shown: Tensor, candidates: Candidates) -> str:
    """Which kind of view the losses are on, `strong` or `weak`; no true label is looked at.

    Args:
        problem: the training images and their cached views.
        shown: (1,) which of the views is a strong one; (0,) where none is cached.
        candidates: of training rows.
    """
    if problem.views is None or not len(shown):
        return "strong"
    named = 0.0
    for rows in problem.candidates.blocks():
        view = problem.views[rows, shown.to(rows.device).expand(len(rows))]
        answer = (view @ problem.seen.T).argmax(dim=1, keepdim=True)
        named += float(candidates(rows).gather(1, answer).sum())
    return "strong" if named >= STEADY * len(problem.images) else "weak"


def mean_image(problem: Problem) -> Tensor:
    """(D,) mean of the training images."""
    images, blocks = problem.images, problem.candidates.blocks()
    return torch.stack([images[rows].sum(dim=0) for rows in blocks]).sum(dim=0) / len(images)


def class_prior(support: CandidateEntries, weights: Tensor, classes: int, power: float) -> Tensor:
    """(K,) expected share of each seen class: its share in the label weights (M,), to a power."""
    sums = weights.new_zeros(classes)
    sums.index_add_(0, support.labels, weights)
    sums = sums.clamp_min(LEAST_SHARE * sums.mean()) ** power
    return sums / sums.sum()
