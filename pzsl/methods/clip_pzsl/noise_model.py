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


def widen(
    support: CandidateEntries, model: NoiseModel, logits: RowFunction
) -> tuple[CandidateEntries, Tensor]:
    """Add the likeliest labels outside each candidate set to the support, with a penalty.

    Args:
        support: candidates. model: the estimate.
        logits: frozen CLIP's, of training rows (B,) over the seen classes: (B, K), contiguous.

    Returns:
        The candidates with log-mask 0 and up to `OUTSIDERS` others with log-mask -rho; fewer if
        there would be more than `ALL_OUTSIDERS` in total. And the logits of all of these, (M,).
    """
    outsiders = min(OUTSIDERS, max(1, ALL_OUTSIDERS // len(support)))
    most, end = len(support.labels) + outsiders * len(support), 0
    labels, log_mask = support.labels.new_empty(most), support.log_mask.new_empty(most)
    values, ends = support.log_mask.new_empty(most), [support.offsets.new_zeros(1)]
    for rows in support.blocks():
        similar = logits(rows)
        classes = similar.shape[1]
        entries = support.batch(rows, classes)
        cells, outside = _wider_cells(similar, entries.rows.cells, min(outsiders, classes))
        row_starts = classes * torch.arange(1, len(rows) + 1, device=cells.device)
        row_ends = torch.searchsorted(cells, row_starts)
        sizes = row_ends.diff(prepend=row_ends.new_zeros(1))
        start, end = end, end + len(cells)
        labels[start:end] = cells - torch.repeat_interleave(
            row_starts - classes, sizes, output_size=len(cells)
        )
        log_mask[start:end] = torch.where(outside, -model.penalty, 0.0)
        values[start:end] = similar.flatten().index_select(0, cells)
        ends.append(row_ends + start)
    wider = CandidateEntries(torch.cat(ends), labels[:end], log_mask[:end])
    return wider, values[:end]


def _wider_cells(similar: Tensor, candidates: Tensor, outsiders: int) -> tuple[Tensor, Tensor]:
    """Cells of the candidates and of the likeliest other labels of each row, ascending.

    Args:
        similar: (B, K) logits. candidates: (m,) cells of the flattened (B, K).
        outsiders: how many others a row has at most.

    Returns:
        (n,) cells, and (n,) bool, which of them are no candidates.
    """
    flat = similar.view(-1)
    candidate_logits = flat.index_select(0, candidates)
    flat.index_fill_(0, candidates, -torch.inf)
    likeliest = similar.topk(outsiders, dim=1).indices  # candidates, too, where others are few
    flat.index_copy_(0, candidates, candidate_logits)
    kind = torch.zeros_like(similar, dtype=torch.uint8).scatter_(1, likeliest, 2).view(-1)
    kind.index_fill_(0, candidates, 1)
    cells = kind.nonzero().flatten()
    return cells, kind.index_select(0, cells) == 2


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
