"""Semantic mining of a whole training set by the trained block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pzsl.errors import UsageError
from pzsl.losses.partial import best_candidate
from pzsl.losses.ragged import add_groups
from pzsl.methods.core import BatchEntries, CandidateEntries, Options, Problem, counting, one_of
from pzsl.models.mining_block import Blocks, Choose, Parts, SemanticMiningBlock, nearest

Adapt = Callable[[Tensor], Tensor]
CENTROID_ROUNDS = 10
POINTS = ["none", "centroids", "test"]


@dataclass(frozen=True)
class MiningOptions(Options):
    """Parts of the semantic mining block.

    Attributes:
        k_means: have k-means cross-attention in each layer of the mining block. If this and the
            next two are off, there is no block.
        self_attention: have self-attention among labels in each layer.
        feed_forward: have a feed-forward part in each layer.
        layers: number of layers.
        mining_rank: rank of all projections of a layer; its feed-forward part has 16 times as many
            hidden units.
        k_means_update: what a label adds from its points: their `mean` value, or their `sum` with a
            layer normalisation, as in the code published for the k-means mask transformer.
        unseen_points: what unseen labels attend to at inference: `none` (inductive), `centroids`
            (class-agnostic k-means centroids of the training images; needs the block) or `test`
            (transductive: all images that are to be classified).
    """

    k_means: bool = False
    self_attention: bool = False
    feed_forward: bool = False
    layers: int = counting(2, 1, 64)
    mining_rank: int = counting(16, 1, 1 << 16)
    k_means_update: str = one_of("mean", ["mean", "sum"])
    unseen_points: str = one_of("none", POINTS)

    def __post_init__(self) -> None:
        """Check each option's range, and that `centroids` have a block to attend to them.

        Raises:
            UsageError: an option is out of range, or the block is missing.
        """
        super().__post_init__()
        if self.unseen_points == "centroids" and not self.mining:
            raise UsageError(
                "unseen_points=centroids needs the mining block: add --set k_means=on, or "
                "--preset paper."
            )

    def unread(self) -> dict[str, str]:
        """Those of the block if there is none."""
        if not self.mining:
            why = "there is no mining block: add --set k_means=on, or --preset paper."
            names = ("layers", "mining_rank", "k_means_update")
            return super().unread() | dict.fromkeys(names, why)
        return super().unread() | self.unread_without("k_means", "k_means_update")

    @property
    def mining(self) -> bool:
        """Whether there is a mining block."""
        return self.k_means or self.self_attention or self.feed_forward


class Miner(nn.Module):
    """The mining block, and what it needs at inference: labels refined by all training images.

    Args:
        problem: the training problem.
        options: parts of the block.
        generator: draws its weights.
    """

    refined: Tensor
    centroids: Tensor

    def __init__(
        self, problem: Problem, options: MiningOptions, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.problem, self.points = problem, options.unseen_points
        switches = (options.k_means, options.self_attention, options.feed_forward)
        parts = Parts(*switches, options.k_means_update)
        dim, classes = problem.images.shape[1], len(problem.seen) + len(problem.unseen)
        self.block = SemanticMiningBlock(dim, options.layers, options.mining_rank, parts, generator)
        self.register_buffer("refined", torch.zeros(classes, dim))
        self.register_buffer("centroids", torch.zeros(len(problem.unseen), dim))

    def refine(
        self, labels: Tensor, images: Tensor, entries: BatchEntries
    ) -> tuple[Tensor, list[Tensor]]:
        """Refined labels (C, D), and assignment logits, for images (B, D) with these entries."""
        block = images, choose_candidate(entries)
        refined: tuple[Tensor, list[Tensor]] = self.block(
            labels, lambda: [block], self.problem.scale, len(self.problem.seen)
        )
        return refined

    def refine_with_all(self, labels: Tensor, adapt: Adapt, candidates: CandidateEntries) -> None:
        """Refine the labels by all training images, each assigned to one of its candidates."""
        seen, embeddings = len(self.problem.seen), self.problem.embeddings

        def blocks() -> Iterator[tuple[Tensor, Choose]]:
            for rows in candidates.blocks():
                yield adapt(embeddings(rows)), choose_candidate(candidates.batch(rows, seen))

        if self.points == "centroids":
            centroids = k_means(torch.cat([points for points, _ in blocks()]), len(self.centroids))
            self.centroids[: len(centroids)] = centroids
        self.refined.copy_(self._block(labels, blocks))

    def refine_new(self, labels: Tensor, means: Tensor, first_new: int) -> Tensor:
        """Refine the labels (C, D) from `first_new` on, which were added; the others stay.

        The means (K, D) of the seen classes stand in for their images: a label adds the mean of its
        images' values, which is linear in the images.
        """
        own = torch.arange(len(means), device=means.device)
        refined = self._block(labels, lambda: [(means, lambda _: own)])
        self.refined[first_new:] = refined[first_new:]
        return self.refined

    def _block(self, labels: Tensor, blocks: Blocks) -> Tensor:
        """Labels (C, D) refined by points, and by centroids to which only unseen labels attend."""
        seen, scale = len(self.problem.seen), self.problem.scale
        refined: Tensor
        if self.points != "centroids":
            refined, _ = self.block(labels, blocks, scale, seen)
            return refined
        centroids = self.centroids[self.centroids.any(dim=1)]  # fewer if images are few

        def with_centroids() -> Iterator[tuple[Tensor, Choose]]:
            for points, choose in blocks():
                yield points, among_first(seen, choose)
            yield centroids, lambda logits: seen + nearest(logits[:, seen:])

        refined, _ = self.block(labels, with_centroids, scale)
        return refined

    def refined_labels(self, labels: Tensor, images: Tensor) -> Tensor:
        """The refined labels (C, D) with which to score images (n, D)."""
        if self.points != "test":
            return self.refined
        seen = len(self.problem.seen)
        refined, _ = self.block(labels, lambda: [(images, nearest)], self.problem.scale)
        return torch.cat([self.refined[:seen], refined[seen:]])


def choose_candidate(entries: BatchEntries) -> Choose:
    """How images (B,) choose among their entries: each the one with the largest logit."""

    def choose(logits: Tensor) -> Tensor:
        return entries.labels[best_candidate(logits, entries.log_mask, entries.rows)]

    return choose


def among_first(count: int, choose: Choose) -> Choose:
    """How to choose among the first labels alone."""
    return lambda logits: choose(logits[:, :count])


def k_means(points: Tensor, count: int) -> Tensor:
    """Spherical k-means centroids (count, D) of unit points (n, D), started farthest-first."""
    chosen = [0]
    nearest = points @ points[0]
    for _ in range(1, min(count, len(points))):
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, points @ points[chosen[-1]])
    centres = points[chosen[:count]]
    for _ in range(CENTROID_ROUNDS):
        nearest_centre = (points @ centres.T).argmax(1)
        sums = add_groups(torch.zeros_like(centres), nearest_centre, points)
        empty = sums.norm(dim=1, keepdim=True) == 0
        centres = torch.where(empty, centres, F.normalize(sums, dim=-1))
    return centres
