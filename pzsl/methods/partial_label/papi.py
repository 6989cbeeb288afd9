"""`papi`: prototype-aligned representations (Xia et al., CVPR 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pzsl.losses.papi import mixed_prototype_losses
from pzsl.losses.pico import move_prototypes
from pzsl.methods.core import Problem, counting, entries_softmax, mixing_shares, within
from pzsl.methods.partial_label.contrastive import ContrastiveMethod, ContrastiveOptions
from pzsl.methods.partial_label.partial_method import Batch


@dataclass(frozen=True)
class PapiOptions(ContrastiveOptions):
    """Options of PaPi; preset `paper` has the published constants, for 500 epochs.

    As with PiCO, ten epochs are too few for those, and the defaults are faster.

    Attributes:
        contrast: weight of the alignment with prototypes.
        temperature: temperature of the alignment with prototypes.
        ramp_up: share of the epochs in which the weight `contrast` grows from 0.
        first_phi: momentum of the label weights in the first epoch.
        last_phi: the same in the last epoch; it changes linearly in between.
        first_momentum: momentum of the prototypes in the first epoch.
        last_momentum: the same in the last epoch; it changes linearly in between.
        mixup_alpha: both parameters of the Beta distribution of the share at which two images are
            mixed.
    """

    contrast: float = within(1.0, 0)
    temperature: float = within(0.3, 0, above=True)
    ramp_up: float = within(0.2, 0, 1)
    first_phi: float = within(0.5, 0, 1)
    last_phi: float = within(0.2, 0, 1)
    first_momentum: float = within(0.9, 0, 1)
    last_momentum: float = within(0.5, 0, 1)
    mixup_alpha: int = counting(8, 1, 1000)


class Papi(ContrastiveMethod):
    """PRODEN with a moving average; mixed images are aligned with the prototypes of their labels.

    The classifier's predictions move label weights and prototypes; prototypes move no label weight.
    """

    options: PapiOptions
    prototypes: Tensor

    def __init__(self, problem: Problem, options: PapiOptions, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        empty = problem.images.new_zeros(len(problem.seen), options.dimension)
        self.register_buffer("prototypes", empty)

    @property
    def ramp(self) -> float:
        """Weight of the alignment, which grows linearly."""
        grown = self.progress / self.options.ramp_up if self.options.ramp_up else 1.0
        return self.options.contrast * min(1.0, grown)

    def partial_loss(self, batch: Batch) -> Tensor:
        """Weighted cross-entropy of the image, and alignment of both views, each mixed."""
        self._follow(batch)
        views = [self.problem.embeddings(batch.rows), self.augmented(batch.rows)]
        weights = batch.dense(self.weights.index_select(0, batch.entries.entry_index))
        share = float(mixing_shares(1, self.options.mixup_alpha, self.generator))
        order = torch.randperm(len(batch.rows), generator=self.generator).to(weights.device)
        mixed = [F.normalize(share * view + (1 - share) * view[order], dim=-1) for view in views]
        alignment_losses = mixed_prototype_losses(
            [self.project(view) for view in mixed],
            self.prototypes.clone(),  # they move before the backward pass
            weights,
            order,
            share,
            self.options.temperature,
        )
        losses = super().partial_loss(batch) + self.ramp * alignment_losses
        self._move(batch, views)
        return losses

    def _follow(self, batch: Batch) -> None:
        """`w <- phi w + (1 - phi) f`, f restricted to the candidates, before the loss."""
        options, entry_index = self.options, batch.entries.entry_index
        phi = options.first_phi + self.progress * (options.last_phi - options.first_phi)
        predicted = entries_softmax(batch.logits.detach(), batch.entries)
        moved = predicted.lerp_(self.weights.index_select(0, entry_index), phi)
        self.weights.index_copy_(0, entry_index, moved)

    @torch.no_grad()
    def _move(self, batch: Batch, views: list[Tensor]) -> None:
        """Prototypes by each view's own prediction, those of the first view first."""
        options = self.options
        momentum = options.first_momentum
        momentum += self.progress * (options.last_momentum - momentum)
        second_view = batch._replace(logits=self.view_logits(views[1]))
        predictions = torch.cat([self.predicted(batch), self.predicted(second_view)])
        features = self.project(torch.cat(views))
        self.prototypes.copy_(move_prototypes(self.prototypes, features, predictions, momentum))

    def after_step(self, rows: Tensor) -> None:
        """Do nothing: label weights are updated before the loss, prototypes after it."""
