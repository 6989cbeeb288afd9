"""`pico`: contrastive label disambiguation (Wang et al., ICLR 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pzsl.losses.contrastive import Positives, contrastive_loss, same_class
from pzsl.losses.pico import move_prototypes
from pzsl.methods.core import Problem, counting, one_of, within
from pzsl.methods.partial_label.contrastive import ContrastiveMethod, ContrastiveOptions
from pzsl.methods.partial_label.partial_method import Batch
from pzsl.models.frozen_copy import frozen_copy
from pzsl.models.projected_images import project_adapted


@dataclass(frozen=True)
class PicoOptions(ContrastiveOptions):
    """Options of PiCO; preset `paper` has the published constants, for 800 epochs on 50,000 images.

    Ten epochs are too few for those: label weights would stay near uniform and prototypes near the
    first image of their class. The defaults are faster, and the queue smaller.

    Attributes:
        warm_up: share of the epochs with uniform weights and own keys as the only positives.
        warm_up_negatives: negatives in the warm-up, `all` other vectors or those of the `queue`
            alone, as in the released code (whose queue begins with random vectors; ours is empty,
            so the first step has no negatives).
        first_phi: momentum of the label weights in the first epoch.
        last_phi: the same in the last epoch; it changes linearly in between.
        prototype_momentum: momentum of the prototypes.
        key_momentum: momentum of the copy that encodes keys.
        queue: how many earlier keys are contrasted with.
    """

    warm_up: float = within(0.1, 0, 1)
    warm_up_negatives: str = one_of("all", ("all", "queue"))
    first_phi: float = within(0.8, 0, 1)
    last_phi: float = within(0.5, 0, 1)
    prototype_momentum: float = within(0.9, 0, 1)
    key_momentum: float = within(0.99, 0, 1)
    queue: int = counting(512, 0, 1 << 24)


class Pico(ContrastiveMethod):
    """PRODEN-like weights that move towards the nearest prototype, and supervised contrast."""

    training_state = ("queue",)
    options: PicoOptions
    prototypes: Tensor
    queue: Tensor
    queue_labels: Tensor
    key_head: Tensor

    def __init__(self, problem: Problem, options: PicoOptions, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        empty = problem.images.new_zeros
        self.key_adapter = frozen_copy(self.image_adapter)
        self.register_buffer("key_head", self.head.detach().clone())
        self.register_buffer("prototypes", empty(len(problem.seen), options.dimension))
        self.register_buffer("queue", empty(options.queue, options.dimension))
        labels = torch.full((options.queue,), -1, device=problem.images.device)
        self.register_buffer("queue_labels", labels)
        self.filled: int | None = None

    @property
    def warmed_up(self) -> bool:
        """Whether the warm-up is over, so that prototypes move the label weights."""
        return self.progress >= self.options.warm_up

    def partial_loss(self, batch: Batch) -> Tensor:
        """Weighted cross-entropy plus contrast with keys and queue."""
        query = self.project(self.problem.embeddings(batch.rows))
        labels = self.predicted(batch)
        with torch.no_grad():
            key = project_adapted(self.augmented(batch.rows), self.key_adapter, self.key_head)
            if self.warmed_up:
                self._identify(batch, query @ self.prototypes.T)
            momentum = self.options.prototype_momentum
            self.prototypes.copy_(move_prototypes(self.prototypes, query, labels, momentum))
        self._keys = key, labels
        contrast = self._contrast(query, key, labels)
        return super().partial_loss(batch) + self.options.contrast * contrast

    def _identify(self, batch: Batch, similar: Tensor) -> None:
        """`s <- phi s + (1 - phi) onehot(argmax_{j in S} q . mu_j)`."""
        options = self.options
        phi = options.first_phi + self.progress * (options.last_phi - options.first_phi)
        entry_index = batch.entries.entry_index
        moved = phi * self.weights.index_select(0, entry_index)
        moved[batch.best(similar)] += 1 - phi
        self.weights.index_copy_(0, entry_index, moved)

    def _filled(self) -> int:
        """How many places of the queue hold a key; the newest come first."""
        if self.filled is None:
            self.filled = int((self.queue_labels >= 0).sum())
        return self.filled

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Note the epoch; a queue that was loaded is counted anew, once, as a GPU has to wait."""
        super().begin_epoch(epoch, generator)
        self.filled = None

    def _contrast(self, query: Tensor, key: Tensor, labels: Tensor) -> Tensor:
        """Supervised contrast; in the warm-up an image's only positive is its own key."""
        filled, count, left_out = self._filled(), len(labels), None
        vectors = torch.cat([query, key, self.queue[:filled]])
        if self.warmed_up:
            other_labels = torch.cat([labels, labels, self.queue_labels[:filled]])
            positives = same_class(query, vectors, other_labels, len(self.prototypes))
        else:
            positives = Positives((query * key).sum(), torch.ones_like(key[:, 0]))
            if self.options.warm_up_negatives == "queue":
                left_out = torch.ones(count, len(vectors), dtype=torch.bool, device=labels.device)
                left_out[:, count : 2 * count].fill_diagonal_(False)
                left_out[:, 2 * count :] = False
        # Keys come from the momentum copies: they take part in the loss, and get no gradient.
        return contrastive_loss(
            query, vectors, positives, self.options.temperature, left_out, count
        )

    def after_step(self, rows: Tensor) -> None:
        """Move the momentum copy; put the keys of this step into the queue."""
        share = 1 - self.options.key_momentum
        trained = self.image_adapter.parameters()
        for copied, parameter in zip(self.key_adapter.buffers(), trained, strict=True):
            copied.lerp_(parameter, share)
        self.key_head.lerp_(self.head, share)
        keys, labels = self._keys
        size = len(self.queue)
        self.filled = min(size, self._filled() + len(keys))
        self.queue.copy_(torch.cat([keys, self.queue])[:size])
        self.queue_labels.copy_(torch.cat([labels, self.queue_labels])[:size])
