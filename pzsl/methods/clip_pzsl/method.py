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
    ALTERNATIONS,
    SMALLEST,
    ClassStatistics,
    WhitenedSpace,
    added_hubness,
    all_prototypes,
    balanced_hubness,
    candidates_softmax,
    find_space,
    gather,
    hubness,
    label_logits,
    leave_one_out_strength,
    leave_one_out_weights,
)
from pzsl.methods.clip_pzsl.evidence import evidence_of
from pzsl.methods.clip_pzsl.explanation import NameWeight, read_sets
from pzsl.methods.clip_pzsl.mining import Miner
from pzsl.methods.clip_pzsl.noise_model import (
    NoiseModel,
    keep_inside,
    weight_inside,
    widen,
)
from pzsl.methods.clip_pzsl.options import ClipPzslOptions
from pzsl.methods.clip_pzsl.training_pass import (
    RowFunction,
    cache_rows,
)
from pzsl.methods.clip_pzsl.transduction import Scored, TransductivePrototypes
from pzsl.methods.core import AdaptedMethod, BatchEntries, Blocks, LabelEvidence, Problem


class ClipPzsl(AdaptedMethod):
    """Noise model, shared adapters, mining, partial zero-shot loss with progressive weights."""

    row_wise: ClassVar[bool] = True
    image_state: ClassVar[tuple[str, ...]] = ("inside",)
    cautious: ClassVar[bool] = True
    options: ClipPzslOptions
    prototypes: Tensor
    centre: Tensor
    metric: Tensor
    hubness: Tensor
    means: Tensor
    counts: Tensor
    share: Tensor
    inside: Tensor | None
    noise: NoiseModel | None

    def __init__(
        self, problem: Problem, options: ClipPzslOptions, generator: torch.Generator
    ) -> None:
        super().__init__(problem, options, generator)
        self.miner = Miner(problem, options, generator) if options.mining else None
        (seen, dim), zeros = problem.seen.shape, problem.seen.new_zeros
        classes = seen + len(problem.unseen)
        self.register_buffer("weights", self.candidates.uniform())
        shapes = {"prototypes": (classes, dim), "centre": (dim,), "metric": (dim, dim)}
        shapes |= {"hubness": (classes,), "means": (seen, dim), "counts": (seen,)}
        for name, shape in shapes.items():
            self.register_buffer(name, zeros(shape))
        self.register_buffer("share", problem.seen.new_ones(()))
        self.frozen_hubness, self.inside, self.noise = zeros(seen), None, None
        self.query_prototypes: TransductivePrototypes | None = None
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
            self.candidates, self._frozen_at = widen(candidates, self.noise, reading.logits)
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
        problem, candidates = self.problem, self.candidates
        weights = candidates_softmax(candidates, self._frozen_at)
        if not self.options.left_out:
            return weights
        space = find_space(problem, candidates, weights, problem.embeddings, self.options.whiten)
        projected = cache_rows(candidates, lambda rows: space.project(problem.embeddings(rows)))
        strength = leave_one_out_strength(problem, self.options.left_out_share)
        for _ in range(ALTERNATIONS):
            parts = problem, candidates, weights
            weights = leave_one_out_weights(*parts, projected, self._frozen_at, strength)
        return weights

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

    @property
    def transductive(self) -> bool:
        """Whether unseen labels attend to the images that are to be classified."""
        return self.options.transductive

    def loss(self, rows: Tensor) -> Tensor:
        """Partial zero-shot loss plus alignment, for training rows (B,)."""
        entries = self.candidates.batch(rows, len(self.problem.seen))
        weights = entries.of(self.weights)
        logits, loss = self._mined(rows, entries) if self.miner else self.seen_logits(rows)
        losses, log_p = losses_and_log_p(logits, weights, entries.rows)
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
        if not self.options.progressive or self._last_pass is None:
            return
        entries, weights, log_p = self._last_pass
        predicted = row_softmax(log_p + entries.log_mask, entries.rows, top=0.0)
        if self.inside is not None:
            predicted = keep_inside(predicted, entries, self.inside.index_select(0, rows))
        entries.write(weights.lerp(predicted, 1 - self.options.momentum), self.weights)

    def finalize(self) -> None:
        """Mine the whole training set: refined labels, label weights, prototypes, hubness."""
        images = self.problem.embeddings
        adapted = cache_rows(self.candidates, lambda rows: self.image_adapter(images(rows)))
        labels, options = self._refined(), self.options
        logits = cache_rows(self.candidates, lambda rows: self.logits(adapted(rows), labels))
        parts = self.problem, self.candidates, self.weights
        if options.left_out or options.prototypes:
            space = find_space(*parts, adapted, options.whiten)
            self.centre.copy_(space.centre)
            self.metric.copy_(space.metric)
        projected = cache_rows(self.candidates, lambda rows: self._space.project(adapted(rows)))
        if options.left_out:
            frozen_terms = self._frozen_at, len(self.problem.seen), options.hubness
            image_logits = label_logits(self.candidates, logits, *frozen_terms)
            self._frozen_at, self._last_pass = self._frozen_at.new_zeros(0), None  # frees memory
            strength = leave_one_out_strength(self.problem, options.left_out_share)
            self.weights.copy_(leave_one_out_weights(*parts, projected, image_logits, strength))
        weights = self._balanced(self.weights)
        self._mine(labels, weights, projected, logits)
        means = gather(self.problem, self.candidates, weights, adapted)
        self.counts.copy_(means.counts)
        self.means.copy_(means.sums / means.counts.clamp_min(SMALLEST)[:, None])

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

    @property
    def _space(self) -> WhitenedSpace:
        return WhitenedSpace(self.centre, self.metric)

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

    def observe_queries(self, blocks: Blocks) -> None:
        """Let unseen labels attend to all images that are to be scored, if the options say so."""
        self.query_prototypes = None
        initial = self.prototypes[len(self.problem.seen) :]
        if self.transductive and self.options.prototypes and len(initial):
            weight = self.options.prototype_share * self.problem.scale
            weighting = weight, lambda: map(self._scored, blocks())
            self.query_prototypes = TransductivePrototypes(initial, *weighting)

    def chosen_options(self) -> dict[str, Any]:
        """The weight of prototypes, less with few images; whether other images are asked, too."""
        return self.options.of_folds(self.problem, self.counts, self.name_weight.images > 0)

    def describe(self) -> dict[str, Any]:
        """The share of the trained scores, the estimated noise, and the weight of the names."""
        share = {"trained_share": round(self.share.item(), 4)} if self.fades else {}
        eta = {"estimated_eta": round(self.noise.eta, 4)} if self.noise else {}
        return share | eta | self.name_weight.describe()

    def label_evidence(self) -> LabelEvidence | None:
        """Logits behind the last label weights; None without noise model or left-out prototypes."""
        if not self.noise or not self.options.left_out:
            return None
        labels = self.miner.refined if self.miner else self.label_embeddings()
        strength = leave_one_out_strength(self.problem, self.options.left_out_share)
        parts = self._weighed_names, strength, self.options.hubness, self.options.whiten
        return evidence_of(self, labels[: len(self.problem.seen)], *parts)
