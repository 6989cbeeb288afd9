"""What Co-Reg computes from its training data before training."""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl.losses.ragged import add_groups
from pzsl.methods.co_reg.options import CoRegOptions
from pzsl.methods.co_reg.pseudo_labels import Candidates, CoPseudoLabels
from pzsl.methods.core import CandidateEntries, Problem

LEAST_SHARE = 0.1
"""Lower bound on a class's share before the power is taken, relative to the mean."""
RECOGNISED = 0.7
"""Strong views are used if frozen CLIP predicts a candidate for at least this share of them."""


def choose_views(problem: Problem, strong_view: Tensor, candidates: Candidates) -> str:
    """Choose the kind of view for the losses, `strong` or `weak`, without true labels (ours).

    Args:
        problem: the training images and their cached views.
        strong_view: (1,) column of a strong view; (0,) if none is cached.
        candidates: mask of the candidates of training rows.
    """
    if problem.views is None or not len(strong_view):
        return "strong"
    hits = 0.0
    for rows in problem.candidates.blocks():
        view = problem.views[rows, strong_view.to(rows.device).expand(len(rows))]
        predicted = (view @ problem.seen.T).argmax(dim=1, keepdim=True)
        hits += float(candidates(rows).gather(1, predicted).sum())
    return "strong" if hits >= RECOGNISED * len(problem.images) else "weak"


def mean_image(problem: Problem) -> Tensor:
    """(D,) mean of the training images."""
    images, blocks = problem.images, problem.candidates.blocks()
    return torch.stack([images[rows].sum(dim=0) for rows in blocks]).sum(dim=0) / len(images)


def class_prior(
    candidates: CandidateEntries, weights: Tensor, classes: int, power: float
) -> Tensor:
    """(K,) expected share of each seen class: its share in the label weights (M,), to a power."""
    sums = add_groups(weights.new_zeros(classes), candidates.labels.long(), weights)
    sums = sums.clamp_min(LEAST_SHARE * sums.mean()) ** power
    return sums / sums.sum()


def untrained_pseudo_labels(problem: Problem, options: CoRegOptions) -> CoPseudoLabels:
    """The pseudo-labels of both networks before training; only labels given by hand are sure."""
    classes, sure = len(problem.seen), problem.labelled
    if sure is None:
        sure = problem.seen.new_zeros(len(problem.images)).bool()
    return CoPseudoLabels(
        prior=problem.seen.new_full((classes,), 1 / classes),
        align=options.distribution_alignment,
        sure=sure,
        co=options.co_pseudo_labels,
        temperature=options.sharpening,
        once=options.aligned == "epoch",
        restricted=options.restricted,
    )
