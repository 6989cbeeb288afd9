"""How often each class gets which wrong label, as the given labels themselves tell (ours).

Where a class is often given one other class's label, wrong labels that are equally likely explain
that badly: a high temperature, at which all labels are right, seems likelier. Here row c of the
confusion matrix A, the frequencies of labels that images of class c are given, has a Dirichlet
prior of `IMAGES` images around `1 - eta` for c and `eta / (K - 1)` for each other class.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pzsl.methods.core import IMAGINED

IMAGES = 3.0
"""Images of a class that the prior is worth: of 1, 3, 10 and 30 among the two likeliest."""
ROUNDS, START, MOST = 40, 0.1, 0.95
"""EM steps; the first and the largest value of eta."""
TINY = 1e-30


class Confusion(NamedTuple):
    """What n labels say of the frequencies of wrong ones.

    Attributes:
        matrix: (K, K) the probability of a given label (column), by the true one (row).
        eta: share of wrong labels.
        likelihood: mean log-likelihood of a label over all matrices that the prior allows.
    """

    matrix: Tensor
    eta: float
    likelihood: float


def estimate_confusion(probabilities: Tensor, given: Tensor) -> Confusion:
    """The likeliest confusion matrix and eta, by EM.

    The likelihood is that of Cheeseman and Stutz (1996): what the matrix makes of the labels, times
    what the Dirichlet prior makes of the expected counts, over what the matrix makes of these. So a
    matrix that follows chance is worth less than equally likely wrong labels.

    Args:
        probabilities: (n, K) of the true label, without knowledge of the given one.
        given: (n,) labels.
    """
    images, classes = probabilities.shape
    eta, counts = START, probabilities.new_zeros(classes, classes)
    for _ in range(ROUNDS):
        prior = IMAGES * _expected(eta, classes, probabilities)
        matrix = (counts + prior) / (counts.sum(dim=1, keepdim=True) + IMAGES)
        joint = probabilities * matrix.T[given]
        whole = joint.sum(dim=1, keepdim=True).clamp_min_(TINY)
        counts = torch.zeros_like(matrix).index_add_(0, given, joint.div_(whole)).T
        wrong = images - counts.diagonal().sum().item() + IMAGINED
        eta = min(wrong / (images + IMAGINED), MOST)
    prior = IMAGES * _expected(eta, classes, probabilities).double()
    likelihood = whole.double().log().sum() + _occam(counts.double(), matrix.double(), prior)
    return Confusion(matrix, eta, likelihood.item() / images)


def _expected(eta: float, classes: int, like: Tensor) -> Tensor:
    """The matrix (K, K) of wrong labels that are equally likely."""
    matrix = like.new_full((classes, classes), eta / (classes - 1))
    return matrix.fill_diagonal_(1 - eta)


def _occam(counts: Tensor, matrix: Tensor, prior: Tensor) -> Tensor:
    """Log-likelihood of counts (K, K) over all matrices of the prior, less that by the matrix."""
    totals = torch.lgamma(prior.sum(dim=1)) - torch.lgamma(counts.sum(dim=1) + prior.sum(dim=1))
    cells = torch.lgamma(counts + prior) - torch.lgamma(prior) - counts * matrix.log()
    return totals.sum() + cells.sum()
