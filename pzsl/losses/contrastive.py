"""Contrastive loss with weighted positives: supervised (PiCO) or by ambiguity (ABLE).

No array of all pairs says who is whose positive: the loss is linear in the positives, so the sums
of classes serve, which are computed once for all of their anchors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.losses.pico import count_labels
from pzsl.losses.ragged import add_groups


class Positives(NamedTuple):
    """What attracts n anchors, by the weights `pairs` of all others.

    Attributes:
        attraction: scalar, `sum_ia pairs_ia z_i . z_a`.
        mass: (n,) `sum_a pairs_ia`.
    """

    attraction: Tensor
    mass: Tensor


class _LogSums(torch.autograd.Function):
    """`sum_i mass_i log sum_{a != i} exp(z_i . z_a / temperature)`; takes one exp of each pair."""

    @staticmethod
    def forward(
        context: Any,
        anchors: Tensor,
        others: Tensor,
        mass: Tensor,
        temperature: float,
        left_out: Tensor | None,
        learnt: int,
    ) -> Tensor:
        logits = (anchors / temperature) @ others.T
        least = torch.finfo(logits.dtype).min / 2
        logits.fill_diagonal_(least)
        if left_out is not None:
            logits.masked_fill_(left_out, least)
        top = logits.amax(dim=1)
        powers = logits.sub_(top[:, None]).exp_()
        total = powers.sum(dim=1)
        context.save_for_backward(anchors, others, powers, mass / total)
        context.among_themselves = others is anchors
        context.temperature, context.learnt = temperature, learnt
        return torch.dot(mass, total.log().add_(top))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        anchors, others, powers, factors = context.saved_tensors
        slope = powers.mul_(factors[:, None])  # autograd refuses a second backward pass
        share = gradient / context.temperature
        by_others = None
        if context.among_themselves:  # one product gives both gradients
            slope = slope + slope.T
        elif context.needs_input_grad[1]:
            by_others = torch.zeros_like(others)
            torch.mm(slope[:, : context.learnt].T, anchors, out=by_others[: context.learnt])
            by_others.mul_(share)
        return (slope @ others).mul_(share), by_others, None, None, None, None


def contrastive_loss(
    anchors: Tensor,
    others: Tensor,
    positives: Positives,
    temperature: float,
    left_out: Tensor | None = None,
    learnt: int | None = None,
) -> Tensor:
    """`- mean_i sum_a pairs_ia log softmax_{a != i}(z_i . z_a / temperature)`.

    With equal weights on an anchor's positives it is the supervised contrastive loss (Khosla et
    al. 2020, the sum outside the logarithm).

    Args:
        anchors: (n, d) unit vectors.
        others: (m, d) unit vectors, of which the first n are the anchors themselves: an anchor is
            not compared with itself.
        positives: by weights (n, m) that are not negative, and 0 for the anchor itself and for
            whatever is left out.
        temperature: of the softmax.
        left_out: (n, m) bool, pairs that are neither positives nor negatives; None for none.
        learnt: the softmax's gradient goes to so many of the others only, the first ones; None
            for all of them.

    Returns:
        Scalar.
    """
    learnt = len(others) if learnt is None else learnt
    arguments = positives.mass, temperature, left_out, learnt
    repelled: Tensor = _LogSums.apply(anchors, others, *arguments)
    return (repelled - positives.attraction / temperature) / len(anchors)


class _Attraction(torch.autograd.Function):
    """`sum_ia share_c(i) z_i . z_a` over pairs of one class c, by the sums of the classes."""

    @staticmethod
    def forward(
        context: Any, anchors: Tensor, of_rest: Tensor, own: Tensor, share: Tensor
    ) -> Tensor:
        of_anchors = add_groups(torch.zeros_like(of_rest), own, anchors)
        of_anchor = share.index_select(0, own)
        context.save_for_backward(anchors, of_anchors, of_rest, own, of_anchor)
        within_classes = (of_anchors * (of_anchors + of_rest)).sum(dim=1) @ share
        return within_classes - anchors.square().sum(dim=1) @ of_anchor

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        anchors, of_anchors, of_rest, own, of_anchor = context.saved_tensors
        slopes = torch.add(of_rest, of_anchors, alpha=2).index_select(0, own)
        return slopes.sub_(anchors, alpha=2).mul_((gradient * of_anchor)[:, None]), None, None, None


def same_class(anchors: Tensor, others: Tensor, other_labels: Tensor, classes: int) -> Positives:
    """All other vectors of an anchor's class share its weight of one equally.

    Args:
        anchors: (n, d); no other vector gets a gradient.
        others: (m, d), of which the first n are the anchors themselves.
        other_labels: (m,) class of each, 0 to `classes` - 1; -1 for none.
        classes: K.

    Returns:
        The positives; an anchor without any, or of no class, has none.
    """
    count, groups = len(anchors), torch.where(other_labels < 0, classes, other_labels)
    rest = count_labels(groups, classes + 1)[:classes] - 1
    share = F.pad((rest > 0) / rest.clamp_min(1).to(anchors.dtype), (0, 1))  # 0 for no class
    empty = others.new_zeros(classes + 1, others.shape[1])
    of_rest = add_groups(empty, groups[count:], others[count:])
    attraction: Tensor = _Attraction.apply(anchors, of_rest, groups[:count], share)
    return Positives(attraction, (share > 0).to(anchors.dtype).index_select(0, groups[:count]))


def ambiguity_positives(
    vectors: Tensor, weights: Tensor, predicted: Tensor, views: int, shared: str = "vectors"
) -> Positives:
    """Positives of ABLE: the vectors predicted as candidate j share the weight of j equally.

    Args:
        vectors: (V B, d), V blocks of B images.
        weights: (B, K) label weights p_ij, zero outside the candidates.
        predicted: (B,) the class that each image is predicted to be.
        views: V, the number of vectors per image.
        shared: `vectors` shares the weight among the vectors of all views without the anchor, as
            in the paper; `images` shares it among the images of each view including the anchor's,
            so that an anchor's weights sum to V minus its own share, as in the released code.

    Returns:
        By the weights of each a predicted j, 0 at a = i, `p_ij / #{a != i predicted j}` (vectors),
        or `p_ij / #{images predicted j}` (images). Source: Xia et al. 2022.
    """
    count = count_labels(predicted, weights.shape[1])[predicted]
    if shared == "vectors":
        is_own_class = (predicted[:, None] == predicted).to(weights.dtype)
        count = (views * count - is_own_class).clamp_min(1)
    pairs = weights.index_select(1, predicted) / count  # the same for each two views
    own, by_view = pairs.diagonal(), vectors.view(views, len(predicted), -1)
    attracting = pairs @ by_view.sum(dim=0) - own[:, None] * by_view
    mass = (views * pairs.sum(dim=1) - own).repeat(views)
    return Positives((by_view * attracting).sum(), mass)
