"""How PaPi aligns images with prototypes."""

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
        features: (B, d) unit vectors z of images, each mixed with another one.
        prototypes: (K, d) unit vectors mu; s is the softmax of `z . mu / temperature`.
        targets: (B, K) label weights w.
        order: (B,) which other image is mixed in.
        share: how much of the image itself there is, in 0..1.
        temperature: of the softmax.

    Returns:
        (B,).
    """
    log_s = (features @ prototypes.T / temperature).log_softmax(dim=1)
    certainty = torch.xlogy(targets, targets).sum(dim=1)
    own, other = (certainty[at] - (targets[at] * log_s).sum(dim=1) for at in (..., order))
    return share * own + (1 - share) * other
