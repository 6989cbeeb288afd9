"""Row-wise maxima, sums and softmaxes of ragged values: memory and time grow with the entries."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FAINT = 1e-25
"""Sums of powers below this have lost digits."""


class Rows(NamedTuple):
    """How m values lie in the rows of a (B, K) array of which they are some cells.

    Attributes:
        batch_row: (m,) the row of each value, ascending.
        offsets: (B + 1,) row i has the values `offsets[i]:offsets[i + 1]`, at least one.
        cells: (m,) position of each value in the flattened (B, K).
    """

    batch_row: Tensor
    offsets: Tensor
    cells: Tensor

    def spread(self, each: Tensor) -> Tensor:
        """A value per row (B,) to each of the row's entries (m,)."""
        return each.index_select(0, self.batch_row)

    def take(self, dense: Tensor) -> Tensor:
        """The values (m,) of an array (B, K)."""
        return dense.flatten().index_select(0, self.cells)

    def put(self, values: Tensor, like: Tensor) -> Tensor:
        """Values (m,) as an array of the shape of `like`, zero elsewhere."""
        flat = values.new_zeros(like.numel())
        return flat.scatter_(0, self.cells, values).view(like.shape)


def row_max(values: Tensor, rows: Rows) -> Tensor:
    """Largest value of each row, (B,)."""
    if values.device.type == "mps":  # it knows no segments
        empty = values.new_full((len(rows.offsets) - 1,), -torch.inf)
        return empty.scatter_reduce_(0, rows.batch_row, values, "amax")
    return torch.segment_reduce(values, "max", offsets=rows.offsets)


def row_sum(values: Tensor, rows: Rows) -> Tensor:
    """Sum of each row, (B,)."""
    if values.device.type == "mps":
        return values.new_zeros(len(rows.offsets) - 1).index_add_(0, rows.batch_row, values)
    return torch.segment_reduce(values, "sum", offsets=rows.offsets)


def row_softmax(values: Tensor, rows: Rows, top: Tensor | float | None = None) -> Tensor:
    """Softmax among the values of each row, (m,).

    Args:
        values: (m,). rows: how they lie.
        top: (B,), or one number: no value of the row is larger; spares a CPU finding the largest,
            as long as one is near. A GPU would have to wait to tell whether it is, and finds the
            largest sooner.
    """
    if top is not None and values.device.type == "cpu":
        powers = (values - (rows.spread(top) if isinstance(top, Tensor) else top)).exp_()
        sums = row_sum(powers, rows)
        if bool((sums > FAINT).all()):
            return powers.div_(rows.spread(sums))
    powers = (values - rows.spread(row_max(values, rows))).exp_()
    return powers.div_(rows.spread(row_sum(powers, rows)))


def first_largest(values: Tensor, rows: Rows) -> Tensor:
    """Position in `values` of the largest one of each row, the first of equal ones: (B,).

    A row without any value, or one that holds a NaN, gets the last position: what a training gets
    from it is refused by the loop, whose loss is then no number.
    """
    last, at = len(values) - 1, torch.arange(len(values), dtype=torch.int32, device=values.device)
    at.masked_fill_(values != rows.spread(row_max(values, rows)), last)
    first = at.new_full((len(rows.offsets) - 1,), last)
    return first.scatter_reduce_(0, rows.batch_row, at, "amin").long()
