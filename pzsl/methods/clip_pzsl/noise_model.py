"""Estimate how often the true label is not a candidate: EM on logits before training (ours)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.losses.ragged import row_sum
from pzsl.methods.clip_pzsl.training_pass import RowFunction
from pzsl.methods.core import OUTSIDE, BatchEntries, CandidateEntries

ROUNDS = 30
"""Rounds of EM."""
START = 0.1
"""Initial share of sets without the true label."""
NEGLIGIBLE = 0.03
"""Below this estimated share the candidate sets are trusted."""
OUTSIDERS = 32
"""Number of labels outside a candidate set that may carry weight: the likeliest."""
UNLABELLED = 0.1
"""If a larger share of the sets holds every class, these are images that nobody labelled."""
SMALL = 1e-6
"""Bound that keeps shares of an image's weight away from 0 and 1 in single precision."""
ALL_OUTSIDERS = 1 << 23
"""Most such labels over all images; beyond a quarter of a million images, each has fewer."""


@dataclass(frozen=True)
class NoiseModel:
    """Noise of candidate sets.

    Attributes:
        eta: share of images whose true label is not a candidate, without those of no label.
        penalty: rho, the log-odds against a label outside the set.
        assumed: whether eta is taken for granted, because the sets can't tell it.
    """

    eta: float
    penalty: float
    assumed: bool = False

    @property
    def hard(self) -> bool:
        """Whether labels outside the candidate set are ruled out."""
        return self.eta < NEGLIGIBLE


def estimate_noise(candidates: CandidateEntries, mass: Tensor, classes: int) -> NoiseModel:
    """Estimate the share of images whose true label is not a candidate.

    A true label is left out with probability eta, each wrong label joins with probability q. With
    m_i the mass inside the candidates, the posterior that image i is noisy
    is `(1 - m_i) r / ((1 - m_i) r + m_i)` with `r = eta q / ((1 - eta)(1 - q))`; eta is its mean.
    But no image is without a label. Where most have a single one, a random other label took the
    place of the true one: `r = eta / ((1 - eta)(K - 1))`.

    Images that nobody labelled, whose set is all classes, say nothing of the others' sets.

    Args:
        candidates: of N images.
        mass: (N,) share of the softmax over the seen classes that lies on them, by logits that
            know nothing of an image's own candidates, such as frozen CLIP's.
        classes: number of seen classes.
    """
    sizes, is_labelled = candidates.sizes, candidates.sizes < classes
    if 0 < is_labelled.float().mean() < 1 - UNLABELLED:
        mass, sizes = mass[is_labelled], sizes[is_labelled]
    size, eta = sizes.float().mean().item(), START
    for _ in range(ROUNDS):
        odds = _odds(eta, size, max(classes - 1, 1))
        noisy = (1 - mass) * odds
        eta = (noisy / (noisy + mass).clamp_min(1e-12)).mean().item()
        eta = min(max(eta, 1e-6), 0.95)
    return NoiseModel(eta, max(0.0, -math.log(odds)))


def at_least(
    model: NoiseModel, eta: float, candidates: CandidateEntries, classes: int
) -> NoiseModel:
    """The noise model, or the one with this eta if its own is smaller."""
    if model.eta >= eta:
        return model
    odds = _odds(eta, candidates.sizes.float().mean().item(), max(classes - 1, 1))
    return NoiseModel(eta, max(0.0, -math.log(odds)), assumed=True)


def _odds(eta: float, size: float, others: int) -> float:
    """Odds that a set of this mean size is noisy rather than not, by its labels alone.

    Args:
        eta: share of noisy images. size: mean size of their sets. others: classes but one, K - 1.
    """
    wrong = size - (1 - eta)
    if wrong < 1:
        return eta / ((1 - eta) * others)
    q = min(wrong / others, 1 - 1e-6)
    return eta * q / ((1 - eta) * (1 - q))


def widen(
    candidates: CandidateEntries,
    model: NoiseModel,
    logits: RowFunction,
    labelled: Tensor | None = None,
) -> tuple[CandidateEntries, Tensor]:
    """Add the likeliest labels outside each candidate set, with a penalty.

    Args:
        candidates: of the N images.
        model: the estimate.
        logits: the same, of training rows (B,) over the seen classes: (B, K), contiguous.
        labelled: (N,) images whose label is certain, and no other one can have weight.

    Returns:
        The candidates with log-mask 0 and up to `OUTSIDERS` others with log-mask -rho; fewer if
        there would be more than `ALL_OUTSIDERS` in total. And the logits of all of these, (M,).
    """
    outsiders = min(OUTSIDERS, max(1, ALL_OUTSIDERS // len(candidates)))
    capacity, end = len(candidates.labels) + outsiders * len(candidates), 0
    labels, log_mask = (
        candidates.labels.new_empty(capacity),
        candidates.log_mask.new_empty(capacity),
    )
    values, ends = candidates.log_mask.new_empty(capacity), [candidates.offsets.new_zeros(1)]
    for rows in candidates.blocks():
        block = logits(rows)
        classes = block.shape[1]
        entries = candidates.batch(rows, classes)
        cells, outside = _wider_cells(block, entries.rows.cells, min(outsiders, classes))
        row_starts = classes * torch.arange(1, len(rows) + 1, device=cells.device)
        row_ends = torch.searchsorted(cells, row_starts)
        sizes = row_ends.diff(prepend=row_ends.new_zeros(1))
        start, end = end, end + len(cells)
        labels[start:end] = cells - torch.repeat_interleave(
            row_starts - classes, sizes, output_size=len(cells)
        )
        log_mask[start:end] = torch.where(outside, -model.penalty, 0.0)
        if labelled is not None:
            certain = torch.repeat_interleave(labelled[rows], sizes, output_size=len(cells))
            log_mask[start:end].masked_fill_(certain & outside, OUTSIDE)
        values[start:end] = block.flatten().index_select(0, cells)
        ends.append(row_ends + start)
    wider = CandidateEntries(torch.cat(ends), labels[:end], log_mask[:end])
    return wider, values[:end]


def _wider_cells(logits: Tensor, candidates: Tensor, outsiders: int) -> tuple[Tensor, Tensor]:
    """Cells of the candidates and of the likeliest other labels of each row, ascending.

    Args:
        logits: (B, K); unchanged afterwards.
        candidates: (m,) cells of the flattened (B, K).
        outsiders: most other labels per row.

    Returns:
        (n,) cells, and (n,) bool, which of them are not candidates.
    """
    flat = logits.view(-1)
    candidate_logits = flat.index_select(0, candidates)
    flat.index_fill_(0, candidates, -torch.inf)
    likeliest = logits.topk(outsiders, dim=1).indices  # candidates, too, if others are few
    flat.index_copy_(0, candidates, candidate_logits)
    kind = torch.zeros_like(logits, dtype=torch.uint8).scatter_(1, likeliest, 2).view(-1)
    kind.index_fill_(0, candidates, 1)
    cells = kind.nonzero().flatten()
    return cells, kind.index_select(0, cells) == 2


def weight_inside(candidates: CandidateEntries, weights: Tensor) -> Tensor:
    """Share (N,) of each image's label weights (M,) that lies on its candidates."""
    inside = []
    for rows in candidates.blocks():
        entries = candidates.batch(rows, 0)
        candidate_weights = entries.of(weights) * (entries.log_mask >= 0)
        inside.append(row_sum(candidate_weights, entries.rows))
    return torch.cat(inside)


def keep_inside(predicted: Tensor, entries: BatchEntries, inside: Tensor) -> Tensor:
    """A model's label weights, rescaled to the candidates' initial share of each image (ours).

    The model is trained on weights that penalise labels outside the candidates, and learns to avoid
    them; a penalty on its predictions would count twice. So the probability that the true label is
    among the candidates stays that of the logits before training, which have not seen them; which
    label it is follows the model.

    Args:
        predicted: (m,) label weights by the model.
        entries: of the batch.
        inside: (B,) the candidates' share before training.

    Returns:
        (m,) weights; they sum to one per image.
    """
    is_candidate, rows = entries.log_mask >= 0, entries.rows
    predicted_inside = row_sum(predicted * is_candidate, rows).clamp(SMALL, 1 - SMALL)
    inside_factor = rows.spread(inside / predicted_inside)
    outside_factor = rows.spread((1 - inside) / (1 - predicted_inside))
    return predicted * torch.where(is_candidate, inside_factor, outside_factor)
