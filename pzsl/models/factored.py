"""Cosines of adapted images and adapted labels, without ever writing out an adapted vector (ours).

An adapted embedding is `(z + B g) / length`, where g has few numbers. So the cosine of an image x
and a label t, adapted by B_x and B_t, is

    (x.t + (B_t'x).g_t + g_x.(B_x't) + g_x.(B_x'B_t g_t)) / (length_x length_t)

The frozen cosine x.t never changes; all else has the length of the ranks. At 512 dimensions and
rank 64 this is a third of the arithmetic of the plain way, `LowRankAdapter` and a product.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pzsl.models.adapter import LowRankAdapter
from pzsl.models.unit import SHORTEST


class _Cosines(torch.autograd.Function):
    """`s (f_ij a_i c_j + u_i.v_j)` of frozen cosines f, with slopes by all but f."""

    @staticmethod
    def forward(
        context: Any, frozen: Tensor, u: Tensor, v: Tensor, a: Tensor, c: Tensor, scale: float
    ) -> Tensor:
        context.save_for_backward(frozen, u, v, a, c)
        context.scale = scale
        logits = (frozen * (scale * a)[:, None]).mul_(c)
        return logits.addmm_(u, v.T, alpha=scale)

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        frozen, u, v, a, c = context.saved_tensors
        product = slope * frozen
        slopes = slope @ v, slope.T @ u, product @ c, product.T @ a
        return None, *(each.mul_(context.scale) for each in slopes), None


class Factors(NamedTuple):
    """Adapted embeddings of n vectors z, `(z + B g) inverse`, in factors.

    Attributes:
        hidden: (n, r) g.
        crossed: (n, r') products of z with the columns of the other side's B.
        inverse: (n,) one over the length of `z + B g`.
        cosine: (n,) of the adapted with the frozen vector.
    """

    hidden: Tensor
    crossed: Tensor
    inverse: Tensor
    cosine: Tensor


def factors(z: Tensor, down: Tensor, up: Tensor, other: Tensor) -> Factors:
    """Adapt z (n, D) by A = `down` (r, D) and B = `up` (D, r); `other` (D, r') is the other B."""
    widths = [len(down), len(down), other.shape[1]]
    projected = z @ torch.cat([down.T, up, other], dim=1)
    before, own, crossed = torch.split(projected, widths, dim=1)
    hidden = F.gelu(before)
    along = (own * hidden).sum(dim=1)
    moved = ((hidden @ (up.T @ up)) * hidden).sum(dim=1)
    square = torch.linalg.vector_norm(z, dim=1).square()
    inverse = (square + 2 * along + moved).clamp_min(SHORTEST).rsqrt()
    return Factors(hidden, crossed, inverse, (square + along) * inverse * square.rsqrt())


def adapted_logits(
    images: Tensor,
    labels: Tensor,
    frozen: Tensor,
    image_adapter: nn.Module,
    label_adapter: nn.Module,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Logits of adapted images over adapted labels, and how far both have moved.

    Args:
        images: (B, D) frozen. labels: (C, D) frozen, those to be scored first.
        frozen: (B, K) cosines of images and the first K labels.
        image_adapter, label_adapter: low-rank, or the identity.
        scale: of the logits.

    Returns:
        (B, K) logits, and the sum of both sides' mean of `1 - cos` with the frozen vectors.
    """
    (down, up), (label_down, label_up) = (
        matrices(adapter, images) for adapter in (image_adapter, label_adapter)
    )
    x = factors(images, down, up, label_up)
    t = factors(labels, label_down, label_up, up)
    seen = frozen.shape[1]
    across = torch.addmm(x.crossed, x.hidden, up.T @ label_up)
    u = torch.cat([across, x.hidden], dim=1) * x.inverse[:, None]
    v = (torch.cat([t.hidden, t.crossed], dim=1) * t.inverse[:, None])[:seen]
    logits: Tensor = _Cosines.apply(frozen, u, v, x.inverse, t.inverse[:seen], scale)
    return logits, 2 - x.cosine.mean() - t.cosine.mean()


def matrices(adapter: nn.Module, like: Tensor) -> tuple[Tensor, Tensor]:
    """A (r, D) and B (D, r) of an adapter; r = 0 where it is the identity."""
    if isinstance(adapter, LowRankAdapter):
        return adapter.down, adapter.up
    return like.new_zeros(0, like.shape[1]), like.new_zeros(like.shape[1], 0)
