"""One pass over the training images, whose logits are computed once per block for all readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from pzsl.losses.ragged import row_softmax, row_sum
from pzsl.methods.core import KEPT, BatchEntries, CandidateEntries

RowFunction = Callable[[Tensor], Tensor]
"""Maps training rows (B,) to their images (B, D), frozen or adapted, or to logits (B, C)."""


class Reader(Protocol):
    """Something that reads each block of a walk."""

    def read(self, entries: BatchEntries, logits: Tensor) -> None:
        """Read the entries of a block, and its logits (B, C), which must not be changed."""


def walk(candidates: CandidateEntries, logits: RowFunction, *readers: Reader) -> None:
    """Go through the training images, block by block.

    Args:
        candidates: of the N training images.
        logits: of training rows (B,) over C labels, seen first: (B, C).
        readers: all of them read a block before the next one is computed.
    """
    for rows in candidates.blocks():
        block = logits(rows)
        entries = candidates.batch(rows, block.shape[1])
        for reader in readers:
            reader.read(entries, block)


class EntryLogits:
    """Reads the logits of the entries alone: `values`, (M,)."""

    def __init__(self, candidates: CandidateEntries) -> None:
        self.values = torch.empty_like(candidates.log_mask)

    def read(self, entries: BatchEntries, logits: Tensor) -> None:
        """Store the logits of these entries."""
        entries.write(entries.rows.take(logits), self.values)


class InsideMass:
    """Reads the share of the softmax that lies on the entries of each image: `mass`, (N,)."""

    def __init__(self) -> None:
        self._block_masses: list[Tensor] = []

    def read(self, entries: BatchEntries, logits: Tensor) -> None:
        """Sum the softmax over the entries of each image."""
        rows = entries.rows
        log_p = rows.take(logits) - rows.spread(logits.logsumexp(dim=1))
        self._block_masses.append(row_sum(log_p.exp_(), rows))

    @property
    def mass(self) -> Tensor:
        """(N,) in 0..1."""
        return torch.cat(self._block_masses)


def candidates_softmax(candidates: CandidateEntries, logits: Tensor) -> Tensor:
    """Label weights (M,): softmax of the entries' logits (M,) over the candidates of each image."""
    weights = torch.empty_like(logits)
    for rows in candidates.blocks():
        entries = candidates.batch(rows, 0)
        scores = entries.of(logits) + entries.log_mask
        entries.write(row_softmax(scores, entries.rows), weights)
    return weights


class ColumnPowers:
    """Reads `log sum_i exp(power * logits_ic)` over all images i of each label c, (C,).

    Args:
        candidates: of the N training images.
        power: factor of the logits.
        labels: read only the first so many labels; None for all.
        weights: (N,) of the images; None if all count alike.
    """

    def __init__(
        self,
        candidates: CandidateEntries,
        power: float,
        labels: int | None = None,
        weights: Tensor | None = None,
    ) -> None:
        self.power, self.labels = power, labels
        self._weights, self._read = weights, 0
        self._block_sums = BlockRows(candidates)

    def read(self, entries: BatchEntries, logits: Tensor) -> None:
        """Sum the powers of each column."""
        top, powers = column_powers(logits[:, : self.labels], self.power)
        if self._weights is not None:
            powers.mul_(self._weights[self._read : self._read + len(powers), None])
            self._read += len(powers)
        self._block_sums.append(powers.sum(dim=0).log_().add_(top))

    @property
    def log_sums(self) -> Tensor:
        """(C,) over all blocks."""
        return self._block_sums.rows.logsumexp(dim=0)


class BlockRows:
    """One row (C,) for each block, in an array that is allocated once.

    Small tensors that outlive a block would lie in memory between large ones that don't, and keep
    the memory of the large ones from being reused.
    """

    def __init__(self, candidates: CandidateEntries) -> None:
        self._count, self._next = len(candidates.blocks()), 0
        self.rows = torch.empty(0)

    def append(self, row: Tensor) -> None:
        """Add the row of the next block."""
        if not self._next:
            self.rows = row.new_empty(self._count, len(row))
        self.rows[self._next] = row
        self._next += 1


def column_powers(logits: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """`exp(power * logits)` as a common factor per column and a remainder.

    Args:
        logits: (n, C).
        power: factor of the logits.

    Returns:
        (C,) logs of the factors, and (n, C) remainders, at most 1.
    """
    top = logits.amax(dim=0)
    return power * top, (logits - top).mul_(power).exp_()


def cache_rows(candidates: CandidateEntries, compute: RowFunction) -> RowFunction:
    """A cache of `compute` for all of `candidates.blocks()`, if that takes little memory.

    Results for these blocks are shared, so they must not be changed.
    """
    blocks = candidates.blocks()
    first_block = compute(blocks[0])
    if len(candidates) * first_block.shape[1] > KEPT:
        return compute
    cached = {id(rows): compute(rows) for rows in blocks[1:]} | {id(blocks[0]): first_block}
    return lambda rows: cached[id(rows)] if id(rows) in cached else compute(rows)
