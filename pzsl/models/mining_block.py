"""The semantic mining block: k-means cross-attention, self-attention, feed-forward."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Parts(NamedTuple):
    """Which parts of a layer are there, and how its k-means cross-attention updates a centre."""

    k_means: bool = True
    self_attention: bool = True
    feed_forward: bool = True
    update: str = "mean"


Blocks = Callable[[], Iterable[tuple[Tensor, Tensor | None]]]
"""Begins a pass over points in blocks (n, D), and which of the first `reach` labels each may go to,
(n, reach) bool; None for all of them."""


def assign(logits: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Assignment of points to clusters: the argmax over *clusters* (kMaX-DeepLab, Eq. 6).

    Args:
        logits: (n, C) similarity of each point to each cluster centre.
        allowed: (n, C) bool, which clusters a point may go to; None for all.

    Returns:
        (n,) clusters, without gradient.
    """
    logits = logits.detach()
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -torch.inf)
    return logits.argmax(dim=1)


class KMeansCrossAttention(nn.Module):
    """Cross-attention with labels as cluster centres and images as points (Yu et al., ECCV 2022).

    The update of a centre is the mean value of its points, or their sum after layer normalisation;
    0 for an empty cluster. (The published code normalises the sums over the batch; a label's update
    would then depend on the other labels.) No gradient passes the argmax, so the query and key
    weights learn from the returned logits, which the caller supervises. Both start as the identity:
    the first assignment is frozen CLIP's.

    Args:
        dim: D. update: `mean`, or `sum`, which is then normalised.
    """

    def __init__(self, dim: int, update: str = "mean") -> None:
        super().__init__()
        self.update = update
        self.query = nn.Parameter(torch.eye(dim))
        self.key = nn.Parameter(torch.eye(dim))
        self.value = nn.Parameter(torch.eye(dim))
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(
        self, labels: Tensor, blocks: Blocks, scale: float, reach: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Move labels (C, D) towards the points of all blocks.

        Returns:
            The labels (C, D) and, if gradients are enabled, the assignment logits (n, reach) of
            each block.
        """
        queries = F.normalize(labels[:reach] @ self.query.T, dim=-1)
        sums, counts, logits_of_blocks = (
            torch.zeros_like(labels),
            labels.new_zeros(len(labels), 1),
            [],
        )
        for points, allowed in blocks():
            keys = F.normalize(points @ self.key.T, dim=-1)
            logits = scale * keys @ queries.T
            nearest = assign(logits, allowed)
            sums = add_nearest(sums, nearest, points @ self.value.T)
            counts = add_nearest(counts, nearest, torch.ones_like(points[:, :1]))
            if torch.is_grad_enabled():
                logits_of_blocks.append(logits)
        if self.update == "sum":
            return labels + self.gate * F.layer_norm(sums, sums.shape[1:]), logits_of_blocks
        return labels + self.gate * (sums / counts.clamp_min(1.0)), logits_of_blocks


def add_nearest(sums: Tensor, nearest: Tensor, points: Tensor) -> Tensor:
    """Add to the sums (C, D) of labels the points (n, D) whose `nearest` label (n,) they are.

    On CUDA, `index_add` would add in no fixed order, unlike a product; on the CPU it is faster.
    """
    if points.device.type != "cuda":
        return sums.index_add(0, nearest, points)
    labels = torch.arange(len(sums), device=points.device)
    return torch.addmm(sums, (labels[:, None] == nearest).to(points.dtype), points)


class Layer(nn.Module):
    """One layer of the block; each part is residual, with a gate that starts at zero."""

    def __init__(self, dim: int, heads: int, parts: Parts, generator: torch.Generator) -> None:
        super().__init__()
        self.cross = KMeansCrossAttention(dim, parts.update) if parts.k_means else None
        self.mix = parts.self_attention
        self.heads = heads
        if parts.self_attention:
            self.norm = nn.LayerNorm(dim)
            self.qkv = _drawn(3 * dim, dim, generator)
            self.out = _drawn(dim, dim, generator)
            self.mix_gate = nn.Parameter(torch.zeros(()))
        self.feed = parts.feed_forward
        if parts.feed_forward:
            self.feed_norm = nn.LayerNorm(dim)
            self.up = _drawn(2 * dim, dim, generator)
            self.down = _drawn(dim, 2 * dim, generator)
            self.feed_gate = nn.Parameter(torch.zeros(()))

    def forward(
        self, labels: Tensor, blocks: Blocks | None, scale: float, reach: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Refine labels (C, D); returns them and the assignment logits of each block."""
        logits: list[Tensor] = []
        if self.cross is not None and blocks is not None:
            labels, logits = self.cross(labels, blocks, scale, reach)
        if self.mix:
            labels = labels + self.mix_gate * self._attend(self.norm(labels))
        if self.feed:
            hidden = F.gelu(self.feed_norm(labels) @ self.up.T)
            labels = labels + self.feed_gate * (hidden @ self.down.T)
        return labels, logits

    def _attend(self, labels: Tensor) -> Tensor:
        count, dim = labels.shape
        parts = (labels @ self.qkv.T).view(count, 3, self.heads, dim // self.heads)
        query, key, value = parts.permute(1, 2, 0, 3)
        mixed = F.scaled_dot_product_attention(query[None], key[None], value[None])[0]
        return mixed.permute(1, 0, 2).reshape(count, dim) @ self.out.T


class SemanticMiningBlock(nn.Module):
    """Fuses instance and label features into refined label embeddings (Fan et al. 2026, as public).

    An untrained block returns its labels unchanged.

    Args:
        dim: D. layers: how many. parts: which parts each layer has. generator: draws the weights.
    """

    def __init__(self, dim: int, layers: int, parts: Parts, generator: torch.Generator) -> None:
        super().__init__()
        heads = next(h for h in (8, 4, 2, 1) if dim % h == 0)
        stacked = (Layer(dim, heads, parts, generator) for _ in range(layers))
        self.layers = nn.ModuleList(stacked)

    def forward(
        self, labels: Tensor, blocks: Blocks | None, scale: float, reach: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Refine label embeddings.

        Args:
            labels: (C, D) unit label embeddings, seen and unseen together.
            blocks: unit image embeddings that labels may attend to; None for none. Memory for
                images times labels is bounded by the largest block.
            scale: of the assignment logits.
            reach: points may be assigned to the first `reach` labels; None for all.

        Returns:
            (C, D) unit vectors and, if gradients are enabled, the assignment logits (n, reach) of
            each layer and block.
        """
        logits_of_blocks = []
        for layer in self.layers:
            labels, logits = layer(labels, blocks, scale, reach)
            logits_of_blocks += logits
        return F.normalize(labels, dim=-1), logits_of_blocks


def _drawn(rows: int, columns: int, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns, generator=generator) / columns**0.5)
