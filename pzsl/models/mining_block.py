"""The semantic mining block: k-means cross-attention, self-attention, feed-forward."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pzsl.models.adapted_cosines import adapted_logits
from pzsl.models.adapter import LowRankAdapter
from pzsl.models.unit_vectors import unit

HIDDEN = 16
"""Hidden units of the feed-forward part, in ranks: with 2 the block learns less."""


class Parts(NamedTuple):
    """Which parts of a layer are there, and how its k-means cross-attention updates a centre."""

    k_means: bool = True
    self_attention: bool = True
    feed_forward: bool = True
    update: str = "mean"


Choose = Callable[[Tensor], Tensor]
"""Assignment of points to labels: logits (n, reach), without gradient, to labels (n,)."""
Blocks = Callable[[], Iterable[tuple[Tensor, Choose]]]
"""Begins a pass over points in blocks (n, D), each with how its points choose their labels."""


def nearest(logits: Tensor) -> Tensor:
    """Assignment of points to the label with the largest logit (n, C): (n,).

    That is the argmax over *clusters* (kMaX-DeepLab, Eq. 6).
    """
    return logits.argmax(dim=1)


class KMeansCrossAttention(nn.Module):
    """Cross-attention with labels as cluster centres and images as points (Yu et al., ECCV 2022).

    The update of a centre is the mean value of its points, or their sum after layer normalisation;
    0 for an empty cluster. (The published code normalises the sums over the batch; a label's update
    would then depend on the other labels.) No gradient passes the argmax, so queries and keys learn
    from the returned logits, which the caller supervises, and from nothing else; nor do labels and
    points learn from these. Queries and keys are low-rank adapters and values add a low-rank
    product, so that all three are the identity at the start: the first assignment is frozen CLIP's.

    Args:
        dim: D. rank: of queries, keys and values. generator: draws the weights.
        update: `mean`, or `sum`, which is then normalised.
    """

    def __init__(
        self, dim: int, rank: int, generator: torch.Generator, update: str = "mean"
    ) -> None:
        super().__init__()
        self.update = update
        self.query, self.key = (LowRankAdapter(dim, rank, generator) for _ in range(2))
        self.value_down = _drawn(rank, dim, generator)
        self.value_up = nn.Parameter(torch.zeros(dim, rank))
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(
        self, labels: Tensor, blocks: Blocks, scale: float, reach: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Move labels (C, D) towards the points of all blocks.

        Returns:
            The labels (C, D) and, if gradients are enabled, the assignment logits (n, reach) of
            each block.
        """
        centres = F.normalize(labels[:reach].detach(), dim=-1)
        sums, counts = torch.zeros_like(labels), labels.new_zeros(len(labels), 1)
        logits_of_blocks = []
        for points, choose in blocks():
            logits = self._logits(points.detach(), centres, scale)
            chosen = choose(logits.detach())
            sums = add_nearest(sums, chosen, points)
            counts = add_nearest(counts, chosen, torch.ones_like(points[:, :1]))
            if torch.is_grad_enabled():
                logits_of_blocks.append(logits)
        if self.update == "sum":
            update = F.layer_norm(self._values(sums), sums.shape[1:])
        else:
            update = self._values(sums / counts.clamp_min(1.0))
        return labels + self.gate * update, logits_of_blocks

    def _values(self, sums: Tensor) -> Tensor:
        """Values of sums of points (C, D): the sums of their values, as these are linear."""
        return torch.addmm(sums, sums @ self.value_down.T, self.value_up.T)

    def _logits(self, points: Tensor, centres: Tensor, scale: float) -> Tensor:
        """Scaled cosines of keys of the points (n, D) and queries of the centres (reach, D)."""
        cosines = points @ centres.T
        return adapted_logits(points, centres, cosines, self.key, self.query, scale)[0]


def add_nearest(sums: Tensor, chosen: Tensor, points: Tensor) -> Tensor:
    """Add to the sums (C, D) of labels the points (n, D) that chose them; `chosen` is (n,).

    On CUDA, `index_add` would add in no fixed order, unlike a product; on the CPU it is faster.
    """
    if points.device.type != "cuda":
        return sums.index_add(0, chosen, points)
    labels = torch.arange(len(sums), device=points.device)
    return torch.addmm(sums, (labels[:, None] == chosen).to(points.dtype), points)


class Layer(nn.Module):
    """One layer of the block; each part is residual, with a gate that starts at zero.

    Attention among labels has one head of `rank` numbers, the feed-forward part `16 rank` units.
    """

    def __init__(self, dim: int, rank: int, parts: Parts, generator: torch.Generator) -> None:
        super().__init__()
        self.cross = None
        if parts.k_means:
            self.cross = KMeansCrossAttention(dim, rank, generator, parts.update)
        self.mix = parts.self_attention
        if parts.self_attention:
            self.norm = nn.LayerNorm(dim)
            self.qkv = _drawn(3 * rank, dim, generator)
            self.out = _drawn(dim, rank, generator)
            self.mix_gate = nn.Parameter(torch.zeros(()))
        self.feed = parts.feed_forward
        if parts.feed_forward:
            self.feed_norm = nn.LayerNorm(dim)
            self.up = _drawn(HIDDEN * rank, dim, generator)
            self.down = _drawn(dim, HIDDEN * rank, generator)
            self.feed_gate = nn.Parameter(torch.zeros(()))

    def forward(
        self, labels: Tensor, blocks: Blocks | None, scale: float, reach: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Refine labels (C, D); returns them and the assignment logits of each block."""
        logits: list[Tensor] = []
        if self.cross is not None and blocks is not None:
            labels, logits = self.cross(labels, blocks, scale, reach)
        if self.mix:
            mixed = self._attend(self.norm(labels))
            labels = torch.addmm(labels, mixed, (self.mix_gate * self.out).T)
        if self.feed:
            hidden = F.gelu(self.feed_norm(labels) @ self.up.T)
            labels = torch.addmm(labels, hidden, (self.feed_gate * self.down).T)
        return labels, logits

    def _attend(self, labels: Tensor) -> Tensor:
        query, key, value = (labels @ self.qkv.T).chunk(3, dim=1)
        mixed: Tensor = F.scaled_dot_product_attention(query[None], key[None], value[None])[0]
        return mixed


class SemanticMiningBlock(nn.Module):
    """Fuses instance and label features into refined label embeddings (Fan et al. 2026, as public).

    An untrained block returns its labels unchanged.

    Args:
        dim: D. layers: how many. rank: of all projections.
        parts: which parts each layer has. generator: draws the weights.
    """

    def __init__(
        self, dim: int, layers: int, rank: int, parts: Parts, generator: torch.Generator
    ) -> None:
        super().__init__()
        stacked = (Layer(dim, rank, parts, generator) for _ in range(layers))
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
        return unit(labels), logits_of_blocks


def _drawn(rows: int, columns: int, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns, generator=generator) / columns**0.5)
