"""The losses and updates of Co-Reg (Wang et al., arXiv 2406.18550 and 2506.03229)."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-12
"""Lower bound of denominators and probabilities, to keep quotients and logarithms finite."""


def warm_up_loss(logits: Tensor, candidates: Tensor, entropy_of_all: bool = False) -> Tensor:
    """`mean_i [- log sum_{j in S_i} f_j + sum_j f_j log f_j]`, with an entropy bonus.

    Images whose candidates are all classes carry no information and are left out.

    Args:
        logits: (B, K).
        candidates: (B, K), 1 for a candidate, 0 for any other label.
        entropy_of_all: whether the entropy of such images counts nevertheless, as in the released
            code.

    Returns:
        Scalar, the mean over the remaining images; 0 if there are none.
    """
    log_f = logits.log_softmax(dim=1)
    inside = log_f.masked_fill(candidates == 0, -torch.inf).logsumexp(dim=1)
    negative_entropy = (log_f.exp() * log_f).sum(dim=1)
    counts = (candidates.sum(dim=1) < candidates.shape[1]).to(logits.dtype)
    image_count = counts.sum().clamp_min(1)
    if entropy_of_all:
        return negative_entropy.mean() - (inside * counts).sum() / image_count
    return ((negative_entropy - inside) * counts).sum() / image_count


def align_distribution(f: Tensor, ratio: Tensor) -> Tensor:
    """`f <- norm(f * prior / mean f)`: move the mean of predictions (n, K) towards the prior.

    Args:
        f: (n, K) probabilities.
        ratio: (K,) prior / mean f.
    """
    weighted = f * ratio
    return weighted.div_(weighted.sum(dim=1, keepdim=True).clamp_min_(LEAST))


def restrict(f: Tensor, candidates: Tensor) -> Tensor:
    """`p_j = y_j f_j / sum_k y_k f_k`; uniform on candidates (n, K) that all have f = 0."""
    inside = f.clamp_min(LEAST).mul_(candidates)
    return inside.div_(inside.sum(dim=1, keepdim=True))


def candidate_loss(f: Tensor, candidates: Tensor) -> Tensor:
    """`- log max_{j in S} f_j` of each image, (n,)."""
    return -(f * candidates).amax(dim=1).clamp_min(LEAST).log()


def scale_to_unit(values: Tensor) -> Tensor:
    """Values (n,) shifted and scaled to 0..1; all 0 if they are equal."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp_min(LEAST)


def sharpen(p: Tensor, temperature: float) -> Tensor:
    """`p_j^(1/T) / sum_k p_k^(1/T)` (Berthelot et al. 2019, eq. 7)."""
    return torch.softmax(p.clamp_min(LEAST).log_().div_(temperature), dim=1)


def cross_entropy(f: Tensor, targets: Tensor, share: Tensor, by_set: bool = False) -> Tensor:
    """`- sum_i share_i sum_j p_ij log f_ij / B` for log-probabilities f.

    Args:
        f: (B, K) log-probabilities.
        targets: (B, K) pseudo-labels p.
        share: (B,), 1 for the images of P.
        by_set: divide by the number of images in P instead of B, as in the released code.
    """
    count = share.sum().clamp_min(1) if by_set else len(f)
    return -((f * targets).sum(dim=1) * share).sum() / count


def squared_error(f: Tensor, targets: Tensor, share: Tensor, by_set: bool = False) -> Tensor:
    """`sum_i share_i sum_j (f_ij - p_ij)^2 / B` for log-probabilities f.

    Args:
        f: (B, K) log-probabilities.
        targets: (B, K) pseudo-labels p.
        share: (B,), 1 for the images of U.
        by_set: divide by K times the number of images in U instead of B, as in the released code.
    """
    count = share.sum().clamp_min(1) * f.shape[1] if by_set else len(f)
    return (((f.exp() - targets) ** 2).sum(dim=1) * share).sum() / count


def prototype_loss(
    features: Tensor,
    prototypes: Tensor,
    targets: Tensor,
    partial: Tensor,
    temperature: float,
    by_set: bool = False,
) -> Tensor:
    """KL(p, s) on P and squared error on U of `s = softmax(z . o / temperature)`.

    Args:
        features: (B, d) unit vectors z.
        prototypes: (K, d) unit vectors o.
        targets: (B, K) pseudo-labels p.
        partial: (B,), 1 for the images of P, 0 for those of U.
        temperature: of the softmax.
        by_set: see `cross_entropy` and `squared_error`.

    Returns:
        Scalar, over the batch.
    """
    log_s = (features @ prototypes.T / temperature).log_softmax(dim=1)
    entropy = (targets * targets.clamp_min(LEAST).log()).sum(dim=1)
    count = partial.sum().clamp_min(1) if by_set else len(log_s)
    divergence = cross_entropy(log_s, targets, partial, by_set) + (entropy * partial).sum() / count
    return divergence + squared_error(log_s, targets, 1 - partial, by_set)
