"""Likelihood of candidate sets of which some lack the true label (ours)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

ROUNDS, START, MOST = 100, 0.1, 0.95
"""EM steps for eta; its first and largest value."""
IMAGINED = 2
"""Wrong sets that are added to those found, as a prior of eta: that none is wrong is not likely."""
TINY = 1e-30


class SetLikelihood(NamedTuple):
    """What n candidate sets say of each of F functions that give labels a probability.

    Attributes:
        eta: (F,) share of sets without the true label.
        mean: (F,) mean log-likelihood of a set, up to a constant.
        wrong: (F, n) the probability that a set lacks the true label.
    """

    eta: Tensor
    mean: Tensor
    wrong: Tensor


def inside_odds(sizes: Tensor, classes: int) -> Tensor:
    """Odds (n,) that a random one of K labels is in sets of these sizes (n,)."""
    return sizes / (classes - sizes).clamp_min(1)


def set_likelihood(mass: Tensor, odds: Tensor) -> SetLikelihood:
    """Estimate eta by EM, and the likelihood of the sets with it.

    Let a set of n of the K labels lose its true label to a random other one with probability eta.
    Up to a factor that depends on n alone, the likelihood of the set is
    `m (1 - eta) + (1 - m) eta n / (K - n)`, with m the probability that the label is inside it.

    Args:
        mass: (F, n) probability inside each image's set.
        odds: (n,) of the set, by `inside_odds`.
    """
    inside_mass = mass.clamp(0, 1)
    outside_mass = (1 - inside_mass) * odds
    eta = mass.new_full((len(mass), 1), START)
    for _ in range(ROUNDS):
        outside, inside = outside_mass * eta, inside_mass * (1 - eta)
        whole = (outside + inside).clamp_min_(TINY)
        wrong = outside.div_(whole)
        found = wrong.sum(dim=1, keepdim=True) + IMAGINED
        eta = (found / (mass.shape[1] + IMAGINED)).clamp_max_(MOST)
    return SetLikelihood(eta[:, 0], whole.log().mean(dim=1), wrong)
