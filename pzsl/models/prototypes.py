"""Semantic mining in closed form: labels attend to images (soft k-means), then to labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIMILARITY_SCALE = 20.0
"""Sharpness of the unseen labels' attention to the seen ones."""
NEGLIGIBLE = 1e-3
"""Smaller label weights are left out of sums over images."""
SHRINKAGE = 2.0
"""Covariance and identity have equal weight at 2 D images."""
CELLS = 1 << 21
"""Most pairs of an unseen and a seen label whose similarities are held at a time: 8 MB."""
ROUNDING = 1e-5
"""A smaller total variance of unit vectors is rounding error in single precision."""


def class_sums(images: Tensor, labels: Tensor, weights: Tensor, rows: Tensor, out: Tensor) -> None:
    """Add to `out` (K, D) the weighted sums of images.

    Candidates with next to no weight are passed over: those are most of an image's candidates.

    Args:
        images: (B, D) a block of images.
        labels: (m,) class of each entry of the block.
        weights: (m,) its label weight.
        rows: (m,) its row within the block.
    """
    heavy = torch.nonzero(weights > NEGLIGIBLE).flatten()
    heavy = heavy[torch.argsort(labels.index_select(0, heavy), stable=True)]
    classes = torch.arange(len(out), device=labels.device)
    starts = torch.searchsorted(labels.index_select(0, heavy), classes)
    shares, rows = weights.index_select(0, heavy), rows.index_select(0, heavy)
    if images.device.type == "mps":  # it has no embedding bags
        weighted = images.index_select(0, rows).mul_(shares[:, None])
        out.index_add_(0, labels.index_select(0, heavy), weighted)
    else:  # an eighth of the time, and always in the same order
        out += F.embedding_bag(rows, images, starts, mode="sum", per_sample_weights=shares)


def within_covariance(second: Tensor, sums: Tensor, counts: Tensor, images: int) -> Tensor:
    """Covariance of images around their class means.

    Args:
        second: (D, D) sum of the outer products of all images.
        sums: (K, D) weighted sums of the images of each class.
        counts: (K,) sums of these weights.
        images: N.

    Returns:
        (D, D).
    """
    scaled = sums / counts.clamp_min(1e-6).sqrt()[:, None]
    return torch.addmm(second, scaled.T, scaled, alpha=-1) / images


def whitening(covariance: Tensor, images: int) -> Tensor:
    """A matrix L that whitens images within classes: images times L vary alike in all directions.

    The covariance is shrunk towards a multiple of the identity by `2 D / (2 D + N)`, so that few
    images change little (regularised discriminant analysis, Friedman 1989). If the images of a
    class don't vary, as with one image per class, L is the identity.

    Args:
        covariance: (D, D) within the classes.
        images: N, from which it was estimated.

    Returns:
        (D, D).
    """
    dim = len(covariance)
    share = SHRINKAGE * dim / (SHRINKAGE * dim + images)
    precise = covariance.cpu().double()  # in this order: Apple's GPUs know no float64
    mean_variance = precise.diagonal().mean().clamp_min(1e-12)
    identity = torch.eye(dim, dtype=torch.float64)
    shrunk = (1 - share) * precise + share * mean_variance * identity
    lower, failed = torch.linalg.cholesky_ex(shrunk)
    if failed.item() or precise.trace() < ROUNDING:
        return identity.to(covariance)
    whitener: Tensor = torch.linalg.cholesky(torch.cholesky_inverse(lower))
    return whitener.mul_(mean_variance.sqrt()).to(covariance)


def leave_one_out_cosines(
    products: Tensor, squares: Tensor, weights: Tensor, shortest: float = 1e-3
) -> Tensor:
    """Leave-one-out cosines: of images with class prototypes, without the image itself.

    A prototype that contains an image resembles it, whatever the image's label.

    Args:
        products: (m,) products of a unit image and the sum of a class.
        squares: (m,) squared length of that sum.
        weights: (m,) weight of the image in the sum.
        shortest: lower bound on the length of the sum that is left.

    Returns:
        (m,), or the shape to which the three broadcast.
    """
    length = (squares - 2 * weights * products + weights**2).clamp_min(shortest**2).sqrt()
    return (products - weights) / length


def unseen_prototypes(
    prototypes: Tensor, seen: Tensor, unseen: Tensor, share: Tensor, strength: float
) -> Tensor:
    """Prototypes of unseen labels, which attend to the seen labels that resemble them (ours).

    Args:
        prototypes: (K, D) unit prototypes of the seen labels.
        seen: (K, D) label embeddings of the seen classes.
        unseen: (U, D) of the unseen ones.
        share: (K,) weight of each seen class relative to the mean, at most 1.
        strength: length of the unseen prototypes; below one, as they are estimates.

    Returns:
        (U, D), rows of length `strength`.
    """
    centre, log_share = torch.cat([seen, unseen]).mean(0), share.clamp(1e-6, 1.0).log()
    keys, attended = F.normalize(seen - centre, dim=-1).T, torch.empty_like(unseen)
    size = max(1, CELLS // len(seen))
    for block, out in zip(torch.split(unseen, size), torch.split(attended, size), strict=True):
        cosines = F.normalize(block - centre, dim=-1) @ keys
        attention = torch.softmax(SIMILARITY_SCALE * cosines + log_share, dim=-1)
        torch.mm(attention, prototypes, out=out)
    return strength * F.normalize(attended, dim=-1)
