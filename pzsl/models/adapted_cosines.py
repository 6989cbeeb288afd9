"""Cosines of adapted images and adapted labels, without computing an adapted vector (ours).

An adapted embedding is `(z + B g) / length`, where g has few numbers. So the cosine of an image x
and a label t, adapted by B_x and B_t, is

    (x.t + (B_t'x).g_t + g_x.(B_x't) + g_x.(B_x'B_t g_t)) / (length_x length_t)

The frozen cosine x.t never changes; all other vectors have the length of the ranks. At 512
dimensions and rank 32 this is less than half the arithmetic of `LowRankAdapter` and a product. The
gradients are written by hand: autograd would need three times as many small operations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pzsl.models.adapter import LowRankAdapter
from pzsl.models.unit_vectors import SHORTEST


class Matrices(NamedTuple):
    """A (r, D) and B (D, r) of a low-rank adapter; r = 0 for the identity.

    Those of R runs have a leading axis.
    """

    down: Tensor
    up: Tensor


class Side(NamedTuple):
    """The factors of n adapted embeddings, of images or of labels.

    Each may have a leading axis of runs.

    Attributes:
        projected: (n, 2 r + r') products of z with A, with the own B, and with the other side's B.
        hidden: (n, r) g = gelu(A z).
        pull: (n, r) B'z + B'B g: half the slope of the squared length by g.
        inverse: (n,) one over the length of z + B g.
        lean: (n,) z.(z + B g).
    """

    projected: Tensor
    hidden: Tensor
    pull: Tensor
    inverse: Tensor
    lean: Tensor

    @property
    def crossed(self) -> Tensor:
        """(n, r') products of z with the other side's B."""
        return self.projected[..., 2 * self.hidden.shape[-1] :]


def adapt(z: Tensor, adapter: Matrices, other_up: Tensor) -> Side:
    """Factors of unit embeddings z (n, D); `other_up` (D, r') is the other side's B.

    With a leading axis of R runs: z (R, n, D), matrices (R, r, D) and (R, D, r).
    """
    rank = adapter.up.shape[-1]
    projected = z @ torch.cat([adapter.down.mT, adapter.up, other_up], dim=-1)
    hidden = F.gelu(projected[..., :rank])
    inner = projected[..., rank : 2 * rank]
    add_product = torch.addmm if z.ndim == 2 else torch.baddbmm
    pull = add_product(inner, hidden, adapter.up.mT @ adapter.up)
    along = (inner * hidden).sum(dim=-1)
    square = (pull * hidden).sum(dim=-1).add_(along).add_(1).clamp_min_(SHORTEST)
    return Side(projected, hidden, pull, square.rsqrt_(), along.add_(1))


class Slopes(NamedTuple):
    """Gradients of a loss by the factors of one side: (n, r), (n, r'), (n,) and (n,)."""

    hidden: Tensor
    crossed: Tensor
    inverse: Tensor
    lean: Tensor


def adapt_backward(
    z: Tensor, adapter: Matrices, side: Side, by: Slopes
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by A' (D, r), B (D, r) and the other side's B (D, r'); overwrites `by.hidden`."""
    rank = adapter.up.shape[1]
    before, inner = side.projected[:, :rank], side.projected[:, rank : 2 * rank]
    by_square = (by.inverse * side.inverse.pow(3)).mul_(-0.5)
    by_hidden = by.hidden.addcmul_(side.pull, by_square[:, None], value=2)
    by_hidden.addcmul_(inner, by.lean[:, None])
    by_before = torch.ops.aten.gelu_backward(by_hidden, before)
    by_inner = side.hidden * torch.add(by.lean, by_square, alpha=2)[:, None]
    by_gram = side.hidden.T @ (side.hidden * by_square[:, None])
    slopes = torch.cat([by_before, by_inner, by.crossed], dim=1).T @ z
    by_down, by_up, by_other = torch.split(slopes, [rank, rank, by.crossed.shape[1]])
    return by_down.T, torch.addmm(by_up.T, adapter.up, by_gram, alpha=2), by_other.T


class _AdaptedLogits(torch.autograd.Function):
    """Logits `s (f_ij a_i c_j + u_i.v_j)` with frozen cosines f and inverse lengths a, c.

    The second output is the distance from the frozen vectors, see `adapted_logits`. In the backward
    pass, `by_x` is the gradient of the loss by x. Row i of the logits is proportional to a_i, so
    the sum of that row times its slopes is `a_i by_a_i`; likewise columns and c.
    """

    @staticmethod
    def forward(
        context: Any,
        images: Tensor,
        labels: Tensor,
        frozen: Tensor,
        scale: float,
        *factors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        of_images, of_labels = Matrices(*factors[:2]), Matrices(*factors[2:])
        x, t = adapt(images, of_images, of_labels.up), adapt(labels, of_labels, of_images.up)
        a, c = x.inverse, t.inverse[: frozen.shape[1]]
        across = torch.addmm(x.crossed, x.hidden, of_images.up.T @ of_labels.up)
        u = torch.cat([across, x.hidden], dim=1).mul_(a[:, None])
        v = torch.cat([t.hidden, t.crossed], dim=1)[: len(c)].mul_(c[:, None])
        logits = (frozen * (scale * a)[:, None]).mul_(c).addmm_(u, v.T, alpha=scale)
        context.save_for_backward(images, labels, logits, *factors)
        context.factors = x, t, u, v, scale
        image_cosine = torch.dot(x.lean, x.inverse) / len(x.lean)
        label_cosine = torch.dot(t.lean, t.inverse) / len(t.lean)
        return logits, 2 - image_cosine - label_cosine

    @staticmethod
    def backward(context: Any, slope: Tensor, by_distance: Tensor) -> tuple[Tensor | None, ...]:
        images, labels, logits, *factors = context.saved_tensors
        of_images, of_labels = Matrices(*factors[:2]), Matrices(*factors[2:])
        x, t, u, v, scale = context.factors
        a, c, product = x.inverse, t.inverse[: len(v)], slope * logits
        by_u, by_v = (slope @ v).mul_(scale), (slope.T @ u).mul_(scale)
        by_a, by_c = product.sum(dim=1).div_(a), product.sum(dim=0).div_(c)
        by_u.mul_(a[:, None])
        by_v.mul_(c[:, None])
        width = of_labels.up.shape[1]
        by_across = by_u[:, :width]
        by_x = torch.addmm(by_u[:, width:], by_across, of_labels.up.T @ of_images.up)
        mixed = x.hidden.T @ by_across
        beyond = (0, 0, 0, len(labels) - len(v))  # unseen labels have no logits
        by_v, by_c = F.pad(by_v, beyond), F.pad(by_c, beyond[2:])
        image_slopes = adapt_backward(
            images, of_images, x, _slopes(by_x, by_across, by_a, by_distance, x)
        )
        label_slopes = adapt_backward(
            labels, of_labels, t, _slopes(by_v[:, :width], by_v[:, width:], by_c, by_distance, t)
        )
        by_up = image_slopes[1].add_(label_slopes[2]).addmm_(of_labels.up, mixed.T)
        by_other = label_slopes[1].add_(image_slopes[2]).addmm_(of_images.up, mixed)
        return None, None, None, None, image_slopes[0].T, by_up, label_slopes[0].T, by_other


def _slopes(
    hidden: Tensor, crossed: Tensor, inverse: Tensor, by_distance: Tensor, side: Side
) -> Slopes:
    """Gradients of one side, including that of the distance `- mean(lean inverse)`."""
    share = by_distance / -len(side.lean)
    return Slopes(hidden, crossed, inverse + share * side.lean, share * side.inverse)


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
        images: (B, D) frozen unit vectors.
        labels: (C, D) frozen unit vectors, beginning with those to be scored.
        frozen: (B, K) cosines of images and the first K labels.
        image_adapter, label_adapter: low-rank, or the identity.
        scale: of the logits.

    Returns:
        (B, K) logits, and the sum of both sides' mean of `1 - cos` with the frozen vectors.
    """
    of_images, of_labels = (matrices(adapter, images) for adapter in (image_adapter, label_adapter))
    logits, distance = _AdaptedLogits.apply(images, labels, frozen, scale, *of_images, *of_labels)
    return logits, distance


def matrices(adapter: nn.Module, like: Tensor) -> Matrices:
    """The matrices of an adapter; of rank 0 if it is the identity."""
    if isinstance(adapter, LowRankAdapter):
        return Matrices(adapter.down, adapter.up)
    return Matrices(like.new_zeros(0, like.shape[1]), like.new_zeros(like.shape[1], 0))
