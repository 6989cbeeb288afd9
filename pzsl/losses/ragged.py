"""Row-wise maxima, sums and softmaxes of ragged values, in time and memory of their number."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

FAINT = 1e-25
"""Sums of exponentials below this have lost precision."""


SPARSE, MANY = 0.12, 2000
"""Of so many classes, if at most this share of cells have a value, a CPU computes their products
faster than all."""


class Rows(NamedTuple):
    """The positions of m values in a (B, K) array, ordered by row.

    Attributes:
        batch_row: (m,) the row of each value, ascending.
        offsets: (B + 1,) values `offsets[i]:offsets[i + 1]` belong to row i; each row has some.
        cells: (m,) position of each value in the flattened (B, K).
    """

    batch_row: Tensor
    offsets: Tensor
    cells: Tensor

    def spread(self, per_row: Tensor) -> Tensor:
        """Repeat one value per row (B,) for each of the row's entries, (m,)."""
        return per_row.index_select(0, self.batch_row)

    def take(self, dense: Tensor) -> Tensor:
        """The values (m,) of an array (B, K)."""
        return dense.flatten().index_select(0, self.cells)

    def put(self, values: Tensor, like: Tensor) -> Tensor:
        """An array of the shape of `like` with these values (m,), zero elsewhere."""
        flat = values.new_zeros(like.numel())
        return flat.scatter_(0, self.cells, values).view(like.shape)


def entry_products(left: Tensor, right: Tensor, labels: Tensor, rows: Rows) -> Tensor:
    """Products of rows of `left` (B, D) with rows of `right` (K, D) at the values' cells, (m,).

    Args:
        left: (B, D). right: (K, D).
        labels: (m,) the row of `right` of each value, int64, ascending in each row.
        rows: their positions in (B, K).
    """
    shape = len(left), len(right)
    few = len(right) >= MANY and len(labels) <= SPARSE * shape[0] * shape[1]
    if left.device.type != "cpu" or not few:
        return rows.take(left @ right.T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its sparse matrices a beta version
        zeros = left.new_zeros(len(labels))
        cells = torch.sparse_csr_tensor(rows.offsets, labels, zeros, shape, check_invariants=False)
    products: Tensor = torch.sparse.sampled_addmm(cells, left, right.T, beta=0.0).values()
    return products


def row_max(values: Tensor, rows: Rows) -> Tensor:
    """Largest value of each row, (B,)."""
    if values.device.type == "mps":  # it has no segmented reductions
        empty = values.new_full((len(rows.offsets) - 1,), -torch.inf)
        return empty.scatter_reduce_(0, rows.batch_row, values, "amax")
    return torch.segment_reduce(values, "max", offsets=rows.offsets)


def row_sum(values: Tensor, rows: Rows) -> Tensor:
    """Sum of each row, (B,)."""
    if values.device.type == "mps":
        return values.new_zeros(len(rows.offsets) - 1).index_add_(0, rows.batch_row, values)
    return torch.segment_reduce(values, "sum", offsets=rows.offsets)


def add_groups(sums: Tensor, groups: Tensor, values: Tensor) -> Tensor:
    """Add the values of each group to its sum, on CPU and CUDA always in the same order.

    On CUDA `index_add` adds in the order in which threads happen to arrive, so the values are
    sorted by their group first there.

    Args:
        sums: (G,) or (G, D).
        groups: (m,) group of each value, 0 to G - 1.
        values: (m,) or (m, D).

    Returns:
        (G,) or (G, D).
    """
    if values.device.type != "cuda":
        return sums.index_add(0, groups, values)
    order = torch.argsort(groups, stable=True)
    bounds = torch.arange(len(sums) + 1, device=groups.device)
    offsets = torch.searchsorted(groups.index_select(0, order), bounds)
    return sums + torch.segment_reduce(values.index_select(0, order), "sum", offsets=offsets)


def row_softmax(values: Tensor, rows: Rows, top: Tensor | float | None = None) -> Tensor:
    """Softmax among the values of each row, (m,).

    Args:
        values: (m,).
        rows: their positions.
        top: upper bound of the values, (B,) or one number. On the CPU it saves finding each row's
            maximum, provided that the bound is tight enough; a GPU ignores it, because checking
            that would take longer than finding the maxima.
    """
    if top is not None and values.device.type == "cpu":
        powers = (values - (rows.spread(top) if isinstance(top, Tensor) else top)).exp_()
        sums = row_sum(powers, rows)
        if bool((sums > FAINT).all()):
            return powers.div_(rows.spread(sums))
    powers = (values - rows.spread(row_max(values, rows))).exp_()
    return powers.div_(rows.spread(row_sum(powers, rows)))


def first_largest(values: Tensor, rows: Rows) -> Tensor:
    """Position in `values` of each row's largest value, (B,); ties go to the first.

    A row that is empty or holds a NaN gets the last position. Nothing goes wrong silently: the
    loss is then NaN as well, and the training loop stops.
    """
    last = len(values) - 1
    index = torch.arange(len(values), dtype=torch.int32, device=values.device)
    index.masked_fill_(values != rows.spread(row_max(values, rows)), last)
    first = index.new_full((len(rows.offsets) - 1,), last)
    return first.scatter_reduce_(0, rows.batch_row, index, "amin").long()
