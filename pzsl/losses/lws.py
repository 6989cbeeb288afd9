"""The leveraged weighted loss of LWS, its label weights, and its binary losses."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

OUTSIDE = 1e9
"""Subtracted from the logits of labels that a softmax should ignore."""
CERTAIN = -1e-6
"""Upper bound of log-probabilities, to keep the odds finite."""


def leveraged_weighted_loss(
    logits: Tensor,
    weights: Tensor,
    candidates: Tensor,
    beta: float,
    psi: Callable[[Tensor], Tensor],
) -> Tensor:
    """`sum_{j in S} w_j psi(g_j) + beta sum_{j not in S} w_j psi(-g_j)` (Wen et al. 2021).

    Args:
        logits: (B, K) g.
        weights: (B, K) w; they sum to one inside each candidate set, and to one outside it.
        candidates: (B, K), 1 for a candidate, 0 for any other label.
        beta: leverage of the non-candidates, 1 or 2 in the paper.
        psi: a binary loss that decreases to 0 as z grows.

    Returns:
        Scalar, the mean over the batch.
    """
    sign, leverage = 2 * candidates - 1, beta + (1 - beta) * candidates
    return (leverage * weights * psi(sign * logits)).sum() / len(logits)


def leveraged_weights(inside: Tensor, logits: Tensor, candidates: Tensor) -> Tensor:
    """Add the weights of the non-candidates: the softmax over these alone.

    Args:
        inside: (B, K) weights of the candidates, 0 elsewhere.
        logits: (B, K). candidates: (B, K), 1 for a candidate, 0 for any other label.

    Returns:
        (B, K).
    """
    others = (logits - OUTSIDE * candidates).softmax(dim=1)
    return inside + (1 - candidates) * others


def sigmoid_loss(z: Tensor) -> Tensor:
    """`psi(z) = 1 / (1 + e^z)`, which is bounded: the paper's first choice."""
    return torch.sigmoid(-z)


def logistic_loss(z: Tensor) -> Tensor:
    """`psi(z) = log(1 + e^-z)`, on log-odds `-log f` and `-log(1 - f)`: the second choice."""
    return F.softplus(-z)


def log_odds(logits: Tensor) -> Tensor:
    """`log f / (1 - f)` of the softmax f, (B, K): each class against all others."""
    log_p = logits.log_softmax(dim=1)
    return log_p - torch.log(-torch.expm1(log_p.clamp(max=CERTAIN)))
