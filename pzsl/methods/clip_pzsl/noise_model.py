"""Estimate how often the true label is outside the candidates: EM on frozen CLIP (ours)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.losses.ragged import row_sum
from pzsl.methods.clip_pzsl.walk import RowFunction
from pzsl.methods.core import BatchEntries, CandidateEntries

ROUNDS = 30
START = 0.1
NEGLIGIBLE = 0.03
"""Below this estimated share the candidate sets are trusted."""
OUTSIDERS = 32
"""How many labels outside a candidate set may carry weight: the likeliest under CLIP."""
SMALL = 1e-6
"""Bound that keeps shares of an image's weight away from 0 and 1 in single precision."""
ALL_OUTSIDERS = 1 << 23
"""Most such labels over all images: beyond a quarter of a million images each has fewer."""


@dataclass(frozen=True)
class NoiseModel:
    """`eta`: share of images whose truth is outside; `penalty`: rho, the log-odds against it."""

    eta: float
    penalty: float

    @property
    def hard(self) -> bool:
        """Whether labels outside the candidate set are ruled out."""
        return self.eta < NEGLIGIBLE


def estimate_noise(support: CandidateEntries, mass: Tensor, classes: int) -> NoiseModel:
    """Estimate the share of images whose true label is not a candidate.

    A true label is replaced with probability eta, each wrong label joins with probability q. With
    m_i the mass that frozen CLIP puts inside the candidates, the posterior that image i is noisy is
    `(1 - m_i) r / ((1 - m_i) r + m_i)` with `r = eta q / ((1 - eta)(1 - q))`; eta is its mean.

    Args:
        support: candidates of N images.
        mass: (N,) share of frozen CLIP's softmax over the seen classes that lies on them.
        classes: how many seen classes.

    Returns:
        The estimate.
    """
    size = support.sizes.float().mean().item()
    eta = START
    for _ in range(ROUNDS):
        q = (size - (1 - eta)) / max(classes - 1, 1)
        q = min(max(q, 1e-6), 1 - 1e-6)
        odds = eta * q / ((1 - eta) * (1 - q))
        noisy = (1 - mass) * odds
        eta = (noisy / (noisy + mass).clamp_min(1e-12)).mean().item()
        eta = min(max(eta, 1e-6), 0.95)
    penalty = max(0.0, math.log((1 - eta) * (1 - q) / (eta * q)))
    return NoiseModel(eta, penalty)


def widen(support: CandidateEntries, model: NoiseModel, logits: RowFunction) -> CandidateEntries:
    """Add the likeliest labels outside each candidate set to the support, with a penalty.

    Args:
        support: candidates. model: the estimate.
        logits: frozen CLIP's, of training rows (B,) over the seen classes: (B, K).

    Returns:
        The candidates with log-mask 0 and up to `OUTSIDERS` others with log-mask -rho; fewer if
        there would be more than `ALL_OUTSIDERS` in total.
    """
    outsiders = min(OUTSIDERS, max(1, ALL_OUTSIDERS // len(support)))
    most, end, sizes = len(support.labels) + outsiders * len(support), 0, []
    labels, log_mask = support.labels.new_empty(most), support.log_mask.new_empty(most)
    for rows in support.blocks():
        similar = logits(rows)
        inside = torch.zeros_like(similar, dtype=torch.bool)
        inside.view(-1)[support.batch(rows, similar.shape[1]).rows.cells] = True
        similar.masked_fill_(inside, -torch.inf)
        member = inside.scatter(
            1, similar.topk(min(outsiders, similar.shape[1]), dim=1).indices, True
        )
        member &= inside | similar.isfinite()
        row, label = member.nonzero(as_tuple=True)
        start, end = end, end + len(label)
        labels[start:end] = label
        log_mask[start:end] = torch.where(inside[row, label], 0.0, -model.penalty)
        sizes.append(torch.bincount(row, minlength=len(rows)))
    total = torch.cat(sizes).cumsum(0)
    offsets = torch.cat([total.new_zeros(1), total])
    return CandidateEntries(offsets, labels[:end], log_mask[:end])


def weight_inside(support: CandidateEntries, weights: Tensor) -> Tensor:
    """How much of each image's label weights (M,) lies on its candidates, (N,)."""
    inside = []
    for rows in support.blocks():
        entries = support.batch(rows, 0)
        candidates = entries.of(weights) * (entries.log_mask >= 0)
        inside.append(row_sum(candidates, entries.rows))
    return torch.cat(inside)


def keep_inside(predicted: Tensor, entries: BatchEntries, inside: Tensor) -> Tensor:
    """A model's label weights, rescaled to the candidates' initial share of each image (ours).

    The model is trained on weights that penalise labels outside the candidates, and learns to avoid
    them; a penalty on its predictions would count twice. So the probability that the true label is
    among the candidates stays that of frozen CLIP, which has not seen them; which label it is
    follows the model.

    Args:
        predicted: (m,) the model's weights. entries: of the batch.
        inside: (B,) the candidates' share at the start.

    Returns:
        (m,) weights; they sum to one per image.
    """
    candidate, rows = entries.log_mask >= 0, entries.rows
    predicted_inside = row_sum(predicted * candidate, rows).clamp(SMALL, 1 - SMALL)
    inside_factor, outside_factor = (
        rows.spread(inside / predicted_inside),
        rows.spread((1 - inside) / (1 - predicted_inside)),
    )
    return predicted * torch.where(candidate, inside_factor, outside_factor)
