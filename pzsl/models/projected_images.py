"""Adapted images, projected to few dimensions, without computing an adapted image (ours).

An adapted image is `(x + B g) / length`, so its product with a projection P is
`(P x + P B g) / length`: with P B multiplied first, nothing but x has D numbers. The gradients are
written by hand, as in `adapted_cosines.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pzsl.models.adapted_cosines import Matrices, Slopes, adapt, adapt_backward, matrices
from pzsl.models.unit_vectors import SHORTEST


class _Projected(torch.autograd.Function):
    """`unit(P (x' - centre))`; in the backward pass, `by_x` is the gradient of the loss by x."""

    @staticmethod
    def forward(
        context: Any, images: Tensor, projection: Tensor, centre: Tensor | None, *factors: Tensor
    ) -> Tensor:
        adapter = Matrices(*factors)
        side = adapt(images, adapter, projection.T)
        across = projection @ adapter.up
        raw = torch.addmm(side.crossed, side.hidden, across.T)
        centred = raw * side.inverse[:, None]
        if centre is not None:
            centred.sub_(projection @ centre)
        length = torch.linalg.vector_norm(centred, dim=1, keepdim=True).clamp_min_(SHORTEST)
        projected = centred.div_(length)
        context.save_for_backward(images, projection, *factors, raw, projected, length)
        context.side, context.centre = side, centre
        return projected

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, projection, down, up, raw, projected, length = context.saved_tensors
        side, centre = context.side, context.centre
        along = (gradient * projected).sum(dim=1, keepdim=True)
        by_centred = torch.addcmul(gradient, projected, along, value=-1).div_(length)
        by_inverse = (by_centred * raw).sum(dim=1)
        by_raw = by_centred * side.inverse[:, None]
        by_across = by_raw.T @ side.hidden
        by_hidden, by_lean = by_raw @ (projection @ up), torch.zeros_like(by_inverse)
        slopes = Slopes(by_hidden, by_raw, by_inverse, by_lean)
        by_down, by_up, by_other = adapt_backward(images, Matrices(down, up), side, slopes)
        by_projection = torch.addmm(by_other.T, by_across, up.T)
        if centre is not None:
            by_projection.addr_(by_centred.sum(dim=0), centre, alpha=-1)
        return None, by_projection, None, by_down.T, by_up.addmm_(projection.T, by_across)


def project_adapted(
    images: Tensor, adapter: nn.Module, projection: Tensor, centre: Tensor | None = None
) -> Tensor:
    """Unit vectors `unit(P (x' - centre))` of adapted images x'.

    Args:
        images: (n, D) unit vectors x, which get no gradient.
        adapter: low-rank, or the identity.
        projection: (d, D) P.
        centre: (D,) subtracted from adapted images, without gradient; None for zero.

    Returns:
        (n, d).
    """
    projected: Tensor = _Projected.apply(images, projection, centre, *matrices(adapter, images))
    return projected
