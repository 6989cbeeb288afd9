"""Prototypes that both networks of Co-Reg share, and the queues that they contrast with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pzsl.losses.co_reg import noisy_positives
from pzsl.losses.contrastive import contrastive_loss, share_equally
from pzsl.losses.pico import move_prototypes
from pzsl.methods.co_reg.pseudo_labels import PseudoLabels

EMPTY = -1
"""Pseudo-label of a place in a queue that is not filled yet."""


class Prototypes(nn.Module):
    """A unit vector o_j for each seen class, moved by the projected images of both networks.

    Args:
        classes: K. dimension: d. momentum: how much of a prototype stays at each image.
    """

    vectors: Tensor

    def __init__(self, classes: int, dimension: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("vectors", torch.zeros(classes, dimension))

    def move(self, features: Tensor, labels: PseudoLabels) -> None:
        """`o_j <- unit(m o_j + (1 - m) z)` for each image of P with pseudo-label j, in order."""
        classes = len(self.vectors)  # images of U go to one class more, which is dropped
        moving_class = torch.where(labels.partial > 0, labels.labels, classes)
        moved = move_prototypes(
            F.pad(self.vectors, (0, 0, 0, 1)), features, moving_class, self.momentum
        )
        self.vectors.copy_(moved[:classes])


class Contrast(nn.Module):
    """One network's queue of earlier keys, and its noisy supervised contrastive loss.

    Args:
        size: of the queue. dimension: d. temperature: of the softmax.
        noisy: positives are in P, both; else the same pseudo-label is enough (plain contrast).
        ignore_doubtful: pairs of the same pseudo-label that are no positives are no negatives
            either.
    """

    queue: Tensor
    queue_labels: Tensor
    queue_sure: Tensor

    def __init__(
        self, size: int, dimension: int, temperature: float, noisy: bool, ignore_doubtful: bool
    ) -> None:
        super().__init__()
        self.temperature, self.noisy, self.ignore = temperature, noisy, ignore_doubtful
        self.register_buffer("queue", torch.zeros(size, dimension))
        self.register_buffer("queue_labels", torch.full((size,), EMPTY))
        self.register_buffer("queue_sure", torch.zeros(size, dtype=torch.bool))
        self.filled: int | None = None

    def recount(self) -> None:
        """Count the keys in the queue anew, when one is next needed: it may have been loaded."""
        self.filled = None

    def _filled(self) -> int:
        """How many places of the queue hold a key; the newest come first. A GPU waits for it."""
        if self.filled is None:
            self.filled = int((self.queue_labels != EMPTY).sum())
        return self.filled

    def loss(self, query: Tensor, key: Tensor, pseudo: PseudoLabels) -> Tensor:
        """Contrast of queries (B, d) with the batch, its keys (B, d) and the queue; a scalar."""
        filled = self._filled()
        labels, sure = pseudo.labels, pseudo.partial > 0
        other_labels = torch.cat([labels, labels, self.queue_labels[:filled]])
        other_sure = torch.cat([sure, sure, self.queue_sure[:filled]])
        if not self.noisy:
            sure, other_sure = torch.ones_like(sure), torch.ones_like(other_sure)
        positives = noisy_positives(labels, other_labels, sure, other_sure).to(query.dtype)
        positives.fill_diagonal_(0)  # an anchor itself
        positives[:, len(labels) :].fill_diagonal_(1)  # its own key
        doubtful = (labels[:, None] == other_labels) & (positives == 0) if self.ignore else None
        vectors, pairs = torch.cat([query, key, self.queue[:filled]]), share_equally(positives)
        return contrastive_loss(query, vectors, pairs, self.temperature, doubtful, len(query))

    def push(self, key: Tensor, pseudo: PseudoLabels) -> None:
        """Put the keys of a batch in front of the queue."""
        size = len(self.queue)
        self.filled = min(size, self._filled() + len(key))
        self.queue.copy_(torch.cat([key, self.queue])[:size])
        self.queue_labels.copy_(torch.cat([pseudo.labels, self.queue_labels])[:size])
        self.queue_sure.copy_(torch.cat([pseudo.partial > 0, self.queue_sure])[:size])
