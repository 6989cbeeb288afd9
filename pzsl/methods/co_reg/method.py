"""`co-reg`: collaborative consistency regularisation (Wang et al., arXiv 2406.18550, 2506.03229).

Two networks learn from noisy candidate sets; each tells the other which sets to believe. The
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
from pzsl.methods.co_reg.preparation import choose_views, class_prior, mean_image
from pzsl.methods.co_reg.pseudo_labels import CoPseudoLabels, Predict, PseudoLabels
from pzsl.methods.core import (
    OUTSIDE,
    BatchEntries,
    Method,
    Problem,
    Views,
    masked_softmax,
)


class Step(NamedTuple):
    """What a step leaves for the state of one network.

    Attributes:
        moving: (B, d) projected images that move the prototypes.
        key: (B, d) keys for the queue.
        pseudo: their pseudo-labels.
    """

    moving: Tensor
    key: Tensor
    pseudo: PseudoLabels


class CoReg(Method):
    """Two networks, co-pseudo-labels, MixUp, shared prototypes, noisy supervised contrast.

    Label weights may lie outside the candidates: the support is widened by the labels that frozen
    CLIP finds likeliest.
    """

    options: CoRegOptions

    def __init__(self, problem: Problem, options: CoRegOptions, generator: torch.Generator) -> None:
        super().__init__(problem, options)
        check_options(problem, options)
        classes, device = len(problem.seen), problem.images.device
        self.register_buffer("weights", self.support.uniform())
        dim = problem.images.shape[1]
        projection = torch.randn(options.dimension, dim, generator=generator) / dim**0.5
        shared = (options.head == "linear", projection, generator)
        networks = [CoNetwork(problem, options, *shared) for _ in range(2)]
        self.networks: Sequence[CoNetwork] = nn.ModuleList(networks)  # type: ignore[assignment]
        self.prototypes = Prototypes(classes, options.dimension, options.prototype_momentum)
        queue = (options.queue, options.dimension, options.temperature)
        switches = (options.noisy_contrast, options.ignore_doubtful)
        contrasts = [Contrast(*queue, *switches) for _ in range(2)]
        self.contrasts: Sequence[Contrast] = nn.ModuleList(contrasts)  # type: ignore[assignment]
        labelled = problem.labelled
        self.pseudo = CoPseudoLabels(
            problem.seen.new_full((classes,), 1 / classes),
            options.distribution_alignment,
            self.weights.new_zeros(len(problem.images)).bool() if labelled is None else labelled,
            options.co_pseudo_labels,
            options.sharpening,
            options.aligned == "epoch",
            options.restricted,
        )
        self.views = Views(problem, options.weak_noise, options.strong_noise, options.mask)
        self.learn_from = options.learn_from
        self.epoch, self.generator = 0, generator
        self._steps: list[Step] = []
        self._begun: list[Tensor] = []
        self.to(device)

    def prepare(self) -> None:
        """Widen the support, and find label weights, mean image, class prior and kind of view."""
        outsiders, classes = NoiseModel(eta=0.0, penalty=-OUTSIDE), len(self.problem.seen)
        self.support, _ = widen(self.problem.candidates, outsiders, self.problem.cosines)
        self.weights = self._frozen_weights()
        self.pseudo.prior = class_prior(self.support, self.weights, classes, self.options.prior)
        centre = mean_image(self.problem)
        for network in self.networks:
            network.centre = centre
        if self.options.learn_from == "auto":
            shown = self.views.columns["strong"][:1]
            self.learn_from = choose_views(self.problem, shown, self._candidates)

    @property
    def optimizer(self) -> str:
        """The optimiser that the options name."""
        return self.options.optimizer

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Let both networks look at all images."""
        self.epoch, self.generator = epoch, generator
        for contrast in self.contrasts:
            contrast.recount()
        blocks = self.support.blocks()
        with torch.no_grad():
            for number in range(2):
                self.pseudo.observe(epoch, number, self._clean(number), self._candidates, blocks)
        if self.options.aligned == "epoch":
            is_candidate = self.support.log_mask >= 0
            empty = torch.zeros_like(self.support.log_mask)
            self._begun = [
                empty.masked_scatter(is_candidate, inside) for inside in self.pseudo.inside
            ]

    def loss(self, rows: Tensor) -> Tensor:
        """Both networks' losses on training rows (B,)."""
        entries = self.support.batch(rows, len(self.problem.seen))
        candidates = self._members(entries, entries.log_mask >= 0)
        if self.epoch < self.options.warm_up:
            view, _ = self.views.pair("weak", rows, self.generator)
            frozen, none = self._cosines(view), view.new_zeros(())
            return sum((self._warm_up(n, view, frozen, candidates) for n in range(2)), none)
        weak = self.views.pair("weak", rows, self.generator)
        strong = self.views.pair(self.learn_from, rows, self.generator)
        with torch.no_grad():
            views = torch.cat(weak)
            cosines = self._cosines(views)
            f = [self._mean_prediction(n, views, cosines) for n in range(2)]
            inside = self._inside(f, candidates, entries)
            pseudo = [self.pseudo.serve(n, rows, f, inside) for n in range(2)]
            self._weigh(rows, f, entries)
        total = strong[0].new_zeros(())
        self._steps = []
        mixing = draw_mixing(self.options, len(rows), self.generator, rows.device)
        shared = None if self.options.mixup else self._cosines(strong[0])
        for n in range(2):
            total = total + self._classify(n, strong[0], shared, pseudo[n], mixing[n])
            if self._is_late:
                total = total + self._represent(n, strong, weak, pseudo[n])
        return total

    def after_step(self, rows: Tensor) -> None:
        """Move the momentum copies, the prototypes and the queues."""
        for network in self.networks:
            network.follow(self.options.key_momentum)
        for step, contrast in zip(self._steps, self.contrasts, strict=False):
            contrast.push(step.key, step.pseudo)
            self.prototypes.move(step.moving, step.pseudo)
        self._steps = []

    def finalize(self) -> None:
        """The label weights of the trained networks, from the clean images."""
        for rows in self.support.blocks():
            f = [self.pseudo.aligned(n, self._clean(n)(rows)) for n in range(2)]
            self._weigh(rows, f, self.support.batch(rows, len(self.problem.seen)))

    def scores(self, images: Tensor) -> Tensor:
        """The sum of both networks' logits of images (n, D), seen classes first: (n, K + U)."""
        first_scores, second_scores = (network.scores(images) for network in self.networks)
        return first_scores + second_scores

    def describe(self) -> dict[str, Any]:
        """Where the views are from, and how many images keep their candidates."""
        views = {"views": self.views.describe(), "learn_from": self.learn_from}
        return {**views, **self.pseudo.describe()}

    @property
    def by_set(self) -> bool:
        """Whether losses are means over P and U rather than over the batch."""
        return self.options.means == "set"

    @property
    def _is_late(self) -> bool:
        return self.epoch >= self.options.warm_up + self.options.late

    @property
    def _ramp(self) -> float:
        """Weight of U: linear from the end of the warm-up on."""
        options = self.options
        if not options.unlabelled:
            return 0.0
        past = (self.epoch - options.warm_up) / max(options.ramp_up, 1)
        return options.unlabelled_weight * min(1.0, past)

    def _warm_up(self, number: int, view: Tensor, frozen: Tensor, candidates: Tensor) -> Tensor:
        logits, away = self.networks[number].classify(view, frozen)
        candidate_loss = warm_up_loss(logits, candidates, self.options.entropy_of_all)
        return candidate_loss + self._alignment(away)

    def _classify(
        self,
        number: int,
        view: Tensor,
        frozen: Tensor | None,
        pseudo: PseudoLabels,
        mixing: Mixing | None,
    ) -> Tensor:
        """Cross-entropy on P and squared error on U, of mixed images."""
        targets = pseudo.targets
        if mixing is not None:
            view, targets = F.normalize(mixing.mix(view), dim=-1), mixing.mix(targets)
        frozen = self._cosines(view) if frozen is None else frozen
        logits, away = self.networks[number].classify(view, frozen)
        log_f = logits.log_softmax(dim=1)
        partial = cross_entropy(log_f, targets, pseudo.partial, self.by_set)
        unlabelled = squared_error(log_f, targets, 1 - pseudo.partial, self.by_set)
        return partial + self._ramp * unlabelled + self._alignment(away)

    def _represent(
        self, number: int, views: list[Tensor], weak: list[Tensor], pseudo: PseudoLabels
    ) -> Tensor:
        """Prototype alignment and contrast, on images that are not mixed."""
        options, network = self.options, self.networks[number]
        query = network.project(network.image_adapter(views[0]))
        with torch.no_grad():
            key, moving = network.keys(views[1]), query.detach()
            if options.prototype_view == "weak":
                moving = network.project(network.image_adapter(weak[0]))
        self._steps.append(Step(moving, key, pseudo))
        total = query.new_zeros(())
        if options.prototype_alignment:
            prototypes, temperature = self.prototypes.vectors, options.prototype_temperature
            aligned = prototype_loss(query, prototypes, *pseudo, temperature, self.by_set)
            total = total + options.prototype_weight * aligned
        if options.contrast:
            contrast = self.contrasts[number].loss(query, key, pseudo)
            total = total + options.contrast_weight * contrast
        return total

    def _alignment(self, away: Tensor) -> Tensor:
        """Weighted distance of adapted images and refined labels from frozen CLIP's."""
        return self.options.alignment * self.problem.scale * away

    def _cosines(self, views: Tensor) -> Tensor:
        """Frozen cosines of views (n, D) with the seen labels, (n, K)."""
        return views @ self.problem.seen.T

    def _mean_prediction(self, number: int, views: Tensor, frozen: Tensor) -> Tensor:
        """Mean of a network's predictions of two views (2 B, D), aligned where all are: (B, K)."""
        f = self.networks[number].probabilities(views, frozen)
        if self.options.aligned == "always":
            f = self.pseudo.aligned(number, f)
        first_view, second_view = f.chunk(2)
        return (first_view + second_view).div_(2)

    def _inside(self, f: list[Tensor], candidates: Tensor, entries: BatchEntries) -> list[Tensor]:
        """Both networks' predictions within the candidates of a batch: (B, K) each."""
        if self.options.aligned == "always":
            return [restrict(predicted, candidates) for predicted in f]
        begun = [values.index_select(0, entries.entry_index) for values in self._begun]
        return [entries.rows.put(values, candidates) for values in begun]

    def _clean(self, number: int) -> Predict:
        """A network's predictions of training images as they are."""
        problem, network = self.problem, self.networks[number]
        return lambda rows: network.probabilities(problem.embeddings(rows), problem.cosines(rows))

    def _candidates(self, rows: Tensor) -> Tensor:
        """(B, K), 1 for a candidate of training rows, 0 for any other label."""
        entries = self.problem.candidates.batch(rows, len(self.problem.seen))
        return self._members(entries, entries.log_mask >= 0)

    def _members(self, entries: BatchEntries, is_member: Tensor) -> Tensor:
        """(B, K), 1 for those of the entries (m,) that are meant, 0 for any other label."""
        batch = len(entries.rows.offsets) - 1
        like = entries.log_mask.new_empty(batch, len(self.problem.seen))
        return entries.rows.put(is_member.to(like.dtype), like)

    def _weigh(self, rows: Tensor, f: list[Tensor], entries: BatchEntries) -> None:
        """Label weights of images (B,), from both networks' aligned predictions (B, K)."""
        predictions = [entries.rows.take(predicted) for predicted in f]
        weights = self.pseudo.label_weights(rows, predictions, entries.log_mask >= 0, entries.rows)
        entries.write(weights, self.weights)

    def _frozen_weights(self) -> Tensor:
        """Frozen CLIP's softmax within the candidates; labels outside have none of it."""
        problem = self.problem
        blocks = (
            masked_softmax(problem.scale * problem.cosines(rows), self.support, rows)
            for rows in self.support.blocks()
        )
        return torch.cat(list(blocks))
