"""The classifier-consistent loss of CC."""

from __future__ import annotations

import torch
from torch import Tensor

from pzsl.losses.partial import partial_zero_shot_losses
from pzsl.losses.ragged import Rows, row_softmax, row_sum


def classifier_consistent_losses(logits: Tensor, rows: Rows) -> Tensor:
    """`- log sum_{j in S_i} f_j(x_i)`, f the softmax (Feng et al. 2020).

    With w the softmax within S, `log sum_{j in S} f_j = sum_{j in S} w_j (log f_j - log w_j)`, and
    the gradient by w vanishes: the loss is the weighted cross-entropy minus the entropy of w.

    Args:
        logits: (B, K). rows: positions of the candidates.

    Returns:
        (B,) the loss of each image.
    """
    weights = row_softmax(rows.take(logits.detach()), rows)
    entropy = row_sum(torch.special.entr(weights), rows)
    return partial_zero_shot_losses(logits, weights, rows) - entropy
