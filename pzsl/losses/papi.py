"""The prototype alignment loss of PaPi."""

from __future__ import annotations

import torch
from torch import Tensor


def mixed_prototype_losses(
    features: Tensor,
    prototypes: Tensor,
    targets: Tensor,
    order: Tensor,
    share: float,
    temperature: float,
) -> Tensor:
    """`share KL(w_i, s_i) + (1 - share) KL(w_o(i), s_i)` of mixed images (Xia et al. 2023, eq. 5).

    Args:
        features: (B, d) unit vectors z of mixed images: each is mixed with another image.
        prototypes: (K, d) unit vectors mu; s is the softmax of `z . mu / temperature`.
        targets: (B, K) label weights w.
        order: (B,) index of the image that is mixed in.
        share: proportion of the image itself, 0 to 1.
        temperature: of the softmax.

    Returns:
        (B,).
    """
    log_s = (features @ prototypes.T / temperature).log_softmax(dim=1)
    certainty = torch.xlogy(targets, targets).sum(dim=1)
    own_divergence, other_divergence = (
        certainty[at] - (targets[at] * log_s).sum(dim=1) for at in (..., order)
    )
    return share * own_divergence + (1 - share) * other_divergence
