"""The interface of training images, in memory or in a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class TrainingFeatures(Protocol):
    """Training images (N, D), or their views (N, V, D), accessed by row.

    They are a tensor if they fit into memory; else they are read in blocks from the cache.
    """

    def __len__(self) -> int:
        """N, how many images."""
        ...

    @property
    def shape(self) -> torch.Size:
        """(N, D) or (N, V, D)."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the rows that are asked for go."""
        ...

    def __getitem__(self, key: Tensor | tuple[Tensor, Tensor], /) -> Tensor:
        """Rows (B,) in any order: (B, ...); of a pair, the second (B,) says which view of each."""
        ...

    def new_zeros(self, *shape: int) -> Tensor:
        """Zeros on the same device."""
        ...


Key = Tensor | tuple[Tensor, Tensor]
"""Rows (B,), or rows and which view of each."""


class ChosenRows:
    """A view of some rows of other features, so that folds need no copy of their images.

    Args:
        base: (N, ...). rows: (n,) which of them, in this order.
    """

    def __init__(self, base: TrainingFeatures, rows: Tensor) -> None:
        self.base: TrainingFeatures = base
        self.rows: Tensor = rows
        if isinstance(base, ChosenRows):
            self.base, self.rows = base.base, base.rows.index_select(0, rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        """Shape as of a tensor."""
        return torch.Size((len(self.rows), *self.base.shape[1:]))

    @property
    def device(self) -> torch.device:
        """Where the rows that are asked for go."""
        return self.base.device

    def __getitem__(self, key: Key, /) -> Tensor:
        """Rows (B,) in any order; of a pair, the second (B,) says which view of each."""
        if isinstance(key, tuple):
            return self.base[self.rows.index_select(0, key[0]), key[1]]
        return take_rows(self.base, self.rows.index_select(0, key))

    def new_zeros(self, *shape: int) -> Tensor:
        """Zeros on the same device."""
        return self.base.new_zeros(*shape)


class Deferred:
    """Features that are loaded when a row is first accessed: most methods use no views.

    Args:
        load: loads them. shape: (N, ...). device: of the returned rows.
    """

    def __init__(
        self, load: Callable[[], TrainingFeatures], shape: torch.Size, device: torch.device
    ) -> None:
        self._load, self.shape, self.device = load, shape, device

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Key, /) -> Tensor:
        """Rows (B,) in any order; of a pair, the second (B,) says which view of each."""
        return self._load()[key]

    def new_zeros(self, *shape: int) -> Tensor:
        """Zeros on the same device."""
        return torch.zeros(*shape, device=self.device)


def take_rows(features: TrainingFeatures, rows: Tensor) -> Tensor:
    """Rows (B,) of features as a copy, (B, ...)."""
    if isinstance(features, Tensor):  # a third of the time of brackets
        return features.index_select(0, rows)
    return features[rows]


def in_memory(features: TrainingFeatures) -> bool:
    """Whether rows cost no reading."""
    return isinstance(features.base if isinstance(features, ChosenRows) else features, Tensor)
