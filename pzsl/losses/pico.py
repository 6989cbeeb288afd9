"""How PiCO moves its prototypes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def count_labels(labels: Tensor, classes: int) -> Tensor:
    """How often each class (K,) is among labels (n,); `bincount` would let a GPU wait."""
    return labels.new_zeros(classes).index_add_(0, labels, torch.ones_like(labels))


def move_prototypes(
    prototypes: Tensor, features: Tensor, labels: Tensor, momentum: float
) -> Tensor:
    """`mu_c <- unit(m mu_c + (1 - m) q)` for each q of class c, in order (Wang et al. 2022).

    As published, the length is set to one after the batch, not after each vector.

    Args:
        prototypes: (K, d). features: (B, d) unit vectors. labels: (B,) their predicted classes.
        momentum: m.

    Returns:
        (K, d) unit rows; a class that was never met stays zero.
    """
    order = torch.argsort(labels, stable=True)
    count = count_labels(labels, len(prototypes))
    ends = count.cumsum(0)[labels[order]]
    later = ends - 1 - torch.arange(len(labels), device=labels.device)
    share = (1 - momentum) * momentum ** later.to(features.dtype)
    moved = prototypes * (momentum ** count.to(features.dtype))[:, None]
    moved.index_add_(0, labels[order], features[order] * share[:, None])
    return F.normalize(moved, dim=-1)
