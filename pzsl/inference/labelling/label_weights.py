"""How sure the labels of training images are: calibrated where the truth may be outside (ours).

The evidence for each label leaves the image's own candidates aside, so the candidates can be held
against it. With probabilities `p = softmax(logits / T)`, a set of n of the K labels that lost its
truth with probability eta, to a random other label, is as likely as `m (1 - eta) + (1 - m) eta n /
(K - n)`, m being the part of p inside it (times what depends on n alone). T, eta and the strength
of the other images' evidence are those that make the sets likeliest: no true label is needed. The
share of wrong sets is so estimated once more, with all that training has found out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pzsl.methods.core import CandidateEntries, LabelEvidence, Method

STRENGTHS = (1.0, 2.0, 3.0, 4.0)
"""What the other images' evidence may be worth, against what training took it for."""
TEMPERATURES = tuple(0.2 * 1.2**step for step in range(16))
"""0.2 to 3."""
SAMPLE = 10_000
"""Images that the choice is made on, at most."""
ROUNDS, START, LEAST, MOST = 100, 0.1, 1e-6, 0.95
"""Of the estimate of eta; its first value, its smallest and its largest."""
TINY = 1e-30
FAINT = 1e-4
"""Lighter labels outside the set are left out, unless they are one of the two heaviest."""


class Fit(NamedTuple):
    """What makes label weights of evidence.

    Attributes:
        strength: of the other images' evidence. temperature: of the logits.
        eta: share of the images whose truth is outside.
        likelihood: mean logarithm of how likely the sets are.
    """

    strength: float
    temperature: float
    eta: float
    likelihood: float


class LabelWeights(NamedTuple):
    """Label weights (M,) of the entries of a support; each image's sum to one."""

    support: CandidateEntries
    weights: Tensor


def reported_weights(method: Method) -> LabelWeights:
    """Calibrated label weights of a trained method, or those that training ended with.

    These stand where the method has no evidence that leaves the candidates aside, and where it
    takes sets of several labels at their word: what is outside them then tells nothing.
    """
    evidence, support = method.label_evidence(), method.support
    single = len(method.problem.candidates.labels) == len(support)
    if evidence is None or not (single or bool((support.log_mask < 0).any())):
        return LabelWeights(support, method.weights.detach())
    with torch.no_grad():
        found = fit(evidence, method.problem.candidates)
        return weigh(evidence, method.problem.candidates, found)


def fit(evidence: LabelEvidence, candidates: CandidateEntries) -> Fit:
    """Strength, temperature and eta that make the candidate sets likeliest."""
    rows = _some(len(candidates), candidates.labels.device)
    logits, others = evidence.logits(rows), evidence.of_others(rows)
    inside = _inside(candidates, rows, logits)
    odds = _odds(inside)
    fits = []
    for strength in STRENGTHS:
        whole = torch.add(logits, others, alpha=strength)
        for temperature in TEMPERATURES:
            mass = ((whole / temperature).softmax(dim=1) * inside).sum(dim=1)
            fits.append(Fit(strength, temperature, *_estimate(mass, odds)))
    return max(fits, key=lambda one: one.likelihood)


def _some(images: int, device: torch.device) -> Tensor:
    count = min(images, SAMPLE)
    return torch.arange(count, device=device) * images // count


def _inside(candidates: CandidateEntries, rows: Tensor, like: Tensor) -> Tensor:
    """Which labels are candidates of some images: bool, of the shape of `like` (B, K)."""
    entries = candidates.batch(rows, like.shape[1])
    return entries.rows.put(torch.ones_like(entries.log_mask), like) > 0


def _odds(inside: Tensor) -> Tensor:
    """How likely a label is among the candidates by chance: odds (B,) of candidates (B, K)."""
    size = inside.sum(dim=1)
    return size / (inside.shape[1] - size).clamp_min(1)


def _estimate(mass: Tensor, odds: Tensor) -> tuple[float, float]:
    """eta by EM, and the mean log-likelihood of the sets.

    Args:
        mass: (n,) what lies inside each image's set. odds: (n,) of the set.
    """
    mass, odds, eta = mass.double().clamp(0, 1), odds.double(), START
    for _ in range(ROUNDS):
        outside, inside = (1 - mass) * eta * odds, mass * (1 - eta)
        share = (outside / (outside + inside).clamp_min(TINY)).mean().item()
        eta = min(max(share, LEAST), MOST)
    return eta, (outside + inside).clamp_min(TINY).log().mean().item()


def weigh(evidence: LabelEvidence, candidates: CandidateEntries, found: Fit) -> LabelWeights:
    """Label weights of all candidates, and of what else is likely enough to be told."""
    parts = list(_weighed(evidence, candidates, found))
    sizes, labels, masks, weights = (torch.cat(each) for each in zip(*parts, strict=True))
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    return LabelWeights(CandidateEntries(offsets, labels, masks), weights)


def _weighed(
    evidence: LabelEvidence, candidates: CandidateEntries, found: Fit
) -> Iterator[tuple[Tensor, ...]]:
    """Of each block of images: entries of each image; labels, log-masks and weights of these."""
    for rows in candidates.blocks():
        logits = evidence.logits(rows) + found.strength * evidence.of_others(rows)
        inside = _inside(candidates, rows, logits)
        against = (found.eta / (1 - found.eta) * _odds(inside)).log().clamp_max(0)
        mask = torch.where(inside, 0.0, against[:, None])
        share = (logits / found.temperature + mask).softmax(dim=1)
        listed = inside | (share > FAINT)
        listed.scatter_(1, share.topk(min(2, share.shape[1]), dim=1).indices, True)
        row, label = listed.nonzero(as_tuple=True)
        kept = share * listed
        kept /= kept.sum(dim=1, keepdim=True)
        sizes = torch.bincount(row, minlength=len(rows))
        yield sizes, label, mask[row, label], kept[row, label]
