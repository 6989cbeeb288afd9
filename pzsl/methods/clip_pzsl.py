"""`clip-pzsl`: CLIP-PZSL (Fan et al. 2026), an independent implementation in two presets.

`default` is what works best on real features; `paper` keeps to the published design as far as it is
public. Both are made of the same parts, each of which can be switched off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pzsl.losses.partial import partial_zero_shot_loss
from pzsl.methods.adapted import AdaptedMethod, AdaptedOptions, entries_softmax, masked_softmax
from pzsl.methods.base import Problem
from pzsl.methods.mining import Miner, MiningOptions, mine_prototypes
from pzsl.methods.noise_model import estimate_noise, widen
from pzsl.methods.support import Entries


@dataclass(frozen=True)
class ClipPzslOptions(MiningOptions, AdaptedOptions):
    """Parts and constants of CLIP-PZSL.

    Attributes:
        noise_model: estimate how often the truth is outside the candidates, and let it be there.
        progressive: let the label weights follow the model; else they stay frozen CLIP's.
        momentum: of the moving average of the label weights.
        prototypes: mining in closed form, after training.
        prototype_share: weight of the prototypes in the score, in units of the logit scale.
        unseen_strength: length of an unseen label's prototype.
    """

    noise_model: bool = True
    progressive: bool = True
    momentum: float = 0.5
    prototypes: bool = True
    prototype_share: float = 0.04
    unseen_strength: float = 0.5


class ClipPzsl(AdaptedMethod):
    """Noise model, shared adapters, mining, partial zero-shot loss with progressive weights."""

    options: ClipPzslOptions
    prototypes: Tensor
    centre: Tensor

    def __init__(
        self, problem: Problem, options: ClipPzslOptions, generator: torch.Generator
    ) -> None:
        super().__init__(problem, options, generator)
        self.noise = None
        if options.noise_model:
            args = (problem.images, self.support, problem.seen, problem.scale)
            self.noise = estimate_noise(*args)
            if not self.noise.hard:
                self.support = widen(self.support, self.noise, problem.images, problem.seen)
        self.miner = Miner(problem, options, generator) if options.mining else None
        self.register_buffer("weights", self._frozen_weights())
        classes, dim = len(problem.seen) + len(problem.unseen), problem.images.shape[1]
        self.register_buffer("prototypes", problem.images.new_zeros(classes, dim))
        self.register_buffer("centre", problem.images.new_zeros(dim))
        self._last: tuple[Entries, Tensor] | None = None
        self.to(problem.images.device)

    def _frozen_weights(self) -> Tensor:
        problem, blocks = self.problem, self.support.blocks()
        frozen = (problem.scale * problem.images[rows] @ problem.seen.T for rows in blocks)
        pairs = zip(frozen, blocks, strict=True)
        return torch.cat([masked_softmax(logits, self.support, rows) for logits, rows in pairs])

    def loss(self, rows: Tensor) -> Tensor:
        """Partial zero-shot loss plus alignment, for training rows (B,)."""
        entries = self.support.batch(rows, len(self.problem.seen))
        weights = self.weights.index_select(0, entries.at)
        logits, loss = self._mined(rows, entries) if self.miner else self.seen_logits(rows)
        self._last = entries, logits.detach()
        total: Tensor = loss + partial_zero_shot_loss(logits, weights, entries.rows)
        return total

    def _mined(self, rows: Tensor, entries: Entries) -> tuple[Tensor, Tensor]:
        """Logits over the labels that the block refines, and all that is to be learnt beside."""
        assert self.miner is not None
        frozen, seen = self.problem.images[rows], len(self.problem.seen)
        images, weights = self.image_adapter(frozen), self.weights.index_select(0, entries.at)
        mask = self.support.dense_mask(entries.at, entries.rows.local, (len(rows), seen))
        labels, assignments = self.miner.refine(self.label_embeddings(), images, mask)
        loss = self.alignment_loss(images, frozen, labels)
        for logits in assignments:  # the query and key weights learn from nothing else
            loss = loss + partial_zero_shot_loss(logits[:, :seen], weights, entries.rows)
        return self.logits(images, labels[:seen]), loss

    def after_step(self, rows: Tensor) -> None:
        """Move the batch's label weights towards the model's answer (moving average)."""
        if not self.options.progressive or self._last is None:
            return
        entries, logits = self._last
        moved = self.weights.index_select(0, entries.at)
        moved.lerp_(entries_softmax(logits, entries), 1 - self.options.momentum)
        self.weights.index_copy_(0, entries.at, moved)

    def finish(self) -> None:
        """Mine the whole training set: refined labels of the block, prototypes in closed form."""
        labels = self.label_embeddings()
        if self.miner is not None:
            self.miner.settle(labels, self.image_adapter, self.support)
        if self.options.prototypes:
            centre, prototypes = mine_prototypes(
                self.problem,
                self.support,
                self.weights,
                self.image_adapter,
                labels,
                self.options.unseen_strength,
            )
            self.centre.copy_(centre)
            self.prototypes.copy_(prototypes)

    def scores(self, images: Tensor) -> Tensor:
        """`s (x'.e + 0.04 unit(x' - m).p_c)` of images (n, D): (n, K + U)."""
        adapted = self.image_adapter(images)
        labels = self.label_embeddings()
        if self.miner is not None:
            labels = self.miner.answer(labels, adapted)
        scores = self.logits(adapted, labels)
        if not self.options.prototypes:
            return scores
        centred = torch.nn.functional.normalize(adapted - self.centre, dim=-1)
        weight = self.problem.scale * self.options.prototype_share
        return scores + weight * centred @ self.prototypes.T

    def describe(self) -> dict[str, Any]:
        """The noise that was estimated."""
        return {"estimated_eta": round(self.noise.eta, 4)} if self.noise else {}
