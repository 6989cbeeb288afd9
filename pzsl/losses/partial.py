"""Shared by the partial-label methods: weighted cross-entropy, alignment, the best candidate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pzsl.losses.ragged import Rows, first_largest, row_sum


class _WeightedCrossEntropy(torch.autograd.Function):
    """The gradient is softmax - weights; a single exp is taken of a (B, K) array."""

    @staticmethod
    def forward(context: Any, logits: Tensor, weights: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        shifted = logits - logits.amax(dim=1, keepdim=True)
        log_p = rows.take(shifted)
        powers = shifted.exp_()
        total = powers.sum(dim=1)
        log_p.sub_(rows.spread(total.log()))
        context.save_for_backward(powers, total, weights)
        context.rows = rows
        context.mark_non_differentiable(log_p)
        return row_sum(weights * log_p, rows).neg_(), log_p

    @staticmethod
    def backward(context: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        powers, total, weights = context.saved_tensors
        rows: Rows = context.rows
        slope = powers.mul_((gradient / total)[:, None])  # autograd refuses a second backward pass
        slope.view(-1).scatter_add_(0, rows.cells, weights * rows.spread(-gradient))
        return slope, None, None


def partial_zero_shot_losses(logits: Tensor, weights: Tensor, rows: Rows) -> Tensor:
    """`- sum_j w_ij log p_j(x_i)` over ragged label weights (Fan et al. 2026, as published).

    RC, PRODEN and the methods built on them use the same loss (Feng et al. 2020, Lv et al. 2020).

    Args:
        logits: (B, K) over the seen classes; p is their softmax.
        weights: (m,) label weights, without gradient; they sum to one per row.
        rows: where they belong in (B, K).

    Returns:
        (B,) the loss of each image.
    """
    return losses_and_log_p(logits, weights, rows)[0]


def losses_and_log_p(logits: Tensor, weights: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """`partial_zero_shot_losses` (B,), and `log p` of each entry (m,) without gradient."""
    losses, log_p = _WeightedCrossEntropy.apply(logits, weights, rows)
    return losses, log_p


def partial_zero_shot_loss(logits: Tensor, weights: Tensor, rows: Rows) -> Tensor:
    """The mean of `partial_zero_shot_losses` over a batch, a scalar."""
    return partial_zero_shot_losses(logits, weights, rows).mean()


def alignment(adapted: Tensor, frozen: Tensor) -> Tensor:
    """Mean of `1 - cos` between adapted and frozen unit embeddings, both (n, D)."""
    return 1 - (adapted * frozen).sum() / len(adapted)


def best_candidate(scores: Tensor, log_mask: Tensor, rows: Rows) -> Tensor:
    """The entry with the highest score per row; ties go to the first.

    Only candidates are compared. Some papers' code multiplies the scores of the others by 0, and
    then a non-candidate wins whenever all candidates score below 0.

    Args:
        scores: (B, K).
        log_mask: (m,) added to the scores: 0 for a candidate, negative for another entry.
        rows: where the entries lie in (B, K).

    Returns:
        (B,) positions among the entries.
    """
    return first_largest(rows.take(scores) + log_mask, rows)
