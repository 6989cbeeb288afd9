"""`rla`: a regularised linear adapter of the images (Fahes et al. 2024, beside ProLIP)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pzsl.losses.partial import partial_zero_shot_loss
from pzsl.methods.baselines.clip import Clip
from pzsl.methods.core import BatchEntries, Options, Problem, entries_softmax, within
from pzsl.models.unit_vectors import unit


@dataclass(frozen=True)
class RlaOptions(Options):
    """Options of the regularised linear adapter.

    Attributes:
        strength: factor of the penalty lambda, which is 1 / (images per seen class) at 1.
    """

    strength: float = within(1.0, 0)


class Rla(Clip):
    """A cosine classifier on `unit(W v)`, W starting as the identity and kept near it.

    `L = cross-entropy + lambda ||W - I||^2` with lambda = 1 / shots (Fahes et al. 2024, arXiv
    2410.05270: ProLIP's regulariser on an adapter behind the frozen projection, which gives
    the cached embeddings). On candidate sets the cross-entropy is with the label weights: frozen
    CLIP's softmax over the candidates, and after each step that of the model (as in PRODEN).

    W changes images alone, so unseen classes keep their text embeddings and gain from W as well.
    """

    options: RlaOptions

    def __init__(self, problem: Problem, options: RlaOptions, generator: torch.Generator) -> None:
        super().__init__(problem, options, generator)
        dim = problem.seen.shape[1]
        self.change = nn.Parameter(problem.seen.new_zeros(dim, dim))
        self._last_forward: tuple[BatchEntries, Tensor] | None = None

    def _adapted(self, images: Tensor) -> Tensor:
        return unit(images + images @ self.change.T)

    @property
    def _penalty(self) -> float:
        shots = len(self.problem.images) / len(self.problem.seen)
        return self.options.strength / shots

    def loss(self, rows: Tensor) -> Tensor:
        """Weighted cross-entropy plus the distance from the identity, for training rows (B,)."""
        images = self._adapted(self.problem.images[rows])
        logits = self.problem.scale * images @ self.problem.seen.T
        entries = self.candidates.batch(rows, logits.shape[1])
        self._last_forward = entries, logits.detach()
        weights = entries.of(self.weights)
        loss = partial_zero_shot_loss(logits, weights, entries.rows)
        return loss + self._penalty * self.change.square().sum()

    def after_step(self, rows: Tensor) -> None:
        """Set label weights to the softmax over the candidates, from this step's forward pass."""
        if self._last_forward is not None:
            entries, logits = self._last_forward
            entries.write(entries_softmax(logits, entries), self.weights)

    def scores(self, images: Tensor) -> Tensor:
        """`s cos(W v, t_c)` of images (n, D) for all classes, seen first: (n, K + U)."""
        return self.frozen_scores(self._adapted(images))
