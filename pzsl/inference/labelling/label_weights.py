"""Calibrated label weights of training images whose true label may be outside their set (ours).

The evidence for each label ignores the image's own candidates, so that they can be compared with
it. Let `p = softmax(logits / T)`, and let a set of n of the K labels lose its true label to a
random other one with probability eta. Up to a factor that depends on n alone, the likelihood of the
set is `m (1 - eta) + (1 - m) eta n / (K - n)`, with m the sum of p inside it. T, eta and the
strength of the other images' evidence maximise the likelihood of all sets, times priors of T and of
the strength: no true label is needed. This estimates the share of wrong sets again, now with
everything that training has learnt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product, starmap
from typing import NamedTuple

import torch
from torch import Tensor

from pzsl.methods.core import CandidateEntries, LabelEvidence, Method

STRENGTHS = tuple(4.0**step for step in range(4))
"""Factors to try on the other images' evidence, relative to its strength in training: with less,
few images would take wrong labels for right ones that CLIP finds hard to tell."""
TEMPERATURES = tuple(2.0**step for step in range(-2, 4))
"""1/4 to 8. Where the logits say little, strength and temperature are both large."""
STRENGTH_SPREAD, TEMPERATURE_SPREAD = 0.3, 0.1
"""Scales of the priors of the logarithms of both, which favour their values in training. A few
dozen images can't tell labels that are right at a high temperature from labels that are wrong at a
low one; thousands can, against the prior."""
IMAGINED = 2
"""Wrong sets that are added to those found, as a prior of eta: that none is wrong is not likely."""
REFINEMENTS = 4
"""How often the neighbours of the best pair are tried, each time at half the distance before."""
SAMPLE = 10_000
"""Most images used to choose."""
ROUNDS, START, MOST = 100, 0.1, 0.95
"""EM steps for eta; its first and largest value."""
TINY = 1e-30
FAINT = 1e-4
"""Labels outside the set with less weight are left out, except for the two largest weights."""


class Fit(NamedTuple):
    """What turns evidence into label weights.

    Attributes:
        strength: of the other images' evidence. temperature: of the logits.
        eta: share of images whose true label is outside the set.
        likelihood: mean log-likelihood of the sets.
    """

    strength: float
    temperature: float
    eta: float
    likelihood: float


class LabelWeights(NamedTuple):
    """Label weights (M,) of candidate entries; they sum to one per image."""

    candidates: CandidateEntries
    weights: Tensor


def reported_weights(method: Method) -> LabelWeights:
    """Calibrated label weights of a trained method, or those at the end of training.

    The latter are used if the method has no evidence that ignores the candidates, or if it trusts
    sets of several labels to hold the true one.
    """
    evidence, candidates = method.label_evidence(), method.candidates
    single = len(method.problem.candidates.labels) == len(candidates)
    if evidence is None or not (single or bool((candidates.log_mask < 0).any())):
        return LabelWeights(candidates, method.weights.detach())
    with torch.no_grad():
        fitted = fit(evidence, method.problem.candidates)
        return weigh(evidence, method.problem.candidates, fitted)


def fit(evidence: LabelEvidence, candidates: CandidateEntries) -> Fit:
    """Strength, temperature and eta of the highest posterior density, given the candidate sets.

    The prior of log strength, which is not negative, is exponential, that of log temperature a
    Laplace distribution around zero, and that of eta Beta(3, 1).
    """
    rows = _some(len(candidates), candidates.labels.device)
    logits, others = evidence.logits(rows), evidence.of_others(rows)
    inside = _inside(candidates, rows, logits)
    odds = _odds(inside)

    def fitted(strength: float, temperature: float) -> Fit:
        whole = torch.add(logits, others, alpha=strength).div_(temperature)
        mass = (whole.softmax(dim=1) * inside).sum(dim=1)
        return Fit(strength, temperature, *_estimate(mass, odds))

    def density(found: Fit) -> float:
        strength = math.log(found.strength) / STRENGTH_SPREAD
        temperature = abs(math.log(found.temperature)) / TEMPERATURE_SPREAD
        imagined = IMAGINED * math.log(found.eta)
        return len(rows) * found.likelihood + imagined - strength - temperature

    best = max(starmap(fitted, product(STRENGTHS, TEMPERATURES)), key=density)
    for refinement in range(1, REFINEMENTS + 1):
        around = _around(best.strength, STRENGTHS, refinement)
        strengths = [strength for strength in around if strength >= STRENGTHS[0]]
        temperatures = _around(best.temperature, TEMPERATURES, refinement)
        best = max(starmap(fitted, product(strengths, temperatures)), key=density)
    return best


def _around(value: float, grid: Sequence[float], refinement: int) -> tuple[float, ...]:
    """A value and its neighbours, at a distance of `1 / 2^refinement` of a geometric grid's."""
    ratio = (grid[1] / grid[0]) ** (0.5**refinement)
    return value / ratio, value, value * ratio


def _some(images: int, device: torch.device) -> Tensor:
    count = min(images, SAMPLE)
    return torch.arange(count, device=device) * images // count


def _inside(candidates: CandidateEntries, rows: Tensor, like: Tensor) -> Tensor:
    """Which labels are candidates of the images: bool, of the shape of `like` (B, K)."""
    entries = candidates.batch(rows, like.shape[1])
    return entries.rows.put(torch.ones_like(entries.log_mask), like) > 0


def _odds(inside: Tensor) -> Tensor:
    """Odds (B,) that a random label is among the candidates (B, K)."""
    size = inside.sum(dim=1)
    return size / (inside.shape[1] - size).clamp_min(1)


def _estimate(mass: Tensor, odds: Tensor) -> tuple[float, float]:
    """eta by EM, and the mean log-likelihood of the sets.

    Args:
        mass: (n,) probability inside each image's set. odds: (n,) of the set.
    """
    mass, odds, eta = mass.double().clamp(0, 1), odds.double(), START
    for _ in range(ROUNDS):
        outside, inside = (1 - mass) * eta * odds, mass * (1 - eta)
        wrong = (outside / (outside + inside).clamp_min(TINY)).sum().item() + IMAGINED
        eta = min(wrong / (len(mass) + IMAGINED), MOST)
    return eta, (outside + inside).clamp_min(TINY).log().mean().item()


def weigh(evidence: LabelEvidence, candidates: CandidateEntries, fitted: Fit) -> LabelWeights:
    """Label weights of all candidates, and of other labels that are likely enough to list."""
    parts = list(_weighed(evidence, candidates, fitted))
    sizes, labels, masks, weights = (torch.cat(column) for column in zip(*parts, strict=True))
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    return LabelWeights(CandidateEntries(offsets, labels, masks), weights)


def _weighed(
    evidence: LabelEvidence, candidates: CandidateEntries, fitted: Fit
) -> Iterator[tuple[Tensor, ...]]:
    """Per block of images: entries per image; labels, log-masks and weights of the entries."""
    for rows in candidates.blocks():
        logits = evidence.logits(rows) + fitted.strength * evidence.of_others(rows)
        inside = _inside(candidates, rows, logits)
        against = (fitted.eta / (1 - fitted.eta) * _odds(inside)).log().clamp_max(0)
        mask = torch.where(inside, 0.0, against[:, None])
        share = (logits / fitted.temperature + mask).softmax(dim=1)
        listed = inside | (share > FAINT)
        listed.scatter_(1, share.topk(min(2, share.shape[1]), dim=1).indices, True)
        row, label = listed.nonzero(as_tuple=True)
        weights = share * listed
        weights /= weights.sum(dim=1, keepdim=True)
        sizes = torch.bincount(row, minlength=len(rows))
        yield sizes, label, mask[row, label], weights[row, label]
