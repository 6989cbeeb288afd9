"""Prototypes that both networks of Co-Reg share, and the queues that they contrast with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pzsl.losses.contrastive import Positives, contrastive_loss, same_class
from pzsl.losses.pico import move_prototypes
from pzsl.methods.co_reg.pseudo_labels import PseudoLabels

EMPTY = -1
"""Pseudo-label of a queue's slot that is not filled yet."""


class Prototypes(nn.Module):
    """A unit vector o_j for each seen class, moved by the projected images of both networks.

    Args:
        classes: K.
        dimension: d.
        momentum: m, share of a prototype that each image leaves as it is.
    """

    vectors: Tensor

    def __init__(self, classes: int, dimension: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("vectors", torch.zeros(classes, dimension))

    def move(self, features: Tensor, labels: PseudoLabels) -> None:
        """`o_j <- unit(m o_j + (1 - m) z)` for each image of P with pseudo-label j, in order."""
        classes = len(self.vectors)  # images of U move one more prototype, which is dropped
        class_of_image = torch.where(labels.partial > 0, labels.labels, classes)
        vectors = F.pad(self.vectors, (0, 0, 0, 1))
        moved = move_prototypes(vectors, features, class_of_image, self.momentum)
        self.vectors.copy_(moved[:classes])


class Contrast(nn.Module):
    """One network's queue of earlier keys, and its noisy supervised contrastive loss.

    Args:
        size: Q, of the queue.
        dimension: d.
        temperature: of the softmax.
        noisy: positive pairs have the same pseudo-label and are both in P; else the same
            pseudo-label is enough (plain contrast).
        ignore_doubtful: pairs with the same pseudo-label that are not positive are not negative,
            either.
    """

    queue: Tensor
    queue_labels: Tensor
    queue_sure: Tensor

    def __init__(
        self, size: int, dimension: int, temperature: float, noisy: bool, ignore_doubtful: bool
    ) -> None:
        super().__init__()
        self.temperature, self.noisy, self.ignore_doubtful = temperature, noisy, ignore_doubtful
        self.register_buffer("queue", torch.zeros(size, dimension))
        self.register_buffer("queue_labels", torch.full((size,), EMPTY))
        self.register_buffer("queue_sure", torch.zeros(size, dtype=torch.bool))
        self.filled: int | None = None

    def recount(self) -> None:
        """Have the keys counted anew when next needed, as the queue may have been loaded."""
        self.filled = None

    def _filled(self) -> int:
        """Number of keys in the queue, which it begins with; cached, as a GPU waits to count."""
        if self.filled is None:
            self.filled = int((self.queue_labels != EMPTY).sum())
        return self.filled

    def loss(self, query: Tensor, key: Tensor, pseudo: PseudoLabels) -> Tensor:
        """Contrastive loss of queries (B, d) against batch, keys (B, d) and queue; a scalar."""
        filled = self._filled()
        labels, sure = pseudo.labels, pseudo.partial > 0
        other_labels = torch.cat([labels, labels, self.queue_labels[:filled]])
        other_sure = torch.cat([sure, sure, self.queue_sure[:filled]])
        if not self.noisy:
            sure, other_sure = torch.ones_like(sure), torch.ones_like(other_sure)
        vectors = torch.cat([query, key, self.queue[:filled]])
        trusted = other_labels.masked_fill(~other_sure, EMPTY)
        positives = same_class(query, vectors, trusted, pseudo.targets.shape[1])
        own_key_alone = (query * key).sum(dim=1) @ (1 - positives.mass)
        attraction = positives.attraction + own_key_alone
        positives = Positives(attraction, torch.ones_like(positives.mass))
        doubtful = None
        if self.ignore_doubtful:
            doubtful = (labels[:, None] == other_labels) & ~(sure[:, None] & other_sure)
            doubtful[:, len(labels) :].fill_diagonal_(False)
        return contrastive_loss(query, vectors, positives, self.temperature, doubtful, len(query))

    def push(self, key: Tensor, pseudo: PseudoLabels) -> None:
        """Put the keys of a batch (B, d) at the front of the queue; the oldest drop out."""
        size = len(self.queue)
        self.filled = min(size, self._filled() + len(key))
        self.queue.copy_(torch.cat([key, self.queue])[:size])
        self.queue_labels.copy_(torch.cat([pseudo.labels, self.queue_labels])[:size])
        self.queue_sure.copy_(torch.cat([pseudo.partial > 0, self.queue_sure])[:size])
