"""The moving-average prototypes of PiCO."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.losses.ragged import add_groups


def count_labels(labels: Tensor, classes: int) -> Tensor:
    """How often each class (K,) occurs in labels (n,); `bincount` would synchronise a GPU."""
    return labels.new_zeros(classes).index_add_(0, labels, torch.ones_like(labels))


def move_prototypes(
    prototypes: Tensor, features: Tensor, labels: Tensor, momentum: float
) -> Tensor:
    """`mu_c <- unit(m mu_c + (1 - m) q)` for each q of class c, in order (Wang et al. 2022).

    As in the paper, prototypes are normalised once per batch, not after each vector.

    Args:
        prototypes: (K, d). features: (B, d) unit vectors. labels: (B,) their predicted classes.
        momentum: m.

    Returns:
        (K, d) unit rows; a class that has not occurred yet stays zero.
    """
    order = torch.argsort(labels, stable=True)
    count = count_labels(labels, len(prototypes))
    ends = count.cumsum(0)[labels[order]]
    later = ends - 1 - torch.arange(len(labels), device=labels.device)
    share = (1 - momentum) * momentum ** later.to(features.dtype)
    moved = prototypes * (momentum ** count.to(features.dtype))[:, None]
    moved = add_groups(moved, labels[order], features[order] * share[:, None])
    return F.normalize(moved, dim=-1)
