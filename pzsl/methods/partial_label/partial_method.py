"""Shared by the partial-label methods: one forward pass a step, label weights, the loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pzsl.losses.partial import best_candidate, partial_zero_shot_losses
from pzsl.methods.core import AdaptedMethod, AdaptedOptions, BatchEntries, Problem, entries_softmax


class Batch(NamedTuple):
    """One batch of training images after the forward pass.

    Attributes:
        rows: (B,) training rows.
        entries: their m candidates.
        logits: (B, K) over the seen classes.
    """

    rows: Tensor
    entries: BatchEntries
    logits: Tensor

    def dense(self, values: Tensor) -> Tensor:
        """Values (m,) of the entries as (B, K), zero elsewhere."""
        return self.entries.rows.put(values, self.logits)

    def best(self, scores: Tensor) -> Tensor:
        """Which of the m entries has the highest of the scores (B, K) of its image, (B,)."""
        return best_candidate(scores, self.entries.log_mask, self.entries.rows)


class PartialMethod(AdaptedMethod):
    """A partial-label method on the shared adapted cosine classifier.

    By itself it is PRODEN; other methods replace the loss or the update of the label weights. All
    add the same alignment term, which is not in their papers: those have no unseen classes.
    """

    def __init__(
        self, problem: Problem, options: AdaptedOptions, generator: torch.Generator
    ) -> None:
        super().__init__(problem, options, generator)
        self.register_buffer("weights", self.candidates.uniform())
        self.epoch, self.generator = 0, generator

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Store the epoch and its random generator."""
        self.epoch, self.generator = epoch, generator

    @property
    def progress(self) -> float:
        """Share of the epochs that are finished, below one."""
        return self.epoch / self.epochs

    def loss(self, rows: Tensor) -> Tensor:
        """The method's own loss plus alignment, for training rows (B,)."""
        logits, alignment = self.seen_logits(rows)
        entries = self.candidates.batch(rows, logits.shape[1])
        self.last = Batch(rows, entries, logits.detach())
        return self.total(self.partial_loss(Batch(rows, entries, logits)), alignment)

    def partial_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the label weights, (B,); a method with another loss replaces this."""
        weights = self.weights.index_select(0, batch.entries.entry_index)
        return partial_zero_shot_losses(batch.logits, weights, batch.entries.rows)

    def after_step(self, rows: Tensor) -> None:
        """Set label weights to the softmax over the candidates, from this step's forward pass."""
        self.follow(self.last.logits)

    def follow(self, logits: Tensor) -> None:
        """Set the label weights of the last batch to the softmax of logits (B, K)."""
        entries = self.last.entries
        self.weights.scatter_(0, entries.entry_index, entries_softmax(logits, entries))
