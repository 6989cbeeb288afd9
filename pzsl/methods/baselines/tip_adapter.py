"""`tip-adapter`: a cache of images and soft labels beside frozen CLIP (Zhang et al., ECCV 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from pzsl.losses.partial import partial_zero_shot_loss
from pzsl.methods.baselines.training_cache import TrainingCache
from pzsl.methods.core import Options, Problem, counting, within

ALPHAS, BETAS = (0.1, 0.3, 1.0, 3.0, 10.0), (3.0, 5.5, 10.0, 20.0, 30.0)
"""Values that are tried; the paper's go up to 3 and 7 on most data."""
TRIED = 2048
"""Training images that they are tried on, at most."""


@dataclass(frozen=True)
class TipAdapterOptions(Options):
    """Options of Tip-Adapter.

    Attributes:
        search: choose alpha and beta on training images, each left out; off: they are as given.
        alpha: residual ratio, the weight of the cache beside frozen CLIP's logits.
        beta: sharpness of the affinity of an image with those in the cache.
        rounds: how often the label weights follow the scores before the cache is filled.
        fine_tune: train the keys (Tip-Adapter-F).
        fade: let the folds that choose gamma also choose how much of alpha counts.
    """

    search: bool = True
    alpha: float = within(1.0, 0)
    beta: float = within(5.5, 0)
    rounds: int = counting(3)
    fine_tune: bool = False
    fade: bool = True


class TipAdapter(TrainingCache):
    """Frozen CLIP's logits plus what the cache says: `s cos(v, t_c) + alpha sum_i a_i(v) w_ic`.

    Keys are the training images, values their soft labels, and `a_i(v) = exp(-beta (1 - v.k_i))`
    (Zhang et al. 2022, section 3). On candidate sets the values are label weights: frozen CLIP's
    softmax over the candidates, then that of the scores, a few times over, each image left out of
    its own: it is like itself, whatever its label.

    Alpha and beta are the best of a grid, as in the paper. There validation images tell; here each
    of some training images is answered by all others, and an answer counts as right where it is a
    candidate (ours; see `covered`).

    An unseen class has no images, so that CLIP's text answers alone. Tip-Adapter-F trains the keys
    by the cross-entropy of these label weights; the image itself is then in the cache, as
    published.
    """

    options: TipAdapterOptions
    sharpness: Tensor
    share: Tensor

    def __init__(
        self, problem: Problem, options: TipAdapterOptions, generator: torch.Generator
    ) -> None:
        super().__init__(problem, options, generator)
        alpha_beta = problem.seen.new_tensor([options.alpha, options.beta])
        self.register_buffer("sharpness", alpha_beta)
        self.register_buffer("share", problem.seen.new_ones(()))
        if options.fine_tune:
            keys = self.keys
            del self.keys
            self.keys = nn.Parameter(keys)

    def prepare(self) -> None:
        """Fill the cache: training images, and label weights by those of all others."""
        super().prepare()
        if self.options.search and len(self.support) > 1:
            self.sharpness.copy_(self.sharpness.new_tensor(self._best()))
        for _ in range(self.options.rounds):
            self.reweigh(self._left_out)
            self.keep_labels()

    def _best(self) -> tuple[float, float]:
        """The alpha and beta at which most answers are candidates, the first of equal ones."""
        step = -(-len(self.support) // TRIED)
        rows = torch.arange(0, len(self.support), step, device=self.values.device)
        frozen = self.problem.scale * self.problem.cosines(rows)
        pairs = list(product(BETAS, ALPHAS))
        hits = []
        for beta in BETAS:
            cached = self._cached(rows, beta)
            hits += [int(self.covered(frozen + alpha * cached, rows).sum()) for alpha in ALPHAS]
        beta, alpha = pairs[hits.index(max(hits))]
        return alpha, beta

    def _cached(self, rows: Tensor, beta: float | Tensor) -> Tensor:
        """What the cache says of training rows (B,) without themselves: (B, K)."""
        affinity = self._affinity(self.problem.images[rows], beta)
        affinity.scatter_(1, rows[:, None], 0.0)
        cached: Tensor = affinity @ self.values
        return cached

    def _left_out(self, rows: Tensor) -> Tensor:
        """Scores of training rows (B,) for the seen classes, without themselves: (B, K)."""
        alpha, beta = self.sharpness
        frozen = self.problem.scale * self.problem.cosines(rows)
        scores: Tensor = frozen + alpha * self._cached(rows, beta)
        return scores

    def _affinity(self, images: Tensor, beta: float | Tensor) -> Tensor:
        """Of images (n, D) with the keys: (n, N)."""
        affinity: Tensor = torch.exp(beta * (images @ self.keys.T - 1))
        return affinity

    def _answer(self, images: Tensor) -> Tensor:
        """What the cache adds to the logits of images (n, D) for the seen classes: (n, K)."""
        alpha, beta = self.sharpness
        answer: Tensor = alpha * (self._affinity(images, beta) @ self.values)
        return answer

    def loss(self, rows: Tensor) -> Tensor:
        """Cross-entropy of the label weights, for training rows (B,): Tip-Adapter-F."""
        entries = self.support.batch(rows, self.values.shape[1])
        logits = self.problem.scale * self.problem.cosines(rows)
        logits = logits + self._answer(self.problem.images[rows])
        weights = entries.of(self.weights)
        return partial_zero_shot_loss(logits, weights, entries.rows)

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images (n, D) for all classes, seen first: (n, K + U)."""
        return self.frozen_scores(images) + self.share * self.of_seen(self._answer(images))

    @property
    def fades(self) -> bool:
        """Whether the folds choose how much of alpha counts."""
        return self.options.fade

    def fade(self, share: float) -> None:
        """Let the cache count this share of alpha."""
        self.share.fill_(share)

    def describe(self) -> dict[str, Any]:
        """Alpha and beta, as they were chosen."""
        alpha, beta = self.sharpness.tolist()
        return {"alpha": round(alpha, 4), "beta": round(beta, 4)}
