"""One walk over the training images: what is made of a block is made once, for all who read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from pzsl.losses.ragged import row_sum
from pzsl.methods.core import KEPT, BatchEntries, CandidateEntries

RowFunction = Callable[[Tensor], Tensor]
"""Something of training rows (B,): their images (B, D), as they are or adapted, or logits."""


class Reader(Protocol):
    """What wants to see each block."""

    def read(self, entries: BatchEntries, logits: Tensor) -> None:
        """Look at the entries of a block, and its logits (B, C), which must not be changed."""


def walk(support: CandidateEntries, logits: RowFunction, *readers: Reader) -> None:
    """Go through the training images, block by block.

    Args:
        support: of the N training images.
        logits: of training rows (B,) over C labels, seen first: (B, C).
        readers: all of them see a block before the next is made.
    """
    for rows in support.blocks():
        block = logits(rows)
        entries = support.batch(rows, block.shape[1])
        for reader in readers:
            reader.read(entries, block)


class EntryLogits:
    """Reads the logits of the entries alone: `values`, (M,)."""

    def __init__(self, support: CandidateEntries) -> None:
        self.values = torch.empty_like(support.log_mask)

    def read(self, entries: BatchEntries, logits: Tensor) -> None:
        """Note the logits of these entries."""
        entries.write(entries.rows.take(logits), self.values)


class InsideMass:
    """Reads which share of the softmax lies on the entries of each image: `mass`, (N,)."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def read(self, entries: BatchEntries, logits: Tensor) -> None:
        """Add up the softmax over the entries of each image."""
        rows = entries.rows
        log_p = rows.take(logits) - rows.spread(logits.logsumexp(dim=1))
        self._parts.append(row_sum(log_p.exp_(), rows))

    @property
    def mass(self) -> Tensor:
        """(N,) 0 to 1."""
        return torch.cat(self._parts)


class ColumnPowers:
    """Reads `log sum_i exp(power * logits_ic)` over all images i of each label c, (C,).

    Args:
        support: of the N training images.
        power: what logits are multiplied with.
        labels: how many labels, the first ones; None for all.
    """

    def __init__(self, support: CandidateEntries, power: float, labels: int | None = None) -> None:
        self.power, self.labels = power, labels
        self._parts = BlockRows(support)

    def read(self, entries: BatchEntries, logits: Tensor) -> None:
        """Add up the powers of each column."""
        top, powers = column_powers(logits[:, : self.labels], self.power)
        self._parts.append(powers.sum(dim=0).log_().add_(top))

    @property
    def log_sums(self) -> Tensor:
        """(C,) over all blocks."""
        return self._parts.rows.logsumexp(dim=0)


class BlockRows:
    """One row (C,) for each block, in an array that is allocated once.

    Small tensors that outlive a block would lie between large ones that don't, and keep the memory
    of these from being used again.
    """

    def __init__(self, support: CandidateEntries) -> None:
        self._count, self._next = len(support.blocks()), 0
        self.rows = torch.empty(0)

    def append(self, row: Tensor) -> None:
        """Add the row of the next block."""
        if not self._next:
            self.rows = row.new_empty(self._count, len(row))
        self.rows[self._next] = row
        self._next += 1


def column_powers(logits: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Logs (C,) that `exp(power * logits)` is divided by, and what is then left, (n, C)."""
    top = logits.amax(dim=0)
    return power * top, (logits - top).mul_(power).exp_()


def cache_rows(support: CandidateEntries, compute: RowFunction) -> RowFunction:
    """What `compute` gives, worked out once for all blocks where that takes little memory.

    What is answered for one of `support.blocks()` is shared: it must not be changed.
    """
    blocks = support.blocks()
    first_block = compute(blocks[0])
    if len(support) * first_block.shape[1] > KEPT:
        return compute
    cached = {id(rows): compute(rows) for rows in blocks[1:]} | {id(blocks[0]): first_block}
    return lambda rows: cached[id(rows)] if id(rows) in cached else compute(rows)
