"""Contrastive loss with weighted positives: supervised (PiCO) or by ambiguity (ABLE)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pzsl.losses.pico import count_labels


class _Contrast(torch.autograd.Function):
    """Its gradient by the logits is softmax * (sum of the weights) - weights; it takes one exp."""

    @staticmethod
    def forward(
        context: Any,
        anchors: Tensor,
        others: Tensor,
        pairs: Tensor,
        temperature: float,
        left_out: Tensor | None,
        learnt: int,
    ) -> Tensor:
        logits = (anchors / temperature) @ others.T
        least = torch.finfo(logits.dtype).min / 2
        logits.fill_diagonal_(least)
        if left_out is not None:
            logits.masked_fill_(left_out, least)
        attracted, mass = torch.dot(pairs.flatten(), logits.flatten()), pairs.sum(dim=1)
        top = logits.amax(dim=1)
        powers = logits.sub_(top[:, None]).exp_()
        total = powers.sum(dim=1)
        context.save_for_backward(anchors, others, pairs, powers, mass / total)
        context.among_themselves = others is anchors
        context.temperature, context.learnt = temperature, learnt
        return (torch.dot(mass, total.log().add_(top)) - attracted) / len(anchors)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        anchors, others, pairs, powers, factors = context.saved_tensors
        slope = torch.addcmul(-pairs, powers, factors[:, None])
        share = gradient / (len(anchors) * context.temperature)
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
    pairs: Tensor,
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
        pairs: (n, m) weights of the positives, zero for negatives and on the diagonal.
        temperature: of the softmax.
        left_out: (n, m) bool, pairs that are neither positives nor negatives; None for none.
        learnt: only the first so many of the others get a gradient; None for all of them.

    Returns:
        Scalar.
    """
    loss: Tensor = _Contrast.apply(
        anchors, others, pairs, temperature, left_out, len(others) if learnt is None else learnt
    )
    return loss


def share_equally(positives: Tensor) -> Tensor:
    """Equal weights, summing to one, on each row's positives; none on a row without any.

    Args:
        positives: (n, m), 1 for a positive, 0 for any other.

    Returns:
        (n, m) weights.
    """
    return positives / positives.sum(dim=1, keepdim=True).clamp_min(1)


def ambiguity_pairs(
    weights: Tensor, predicted: Tensor, views: int, shared: str = "vectors"
) -> Tensor:
    """Positives of ABLE: the vectors predicted as candidate j share the weight of j equally.

    Args:
        weights: (B, K) label weights p_ij, zero outside the candidates.
        predicted: (B,) the class that each image is predicted to be.
        views: V, the number of vectors per image; the rows are V blocks of B.
        shared: `vectors` shares the weight among the vectors of all views without the anchor, as
            in the paper; `images` shares it among the images of each view including the anchor's,
            so that an anchor's weights sum to V minus its own share, as in the released code.

    Returns:
        (V B, V B): in the column of each a predicted j, 0 at a = i, `p_ij / #{a != i predicted j}`
        (vectors), or `p_ij / #{images predicted j}` (images). Source: Xia et al. 2022.
    """
    count = count_labels(predicted, weights.shape[1])[predicted]
    if shared == "vectors":
        is_own_class = (predicted[:, None] == predicted).to(weights.dtype)
        count = (views * count - is_own_class).clamp_min(1)
    pairs = weights.index_select(1, predicted) / count
    return pairs.repeat(views, views).fill_diagonal_(0.0)
