"""`clip-pzsl`: CLIP-PZSL (Fan et al. 2026), an independent implementation.

Preset `default` is what works best on real features; `paper` follows the published design as far as
it is public. All presets are made of the same parts, each of which can be switched off.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from pzsl.losses.partial import losses_and_log_p, partial_zero_shot_losses
from pzsl.losses.ragged import row_softmax
from pzsl.methods.clip_pzsl.balance import balanced_weights
from pzsl.methods.clip_pzsl.class_statistics import (
    SMALLEST,
    find_space,
    gather,
    hubness,
)
from pzsl.methods.clip_pzsl.evidence import evidence_of
from pzsl.methods.clip_pzsl.explanation import NameWeight
from pzsl.methods.clip_pzsl.label_weights import (
    initial_weights,
    is_due,
    label_logits,
    leave_one_out_strength,
    leave_one_out_weights,
    project_frozen,
)
from pzsl.methods.clip_pzsl.noise_model import (
    NoiseModel,
    keep_inside,
    weight_inside,
    widen,
)
from pzsl.methods.clip_pzsl.options import ClipPzslOptions
from pzsl.methods.clip_pzsl.scoring import ClipPzslScores
from pzsl.methods.clip_pzsl.set_reading import read_sets
from pzsl.methods.clip_pzsl.training_pass import (
    RowFunction,
    cache_rows,
    candidates_softmax,
)
from pzsl.methods.core import BatchEntries, LabelEvidence, Problem


class ClipPzsl(ClipPzslScores):
    """Noise model, shared adapters, mining, partial zero-shot loss, updated label weights."""

    row_wise: ClassVar[bool] = True
    image_state: ClassVar[tuple[str, ...]] = ("inside",)
    inside: Tensor | None
    noise: NoiseModel | None

    def __init__(
        self, problem: Problem, options: ClipPzslOptions, generator: torch.Generator
    ) -> None:
        super().__init__(problem, options, generator)
        zeros = problem.seen.new_zeros
        self.register_buffer("weights", self.candidates.uniform())
        self.frozen_hubness, self.inside, self.noise = zeros(len(problem.seen)), None, None
        self._frozen_at, self.name_weight = zeros(0), NameWeight()
        self._last_pass: tuple[BatchEntries, Tensor, Tensor] | None = None
        self.to(problem.images.device)

    def prepare(self) -> None:
        """Compute frozen CLIP's hubness, read the candidate sets, and set the initial weights."""
        candidates, options = self.candidates, self.options
        if options.hubness:
            self.frozen_hubness = options.hubness * hubness(candidates, self._similarities)
        parts = self._frozen_logits, options.noise_model, options.weigh_names
        reading = read_sets(self.problem, candidates, *parts)
        self.noise, self.name_weight = reading.noise, reading.weight
        if self.noise is None or self.noise.hard:
            self._frozen_at = reading.at_entries
        else:
            known = reading.logits, self.problem.labelled
            self.candidates, self._frozen_at = widen(candidates, self.noise, *known)
        weights = self._initial_weights()
        if self.noise is not None and not self.noise.hard:
            self.inside = weight_inside(self.candidates, weights)
        self.weights = self._balanced(weights)

    def _balanced(self, weights: Tensor) -> Tensor:
        """Label weights for training and prototypes; those that are reported are not balanced."""
        seen = len(self.problem.seen)
        return balanced_weights(self.candidates, weights, seen) if self.options.balance else weights

    def _initial_weights(self) -> Tensor:
        """Softmax of the logits that read the sets, corrected by leave-one-out prototypes."""
        if not self.options.left_out:
            return candidates_softmax(self.candidates, self._frozen_at)
        weights, space = initial_weights(
            self.problem, self.candidates, self._frozen_at, self._strength, self.options.whiten
        )
        self._keep(space)
        return weights

    @property
    def _strength(self) -> float:
        return leave_one_out_strength(self.problem, self.options.left_out_share)

    def _similarities(self, rows: Tensor) -> Tensor:
        return self.problem.cosines(rows).mul_(self.problem.scale)

    def _frozen_logits(self, rows: Tensor) -> Tensor:
        return self._similarities(rows).sub_(self.frozen_hubness)

    def _weighed_names(self, rows: Tensor) -> Tensor:
        return self._frozen_logits(rows).mul_(self.name_weight.names)

    @property
    def stackable(self) -> bool:
        """Not with the mining block, in which labels attend to the whole batch."""
        return super().stackable and self.miner is None

    def loss(self, rows: Tensor) -> Tensor:
        """Partial zero-shot loss plus alignment, for training rows (B,)."""
        entries = self.candidates.batch(rows, len(self.problem.seen))
        weights = entries.of(self.weights)
        logits, loss = self._mined(rows, entries) if self.miner else self.seen_logits(rows)
        losses, log_p = losses_and_log_p(logits, weights, entries.rows)
        if self.options.progressive:
            self._last_pass = entries, weights, log_p
        return self.total(losses, loss)

    def _mined(self, rows: Tensor, entries: BatchEntries) -> tuple[Tensor, Tensor]:
        """Logits over the labels refined by the block, and the other terms of the loss."""
        assert self.miner is not None
        frozen, weights = self.problem.embeddings(rows), entries.of(self.weights)
        images = self.image_adapter(frozen)
        labels, assignments = self.miner.refine(self.label_embeddings(), images, entries)
        loss = self.alignment_loss(images, frozen, labels)
        for logits in assignments:  # queries and keys learn from nothing else
            loss = loss + partial_zero_shot_losses(logits, weights, entries.rows).mean()
        return self.logits(images, labels[: len(self.problem.seen)]), loss

    def after_step(self, rows: Tensor) -> None:
        """Move the batch's label weights towards the model's softmax (moving average)."""
        if self._last_pass is None:
            return
        entries, weights, log_p = self._last_pass
        predicted = row_softmax(log_p + entries.log_mask, entries.rows, top=0.0)
        if self.inside is not None:
            predicted = keep_inside(predicted, entries, self.inside.index_select(0, rows))
        entries.write(weights.lerp(predicted, 1 - self.options.momentum), self.weights)

    def relabels_before(self, epoch: int) -> bool:
        """Whether `relabel` is due before this epoch: never if each image has a single label."""
        if not self.options.left_out or len(self.candidates.labels) == len(self.candidates):
            return False
        return is_due(epoch, self.epochs, self.options.label_updates)

    def relabel(self) -> None:
        """Weigh the candidates by the network as it is now, and by prototypes of other images."""
        logits, hub_share = self._trained_logits(), self.options.hubness
        image_logits = label_logits(self.candidates, logits, len(self.problem.seen), hub_share)
        parts = self.problem, self.candidates, self.weights
        projected = project_frozen(self.problem, self.candidates, self._space)
        weights = leave_one_out_weights(*parts, projected, image_logits, self._strength)
        if self.inside is not None:
            for rows in self.candidates.blocks():
                entries = self.candidates.batch(rows, 0)
                shares = self.inside.index_select(0, rows)
                entries.write(keep_inside(entries.of(weights), entries, shares), weights)
        self.weights.copy_(self._balanced(weights))

    def _trained_logits(self) -> RowFunction:
        """Logits of training rows over the seen labels, by the network as it is now."""
        if self.miner is None:
            return lambda rows: self.seen_logits(rows)[0]
        labels, images = self._refined()[: len(self.problem.seen)], self.problem.embeddings
        return lambda rows: self.logits(self.image_adapter(images(rows)), labels)

    def finalize(self) -> None:
        """Mine the whole training set: refined labels, label weights, prototypes, hubness."""
        images = self.problem.embeddings
        adapted = cache_rows(self.candidates, lambda rows: self.image_adapter(images(rows)))
        labels, options = self._refined(), self.options
        logits = cache_rows(self.candidates, lambda rows: self.logits(adapted(rows), labels))
        parts = self.problem, self.candidates, self.weights
        if options.left_out or options.prototypes:
            space = find_space(*parts, adapted, options.whiten)
            self._keep(space)
        projected = cache_rows(self.candidates, lambda rows: self._space.project(adapted(rows)))
        if options.left_out:
            terms = len(self.problem.seen), options.hubness, self._frozen_at
            image_logits = label_logits(self.candidates, logits, *terms)
            self._frozen_at, self._last_pass = self._frozen_at.new_zeros(0), None  # frees memory
            image_terms = projected, image_logits, self._strength
            self.weights.copy_(leave_one_out_weights(*parts, *image_terms))
        weights = self._balanced(self.weights)
        self._mine(labels, weights, projected, logits)
        means = gather(self.problem, self.candidates, weights, adapted)
        self.counts.copy_(means.counts)
        self.means.copy_(means.sums / means.counts.clamp_min(SMALLEST)[:, None])

    def chosen_options(self) -> dict[str, Any]:
        """The weight of prototypes, less with few images; whether other images are asked, too."""
        return self.options.of_folds(self.problem, self.counts, self.name_weight.images > 0)

    def describe(self) -> dict[str, Any]:
        """The share of the trained scores, the estimated noise, and the weight of the names."""
        share = {"trained_share": round(self.share.item(), 4)} if self.fades else {}
        eta: dict[str, Any] = {}
        if self.noise:
            name = "assumed_eta" if self.noise.assumed else "estimated_eta"
            eta = {name: round(self.noise.eta, 4)}
        return share | eta | self.name_weight.describe()

    def label_evidence(self) -> LabelEvidence | None:
        """Logits behind the last label weights; None without noise model or left-out prototypes."""
        if not self.noise or not self.options.left_out:
            return None
        labels = self.miner.refined if self.miner else self.label_embeddings()
        parts = self._weighed_names, self._strength, self.options.hubness, self.options.whiten
        return evidence_of(self, labels[: len(self.problem.seen)], *parts)
