"""A low-rank residual adapter: an untrained one is the identity."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pzsl.models.unit_vectors import unit


class LowRankAdapter(nn.Module):
    """`unit(z + B gelu(A z))` with B = 0 at the start (ours, after LoRA and CLIP-Adapter).

    Args:
        dim: D, of the embeddings.
        rank: of A (rank, D) and B (D, rank).
        generator: draws A.
    """

    def __init__(self, dim: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        down = torch.randn(rank, dim, generator=generator, device="cpu") / dim**0.5
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(torch.zeros(dim, rank))

    def forward(self, z: Tensor) -> Tensor:
        """Adapt embeddings (n, D); returns unit vectors (n, D)."""
        return unit(torch.addmm(z, F.gelu(z @ self.down.T), self.up.T))
