"""Losses over several views of an image: suppress non-candidates, and make the views agree."""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl.losses.partial import partial_zero_shot_losses
from pzsl.losses.ragged import Rows, row_sum

EDGE = 1e-7
"""Keeps the logarithm of `1 - f` finite, as in the released code of CRDPLL."""


def outside_losses(logits: Tensor, candidates: Tensor) -> Tensor:
    """`- sum_{j not in S} log(1 - f_j)` (Wu et al. 2022, eq. 2).

    Args:
        logits: (B, K) over the seen classes; f is their softmax.
        candidates: (B, K), 1 for a candidate, 0 for any other label.

    Returns:
        (B,), 0 for an image whose candidates are all labels.
    """
    return -((1 + EDGE - logits.softmax(dim=1)).log() * (1 - candidates)).sum(dim=1)


def divergences(logits: Tensor, weights: Tensor, rows: Rows) -> Tensor:
    """`KL(w, f) = sum_j w_j log(w_j / f_j)` between label weights and predictions.

    Args:
        logits: (B, K) over the seen classes; f is their softmax.
        weights: (m,) label weights w, without gradient; a row's sum to one.
        rows: where they belong in (B, K).

    Returns:
        (B,).
    """
    certainty = row_sum(torch.xlogy(weights, weights), rows)
    return partial_zero_shot_losses(logits, weights, rows) + certainty
