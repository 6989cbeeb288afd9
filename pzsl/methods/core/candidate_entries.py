"""Candidate entries as ragged tensors: which labels of which image may carry weight."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from pzsl.losses.ragged import Rows, first_largest

OUTSIDE = -1e9
"""Log-mask of a label without an entry, which gets no weight in a softmax."""


BLOCK = 4096
"""Most images in a block."""
CELLS, FEWEST = 1 << 21, 64
"""Most images times labels in a block (8 MB of logits), and fewest images in a block."""
FEW = 1 << 22
"""Most entries for which indices are cached between passes: 150 MB."""


class BatchEntries(NamedTuple):
    """The entries of a batch of images.

    Attributes:
        entry_index: (m,) positions among all entries and in the label weights.
        labels: (m,) classes.
        log_mask: (m,) log-prior of each.
        rows: their positions in an array (B, K).
        span: `entry_index` as a slice if it has no gaps, else None.
    """

    entry_index: Tensor
    labels: Tensor
    log_mask: Tensor
    rows: Rows
    span: slice | None = None

    def of(self, values: Tensor) -> Tensor:
        """Values (m,) of these entries in an array (M,); a view if the entries are adjacent."""
        return values.index_select(0, self.entry_index) if self.span is None else values[self.span]

    def write(self, values: Tensor, into: Tensor) -> None:
        """Write values (m,) of these entries into an array (M,)."""
        if self.span is None:
            into.scatter_(0, self.entry_index, values)  # a quarter of the time of `index_copy_`
        else:
            into[self.span] = values


@dataclass(frozen=True)
class CandidateEntries:
    """Entries (image, label), ragged, in rows of images.

    Attributes:
        offsets: (N + 1,) int64; image i has the entries `offsets[i]:offsets[i + 1]`.
        labels: (M,) int32 columns of the seen label embeddings, ascending in each row; a batch has
            them as int64, which indexing needs.
        log_mask: (M,) log-prior of an entry, 0 for a candidate, negative for a label outside the
            candidate set that the noise model still allows.
    """

    offsets: Tensor
    labels: Tensor
    log_mask: Tensor

    @classmethod
    def of(cls, offsets: Tensor, labels: Tensor) -> CandidateEntries:
        """The entries of plain candidate sets; the log-mask is a single zero, shared by all."""
        none = torch.zeros(1, device=labels.device).expand(len(labels))
        return cls(offsets, labels.to(torch.int32), none)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Tensor:
        """(N,) entries of each image."""
        return self.offsets[1:] - self.offsets[:-1]

    def entries(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Entries of a batch of images.

        Args:
            rows: (B,) images.

        Returns:
            (m,) positions in `labels`, and (m,) the row within the batch of each.
        """
        start, sizes = self._spans(rows)
        return self._positions(start, sizes)

    def batch(self, rows: Tensor, classes: int) -> BatchEntries:
        """The entries of a batch of images (B,), with positions in arrays (B, `classes`).

        Those of `blocks()`, which each pass over the images needs, are cached if that takes little
        memory.
        """
        number = self._numbers.get(id(rows))
        if number is None:
            return self._batch(rows, classes)
        if len(self.labels) > FEW:
            return self._block(number, classes)
        if number not in self._known:
            self._known[number] = self._block(number, 0)
        block_entries = self._known[number]
        if (number, classes) not in self._cells:
            cells = torch.add(block_entries.labels, block_entries.rows.batch_row, alpha=classes)
            self._cells[number, classes] = cells
        rows_of = block_entries.rows._replace(cells=self._cells[number, classes])
        return block_entries._replace(
            rows=rows_of, log_mask=block_entries.of(self.log_mask)
        )  # it may change

    def _batch(self, rows: Tensor, classes: int) -> BatchEntries:
        start, sizes = self._spans(rows)
        entry_index, batch_row = self._positions(start, sizes)
        labels = self.labels.index_select(0, entry_index).long()
        if self.log_mask.stride(0):
            log_mask = self.log_mask.index_select(0, entry_index)
        else:  # the zero that plain candidates share
            log_mask = self.log_mask[:1].expand(len(labels))
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        cells = torch.add(labels, batch_row, alpha=classes)
        return BatchEntries(entry_index, labels, log_mask, Rows(batch_row, offsets, cells))

    def _block(self, number: int, classes: int) -> BatchEntries:
        """As `_batch`, for a block, whose entries are adjacent."""
        first_row, span = number * len(self._blocks[0]), slice(*self._bounds[number : number + 2])
        offsets = self.offsets[first_row : first_row + len(self._blocks[number]) + 1] - span.start
        count = span.stop - span.start
        batch_row = torch.repeat_interleave(offsets.diff(), output_size=count)
        labels = self.labels[span].long()
        cells = torch.add(labels, batch_row, alpha=classes) if classes else labels
        index = torch.arange(span.start, span.stop, device=labels.device)
        return BatchEntries(
            index, labels, self.log_mask[span], Rows(batch_row, offsets, cells), span
        )

    def _spans(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Start and number of the entries of each image."""
        start = self.offsets.index_select(0, rows)
        return start, self.offsets.index_select(0, rows + 1) - start

    @staticmethod
    def _positions(start: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        batch_row = torch.repeat_interleave(sizes)
        shift = (start - sizes.cumsum(0) + sizes).index_select(0, batch_row)
        return shift.add_(torch.arange(len(batch_row), device=batch_row.device)), batch_row

    def heaviest(self, weights: Tensor) -> Tensor:
        """The label with the largest weight (M,) of each image, the first of equal ones: (N,)."""
        labels = []
        for rows in self.blocks():
            entries = self.batch(rows, 0)
            labels.append(entries.labels[first_largest(entries.of(weights), entries.rows)])
        return torch.cat(labels)

    def uniform(self) -> Tensor:
        """(M,) equal weights within each image."""
        return torch.repeat_interleave(1.0 / self.sizes.float(), self.sizes)

    def blocks(self) -> list[Tensor]:
        """All rows in blocks that bound memory; returns the same tensors each time.

        A block has at most 4096 rows, and fewer if there are many labels.
        """
        return list(self._blocks)

    @cached_property
    def _blocks(self) -> tuple[Tensor, ...]:
        classes = int(self.labels.max()) + 1 if len(self.labels) else 1
        size = min(BLOCK, max(FEWEST, CELLS // classes))
        return torch.split(torch.arange(len(self), device=self.labels.device), size)

    @cached_property
    def _bounds(self) -> list[int]:
        """Where the entries of each block start, and the end: copied from a device once."""
        starts = torch.stack([rows[0] for rows in self._blocks])
        bounds: list[int] = self.offsets.index_select(0, starts).tolist()
        return [*bounds, len(self.labels)]

    @cached_property
    def _numbers(self) -> dict[int, int]:
        return {id(rows): number for number, rows in enumerate(self._blocks)}

    @cached_property
    def _known(self) -> dict[int, BatchEntries]:
        return {}

    @cached_property
    def _cells(self) -> dict[tuple[int, int], Tensor]:
        return {}

    def restrict(self, rows: Tensor, columns: Tensor, count: int) -> CandidateEntries:
        """Keep some images and some labels.

        Args:
            rows: (n,) images to keep, in this order.
            columns: (K,) new column of each label, -1 for a label to drop.
            count: number of labels that stay.

        Returns:
            The remaining entries. An image without any label left gets all labels.
        """
        columns = columns.to(self.labels.dtype)
        parts = [
            self._restrict(part, columns, count)
            for part in torch.split(rows, len(self._blocks[0]) if len(rows) else 1)
        ]
        sizes = torch.cat([part.sizes for part in parts])
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        labels = torch.cat([part.labels for part in parts])
        if not self.log_mask.stride(0):  # the zero that plain candidates share
            return CandidateEntries.of(offsets, labels)
        return CandidateEntries(offsets, labels, torch.cat([part.log_mask for part in parts]))

    def _restrict(self, rows: Tensor, columns: Tensor, count: int) -> CandidateEntries:
        """As `restrict`, for rows of which the indices take little memory."""
        entries, batch_row = self.entries(rows)
        labels, mask = columns.index_select(0, self.labels[entries]), self.log_mask[entries]
        keep = labels >= 0
        labels, mask, batch_row = labels[keep], mask[keep], batch_row[keep]
        sizes = torch.bincount(batch_row, minlength=len(rows))
        empty = torch.nonzero(sizes == 0).flatten()
        if len(empty):
            everything = torch.arange(count, dtype=labels.dtype, device=labels.device)
            labels = torch.cat([labels, everything.repeat(len(empty))])
            batch_row = torch.cat([batch_row, empty.repeat_interleave(count)])
            mask = torch.cat([mask, mask.new_zeros(len(empty) * count)])
            order = torch.argsort(batch_row, stable=True)
            labels, mask = labels[order], mask[order]
            sizes[empty] = count
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        return CandidateEntries(offsets, labels, mask)
