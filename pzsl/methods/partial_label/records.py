"""`records`: dynamic rebalancing for long tails (Hong et al., ICLR 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.losses.consistency import divergences, outside_losses
from pzsl.methods.core import Problem, within
from pzsl.methods.partial_label.consistency import ConsistencyMethod, ConsistencyOptions
from pzsl.methods.partial_label.partial_method import Batch

LEAST = 1e-9
"""Added to a class's share before its logarithm is taken, as in the released code."""


@dataclass(frozen=True)
class RecordsOptions(ConsistencyOptions):
    """Options of RECORDS.

    Attributes:
        momentum: how much of the mean image stays at a step.
        warm_up: share of the epochs in which the label weights stay uniform; the released code has
            one epoch.
        debias: subtract the bias from the answers too, as published, not for the label weights
            alone.
    """

    momentum: float = within(0.9, 0, 1)
    warm_up: float = within(0.1, 0, 1)
    debias: bool = True


class Records(ConsistencyMethod):
    """CRDPLL's losses on two views; label weights from predictions less the classifier's bias.

    The bias is what the classifier answers to a running mean of the images: how frequent it takes
    each seen class to be. It is subtracted from the seen classes' logits for the label weights, and
    for the answers. Unseen classes have none: so that seen classes don't shift against them on
    average, its mean is not subtracted (ours; the paper has no unseen classes).
    """

    options: RecordsOptions
    mean_image: Tensor

    def __init__(
        self, problem: Problem, options: RecordsOptions, generator: torch.Generator
    ) -> None:
        super().__init__(problem, options, generator)
        self.register_buffer("mean_image", torch.zeros_like(problem.seen[0]))

    def bias(self) -> Tensor:
        """`log softmax` of the mean image's logits for the seen classes, (K,)."""
        labels = self.label_adapter(self.frozen_labels[: len(self.problem.seen)])
        return (self.logits(self.mean_image, labels).softmax(dim=0) + LEAST).log()

    def partial_loss(self, batch: Batch) -> Tensor:
        """Labels outside pushed down, and KL of the label weights, on both views."""
        weights, rows = self.weights.index_select(0, batch.entries.entry_index), batch.entries.rows
        candidates = batch.dense(torch.ones_like(weights))
        views, strong = self.strong_views(batch)
        logits = [batch.logits, strong[0]]
        with torch.no_grad():
            images = self.image_adapter(torch.cat([self.problem.embeddings(batch.rows), views[0]]))
            self.mean_image.lerp_(images.mean(dim=0), 1 - self.options.momentum)
            bias = self.bias()
        self.agree_on(batch, [view_logits - bias for view_logits in logits])
        losses = [outside_losses(view_logits, candidates) for view_logits in logits]
        losses += [divergences(view_logits, weights, rows) for view_logits in logits]
        return torch.stack(losses).sum(dim=0)

    def after_step(self, rows: Tensor) -> None:
        """Label weights by the predictions less the bias, once the warm-up is over."""
        if self.progress >= self.options.warm_up:
            super().after_step(rows)

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images (n, D) for all classes, seen first and less their bias: (n, K + U)."""
        scores = super().scores(images)
        if self.options.debias:
            bias = self.bias()
            scores[:, : len(bias)] -= bias - bias.mean()
        return scores
