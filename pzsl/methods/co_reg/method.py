"""`co-reg`: collaborative consistency regularisation (Wang et al., arXiv 2406.18550, 2506.03229).

Two networks learn from noisy candidate sets, and each decides which sets the other trusts. The
networks are light: adapters and a classifier on cached features, where the papers train a ResNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pzsl.losses.co_reg import (
    cross_entropy,
    prototype_loss,
    restrict,
    squared_error,
    warm_up_loss,
)
from pzsl.methods.clip_pzsl import NoiseModel, widen
from pzsl.methods.co_reg.contrast import Contrast, Prototypes
from pzsl.methods.co_reg.mixing import Mixing, draw_mixing
from pzsl.methods.co_reg.network import CoNetwork
from pzsl.methods.co_reg.options import CoRegOptions, check_options
from pzsl.methods.co_reg.preparation import (
    choose_views,
    class_prior,
    mean_image,
    untrained_pseudo_labels,
)
from pzsl.methods.co_reg.pseudo_labels import Predict, PseudoLabels
from pzsl.methods.core import OUTSIDE, BatchEntries, Method, Problem, Views, masked_softmax


class Step(NamedTuple):
    """What the loss of one network leaves for `after_step`.

    Attributes:
        features: (B, d) projected images that move the prototypes.
        key: (B, d) keys for the queue.
        pseudo: their pseudo-labels.
    """

    features: Tensor
    key: Tensor
    pseudo: PseudoLabels


class CoReg(Method):
    """Two networks, co-pseudo-labels, MixUp, shared prototypes, noisy supervised contrast.

    Labels outside the given sets may carry weight: the method adds those that frozen CLIP finds
    likeliest to its candidates.
    """

    training_state = ("queue",)
    options: CoRegOptions

    def __init__(self, problem: Problem, options: CoRegOptions, generator: torch.Generator) -> None:
        super().__init__(problem, options)
        check_options(problem, options)
        classes, device = len(problem.seen), problem.images.device
        self.register_buffer("weights", self.candidates.uniform())
        dim = problem.images.shape[1]
        projection = torch.randn(options.dimension, dim, generator=generator) / dim**0.5
        linear = options.head == "linear"
        networks = [CoNetwork(problem, options, linear, projection, generator) for _ in range(2)]
        self.networks: Sequence[CoNetwork] = nn.ModuleList(networks)  # type: ignore[assignment]
        self.prototypes = Prototypes(classes, options.dimension, options.prototype_momentum)
        switches = options.noisy_contrast, options.ignore_doubtful
        contrasts = [
            Contrast(options.queue, options.dimension, options.temperature, *switches)
            for _ in range(2)
        ]
        self.contrasts: Sequence[Contrast] = nn.ModuleList(contrasts)  # type: ignore[assignment]
        self.pseudo = untrained_pseudo_labels(problem, options)
        self.views = Views(problem, options.weak_noise, options.strong_noise, options.mask)
        self.learn_from = options.learn_from
        self.epoch, self.generator = 0, generator
        self._steps: list[Step] = []
        self._restricted_at_start: list[Tensor] = []
        self.to(device)

    def prepare(self) -> None:
        """Widen the candidates; find label weights, mean image, class prior and kind of view."""
        outsiders, classes = NoiseModel(eta=0.0, penalty=-OUTSIDE), len(self.problem.seen)
        self.candidates, _ = widen(self.problem.candidates, outsiders, self.problem.cosines)
        self.weights = self._frozen_weights()
        self.pseudo.prior = class_prior(self.candidates, self.weights, classes, self.options.prior)
        centre = mean_image(self.problem)
        for network in self.networks:
            network.centre = centre
        if self.options.learn_from == "auto":
            strong_view = self.views.columns["strong"][:1]
            self.learn_from = choose_views(self.problem, strong_view, self._candidate_mask)

    @property
    def optimizer(self) -> str:
        """`adamw` or `sgd`, as the options say."""
        return self.options.optimizer

    @property
    def takes_classes(self) -> bool:
        """Not with a linear head."""
        return self.options.head != "linear"

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Update the trust of both networks in one pass over all images each."""
        self.epoch, self.generator = epoch, generator
        for contrast in self.contrasts:
            contrast.recount()
        blocks = self.candidates.blocks()
        with torch.no_grad():
            for n in range(2):
                predict = self._predictor(n)
                self.pseudo.update_trust(epoch, n, predict, self._candidate_mask, blocks)
        if self.options.aligned == "epoch":
            is_candidate = self.candidates.log_mask >= 0
            zeros = torch.zeros_like(self.candidates.log_mask)
            self._restricted_at_start = [
                zeros.masked_scatter(is_candidate, inside) for inside in self.pseudo.inside
            ]

    def loss(self, rows: Tensor) -> Tensor:
        """Both networks' losses on training rows (B,)."""
        entries = self.candidates.batch(rows, len(self.problem.seen))
        candidates = self._dense(entries, entries.log_mask >= 0)
        if self.epoch < self.options.warm_up:
            view, _ = self.views.pair("weak", rows, self.generator)
            frozen, zero = self._cosines(view), view.new_zeros(())
            return sum((self._warm_up(n, view, frozen, candidates) for n in range(2)), zero)
        weak = self.views.pair("weak", rows, self.generator)
        strong = self.views.pair(self.learn_from, rows, self.generator)
        with torch.no_grad():
            weak_views = torch.cat(weak)
            weak_cosines = self._cosines(weak_views)
            f = [self._mean_prediction(n, weak_views, weak_cosines) for n in range(2)]
            inside = self._restricted(f, candidates, entries)
            pseudo = [self.pseudo.pseudo_labels_for(n, rows, f, inside) for n in range(2)]
            self._update_weights(rows, f, entries)
        total = strong[0].new_zeros(())
        self._steps = []
        mixing = draw_mixing(self.options, len(rows), self.generator, rows.device)
        strong_cosines = None if self.options.mixup else self._cosines(strong[0])
        for n in range(2):
            total = total + self._classify(n, strong[0], strong_cosines, pseudo[n], mixing[n])
            if self._is_late:
                total = total + self._represent(n, strong, weak, pseudo[n])
        return total

    def after_step(self, rows: Tensor) -> None:
        """Move the momentum copies, the prototypes and the queues."""
        for network in self.networks:
            network.follow(self.options.key_momentum)
        for step, contrast in zip(self._steps, self.contrasts, strict=False):
            contrast.push(step.key, step.pseudo)
            self.prototypes.move(step.features, step.pseudo)
        self._steps = []

    def finalize(self) -> None:
        """Set the label weights by the trained networks, from images without augmentation."""
        for rows in self.candidates.blocks():
            f = [self.pseudo.aligned(n, self._predictor(n)(rows)) for n in range(2)]
            self._update_weights(rows, f, self.candidates.batch(rows, len(self.problem.seen)))

    def scores(self, images: Tensor) -> Tensor:
        """The sum of both networks' logits of images (n, D), seen classes first: (n, K + U)."""
        first_scores, second_scores = (network.scores(images) for network in self.networks)
        return first_scores + second_scores

    def describe(self) -> dict[str, Any]:
        """Where views come from, which ones are learnt from, and the share of images in P."""
        views = {"views": self.views.describe(), "learn_from": self.learn_from}
        return {**views, **self.pseudo.describe()}

    @property
    def by_set(self) -> bool:
        """Whether losses are means over P or U rather than over the batch."""
        return self.options.means == "set"

    @property
    def _is_late(self) -> bool:
        return self.epoch >= self.options.warm_up + self.options.late

    @property
    def _ramp(self) -> float:
        """Weight of U, which grows linearly after the warm-up."""
        options = self.options
        if not options.unlabelled:
            return 0.0
        progress = (self.epoch - options.warm_up) / max(options.ramp_up, 1)
        return options.unlabelled_weight * min(1.0, progress)

    def _warm_up(self, number: int, view: Tensor, frozen: Tensor, candidates: Tensor) -> Tensor:
        logits, distance = self.networks[number].classify(view, frozen)
        candidate_loss = warm_up_loss(logits, candidates, self.options.entropy_of_all)
        return candidate_loss + self._alignment(distance)

    def _classify(
        self,
        number: int,
        view: Tensor,
        frozen: Tensor | None,
        pseudo: PseudoLabels,
        mixing: Mixing | None,
    ) -> Tensor:
        """Cross-entropy on P and squared error on U, of mixed images if `mixing` is given."""
        targets = pseudo.targets
        if mixing is not None:
            view, targets = F.normalize(mixing.mix(view), dim=-1), mixing.mix(targets)
        frozen = self._cosines(view) if frozen is None else frozen
        logits, distance = self.networks[number].classify(view, frozen)
        log_f = logits.log_softmax(dim=1)
        partial_loss = cross_entropy(log_f, targets, pseudo.partial, self.by_set)
        unlabelled_loss = squared_error(log_f, targets, 1 - pseudo.partial, self.by_set)
        return partial_loss + self._ramp * unlabelled_loss + self._alignment(distance)

    def _represent(
        self, number: int, views: list[Tensor], weak: list[Tensor], pseudo: PseudoLabels
    ) -> Tensor:
        """Prototype alignment and contrast, on images that are not mixed."""
        options, network = self.options, self.networks[number]
        query = network.project(views[0])
        with torch.no_grad():
            key, features = network.keys(views[1]), query.detach()
            if options.prototype_view == "weak":
                features = network.project(weak[0])
        self._steps.append(Step(features, key, pseudo))
        total = query.new_zeros(())
        if options.prototype_alignment:
            prototypes, temperature = self.prototypes.vectors, options.prototype_temperature
            alignment = prototype_loss(query, prototypes, *pseudo, temperature, self.by_set)
            total = total + options.prototype_weight * alignment
        if options.contrast:
            contrast = self.contrasts[number].loss(query, key, pseudo)
            total = total + options.contrast_weight * contrast
        return total

    def _alignment(self, distance: Tensor) -> Tensor:
        """Weighted distance of adapted images and refined labels from the frozen ones."""
        return self.options.alignment * self.problem.scale * distance

    def _cosines(self, views: Tensor) -> Tensor:
        """Frozen cosines of views (n, D) with the seen labels, (n, K)."""
        return views @ self.problem.seen.T

    def _mean_prediction(self, number: int, views: Tensor, frozen: Tensor) -> Tensor:
        """A network's mean prediction (B, K) for two views (2 B, D), aligned if all are."""
        f = self.networks[number].probabilities(views, frozen)
        if self.options.aligned == "always":
            f = self.pseudo.aligned(number, f)
        first_view, second_view = f.chunk(2)
        return (first_view + second_view).div_(2)

    def _restricted(
        self, f: list[Tensor], candidates: Tensor, entries: BatchEntries
    ) -> list[Tensor]:
        """Both networks' predictions restricted to the candidates of a batch: (B, K) each."""
        if self.options.aligned == "always":
            return [restrict(predicted, candidates) for predicted in f]
        return [
            entries.rows.put(values.index_select(0, entries.entry_index), candidates)
            for values in self._restricted_at_start
        ]

    def _predictor(self, number: int) -> Predict:
        """Predicts training images without augmentation by one network."""
        problem, network = self.problem, self.networks[number]
        return lambda rows: network.probabilities(problem.embeddings(rows), problem.cosines(rows))

    def _candidate_mask(self, rows: Tensor) -> Tensor:
        """(B, K), 1 for a candidate of training rows (B,), 0 for any other label."""
        entries = self.problem.candidates.batch(rows, len(self.problem.seen))
        return self._dense(entries, entries.log_mask >= 0)

    def _dense(self, entries: BatchEntries, is_member: Tensor) -> Tensor:
        """(B, K), 1 for the entries (m,) that `is_member` marks, 0 for any other label."""
        batch = len(entries.rows.offsets) - 1
        like = entries.log_mask.new_empty(batch, len(self.problem.seen))
        return entries.rows.put(is_member.to(like.dtype), like)

    def _update_weights(self, rows: Tensor, f: list[Tensor], entries: BatchEntries) -> None:
        """Set the label weights of images (B,) from both networks' aligned predictions (B, K)."""
        predictions = [entries.rows.take(predicted) for predicted in f]
        weights = self.pseudo.label_weights(rows, predictions, entries.log_mask >= 0, entries.rows)
        entries.write(weights, self.weights)

    def _frozen_weights(self) -> Tensor:
        """Frozen CLIP's softmax over the candidates, (M,); 0 for labels outside them."""
        problem, candidates = self.problem, self.candidates
        blocks = [
            masked_softmax(problem.scale * problem.cosines(rows), candidates, rows)
            for rows in candidates.blocks()
        ]
        return torch.cat(blocks)
