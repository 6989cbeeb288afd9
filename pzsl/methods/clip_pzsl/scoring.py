"""What `clip-pzsl` scores with: adapted cosines, prototypes and hubness, as training left them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pzsl.methods.clip_pzsl.class_statistics import (
    ClassStatistics,
    WhitenedSpace,
    added_hubness,
    all_prototypes,
    balanced_hubness,
    gather,
)
from pzsl.methods.clip_pzsl.mining import Miner
from pzsl.methods.clip_pzsl.options import ClipPzslOptions
from pzsl.methods.clip_pzsl.training_pass import RowFunction
from pzsl.methods.clip_pzsl.transduction import Scored, TransductivePrototypes
from pzsl.methods.core import AdaptedMethod, Blocks, Problem


class ClipPzslScores(AdaptedMethod):
    """The scores of `clip-pzsl`, and the closed-form state that they read.

    Attributes:
        prototypes: (K + U, D).
        centre, metric: of the space in which images are compared with them.
        hubness: (K + U,).
        means, counts: (K, D) and (K,) of the training images of each class.
        share: (), of the trained scores; the rest are frozen CLIP's.
    """

    cautious: ClassVar[bool] = True
    options: ClipPzslOptions
    prototypes: Tensor
    centre: Tensor
    metric: Tensor
    hubness: Tensor
    means: Tensor
    counts: Tensor
    share: Tensor

    def __init__(
        self, problem: Problem, options: ClipPzslOptions, generator: torch.Generator
    ) -> None:
        super().__init__(problem, options, generator)
        self.miner = Miner(problem, options, generator) if options.mining else None
        (seen, dim), zeros = problem.seen.shape, problem.seen.new_zeros
        classes = seen + len(problem.unseen)
        shapes = {"prototypes": (classes, dim), "centre": (dim,), "metric": (dim, dim)}
        shapes |= {"hubness": (classes,), "means": (seen, dim), "counts": (seen,)}
        for name, shape in shapes.items():
            self.register_buffer(name, zeros(shape))
        self.register_buffer("share", problem.seen.new_ones(()))
        self.query_prototypes: TransductivePrototypes | None = None

    def _keep(self, space: WhitenedSpace) -> None:
        self.centre.copy_(space.centre)
        self.metric.copy_(space.metric)

    @property
    def _space(self) -> WhitenedSpace:
        return WhitenedSpace(self.centre, self.metric)

    def add_classes(self, count: int) -> None:
        """Compute prototypes and hubness of added classes from the statistics of the seen ones.

        The means of the classes stand in for their images; see also `added_hubness`.
        """
        labels, projected = self.label_embeddings(), self._space.project(self.means)
        seen, first_new = len(self.problem.seen), len(labels) - count
        if self.miner is not None:
            labels = self.miner.refine_new(labels, self.means, first_new)
        if self.options.prototypes:
            statistics = ClassStatistics(self.prototypes[:seen], self.counts)
            prototypes = all_prototypes(statistics, labels, self.options.unseen_strength)
            self.prototypes[first_new:] = prototypes[first_new:]
        logits = self._with_prototypes(self.logits(self.means, labels), projected)
        self.hubness[first_new:] = added_hubness(logits, labels, self.hubness[:first_new])

    def _refined(self) -> Tensor:
        """Label embeddings (K + U, D) refined by the adapter, and by the block on all images."""
        if self.miner is None:
            return self.label_embeddings()
        self.miner.refine_with_all(self.label_embeddings(), self.image_adapter, self.candidates)
        return self.miner.refined

    def _mine(
        self, labels: Tensor, weights: Tensor, projected: RowFunction, logits: RowFunction
    ) -> None:
        """Set prototypes and hubness of all classes; arguments as in `class_statistics`."""
        if self.options.prototypes:
            statistics = gather(self.problem, self.candidates, weights, projected)
            self.prototypes.copy_(all_prototypes(statistics, labels, self.options.unseen_strength))
        if self.options.hubness:

            def scores(rows: Tensor) -> Tensor:
                return self._with_prototypes(logits(rows), projected(rows))

            self.hubness.copy_(balanced_hubness(self.candidates, scores, weights))

    def _with_prototypes(self, logits: Tensor, projected: Tensor, share: float = 0) -> Tensor:
        """Add the weighted cosines of projected images (n, D) with prototypes to logits (n, C)."""
        if not self.options.prototypes:
            return logits
        weight = self.problem.scale * (share or self.options.prototype_share)
        return torch.addmm(logits, projected, self.prototypes.T, alpha=weight)

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images (n, D), `share` of the way from frozen to trained ones: (n, K + U)."""
        scores, projected = self._scored(images)
        if self.query_prototypes is not None:
            scores = self.query_prototypes.rescore(scores, projected)
        share = self.share.item()
        return scores if share == 1 else self.frozen_scores(images).lerp(scores, share)

    @property
    def fades(self) -> bool:
        """Whether the folds choose the share of the trained scores."""
        return self.options.fade

    def fade(self, share: float) -> None:
        """Give the trained scores this share from now on."""
        self.share.fill_(share)

    def _scored(self, images: Tensor) -> Scored:
        """`s (x'.e + w unit(L(x' - m)).p_c) - 0.4 h_c`, and the images (n, D) as projected."""
        adapted, labels = self.image_adapter(images), self.label_embeddings()
        if self.miner is not None:
            labels = self.miner.refined_labels(labels, adapted)
        projected = self._space.project(adapted)
        share = self.options.share_in_score(self.problem, self.counts)
        scores = self._with_prototypes(self.logits(adapted, labels), projected, share)
        return scores.sub_(self.options.hubness * self.hubness), projected

    @property
    def transductive(self) -> bool:
        """Whether unseen labels attend to the images that are to be classified."""
        return self.options.transductive

    def observe_queries(self, blocks: Blocks) -> None:
        """Let unseen labels attend to all images that are to be scored, if the options say so."""
        self.query_prototypes = None
        initial = self.prototypes[len(self.problem.seen) :]
        if self.transductive and self.options.prototypes and len(initial):
            weight = self.options.prototype_share * self.problem.scale
            weighting = weight, lambda: map(self._scored, blocks())
            self.query_prototypes = TransductivePrototypes(initial, *weighting)
