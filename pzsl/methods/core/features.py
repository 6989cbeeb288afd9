"""What a method may ask of its training images, wherever they are kept."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class TrainingFeatures(Protocol):
    """Training images (N, D), or their views (N, V, D), which are asked for by row.

    A tensor is one, where they fit into memory; else they are read in blocks from the cache.
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
