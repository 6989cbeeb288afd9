"""Calibrated label weights of training images whose true label may be outside their set (ours).

The evidence for each label ignores the image's own candidates, so that they can be compared with
it. With `p = softmax(logits / T)`, T, eta and the strength of the other images' evidence maximise
the likelihood of all sets (methods/core/set_likelihood.py), times priors of T and of the strength:
no true label is needed. This estimates the share of wrong sets again, now with everything that
training has learnt. Single labels may also be wrong in a way of each class (confusion.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product, starmap
from typing import NamedTuple

import torch
from torch import Tensor

from pzsl.inference.labelling.confusion import estimate_confusion
from pzsl.methods.core import (
    IMAGINED,
    CandidateEntries,
    LabelEvidence,
    Method,
    inside_odds,
    set_likelihood,
)

STRENGTHS = tuple(4.0**step for step in range(4))
"""Factors to try on the other images' evidence, relative to its strength in training: with less,
few images would take wrong labels for right ones that CLIP finds hard to tell."""
TEMPERATURES = tuple(2.0**step for step in range(-2, 4))
"""1/4 to 8. Where the logits say little, strength and temperature are both large."""
STRENGTH_SPREAD, TEMPERATURE_SPREAD = 0.3, 0.1
"""Scales of the priors of the logarithms of both, which favour their values in training. A few
dozen images can't tell labels that are right at a high temperature from labels that are wrong at a
low one; thousands can, against the prior."""
REFINEMENTS = 4
"""How often the neighbours of the best pair are tried, each time at half the distance before."""
SAMPLE = 10_000
"""Most images used to choose."""
CONFUSED = 10.0
"""Gain in log posterior density from which wrong labels are not called equally likely."""
MOST_CLASSES = 2000
"""With more classes, wrong labels are always called so: the matrix has their square as numbers."""
FAINT = 1e-4
"""Labels outside the set with less weight are left out, except for the two largest weights."""


class Fit(NamedTuple):
    """What turns evidence into label weights.

    Attributes:
        strength: of the other images' evidence. temperature: of the logits.
        eta: share of images whose true label is outside the set.
        likelihood: mean log-likelihood of the sets.
        confusion: (K, K) the probability of a given label (column), by the true one (row); None if
            wrong labels are equally likely.
    """

    strength: float
    temperature: float
    eta: float
    likelihood: float
    confusion: Tensor | None = None


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
        if single:
            fitted = with_confusion(evidence, method.problem.candidates, fitted)
        return weigh(evidence, method.problem.candidates, fitted)


def fit(evidence: LabelEvidence, candidates: CandidateEntries) -> Fit:
    """Strength, temperature and eta of the highest posterior density, given the candidate sets.

    The prior of log strength, which is not negative, is exponential, that of log temperature a
    Laplace distribution around zero, and that of eta Beta(3, 1).
    """
    rows = _sampled_rows(len(candidates), candidates.labels.device)
    logits, others = evidence.logits(rows), evidence.of_others(rows)
    inside = _inside(candidates, rows, logits)
    odds = _odds(inside)

    def fitted(strength: float, temperature: float) -> Fit:
        whole = torch.add(logits, others, alpha=strength).div_(temperature)
        mass = (whole.softmax(dim=1) * inside).sum(dim=1)
        return Fit(strength, temperature, *_estimate(mass, odds))

    return _search(fitted, len(rows))


def with_confusion(evidence: LabelEvidence, candidates: CandidateEntries, uniform: Fit) -> Fit:
    """The fit in which classes have wrong labels of their own, if it is far denser; else `uniform`.

    Args:
        evidence: of the images. candidates: a single label of each.
        uniform: the fit of `fit`, with wrong labels that are equally likely.
    """
    rows = _sampled_rows(len(candidates), candidates.labels.device)
    logits, others = evidence.logits(rows), evidence.of_others(rows)
    if not 1 < logits.shape[1] <= MOST_CLASSES:
        return uniform
    given = candidates.labels[rows]

    def fitted(strength: float, temperature: float) -> Fit:
        whole = torch.add(logits, others, alpha=strength).div_(temperature)
        matrix, eta, likelihood = estimate_confusion(whole.softmax(dim=1), given)
        return Fit(strength, temperature, eta, likelihood, matrix)

    enough = _density(uniform, len(rows)) + CONFUSED
    coarse = starmap(fitted, product(STRENGTHS[:2], TEMPERATURES[1:5]))
    if max(_density(trial, len(rows)) for trial in coarse) < enough:
        return uniform
    return _search(fitted, len(rows))


def _search(fitted: Callable[[float, float], Fit], images: int) -> Fit:
    """The densest fit over strengths and temperatures, on a grid that is refined."""

    def density(trial: Fit) -> float:
        return _density(trial, images)

    best = max(starmap(fitted, product(STRENGTHS, TEMPERATURES)), key=density)
    for refinement in range(1, REFINEMENTS + 1):
        around = _around(best.strength, STRENGTHS, refinement)
        strengths = [strength for strength in around if strength >= STRENGTHS[0]]
        temperatures = _around(best.temperature, TEMPERATURES, refinement)
        best = max(starmap(fitted, product(strengths, temperatures)), key=density)
    return best


def _density(trial: Fit, images: int) -> float:
    """Log posterior density, up to a constant."""
    strength = math.log(trial.strength) / STRENGTH_SPREAD
    temperature = abs(math.log(trial.temperature)) / TEMPERATURE_SPREAD
    imagined = IMAGINED * math.log(trial.eta)
    return images * trial.likelihood + imagined - strength - temperature


def _around(value: float, grid: Sequence[float], refinement: int) -> tuple[float, ...]:
    """A value and its neighbours, at a distance of `1 / 2^refinement` of a geometric grid's."""
    ratio = (grid[1] / grid[0]) ** (0.5**refinement)
    return value / ratio, value, value * ratio


def _sampled_rows(images: int, device: torch.device) -> Tensor:
    """Rows of at most `SAMPLE` images, evenly spread."""
    count = min(images, SAMPLE)
    return torch.arange(count, device=device) * images // count


def _inside(candidates: CandidateEntries, rows: Tensor, like: Tensor) -> Tensor:
    """Which labels are candidates of the images: bool, of the shape of `like` (B, K)."""
    entries = candidates.batch(rows, like.shape[1])
    return entries.rows.put(torch.ones_like(entries.log_mask), like) > 0


def _odds(inside: Tensor) -> Tensor:
    """Odds (B,) that a random label is among the candidates (B, K)."""
    return inside_odds(inside.sum(dim=1), inside.shape[1])


def _estimate(mass: Tensor, odds: Tensor) -> tuple[float, float]:
    """eta, and the mean log-likelihood of the sets, by the mass (n,) inside each."""
    likelihood = set_likelihood(mass.double()[None], odds.double())
    return likelihood.eta.item(), likelihood.mean.item()


def weigh(evidence: LabelEvidence, candidates: CandidateEntries, fitted: Fit) -> LabelWeights:
    """Label weights of all candidates, and of other labels that are likely enough to list.

    Args:
        evidence: for each label of N images. candidates: of these images.
        fitted: what turns the evidence into weights, see `Fit`.
    """
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
        mask = torch.where(inside, 0.0, _against(fitted, inside).clamp_max_(0))
        share = (logits / fitted.temperature + mask).softmax(dim=1)
        listed = inside | (share > FAINT)
        listed.scatter_(1, share.topk(min(2, share.shape[1]), dim=1).indices, True)
        row, label = listed.nonzero(as_tuple=True)
        weights = share * listed
        weights /= weights.sum(dim=1, keepdim=True)
        sizes = torch.bincount(row, minlength=len(rows))
        yield sizes, label, mask[row, label], weights[row, label]


def _against(fitted: Fit, inside: Tensor) -> Tensor:
    """Log odds (B, 1) or (B, K) of the sets (B, K) if a label outside is true, to one if inside."""
    if fitted.confusion is None:
        return (fitted.eta / (1 - fitted.eta) * _odds(inside)).log()[:, None]
    given = inside.float().argmax(dim=1)
    made = fitted.confusion.T[given]
    return (made / made.gather(1, given[:, None])).log()
