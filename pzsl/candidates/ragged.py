"""Candidate sets as ragged arrays: memory grows with the number of candidates, not with N x C."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4096
"""Sets looked at together."""


@dataclass(frozen=True)
class CandidateSets:
    """The candidate labels of each instance, as compressed rows.

    Attributes:
        offsets: (N + 1,) int64; instance i has `labels[offsets[i]:offsets[i + 1]]`.
        labels: (M,) int32 class ids, ascending within a row.
    """

    offsets: NDArray[np.int64]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def sizes(self) -> NDArray[np.int64]:
        """Number of candidates of each instance, (N,)."""
        return np.diff(self.offsets)

    def row(self, index: int) -> NDArray[np.int32]:
        """The candidate labels of one instance."""
        return self.labels[self.offsets[index] : self.offsets[index + 1]]

    def rows(self) -> NDArray[np.int64]:
        """The instance that each entry of `labels` belongs to, (M,)."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.sizes())

    def contains(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each instance has the given label among its candidates.

        Args:
            labels: (N,) one class id per instance.
        """
        is_candidate = np.zeros(len(self), dtype=np.bool_)
        for start in range(0, len(self), _BLOCK):
            offsets = self.offsets[start : start + _BLOCK + 1]
            rows = np.repeat(np.arange(start, start + len(offsets) - 1), np.diff(offsets))
            equal = self.labels[offsets[0] : offsets[-1]] == labels[rows]
            is_candidate[rows[equal]] = True
        return is_candidate

    def subset(self, rows: NDArray[np.int64]) -> CandidateSets:
        """The sets of these instances, in this order."""
        sizes = self.sizes()[rows]
        offsets = _offsets(sizes)
        shift = np.repeat(self.offsets[:-1][rows] - offsets[:-1], sizes)
        return CandidateSets(offsets, self.labels[np.arange(offsets[-1]) + shift])

    def to_lists(self) -> list[list[int]]:
        """The sets as one list of class ids per instance."""
        return [self.row(index).tolist() for index in range(len(self))]

    @staticmethod
    def from_lists(sets: Sequence[Iterable[int]]) -> CandidateSets:
        """Candidate sets from a collection of class ids per instance, in any order."""
        rows = [sorted(labels) for labels in sets]
        flat = [label for row in rows for label in row]
        return CandidateSets(_offsets([len(row) for row in rows]), np.array(flat, dtype=np.int32))

    @staticmethod
    def from_masks(masks: Iterable[NDArray[np.bool_]], classes: NDArray[np.int64]) -> CandidateSets:
        """Candidate sets from blocks of rows, so that no N x K array is needed.

        Args:
            masks: blocks (n, K) bool, True where the label is a candidate.
            classes: (K,) class id of each column, ascending.
        """
        sizes, labels = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
        ids = classes.astype(np.int32)
        for mask in masks:
            sizes.append(mask.sum(axis=1, dtype=np.int64))
            labels.append(ids[np.flatnonzero(mask) % len(ids)])
        return CandidateSets(_offsets(np.concatenate(sizes)), np.concatenate(labels))


def _offsets(sizes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets
