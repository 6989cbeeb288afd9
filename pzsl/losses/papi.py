"""The prototype alignment loss of PaPi."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def mixed_prototype_losses(
    features: Sequence[Tensor],
    prototypes: Tensor,
    targets: Tensor,
    order: Tensor,
    share: float,
    temperature: float,
) -> Tensor:
    """`share KL(w_i, s_i) + (1 - share) KL(w_o(i), s_i)` of mixed images (Xia et al. 2023, eq. 5).

    Args:
        features: of each view the unit vectors z of mixed images, (B, d): each is mixed with
            another image.
        prototypes: (K, d) unit vectors mu; s is the softmax of `z . mu / temperature`.
        targets: (B, K) label weights w.
        order: (B,) index of the image that is mixed in.
        share: proportion of the image itself, 0 to 1.
        temperature: of the softmax.

    Returns:
        (B,), the sum over the views.
    """
    certainty = torch.xlogy(targets, targets).sum(dim=1)
    mixed = targets.lerp(targets[order], 1 - share)
    losses = len(features) * certainty.lerp(certainty[order], 1 - share)
    for z in features:
        log_s = (z @ prototypes.T / temperature).log_softmax(dim=1)
        losses = losses - (mixed * log_s).sum(dim=1)
    return losses
